//! A small world to test services in: one organisation, one cluster, one datasource, one channel.
//!
//! Tests run on tokio's paused time, which the services' clock and the store's leases follow: whenever nobody has
//! anything to do, time jumps to the next moment that somebody waits for. Nothing depends on how fast a machine is.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::alert::{AlertInstance, AlertRule, AlertState};
use rounds_core::audit::AuditRow;
use rounds_core::connector::Connector;
use rounds_core::investigation::{Findings, Investigation, Proposal, ProposedStep, ReadingId, RootCause};
use rounds_core::plan::{Plan, PlanOutcome, RequestKind, RequestStatus};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{AuditQuery, ListQuery, RecordKind, StoreExt, Versioned};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, Clock, DataSet, Datasource, DatasourceInfo, DryRun,
    ExecutionAdapter, FiredAlert, Investigator, Notice, Notifier, PortError, PortErrorKind, Query, ReadStep, Store,
    Toolbox,
};
use rounds_core::service::{Approval, Builder, ProposeRequest, RuleDraft};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource, MemoryStore, StaticIdentity};
use rounds_core::time::{after_ms, truncate};
use rounds_core::{AlertRuleId, InvestigationId, OrgId, PlanId, RequestId, Rounds, Running, Settings, Timestamp};
use tokio::time::Instant;

/// A clock that follows tokio's time.
pub struct TokioClock {
    base: Timestamp,
    start: Instant,
}

