//! Rounds on a file, ended by SIGKILL at every point that matters; then another process opens the file and goes on.
//!
//! The child is this test binary again. At its point it says so and blocks its only thread: from then on nothing of
//! it moves, no lease is renewed, and the parent kills it. What it had not committed is gone.

#![allow(clippy::disallowed_methods, reason = "the test runs itself as a child, and tells it so by the environment")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::alert::{AlertInstance, AlertState, HistoryRow};
use rounds_core::investigation::{Findings, Investigation, InvestigationStatus, Proposal, ProposedStep, RootCause};
use rounds_core::plan::{Plan, PlanOutcome, PlanStatus, StepStatus};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{AuditQuery, Commit, Committed, RecordKind};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, FiredAlert, Investigator, Notice,
    Notifier, PortError, ReadStep, Store, StoreError, Toolbox,
};
use rounds_core::service::{Approval, ProposeRequest, ServiceName};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource, Layered, StaticIdentity, StoreLayer};
use rounds_core::time::after_ms;
use rounds_core::{OrgId, Rounds, Settings};
use rounds_store::SqlStore;
use serde::{Deserialize, Serialize};

use crate::support::{Place, all, each, options};

const SCENE: &str = "ROUNDS_KILLED_SCENE";
const HERE: &str = "KILL ME NOW";

/// Where the child is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Point {
    /// Right before the commit of this number, counted from 1, among those that change a record of the scene's kind.
    Before(u64),
    /// Right after it.
    After(u64),
    /// In the effect of this attempt, counted from 1, before it happens.
    EffectBegins(u64),
    /// After the effect happened, before the executor hears of it.
    EffectHappened(u64),
    /// In an investigation.
    Investigating,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scene {
    folder: PathBuf,
    /// `plan`, `alert`, `investigation` or `notice`.
    about: String,
    point: Point,
}

impl Scene {
    fn kind(&self) -> RecordKind {
        match self.about.as_str() {
            "plan" => RecordKind::Plan,
            "alert" => RecordKind::AlertHistory,
            "investigation" => RecordKind::Investigation,
            _ => RecordKind::Notice,
        }
    }
}

/// Counts to the point of a scene and stops the whole process there; without a scene it never stops.
#[derive(Clone)]
struct Fate {
    point: Option<Point>,
    commits: Arc<AtomicU64>,
    effects: Arc<AtomicU64>,
    folder: PathBuf,
}

impl Fate {
    fn of(point: Option<Point>, folder: &Path) -> Self {
        Self { point, commits: Arc::default(), effects: Arc::default(), folder: folder.to_owned() }
    }

    fn reached(&self, point: Point) {
        if self.point == Some(point) {
            #[allow(clippy::print_stdout, reason = "the one way to tell the parent")]
            {
                println!("{HERE}");
            }
            let _ = std::io::stdout().flush();
            loop {
                std::thread::park();
            }
        }
    }

    /// Something that can be seen from outside and survives the process.
    fn leave(&self, name: &str, line: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(name)).unwrap();
        writeln!(file, "{line}").unwrap();
        file.sync_all().unwrap();
    }
}

fn left(folder: &Path, name: &str) -> Vec<String> {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A store that stops the process before or after a commit.
struct Deadly {
    inner: SqlStore,
    kind: RecordKind,
    fate: Fate,
    armed: Arc<AtomicU64>,
}

#[async_trait]
impl StoreLayer for Deadly {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let concerns = commit.changes.iter().any(|change| change.key().kind == self.kind);
        if !concerns || self.armed.load(Ordering::SeqCst) == 0 {
            return self.inner.commit(commit).await;
        }
        let number = self.fate.commits.fetch_add(1, Ordering::SeqCst) + 1;
        self.fate.reached(Point::Before(number));
        let committed = self.inner.commit(commit).await;
        self.fate.reached(Point::After(number));
        committed
    }
}

/// A cluster whose effects are lines in a file.
struct Cluster {
    fake: FakeAdapter,
    fate: Fate,
}

