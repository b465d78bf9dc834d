//! The whole line, killed before and after every commit and every effect on it: from the evaluation that sees the
//! error to the audit row of the last step. Whoever starts next ends where an uninterrupted run ends, or halts for a
//! person where the outcome is unknown.
//!
//! The child is this test binary again, with every service on and a person who approves what waits. Its commits come
//! in no fixed order, so a point is a number: the child dies at the n-th thing that it is about to store, or has just
//! stored, or is about to do to the cluster, or has just done. How many there are is counted in a run that nobody
//! kills. What must hold afterwards holds whatever stood at that number.

#![allow(clippy::disallowed_methods, reason = "the test runs itself as a child, and tells it so by the environment")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::alert::{AlertInstance, HistoryRow};
use rounds_core::investigation::{Findings, Investigation, InvestigationStatus, Proposal, ProposedStep, RootCause};
use rounds_core::plan::{Plan, PlanStatus, RequestStatus, Step, StepStatus, VerificationStatus};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{AuditQuery, Commit, Committed, OutboxNotice, RecordKind};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, FiredAlert, Investigator, Notice,
    Notifier, PortError, ReadStep, Store, StoreError, Toolbox,
};
use rounds_core::service::Approval;
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource, Layered, StaticIdentity, StoreLayer};
use rounds_core::{OrgId, Rounds, Settings};
use rounds_store::SqlStore;
use serde::{Deserialize, Serialize};

use crate::support::{Database, Place, all, each};

const SCENE: &str = "ROUNDS_CRASH_SCENE";

/// Files that outlive a process: what happened outside of the store.
#[derive(Debug, Clone)]
struct Traces(PathBuf);

impl Traces {
    fn leave(&self, name: &str, line: &str) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join(name)).unwrap();
        writeln!(file, "{line}").unwrap();
        file.sync_all().unwrap();
    }

    fn left(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scene {
    options: crate::support::Address,
    traces: PathBuf,
    /// The number of the point at which the child dies; `None`: it lives to the end.
    dies_at: Option<u64>,
}

/// Counts the points that are passed and ends the process at one of them.
#[derive(Debug, Clone)]
struct Fate {
    dies_at: Option<u64>,
    passed: Arc<AtomicU64>,
}

impl Fate {
    fn passes(&self) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if self.dies_at == Some(number) {
            // SIGKILL to ourselves: no destructor, no handler, no flush, and no other thread that goes on.
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}

/// A store whose every commit that tells something is two points: before it and after it.
struct Deadly {
    inner: SqlStore,
    fate: Fate,
}

#[async_trait]
impl StoreLayer for Deadly {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        // An evaluation that changes no state comes every second and is no step of the line.
        let quiet = commit.events.is_empty()
            && commit.audit.is_empty()
            && commit.changes.iter().all(|change| {
                matches!(change.key().kind, RecordKind::AlertInstance | RecordKind::AlertRule | RecordKind::WorkSlot)
            });
        if quiet {
            return self.inner.commit(commit).await;
        }
        self.fate.passes();
        let committed = self.inner.commit(commit).await;
        self.fate.passes();
        committed
    }
}

/// A cluster whose effects are lines in a file, and whose mending shows in the error rate.
struct Cluster {
    fake: FakeAdapter,
    fate: Fate,
    traces: Traces,
    errors: FakeDatasource,
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
        self.fate.passes();
        self.traces.leave("effects", &format!("{}#{}", step.step().verb, step.attempt()));
        if step.step().verb == "restart" {
            self.errors.set(0.0);
        }
        self.fate.passes();
        self.fake.execute(cx, step).await
    }
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.fake.check(cx).await
    }
}

struct Channel(Fate, Traces);

#[async_trait]
impl Notifier for Channel {
    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a file"))
    }
    async fn send(&self, _cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        self.0.passes();
        self.1.leave("told", &format!("{:?} {}", notice.kind, notice.idempotency_key));
        self.0.passes();
        Ok(())
    }
}

struct Detective(Traces);

#[async_trait]
impl Investigator for Detective {
    fn name(&self) -> &str {
        "detective"
    }
    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        self.0.leave("runs", &format!("{}#{}", alert.investigation_id, alert.attempt));
        let connector = tools.connectors().remove(0);
        let reading = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await;
        let step = |verb: &str| ProposedStep::new(connector.id, StepSpec::command([verb, "app/web"]));
        Ok(Findings {
            summary: "it is broken".into(),
            root_cause: Some(RootCause::new("somebody broke it", [reading.id])),
            plan: Some(Proposal::new("mend it").with_steps([step("scale"), step("restart")])),
            ..Findings::default()
        })
    }
}

/// One process of Rounds with everything on.
struct Process {
    rounds: Rounds,
    store: SqlStore,
    admin: Principal,
    fate: Fate,
}