impl TokioClock {
    pub fn new() -> Self {
        let base = chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        Self { base, start: Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        truncate(self.base + self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub type Effect = Pin<Box<dyn Future<Output = Result<StepOutput, StepError>> + Send>>;
type Hook = Arc<dyn Fn(Duration, ApprovedStep) -> Effect + Send + Sync>;

/// A fake cluster whose effects a test writes as closures.
#[derive(Clone, Default)]
pub struct Cluster {
    pub fake: FakeAdapter,
    hook: Arc<Mutex<Option<Hook>>>,
    attempts: Arc<Mutex<Vec<String>>>,
    /// Appended to every rendered command: a gate of another version.
    pub renders: Arc<Mutex<String>>,
    pub dry_runs: Arc<Mutex<usize>>,
    pub fails_dry_runs: Arc<Mutex<bool>>,
    /// Whether the gate panics.
    pub panics: Arc<Mutex<bool>>,
    /// What the connector's config allows a step.
    pub step_timeout: Arc<Mutex<Option<Duration>>>,
}

impl Cluster {
    /// What steps do from now on; the first argument is the hard limit that the executor passes on.
    pub fn does<F>(&self, effect: impl Fn(Duration, ApprovedStep) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<StepOutput, StepError>> + Send + 'static,
    {
        *lock(&self.hook) = Some(Arc::new(move |limit, step| Box::pin(effect(limit, step))));
    }

    /// Everything that was started, as `command#attempt`, in order.
    pub fn executed(&self) -> Vec<String> {
        lock(&self.attempts).clone()
    }
}

pub fn ok() -> Result<StepOutput, StepError> {
    Ok(StepOutput::text("ok").with_exit_code(0))
}

#[async_trait]
impl ExecutionAdapter for Cluster {
    fn describe(&self) -> AdapterInfo {
        let mut info = self.fake.describe();
        info.step_timeout = *lock(&self.step_timeout);
        info
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        assert!(!*lock(&self.panics), "a fault in the gate");
        let mut reviewed = self.fake.review(step, mode)?;
        reviewed.command_text.push_str(&lock(&self.renders));
        Ok(reviewed)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        *lock(&self.dry_runs) += 1;
        if *lock(&self.fails_dry_runs) {
            return Err(StepError::not_started("the cluster did not like it"));
        }
        self.fake.dry_run(cx, step).await
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.fake.read(cx, step).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        lock(&self.attempts).push(format!("{}#{}", step.step().command_text, step.attempt()));
        let hook = lock(&self.hook).clone();
        match hook {
            Some(hook) => hook(cx.timeout, step).await,
            None => self.fake.execute(cx, step).await,
        }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.fake.check(cx).await
    }
}

/// A channel that remembers what it was told and fails as often as asked.
#[derive(Clone, Default)]
pub struct Channel {
    pub told: Arc<Mutex<Vec<Notice>>>,
    pub tried: Arc<Mutex<Vec<(Timestamp, Notice)>>>,
    pub fails: Arc<Mutex<VecDeque<PortErrorKind>>>,
    pub hangs: Arc<Mutex<bool>>,
    /// How long it asks to be left alone when it fails.
    pub retry_after: Arc<Mutex<Option<Duration>>>,
    /// Whom it reached all the same, at each failure.
    pub reached: Arc<Mutex<VecDeque<String>>>,
}

#[async_trait]
impl Notifier for Channel {
    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("nobody to disturb"))
    }

    async fn send(&self, _cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        lock(&self.tried).push((notice.at, notice.clone()));
        if *lock(&self.hangs) {
            std::future::pending::<()>().await;
        }
        match lock(&self.fails).pop_front() {
            Some(kind) => Err(PortError::new(kind, "the channel is down")
                .with_retry_after(*lock(&self.retry_after))
                .with_delivered(lock(&self.reached).pop_front())),
            None => {
                lock(&self.told).push(notice.clone());
                Ok(())
            }
        }
    }
}

/// A datasource that answers as told, after as long as told, and counts how many ask at a time.
#[derive(Clone, Default)]
pub struct Metrics {
    pub fake: FakeDatasource,
    pub takes: Arc<Mutex<Duration>>,
    pub panics: Arc<Mutex<bool>>,
    inside: Arc<Mutex<(usize, usize)>>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Metrics {
    pub fn set(&self, value: f64) {
        self.fake.set(value);
    }

    /// How many asked at a time, at most.
    pub fn peak(&self) -> usize {
        lock(&self.inside).1
    }

    /// When which expression was asked for.
    pub fn asked(&self) -> Vec<(Instant, String)> {
        lock(&self.asked).clone()
    }
}

/// Counts a call until it is answered or dropped.
struct Inside(Arc<Mutex<(usize, usize)>>);

impl Inside {
    fn enter(count: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut inside = lock(count);
        inside.0 += 1;
        inside.1 = inside.1.max(inside.0);
        drop(inside);
        Self(Arc::clone(count))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        lock(&self.0).0 -= 1;
    }
}

#[async_trait]
impl Datasource for Metrics {
    fn describe(&self) -> DatasourceInfo {
        self.fake.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let takes = *lock(&self.takes);
        tokio::time::sleep(takes).await;
        assert!(!*lock(&self.panics), "a fault in the datasource");
        self.fake.check(cx).await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let _inside = Inside::enter(&self.inside);
        if let Query::Instant { expr, .. } = query {
            lock(&self.asked).push((Instant::now(), expr.clone()));
        }
        let takes = *lock(&self.takes);
        tokio::time::sleep(takes).await;
        assert!(!*lock(&self.panics), "a fault in the datasource");
        self.fake.query(cx, query).await
    }
}

/// Everything a test needs.
pub struct World {
    pub store: MemoryStore,
    pub identity: Arc<StaticIdentity>,
    pub clock: Arc<TokioClock>,
    pub cluster: Cluster,
    pub errors: Metrics,
    pub channel: Channel,
    pub settings: Settings,
    pub admin: Principal,
    pub editor: Principal,
    pub auto_editor: Principal,
    pub viewer: Principal,
    pub agent: Principal,
    pub rounds: Rounds,
    pub connector: Connector,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        Self::built(settings, |builder| builder).await
    }

    /// A world whose Rounds is assembled with something more; nothing runs yet.
    pub async fn built(settings: Settings, more: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = Arc::new(TokioClock::new());
        let store = MemoryStore::with_clock(clock.clone());
        let org = OrgId::default();
        let admin = Principal::user(org.clone(), "admin", OrgRole::Admin);
        let editor = Principal::user(org.clone(), "editor", OrgRole::Editor);
        let auto_editor = Principal::user(org.clone(), "auto-editor", OrgRole::Editor)
            .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
        let viewer = Principal::user(org.clone(), "viewer", OrgRole::Viewer);
        let agent = Principal::agent(org, "@syntropize/rounds");
        let people = [&admin, &editor, &auto_editor, &viewer, &agent].map(Clone::clone);
        let identity = Arc::new(StaticIdentity::new(people));
        let (cluster, errors, channel) = (Cluster::default(), Metrics::default(), Channel::default());
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let builder = builder(shared, &identity, &clock, &cluster, &errors, &channel).settings(settings.clone());
        let rounds = more(builder).build().unwrap();
        let connectors = rounds.connectors();
        let connector = connectors.create(&admin, draft("cluster")).await.unwrap();
        connectors.create(&admin, draft("errors")).await.unwrap();
        Self {
            store,
            identity,
            clock,
            cluster,
            errors,
            channel,
            settings,
            admin,
            editor,
            auto_editor,
            viewer,
            agent,
            rounds,
            connector,
        }
    }

    /// Another Rounds over a store, with everything else shared: a second replica, or the next start.
    pub fn replica(&self, store: Arc<dyn Store>) -> Builder {
        builder(store, &self.identity, &self.clock, &self.cluster, &self.errors, &self.channel)
            .settings(self.settings.clone())
    }

    pub fn start(&self) -> Running {
        self.rounds.start()
    }

    /// Mints the service account's token.
    pub fn mint(&self) {
        self.identity.add_token(self.agent.id, "a token", None);
    }

    /// A rule on the error rate; the second part overrides what it says by default.
    pub async fn rule(&self, name: &str, with: serde_json::Value) -> AlertRule {
        self.rounds.alerts().create(&self.admin, rule_draft(name, with)).await.unwrap().rule
    }

    pub async fn alert(&self, rule: AlertRuleId) -> AlertInstance {
        self.store.instance_of(rule).await.unwrap().unwrap().value
    }

    /// The alert once it is in a state.
    pub async fn in_state(&self, rule: AlertRuleId, state: AlertState) -> AlertInstance {
        eventually(state.as_str(), async || {
            let alert = self.alert(rule).await;
            (alert.state == state).then_some(alert)
        })
        .await
    }

    /// Every investigation, oldest first.
    pub async fn investigations(&self) -> Vec<Investigation> {
        let found = self.store.all(ListQuery::new(RecordKind::Investigation)).await.unwrap();
        found.into_iter().map(|found: Versioned<Investigation>| found.value).collect()
    }

    /// The only investigation, once it has ended.
    pub async fn investigated(&self) -> Investigation {
        eventually("the investigation ends", async || {
            let mut all = self.investigations().await;
            assert!(all.len() <= 1, "there is more than one");
            all.pop().filter(|investigation| investigation.status.is_terminal())
        })
        .await
    }

    pub fn step(&self, command: &str) -> ProposedStep {
        step(&self.connector, command)
    }

    pub fn proposal(&self, commands: &[&str]) -> ProposeRequest {
        Proposal::new("mend it").with_steps(commands.iter().map(|c| self.step(c))).into()
    }

    /// A plan that the agent proposed.
    pub async fn propose(&self, commands: &[&str]) -> Plan {
        self.rounds.plans().propose(&self.agent, self.proposal(commands)).await.unwrap().plan
    }

    /// A plan with a rescue, both proposed by the agent.
    pub async fn propose_with_rescue(&self, commands: &[&str], rescue: &str) -> (Plan, Plan) {
        let mut request = self.proposal(commands);
        request.rescue = Some(Proposal::new("undo it").with_steps([self.step(rescue)]));
        let proposed = self.rounds.plans().propose(&self.agent, request).await.unwrap();
        (proposed.plan, proposed.rescue.unwrap())
    }

    /// Approves as the editor does, with the digest that was shown.
    pub async fn approve(&self, plan: &Plan) -> Plan {
        let approval = Approval::of(plan);
        self.rounds.plans().approve(&self.editor, plan.id, &approval).await.unwrap()
    }

    /// Approves with auto-edit.
    pub async fn let_run(&self, plan: &Plan) -> Plan {
        let approval = Approval::of(plan).with_auto_edit();
        self.rounds.plans().approve(&self.auto_editor, plan.id, &approval).await.unwrap()
    }

    pub async fn plan(&self, id: PlanId) -> Plan {
        self.store.plan(id).await.unwrap().unwrap().value
    }

    /// The plan once it no longer goes on by itself.
    pub async fn settled(&self, id: PlanId) -> Plan {
        eventually("the plan settles", async || {
            let plan = self.plan(id).await;
            (!PlanOutcome::of(&plan).is_under_way()).then_some(plan)
        })
        .await
    }

    /// The request that a paused plan waits for.
    pub async fn paused(&self, id: PlanId) -> (u32, RequestId) {
        let plan = self.settled(id).await;
        match PlanOutcome::of(&plan) {
            PlanOutcome::PausedForApproval { step_ordinal, approval_request_id } => (step_ordinal, approval_request_id),
            other => panic!("the plan should wait for a step, and is {other:?}"),
        }
    }

    /// Approves every pause until the plan ends.
    pub async fn walk(&self, id: PlanId) -> Plan {
        loop {
            let plan = self.settled(id).await;
            let PlanOutcome::PausedForApproval { approval_request_id, .. } = PlanOutcome::of(&plan) else {
                return plan;
            };
            self.rounds.approvals().approve(&self.editor, approval_request_id).await.unwrap();
        }
    }

    /// Audit rows with an action, oldest first.
    pub async fn audited(&self, action: &str) -> Vec<AuditRow> {
        let query = AuditQuery { action: Some(action.into()), limit: 1000, ..AuditQuery::new(OrgId::default()) };
        let mut rows = self.store.audit(&query).await.unwrap().rows;
        rows.reverse();
        rows
    }

    pub async fn chain_holds(&self) {
        self.store.verify_audit(&OrgId::default()).await.unwrap().unwrap();
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn builder(
    store: Arc<dyn Store>,
    identity: &Arc<StaticIdentity>,
    clock: &Arc<TokioClock>,
    cluster: &Cluster,
    errors: &Metrics,
    channel: &Channel,
) -> Builder {
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(cluster.clone())),
        Registration::datasource("errors", "Error rate", Arc::new(errors.clone())),
        Registration::notifier("channel", "A channel", Arc::new(channel.clone())),
    ]);
    Rounds::builder(store, Arc::<StaticIdentity>::clone(identity))
        .clock(Arc::<TokioClock>::clone(clock))
        .registry(registry.unwrap())
}

pub fn rule_draft(name: &str, with: serde_json::Value) -> RuleDraft {
    let mut draft = serde_json::json!({ "name": name, "evaluationIntervalSec": 10,
        "condition": { "query": name, "operator": ">", "threshold": 0.5 } });
    for (key, value) in with.as_object().unwrap() {
        if key == "forDurationSec" {
            draft["condition"][key] = value.clone();
        } else {
            draft[key] = value.clone();
        }
    }
    serde_json::from_value(draft).unwrap()
}

pub fn draft(kind: &str) -> rounds_core::service::ConnectorDraft {
    serde_json::from_value(serde_json::json!({ "type": kind, "name": kind })).unwrap()
}

pub fn step(connector: &Connector, command: &str) -> ProposedStep {
    ProposedStep::new(connector.id, StepSpec::command(command.split_whitespace()))
}

/// Waits until something is there; the limit is in tokio's time, which costs nothing when it is paused.
pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(3 * 3600);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < limit, "this never happened: {what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Waits until something is so.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// Lets this much of the paused time pass.
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    after_ms(at, u64::try_from(by.as_millis()).unwrap())
}

/// How a plan's steps stand, in words.
pub fn steps(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.status.as_str()).collect()
}