#[async_trait]
impl ExecutionAdapter for Cluster {
    fn describe(&self) -> AdapterInfo {
        self.fake.describe()
    }
    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.fake.review(step, mode)
    }
    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        self.fake.dry_run(cx, step).await
    }
    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.fake.read(cx, step).await
    }
    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let number = self.fate.effects.fetch_add(1, Ordering::SeqCst) + 1;
        self.fate.reached(Point::EffectBegins(number));
        self.fate.leave("effects", &format!("{}#{}", step.step().verb, step.attempt()));
        self.fate.reached(Point::EffectHappened(number));
        self.fake.execute(cx, step).await
    }
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.fake.check(cx).await
    }
}

/// A channel whose messages are lines in a file.
struct Channel(Fate);

#[async_trait]
impl Notifier for Channel {
    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a file"))
    }
    async fn send(&self, _cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        self.0.leave("told", &notice.idempotency_key);
        Ok(())
    }
}

struct Detective(Fate);

#[async_trait]
impl Investigator for Detective {
    fn name(&self) -> &str {
        "detective"
    }
    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        self.0.leave("runs", &format!("{}#{}", alert.investigation_id, alert.attempt));
        let connector = tools.connectors().remove(0);
        let reading = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await;
        self.0.reached(Point::Investigating);
        let step = ProposedStep::new(connector.id, StepSpec::command(["restart", "app/web"]));
        Ok(Findings {
            summary: "it is broken".into(),
            root_cause: Some(RootCause::new("somebody broke it", [reading.id])),
            plan: Some(Proposal::new("mend it").with_steps([step])),
            ..Findings::default()
        })
    }
}

/// One process of Rounds.
struct Process {
    rounds: Rounds,
    store: SqlStore,
    armed: Arc<AtomicU64>,
    admin: Principal,
    agent: Principal,
}

/// The child's times are short, because its heir waits for them; the heir has all the time it needs.
fn settings(is_child: bool) -> Settings {
    let ms = Duration::from_millis;
    Settings {
        step_timeout: ms(if is_child { 2000 } else { 60_000 }),
        effect_grace: ms(300),
        lease_ttl: ms(if is_child { 2000 } else { 10_000 }),
        poll_interval: ms(50),
        query_timeout: ms(800),
        ..Settings::default()
    }
}

async fn process(folder: &Path, about: &str, kind: RecordKind, point: Option<Point>) -> Process {
    let store = SqlStore::open(options(&folder.join("rounds.db"))).await.unwrap();
    let fate = Fate::of(point, folder);
    let armed = Arc::new(AtomicU64::new(0));
    let deadly = Deadly { inner: store.clone(), kind, fate: fate.clone(), armed: armed.clone() };
    let org = OrgId::default();
    let admin =
        Principal::user(org.clone(), "admin", OrgRole::Admin).with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    let agent = Principal::agent(org, "@syntropize/rounds");
    let identity = StaticIdentity::new([admin.clone(), agent.clone()]);
    identity.add_token(agent.id, "a token", None);
    let errors = FakeDatasource::default();
    errors.set(0.9);
    let registry = Registry::new([
        Registration::execution(
            "cluster",
            "A cluster",
            Arc::new(Cluster { fake: FakeAdapter::default(), fate: fate.clone() }),
        ),
        Registration::datasource("errors", "Error rate", Arc::new(errors)),
        Registration::notifier("channel", "A channel", Arc::new(Channel(fate.clone()))),
    ]);
    let mut builder = Rounds::builder(Arc::new(Layered(deadly)), Arc::new(identity))
        .registry(registry.unwrap())
        .investigator(Arc::new(Detective(fate)))
        .settings(settings(point.is_some()));
    // The child does only what the scene is about, so that its commits come in one order.
    if point.is_some() {
        let wanted: &[ServiceName] = match about {
            "plan" => &[ServiceName::Executor],
            "notice" => &[ServiceName::Outbox],
            _ => &[ServiceName::Evaluator, ServiceName::Dispatcher],
        };
        for name in ServiceName::ALL.into_iter().filter(|name| !wanted.contains(name)) {
            builder = builder.without(name);
        }
    }
    Process { rounds: builder.build().unwrap(), store, armed, admin, agent }
}