async fn process(address: &crate::support::Address, traces: &Path, dies_at: Option<u64>) -> Process {
    let ms = Duration::from_millis;
    let settings = Settings {
        // Short, because the heir waits for them.
        step_timeout: ms(1500),
        effect_grace: ms(200),
        lease_ttl: ms(1500),
        poll_interval: ms(50),
        query_timeout: ms(800),
        verification_stable: ms(200),
        investigation_attempts: 10,
        ..Settings::default()
    };
    let store = SqlStore::open(address.options()).await.unwrap();
    let (fate, traces) = (Fate { dies_at, passed: Arc::default() }, Traces(traces.to_owned()));
    let org = OrgId::default();
    let admin = Principal::user(org.clone(), "admin", OrgRole::Admin);
    let agent = Principal::agent(org, "@syntropize/rounds");
    let identity = StaticIdentity::new([admin.clone(), agent.clone()]);
    identity.add_token(agent.id, "a token", None);
    let errors = FakeDatasource::default();
    // The cluster is outside: what was done to it before is still done.
    errors.set(if traces.left("effects").iter().any(|line| line.starts_with("restart")) { 0.0 } else { 0.9 });
    let cluster =
        Cluster { fake: FakeAdapter::default(), fate: fate.clone(), traces: traces.clone(), errors: errors.clone() };
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(cluster)),
        Registration::datasource("errors", "Error rate", Arc::new(errors)),
        Registration::notifier("channel", "A channel", Arc::new(Channel(fate.clone(), traces.clone()))),
    ]);
    let deadly = Deadly { inner: store.clone(), fate: fate.clone() };
    let rounds = Rounds::builder(Arc::new(Layered(deadly)), Arc::new(identity))
        .registry(registry.unwrap())
        .investigator(Arc::new(Detective(traces)))
        .settings(settings)
        .build()
        .unwrap();
    Process { rounds, store, admin, fate }
}

/// Sees to it that connectors and rule are there; whoever was killed may have made some of them.
async fn furnish(process: &Process) {
    let (rounds, admin) = (&process.rounds, &process.admin);
    let there = rounds.connectors().list(admin).await.unwrap();
    for kind in ["cluster", "errors", "channel"] {
        if there.iter().all(|connector| connector.name != kind) {
            let draft = serde_json::json!({ "type": kind, "name": kind });
            rounds.connectors().create(admin, serde_json::from_value(draft).unwrap()).await.unwrap();
        }
    }
    if rounds.alerts().list(admin).await.unwrap().is_empty() {
        let rule = serde_json::json!({ "name": "errors", "evaluationIntervalSec": 1,
            "condition": { "query": "errors", "operator": ">", "threshold": 0.5, "forDurationSec": 0 } });
        rounds.alerts().create(admin, serde_json::from_value(rule).unwrap()).await.unwrap();
    }
}