/// How a plan's requests stand.
pub fn requests(plan: &Plan) -> Vec<(RequestKind, RequestStatus)> {
    plan.requests.iter().map(|request| (request.kind, request.status)).collect()
}

/// What is logged while it lives, on this thread, as `LEVEL message field=value …` lines.
#[derive(Clone, Default)]
pub struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Logs {
    /// Starts listening; stops when the guard is dropped.
    pub fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let guard = tracing::subscriber::set_default(logs.clone());
        (logs, guard)
    }

    pub fn with(&self, words: &str) -> Vec<String> {
        lock(&self.lines).iter().filter(|line| line.contains(words)).cloned().collect()
    }
}

impl tracing::Subscriber for Logs {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("rounds_core")
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                use std::fmt::Write;
                if field.name() == "message" {
                    let _ = write!(self.0, " {value:?}");
                } else {
                    let _ = write!(self.0, " {}={value:?}", field.name());
                }
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        lock(&self.lines).push(line.0);
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

/// What an investigator of a test does in one run.
#[derive(Clone)]
pub enum Does {
    /// Reads one thing, cites it, and proposes these commands.
    Proposes(Vec<&'static str>),
    /// Reads one thing and cites another, which it never read.
    MakesUp,
    /// Reads one thing and answers an error.
    Errs,
    /// Reads one thing and panics.
    Panics,
    /// Reads one thing and never comes back.
    Hangs,
}

/// An investigator that does one thing after the other, the last one from then on, and remembers its runs.
#[derive(Clone)]
pub struct Detective {
    pub does: Arc<Mutex<VecDeque<Does>>>,
    pub runs: Arc<Mutex<Vec<(InvestigationId, u32)>>>,
}

impl Detective {
    pub fn new(does: impl IntoIterator<Item = Does>) -> Self {
        Self { does: Arc::new(Mutex::new(does.into_iter().collect())), runs: Arc::default() }
    }