/// Not a test of its own: the child of those below, which run this binary again.
#[tokio::test]
async fn child_that_is_killed_at_its_point() {
    let Ok(scene) = std::env::var(SCENE) else { return };
    let scene: Scene = serde_json::from_str(&scene).unwrap();
    let child = process(&scene.folder, &scene.about, scene.kind(), Some(scene.point)).await;
    let (rounds, admin) = (&child.rounds, &child.admin);
    for kind in ["cluster", "errors", "channel"] {
        let draft = serde_json::json!({ "type": kind, "name": kind });
        let made = rounds.connectors().create(admin, serde_json::from_value(draft).unwrap()).await;
        if kind != "cluster" || scene.about == "alert" || scene.about == "investigation" {
            made.unwrap();
            continue;
        }
        let connector = made.unwrap();
        let step = |verb: &str| ProposedStep::new(connector.id, StepSpec::command([verb, "app/web"]));
        let plan = Proposal::new("mend it").with_steps([step("scale"), step("restart")]);
        let request = ProposeRequest::from(plan);
        let plan = rounds.plans().propose(&child.agent, request).await.unwrap().plan;
        if scene.about == "plan" {
            let approval = Approval::of(&plan).with_auto_edit();
            rounds.plans().approve(admin, plan.id, &approval).await.unwrap();
        }
    }
    if scene.about == "alert" || scene.about == "investigation" {
        let seconds = if scene.about == "alert" { 2 } else { 0 };
        let rule = serde_json::json!({ "name": "errors", "evaluationIntervalSec": 1,
            "condition": { "query": "errors", "operator": ">", "threshold": 0.5, "forDurationSec": seconds } });
        rounds.alerts().create(admin, serde_json::from_value(rule).unwrap()).await.unwrap();
    }
    child.armed.store(1, Ordering::SeqCst);
    let _running = rounds.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    panic!("the point was never reached: {scene:?}");
}

/// Runs the child to its point and kills it there.
fn kill(place: &Place, about: &str, point: Point) -> PathBuf {
    let folder = place.path("");
    let scene = Scene { folder: folder.clone(), about: about.into(), point };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::child_that_is_killed_at_its_point", "--exact", "--nocapture"])
        .env(SCENE, serde_json::to_string(&scene).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let reached = said.into_iter().any(|line| line.contains(HERE));
    // On unix this is SIGKILL: nothing of the child runs any more, no destructor and no handler.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached, "{scene:?} was not reached");
    folder
}

async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < limit, "this never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn the_only_plan_settles(store: &SqlStore, what: &str) -> Plan {
    eventually(what, async || {
        let mut plans: Vec<Plan> = all(store, RecordKind::Plan).await;
        assert_eq!(plans.len(), 1, "{what}");
        plans.pop().filter(|plan| !PlanOutcome::of(plan).is_under_way())
    })
    .await
}

/// What a plan of two steps must look like after a kill: the step whose outcome nobody knows, and how often each
/// effect happened.
struct Expected {
    unknown: Option<usize>,
    effects: [usize; 2],
}

fn expected(point: Point) -> Expected {
    // The commits: start, intent, outcome, intent, outcome.
    let (unknown, effects) = match point {
        Point::Before(1 | 2) | Point::After(1) => (None, [1, 1]),
        Point::After(2) | Point::EffectBegins(1) => (Some(0), [0, 0]),
        Point::EffectHappened(1) | Point::Before(3) => (Some(0), [1, 0]),
        Point::After(3) | Point::Before(4) | Point::After(5) => (None, [1, 1]),
        Point::After(4) | Point::EffectBegins(2) => (Some(1), [1, 0]),
        Point::EffectHappened(2) | Point::Before(5) => (Some(1), [1, 1]),
        other => panic!("a plan of two steps has no {other:?}"),
    };
    Expected { unknown, effects }
}

fn happened(folder: &Path) -> [usize; 2] {
    let lines = left(folder, "effects");
    ["scale", "restart"].map(|verb| lines.iter().filter(|line| line.starts_with(verb)).count())
}