/// The person: approves what waits, and looks at what halted. Returns once the line has come to its end.
async fn attend(process: &Process, what: &str) -> Plan {
    let limit = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let plans: Vec<Plan> = all(&process.store, RecordKind::Plan).await;
        if tokio::time::Instant::now() >= limit {
            let investigations: Vec<Investigation> = all(&process.store, RecordKind::Investigation).await;
            let instances: Vec<AlertInstance> = all(&process.store, RecordKind::AlertInstance).await;
            let notices: Vec<OutboxNotice> = all(&process.store, RecordKind::Notice).await;
            panic!(
                "{what}: the line never came to its end: {plans:#?} {investigations:#?} {instances:#?} {notices:#?}"
            );
        }
        assert!(plans.len() <= 1, "{what}: one firing, one plan");
        if let Some(plan) = plans.into_iter().next() {
            decide(process, &plan).await;
            let told = process.store.count(RecordKind::Notice, None).await.unwrap();
            let recovered = plan.verification.status == VerificationStatus::Recovered
                || plan.verification.status == VerificationStatus::Inconclusive;
            if plan.status == PlanStatus::Completed && recovered && told.is_empty() {
                return plan;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn decide(process: &Process, plan: &Plan) {
    let (plans, admin) = (process.rounds.plans(), &process.admin);
    // A decision may come too late or meet another; whatever it says, the next look decides anew.
    match plan.status {
        PlanStatus::PendingApproval => {
            let approval = Approval::of(plan);
            let _ = plans.approve(admin, plan.id, &approval).await;
        }
        PlanStatus::Executing => {
            if let Some(open) = plan.requests.iter().find(|request| request.status == RequestStatus::Pending) {
                let _ = process.rounds.approvals().approve(admin, open.id).await;
            }
        }
        PlanStatus::Failed => {
            // On a machine that is busy a step may find no time left, and fail before it begins.
            let halted = |step: &&Step| matches!(step.status, StepStatus::Interrupted | StepStatus::Failed);
            if let Some(step) = plan.steps.iter().find(halted) {
                let _ = plans.retry(admin, plan.id, step.ordinal, true).await;
            }
        }
        _ => {}
    }
}

/// Not a test of its own: the child of those below, which run this binary again.
#[tokio::test]
async fn child_that_dies_at_its_point() {
    let Ok(scene) = std::env::var(SCENE) else { return };
    let scene: Scene = serde_json::from_str(&scene).unwrap();
    let child = process(&scene.options, &scene.traces, scene.dies_at).await;
    furnish(&child).await;
    let running = child.rounds.start();
    attend(&child, "the child").await;
    running.shutdown(Duration::from_secs(10)).await;
    let passed = child.fate.passed.load(Ordering::SeqCst);
    Traces(scene.traces).leave("passed", &passed.to_string());
}

/// Runs the child; `true`: it died at its point.
fn run_child(place: &Place, dies_at: Option<u64>) -> bool {
    let scene = Scene { options: place.address(), traces: place.path(""), dies_at };
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["crash_points::child_that_dies_at_its_point", "--exact", "--nocapture"])
        .env(SCENE, serde_json::to_string(&scene).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    match ended.signal() {
        Some(9) => true,
        _ => {
            assert!(ended.success(), "the child failed: {ended}");
            false
        }
    }
}

/// What holds at the end whatever happened on the way.
async fn the_line_ended_well(process: &Process, plan: &Plan, traces: &Traces, what: &str) {
    let history: Vec<HistoryRow> = all(&process.store, RecordKind::AlertHistory).await;
    let fired = history.iter().filter(|row| row.to_state.as_str() == "firing").count();
    assert_eq!(fired, 1, "{what}: rule 13, it fired once: {history:?}");
    let investigations: Vec<Investigation> = all(&process.store, RecordKind::Investigation).await;
    assert_eq!(investigations.len(), 1, "{what}: exactly one investigation");
    assert_eq!(investigations[0].status, InvestigationStatus::Completed, "{what}");
    assert_eq!(investigations[0].plan_id, Some(plan.id), "{what}");
    assert!(plan.steps.iter().all(|step| step.status == StepStatus::Done), "{what}: {:?}", plan.steps);
    let mut effects = traces.left("effects");
    let happened = effects.len();
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), happened, "{what}: rule 4, an attempt happens at most once");
    for step in &plan.steps {
        let times = effects.iter().filter(|line| line.starts_with(&format!("{}#", step.review.verb))).count();
        assert!(times >= 1 && times <= step.attempt as usize, "{what}: {} ran {times} times", step.review.verb);
    }
    let rows =
        process.store.audit(&AuditQuery { limit: 1000, ..AuditQuery::new(OrgId::default()) }).await.unwrap().rows;
    let count = |action: &str| rows.iter().filter(|row| row.entry.action == action).count();
    let attempts: usize = plan.steps.iter().map(|step| step.attempt as usize).sum();
    assert_eq!(count("agent.plan_step"), attempts, "{what}: rule 10, a row for every attempt");
    assert_eq!(count("plan.propose"), 1, "{what}");
    let approved = plan.requests.iter().filter(|request| request.status == RequestStatus::Approved).count();
    assert_eq!(count("approval.approve"), approved, "{what}: rule 10, a row for every approval");
    let told = traces.left("told");
    for kind in ["AlertFiring", "PlanProposed", "PlanEnded"] {
        assert!(told.iter().any(|line| line.starts_with(kind)), "{what}: {kind} was told, at least once: {told:?}");
    }
    process.store.verify_audit(&OrgId::default()).await.unwrap().unwrap_or_else(|broken| panic!("{what}: {broken}"));
}

async fn killed_at(database: Database, point: u64) {
    let place = Place::on(database).await;
    let what = format!("{database:?}, killed at point {point}");
    run_child(&place, Some(point));
    let heir = process(&place.address(), &place.path(""), None).await;
    furnish(&heir).await;
    let running = heir.rounds.start();
    let plan = attend(&heir, &what).await;
    running.shutdown(Duration::from_secs(10)).await;
    the_line_ended_well(&heir, &plan, &Traces(place.path("")), &what).await;
    heir.store.close().await;
}

/// How many points an uninterrupted run passes; its own end is looked at, too.
async fn points(database: Database) -> u64 {
    let place = Place::on(database).await;
    assert!(!run_child(&place, None));
    let traces = Traces(place.path(""));
    let after = process(&place.address(), &place.path(""), None).await;
    let plan = all::<Plan>(&after.store, RecordKind::Plan).await.remove(0);
    the_line_ended_well(&after, &plan, &traces, "uninterrupted").await;
    assert!(plan.steps.iter().all(|step| step.attempt == 1), "uninterrupted: nothing was retried");
    after.store.close().await;
    traces.left("passed")[0].parse().unwrap()
}

fn killed_everywhere(database: Database) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let last = runtime.block_on(points(database));
    assert!(last > 40, "the line has more points than {last}");
    let numbers: Vec<u64> = (1..=last).collect();
    each(6, &numbers, async |point| killed_at(database, point).await);
}

#[test]
fn rules_4_9_10_and_13_hold_wherever_on_the_line_sqlite_is_killed() {
    killed_everywhere(Database::Sqlite);
}

#[test]
fn rules_4_9_10_and_13_hold_wherever_on_the_line_postgres_is_killed() {
    killed_everywhere(Database::Postgres);
}