    pub fn runs(&self) -> Vec<(InvestigationId, u32)> {
        lock(&self.runs).clone()
    }
}

#[async_trait]
impl Investigator for Detective {
    fn name(&self) -> &str {
        "detective"
    }

    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        lock(&self.runs).push((alert.investigation_id, alert.attempt));
        let does = {
            let mut does = lock(&self.does);
            if does.len() > 1 { does.pop_front().unwrap() } else { does[0].clone() }
        };
        let connector = tools.connectors().remove(0);
        let reading = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await;
        let cause = |cited| Some(RootCause::new("somebody broke it", [cited]));
        let mut findings = Findings { summary: "it is broken".into(), ..Findings::default() };
        match does {
            Does::Proposes(commands) => {
                findings.root_cause = cause(reading.id);
                let step =
                    |command: &&str| ProposedStep::new(connector.id, StepSpec::command(command.split_whitespace()));
                let steps: Vec<_> = commands.iter().map(step).collect();
                findings.plan = (!steps.is_empty()).then(|| Proposal::new("mend it").with_steps(steps));
            }
            Does::MakesUp => {
                findings.root_cause = cause(ReadingId(99));
                let step = ProposedStep::new(connector.id, StepSpec::command(["restart", "app/web"]));
                findings.plan = Some(Proposal::new("mend it").with_steps([step]));
            }
            Does::Errs => return Err(PortError::new(PortErrorKind::Unavailable, "the model is overloaded")),
            Does::Panics => panic!("a fault in the investigator"),
            Does::Hangs => std::future::pending().await,
        }
        Ok(findings)
    }
}