async fn a_plan_killed_at(point: Point) {
    let place = Place::new();
    let folder = kill(&place, "plan", point);
    let what = format!("killed at {point:?}");
    let expected = expected(point);
    let next = process(&folder, "plan", RecordKind::Plan, None).await;
    let deadline = all::<Plan>(&next.store, RecordKind::Plan).await[0].running_step().and_then(|s| s.effect_deadline);
    assert_eq!(deadline.is_some(), expected.unknown.is_some(), "{what}: an intent without an outcome");
    let running = next.rounds.start();
    let plan = the_only_plan_settles(&next.store, &what).await;
    assert_eq!(happened(&folder), expected.effects, "{what}: rule 4, at most once without a person");
    let attempts = plan.steps.iter().filter(|step| step.attempt > 0).count();
    let audited = next.store.audit(&AuditQuery { action: Some("agent.plan_step".into()), ..query() }).await.unwrap();
    assert_eq!(audited.total as usize, attempts, "{what}: rule 10");
    if let Some(step) = expected.unknown {
        assert_eq!((plan.status, plan.steps[step].status), (PlanStatus::Failed, StepStatus::Interrupted), "{what}");
        assert!(plan.steps[step + 1..].iter().all(|step| step.status == StepStatus::Skipped), "{what}");
        let judged = plan.steps[step].finished_at.unwrap();
        assert!(judged >= after_ms(deadline.unwrap(), 300), "{what}: judged at {judged} before {deadline:?} + grace");
        // The lease is free again: what a person decides is carried out.
        let ordinal = u32::try_from(step).unwrap();
        next.rounds.plans().retry(&next.admin, plan.id, ordinal, false).await.unwrap_err();
        next.rounds.plans().retry(&next.admin, plan.id, ordinal, true).await.unwrap();
        let done = the_only_plan_settles(&next.store, &what).await;
        assert_eq!(done.status, PlanStatus::Completed, "{what}");
        let mut after = expected.effects;
        after[step..].iter_mut().for_each(|count| *count += 1);
        assert_eq!(happened(&folder), after, "{what}: the retried step and those after it, once each");
    } else {
        assert_eq!(plan.status, PlanStatus::Completed, "{what}: proven where it stood, it goes on by itself");
    }
    running.shutdown(Duration::from_secs(10)).await;
    next.store.verify_audit(&OrgId::default()).await.unwrap().unwrap();
    next.store.close().await;
}

fn query() -> AuditQuery {
    AuditQuery::new(OrgId::default())
}

#[test]
fn rule_4_a_plan_killed_before_any_of_its_commits_runs_nothing_twice() {
    each(4, &[1, 2, 3, 4, 5], async |number| a_plan_killed_at(Point::Before(number)).await);
}

#[test]
fn rule_4_a_plan_killed_after_any_of_its_commits_runs_nothing_twice() {
    each(4, &[1, 2, 3, 4, 5], async |number| a_plan_killed_at(Point::After(number)).await);
}

#[test]
fn rule_4_a_plan_killed_during_an_effect_or_right_after_it_runs_nothing_twice() {
    each(4, &[1, 2], async |step| a_plan_killed_at(Point::EffectBegins(step)).await);
    each(4, &[1, 2], async |step| a_plan_killed_at(Point::EffectHappened(step)).await);
}

async fn an_alert_killed_at(point: Point) {
    let place = Place::new();
    let folder = kill(&place, "alert", point);
    let what = format!("killed at {point:?}");
    let next = process(&folder, "alert", RecordKind::AlertHistory, None).await;
    let before = all::<AlertInstance>(&next.store, RecordKind::AlertInstance).await.remove(0);
    let running = next.rounds.start();
    let alert = eventually(&what, async || {
        let found = all::<AlertInstance>(&next.store, RecordKind::AlertInstance).await.remove(0);
        (found.state == AlertState::Firing).then_some(found)
    })
    .await;
    if let Some(since) = before.pending_since {
        // The duration goes on, unless nobody looked for more than three intervals: a busy machine may take that long.
        let gap = alert.pending_since.zip(before.last_sample_at).map(|(again, last)| again - last);
        let outage = gap.is_some_and(|gap| gap.num_milliseconds() > 3000);
        assert!(alert.pending_since == Some(since) || outage, "{what}: rule 13, since {since}: {alert:?}");
    }
    if let Some(since) = before.firing_since {
        assert_eq!(alert.firing_since, Some(since), "{what}: rule 13");
    }
    eventually(&what, async || {
        let all: Vec<Investigation> = all(&next.store, RecordKind::Investigation).await;
        assert!(all.len() <= 1, "{what}");
        all.first().filter(|found| found.status == InvestigationStatus::Completed).map(drop)
    })
    .await;
    let history: Vec<HistoryRow> = all(&next.store, RecordKind::AlertHistory).await;
    let moves: Vec<AlertState> = history.iter().map(|row| row.to_state).collect();
    assert_eq!(moves, [AlertState::Pending, AlertState::Firing], "{what}");
    running.shutdown(Duration::from_secs(10)).await;
    next.store.verify_audit(&OrgId::default()).await.unwrap().unwrap();
    next.store.close().await;
}

#[test]
fn rule_13_an_alert_in_flight_survives_a_kill() {
    // The commits: pending, firing with its investigation.
    each(4, &[Point::Before(1), Point::After(1), Point::Before(2), Point::After(2)], an_alert_killed_at);
}

async fn an_investigation_killed_at(point: Point, runs: usize) {
    let place = Place::new();
    let folder = kill(&place, "investigation", point);
    let what = format!("killed at {point:?}");
    let next = process(&folder, "investigation", RecordKind::Investigation, None).await;
    let running = next.rounds.start();
    let done = eventually(&what, async || {
        let mut all: Vec<Investigation> = all(&next.store, RecordKind::Investigation).await;
        assert!(all.len() <= 1, "{what}: one for the firing episode");
        all.pop().filter(|found| found.status.is_terminal())
    })
    .await;
    assert_eq!((done.status, done.error.as_deref()), (InvestigationStatus::Completed, None), "{what}");
    let lines = left(&folder, "runs");
    assert_eq!(lines.len(), runs, "{what}: {lines:?}");
    assert!(lines.iter().all(|line| line.starts_with(&done.id.to_string())), "{what}: the same id");
    assert_eq!(lines.last().unwrap(), &format!("{}#{}", done.id, done.attempt), "{what}");
    let plans: Vec<Plan> = all(&next.store, RecordKind::Plan).await;
    assert_eq!(plans.iter().map(|plan| Some(plan.id)).collect::<Vec<_>>(), [done.plan_id], "{what}: one plan");
    assert_eq!(plans[0].status, PlanStatus::PendingApproval);
    assert!(left(&folder, "effects").is_empty(), "{what}: nobody approved anything");
    running.shutdown(Duration::from_secs(10)).await;
    next.store.verify_audit(&OrgId::default()).await.unwrap().unwrap();
    next.store.close().await;
}

#[test]
fn rule_13_an_investigation_killed_anywhere_is_resumed_and_proposes_once() {
    // The commits: queued with the firing, started, completed with its plan.
    let scenes = [
        (Point::Before(1), 1),
        (Point::After(1), 1),
        (Point::Before(2), 1),
        (Point::After(2), 1),
        (Point::Investigating, 2),
        (Point::Before(3), 2),
        (Point::After(3), 1),
    ];
    each(4, &scenes, async |(point, runs)| an_investigation_killed_at(point, runs).await);
}

async fn a_notice_killed_at(point: Point, told: usize) {
    let place = Place::new();
    let folder = kill(&place, "notice", point);
    let what = format!("killed at {point:?}");
    let next = process(&folder, "notice", RecordKind::Notice, None).await;
    let running = next.rounds.start();
    eventually(&what, async || {
        let waiting = next.store.count(RecordKind::Notice, None).await.unwrap();
        waiting.is_empty().then_some(())
    })
    .await;
    let lines = left(&folder, "told");
    assert_eq!(lines.len(), told, "{what}: {lines:?}");
    assert!(lines.iter().all(|key| *key == lines[0]), "{what}: the same key each time");
    running.shutdown(Duration::from_secs(10)).await;
    next.store.close().await;
}

#[test]
fn a_notice_killed_on_its_way_is_delivered_at_least_once_with_the_same_key() {
    // The commits: routed, delivered.
    let scenes = [(Point::Before(1), 1), (Point::After(1), 1), (Point::Before(2), 2), (Point::After(2), 1)];
    each(4, &scenes, async |(point, told)| a_notice_killed_at(point, told).await);
}
