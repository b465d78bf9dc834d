//! What a review found wrong, each as a test: it was so once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use rounds_core::alert::{AlertState, HistoryRow, Reason};
use rounds_core::connector::ConnectorStatus;
use rounds_core::investigation::{Findings, InvestigationStatus, SkipReason};
use rounds_core::plan::{PlanStatus, StepFailure, VerificationStatus};
use rounds_core::plugin::{BuildContext, BuildError, Registration, Registry};
use rounds_core::ports::store::{ListQuery, RecordKind, StoreExt, Versioned};
use rounds_core::ports::{FiredAlert, Investigator, NoticeKind, PortError, Toolbox};
use rounds_core::service::{Approval, Builder, ServiceName, SilenceDraft};
use rounds_core::step::{StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource, FakeOutcome, Fault};
use rounds_core::{AlertRuleId, Error, Settings};
use serde_json::json;

use crate::harness::{
    Channel, Detective, Does, Metrics, World, draft, eventually, later, lock, pass, rule_draft, secs, step, until,
};

fn with(investigator: impl Investigator + 'static) -> impl FnOnce(Builder) -> Builder {
    move |builder| builder.investigator(Arc::new(investigator))
}

/// A world in which an alert is about to fire, with the service account's token.
async fn ready(settings: Settings, investigator: impl Investigator + 'static) -> (World, AlertRuleId) {
    let world = World::built(settings, with(investigator)).await;
    world.mint();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({})).await.id;
    (world, rule)
}

fn told(world: &World) -> Vec<(NoticeKind, String)> {
    lock(&world.channel.told).iter().map(|notice| (notice.kind, notice.title.clone())).collect()
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoConfig;

static BUILD_PANICS: AtomicBool = AtomicBool::new(false);

#[tokio::test(start_paused = true)]
async fn a_connector_whose_build_panics_is_said_and_ends_no_rule() {
    let fragile: Registration = rounds_core::registration! {
        kind: "errors",
        title: "Error rate",
        role: Datasource,
        secret: None,
        config: NoConfig,
        build: |_cx: BuildContext, _config: NoConfig| {
            assert!(!BUILD_PANICS.load(Ordering::SeqCst), "a fault in the build");
            Ok::<_, BuildError>(FakeDatasource::default())
        },
    };
    let cluster: Registration = rounds_core::registration! {
        kind: "cluster",
        title: "A cluster",
        role: Execution,
        secret: None,
        config: NoConfig,
        build: |_cx: BuildContext, _config: NoConfig| Ok::<_, BuildError>(FakeAdapter::default()),
    };
    let registry = Registry::new([fragile, cluster]).unwrap();
    let world = World::built(Settings::default(), |builder| builder.registry(registry)).await;
    BUILD_PANICS.store(true, Ordering::SeqCst);
    let refused = world.rounds.connectors().create(&world.admin, draft("errors")).await.unwrap_err();
    assert!(refused.to_string().contains("it panicked"), "{refused}");
    let rule = world.rule("errors", json!({})).await;
    let _running = world.start();
    let said = eventually("it is said", async || world.alert(rule.id).await.last_error).await;
    assert!(said.contains("it panicked: a fault in the build"), "{said}");
    BUILD_PANICS.store(false, Ordering::SeqCst);
    until("the rule is evaluated again", async || world.alert(rule.id).await.last_error.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_panics_halts_the_plan_and_refuses_a_proposal() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    *lock(&world.cluster.panics) = true;
    let _running = world.start();
    let halted = world.settled(plan.id).await;
    assert_eq!(halted.steps[0].failure, Some(StepFailure::ReviewChanged));
    let said = halted.resolution.unwrap();
    assert!(said.contains("review_changed: the adapter panicked: a fault in the gate"), "{said}");
    let refused = world.rounds.plans().propose(&world.agent, world.proposal(&["get app/web"])).await.unwrap_err();
    assert_eq!(refused.code(), "refused_by_gate", "{refused}");
}

/// Has the store fail right after the first run, and does what the other one does.
struct Breaks {
    inner: Detective,
    store: Arc<Mutex<Option<rounds_core::testing::MemoryStore>>>,
    fault: Fault,
    times: usize,
}

#[async_trait]
impl Investigator for Breaks {
    fn name(&self) -> &str {
        "breaks"
    }
    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let findings = self.inner.investigate(tools, alert).await;
        if let Some(store) = lock(&self.store).take() {
            store.fail_next(self.fault, self.times);
        }
        findings
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_after_a_run_loses_no_plan() {
    // The row is read once more after the run, which nothing hangs on. While the plan is prepared the run is tried again;
    // once it is prepared only the commit is.
    for (fault, times, attempts) in
        [(Fault::Unavailable, 1, 1), (Fault::Unavailable, 2, 2), (Fault::CommitFails, 3, 1), (Fault::AnswerLost, 1, 1)]
    {
        let store = Arc::new(Mutex::new(None));
        let inner = Detective::new([Does::Proposes(vec!["restart app/web"])]);
        let (world, _) = ready(Settings::default(), Breaks { inner, store: store.clone(), fault, times }).await;
        *lock(&store) = Some(world.store.clone());
        let _running = world.start();
        let done = world.investigated().await;
        assert_eq!((done.status, done.attempt), (InvestigationStatus::Completed, attempts), "{fault:?}");
        assert_eq!(done.report.unwrap().refused_proposal, None, "{fault:?}");
        assert_eq!(world.plan(done.plan_id.unwrap()).await.status, PlanStatus::PendingApproval, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_and_its_rescue_never_run_at_the_same_time() {
    let world = World::new().await;
    let _running = world.start();
    let no = || FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
    let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
    world.cluster.fake.script(no());
    world.let_run(&plan).await;
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Failed);
    let plans = world.rounds.plans();
    let rescue = plans.submit(&world.editor, rescue.id).await.unwrap();
    // The primary is tried again while the rescue waits for its approval.
    world.cluster.does(|_, _| async {
        pass(secs(5)).await;
        Err(StepError::failed("no", StepOutput::default()))
    });
    plans.retry(&world.auto_editor, plan.id, 0, false).await.unwrap();
    let refused = plans.approve(&world.editor, rescue.id, &Approval::default()).await.unwrap_err();
    assert_eq!(refused.code(), "primary_not_ended", "{refused}");
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Failed);
    world.let_run(&rescue).await;
    let refused = plans.retry(&world.auto_editor, plan.id, 0, false).await.unwrap_err();
    assert_eq!(refused.code(), "rescue_under_way", "{refused}");
    assert_eq!(world.settled(rescue.id).await.status, PlanStatus::Failed);
    // A rescue that failed is tried again only while its primary rests.
    plans.retry(&world.auto_editor, plan.id, 0, false).await.unwrap();
    let refused = plans.retry(&world.auto_editor, rescue.id, 0, false).await.unwrap_err();
    assert_eq!(refused.code(), "primary_not_ended", "{refused}");
}

#[tokio::test(start_paused = true)]
async fn of_a_retry_and_the_approval_of_the_rescue_in_the_same_moment_one_is_refused() {
    let world = World::new().await;
    let running = world.start();
    let no = FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
    let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
    world.cluster.fake.script(no);
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    running.shutdown(secs(5)).await;
    let plans = world.rounds.plans();
    plans.submit(&world.editor, rescue.id).await.unwrap();
    let approval = Approval::default();
    let (retried, approved) =
        tokio::join!(plans.retry(&world.editor, plan.id, 0, false), plans.approve(&world.editor, rescue.id, &approval));
    assert_ne!(retried.is_ok(), approved.is_ok(), "{retried:?} {approved:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_rule_is_off_from_the_start() {
    let (world, rule) = ready(Settings::default(), Detective::new([Does::Proposes(Vec::new())])).await;
    let _running = world.start();
    world.in_state(rule, AlertState::Firing).await;
    let commits = world.store.commits();
    let copy = world.rounds.alerts().fork(&world.admin, rule, None).await.unwrap();
    assert_eq!((copy.rule.enabled, copy.state()), (false, AlertState::Disabled));
    assert!(world.store.commits() <= commits + 1 && world.audited("alert_rule.disable").await.is_empty());
    pass(secs(60)).await;
    assert!(world.rounds.alerts().history(&world.admin, copy.rule.id, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_test_of_a_connector_says_how_it_went_and_nothing_else_does() {
    let world = World::new().await;
    let connectors = world.rounds.connectors();
    let all = connectors.list(&world.admin).await.unwrap();
    let id = all.into_iter().find(|connector| connector.kind == "errors").unwrap().id;
    *lock(&world.errors.panics) = true;
    let failed = connectors.test(&world.admin, id).await.unwrap_err();
    assert!(matches!(&failed, Error::Port(error) if error.to_string().contains("a fault in the datasource")));
    let condition = rule_draft("errors", json!({})).condition;
    let preview = world.rounds.alerts().preview(&world.viewer, &condition, None).await;
    assert!(matches!(preview, Err(Error::Port(_))), "{preview:?}");
    let (end, start) = (world.now(), world.now() - secs(60));
    let range = world.rounds.alerts().range(&world.viewer, "errors", None, start, end, secs(10)).await;
    assert!(matches!(range, Err(Error::Port(_))), "{range:?}");
    assert_eq!(world.audited("connector.test").await[0].entry.outcome.as_str(), "failure");
    // Whether it works is not whether an operator's change of it was done.
    let mut owned = draft("errors");
    owned.is_default = true;
    let changed = connectors.update(&world.admin, id, owned.clone()).await.unwrap();
    assert_eq!((changed.revision, changed.status), (1, ConnectorStatus::Error));
    assert_eq!(world.audited("connector.update").await[0].entry.outcome.as_str(), "success");
    // What an operator grants is granted by name.
    owned.name = "renamed".into();
    *lock(&world.errors.panics) = false;
    *lock(&world.errors.takes) = secs(5);
    let (tested, renamed) = tokio::join!(connectors.test(&world.admin, id), async {
        pass(secs(1)).await;
        connectors.update(&world.admin, id, owned).await.unwrap()
    });
    assert!(tested.is_ok());
    assert_eq!((renamed.revision, renamed.status), (2, ConnectorStatus::Unverified));
    let now = connectors.get(&world.admin, id).await.unwrap();
    assert_eq!(now.status, ConnectorStatus::Unverified, "what was tested is not what there is");
    assert_eq!(world.audited("connector.test").await[1].entry.metadata["revision"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn an_investigation_that_is_cancelled_stops_and_frees_its_slot() {
    let detective = Detective::new([Does::Hangs, Does::Proposes(Vec::new())]);
    let settings = Settings { concurrent_investigations: 1, ..Settings::default() };
    let world = World::built(settings, with(detective.clone())).await;
    world.mint();
    let _running = world.start();
    let asked = world.rounds.investigations();
    let first = asked.ask(&world.editor, "why?").await.unwrap();
    until("it runs", async || detective.runs().len() == 1).await;
    asked.cancel(&world.editor, first.id).await.unwrap();
    let second = asked.ask(&world.editor, "and why that?").await.unwrap();
    pass(secs(5)).await;
    let ended = asked.get(&world.editor, second.id).await.unwrap();
    assert_eq!(ended.status, InvestigationStatus::Completed, "it waited for the time limit of the other");
    assert_eq!(asked.get(&world.editor, first.id).await.unwrap().status, InvestigationStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_ends_with_its_rule_is_told_of_unless_it_is_silenced() {
    for (how, silenced) in [("disable", false), ("update", false), ("delete", false), ("delete", true)] {
        let (world, rule) = ready(Settings::default(), Detective::new([Does::Proposes(Vec::new())])).await;
        world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
        let _running = world.start();
        world.in_state(rule, AlertState::Firing).await;
        until("it is told", async || told(&world).len() == 1).await;
        let alerts = world.rounds.alerts();
        if silenced {
            silence(&world, rule).await;
        }
        world.errors.set(0.1);
        match how {
            "disable" => drop(alerts.set_enabled(&world.admin, rule, false).await.unwrap()),
            "update" => {
                let changed = rule_draft("errors", json!({ "forDurationSec": 30 }));
                alerts.update(&world.admin, rule, changed).await.unwrap();
            }
            _ => alerts.delete(&world.admin, rule).await.unwrap(),
        }
        pass(secs(30)).await;
        let told = told(&world);
        assert_eq!(told.len(), if silenced { 1 } else { 2 }, "{how}: {told:?}");
        assert!(silenced || (told[1].0 == NoticeKind::AlertResolved && told[1].1.contains("no longer fires")));
        if how == "delete" {
            let query = ListQuery { parent: Some(rule.as_uuid()), ..ListQuery::new(RecordKind::AlertHistory) };
            let rows: Vec<Versioned<HistoryRow>> = world.store.all(query).await.unwrap();
            assert_eq!(rows.last().map(|row| row.value.reason), Some(Reason::Deleted));
        }
    }
}

async fn silence(world: &World, rule: AlertRuleId) {
    let silence = SilenceDraft {
        rule_id: Some(rule),
        matchers: Default::default(),
        comment: "maintenance".into(),
        starts_at: None,
        ends_at: later(world.now(), secs(600)),
    };
    world.rounds.alerts().silence(&world.admin, silence).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_outlives_its_silence_is_told_and_investigated_once() {
    let (world, rule) = ready(Settings::default(), Detective::new([Does::Proposes(Vec::new())])).await;
    world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    silence(&world, rule).await;
    let _running = world.start();
    assert!(world.in_state(rule, AlertState::Firing).await.silenced);
    pass(secs(500)).await;
    assert!(told(&world).is_empty());
    assert_eq!(world.investigated().await.skip_reason, Some(SkipReason::Silenced));
    pass(secs(200)).await;
    assert_eq!(told(&world), [(NoticeKind::AlertFiring, "errors is firing".to_owned())]);
    let all = world.investigations().await;
    assert_eq!((all.len(), all[1].status), (2, InvestigationStatus::Completed));
    assert_ne!(all[0].episode_key(), all[1].episode_key());
    let alert = world.alert(rule).await;
    assert_eq!((alert.silenced, alert.investigation_id), (false, Some(all[1].id)));
    pass(secs(3600)).await;
    assert_eq!((told(&world).len(), world.investigations().await.len()), (1, 2), "once");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_asked_seldom_is_verified_all_the_same() {
    let detective = Detective::new([Does::Proposes(vec!["restart app/web"])]);
    let world = World::built(Settings::default(), with(detective)).await;
    world.mint();
    world.errors.set(0.9);
    world.rule("errors", json!({ "evaluationIntervalSec": 1800 })).await;
    let _running = world.start();
    let id = world.investigated().await.plan_id.unwrap();
    world.let_run(&world.plan(id).await).await;
    world.settled(id).await;
    world.errors.set(0.1);
    let settled = eventually("it is settled", async || {
        let verification = world.plan(id).await.verification;
        (verification.status != VerificationStatus::Watching).then_some(verification)
    })
    .await;
    assert_eq!(settled.status, VerificationStatus::Recovered, "{:?}", settled.reason);
}

/// Reads on and on, whatever it is told.
struct Insatiable;

#[async_trait]
impl Investigator for Insatiable {
    fn name(&self) -> &str {
        "insatiable"
    }
    async fn investigate(&self, tools: &dyn Toolbox, _alert: &FiredAlert) -> Result<Findings, PortError> {
        let connector = tools.connectors().remove(0).id;
        loop {
            let reading = tools.read(connector, StepSpec::command(["get", "app/web"])).await;
            if reading.id.0 > 501 {
                return Err(PortError::new(rounds_core::ports::PortErrorKind::Invalid, "there is no end to it"));
            }
            if lock(&READS).insert(reading.id.0) {
                pass(secs(0)).await
            } else {
                SECOND.fetch_add(1, Ordering::SeqCst);
            }
            if SECOND.load(Ordering::SeqCst) > 2000 {
                return Ok(Findings { summary: "enough".into(), ..Findings::default() });
            }
        }
    }
}

static READS: Mutex<std::collections::BTreeSet<u32>> = Mutex::new(std::collections::BTreeSet::new());
static SECOND: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[tokio::test(start_paused = true)]
async fn an_investigator_that_takes_no_for_an_answer_fills_no_memory() {
    let (world, _) = ready(Settings::default(), Insatiable).await;
    let _running = world.start();
    let done = world.investigated().await;
    assert_eq!(done.status, InvestigationStatus::Completed, "{:?}", done.error);
    let evidence = done.report.unwrap().evidence;
    assert_eq!(evidence.len(), 501);
    assert!(evidence[499].ok && !evidence[500].ok);
}

static BUILT: Mutex<Weak<()>> = Mutex::new(Weak::new());

#[tokio::test(start_paused = true)]
async fn a_connector_that_is_deleted_is_dropped() {
    struct Held(#[allow(dead_code)] Arc<()>);
    #[async_trait]
    impl rounds_core::ports::Notifier for Held {
        async fn check(
            &self,
            _cx: &rounds_core::ports::CallContext,
        ) -> Result<rounds_core::ports::CheckReport, PortError> {
            Ok(rounds_core::ports::CheckReport::new("here"))
        }
        async fn send(
            &self,
            _cx: &rounds_core::ports::CallContext,
            _notice: &rounds_core::ports::Notice,
        ) -> Result<(), PortError> {
            Ok(())
        }
    }
    let held: Registration = rounds_core::registration! {
        kind: "held",
        title: "Held",
        role: Notifier,
        secret: None,
        config: NoConfig,
        build: |_cx: BuildContext, _config: NoConfig| {
            let held = Arc::new(());
            *lock(&BUILT) = Arc::downgrade(&held);
            Ok::<_, BuildError>(Held(held))
        },
    };
    let of = |kind: &'static str| {
        let fake = Arc::new(FakeAdapter::default());
        Registration::execution(kind, "Not used", fake)
    };
    let registry = Registry::new([held, of("cluster"), of("errors")]).unwrap();
    let world = World::built(Settings::default(), |builder| builder.registry(registry)).await;
    let connectors = world.rounds.connectors();
    let id = connectors.create(&world.admin, draft("held")).await.unwrap().id;
    connectors.test(&world.admin, id).await.unwrap();
    assert!(lock(&BUILT).upgrade().is_some());
    connectors.delete(&world.admin, id).await.unwrap();
    assert!(lock(&BUILT).upgrade().is_none(), "it still holds its secret");
}

#[tokio::test(start_paused = true)]
async fn asking_for_an_investigation_finds_the_one_under_way_behind_any_number_of_skipped_ones() {
    let detective = Detective::new([Does::Hangs]);
    let settings =
        Settings { investigation_cooldown: secs(86_400), investigation_timeout: secs(86_400), ..Settings::default() };
    let (world, rule) = ready(settings, detective.clone()).await;
    let _running = world.start();
    until("it runs", async || detective.runs().len() == 1).await;
    for _ in 0..25 {
        world.errors.set(0.1);
        world.in_state(rule, AlertState::Resolved).await;
        world.errors.set(0.9);
        world.in_state(rule, AlertState::Firing).await;
        until("it is skipped", async || {
            world.investigations().await.iter().filter(|found| !found.status.is_terminal()).count() == 1
        })
        .await;
    }
    let queued = world.rounds.alerts().investigate(&world.editor, rule, false).await.unwrap();
    assert_eq!((queued.existing, queued.investigation_id), (true, detective.runs()[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_swept_keeps_no_other_from_it() {
    let world = World::built(Settings { plan_approval_ttl: secs(600), ..Settings::default() }, |builder| {
        use ServiceName::{Evaluator, Executor, Feed, Outbox, Verifier};
        [Evaluator, Executor, Feed, Outbox, Verifier].into_iter().fold(builder, |b, name| b.without(name))
    })
    .await;
    let plans = [world.propose(&["restart app/web"]).await, world.propose(&["scale app/web"]).await];
    pass(secs(600)).await;
    world.store.fail_next(Fault::CommitFails, 1);
    let _running = world.start();
    pass(secs(1)).await;
    let mut ended = Vec::new();
    for plan in &plans {
        ended.push(world.plan(plan.id).await.status);
    }
    assert_eq!(ended, [PlanStatus::PendingApproval, PlanStatus::Expired]);
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_kept_for_good_have_a_limit() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let long = |bytes| Some("x".repeat(bytes));
    let plans = world.rounds.plans();
    for refused in
        [plans.reject(&world.editor, plan.id, long(8193)).await, plans.cancel(&world.editor, plan.id, long(8193)).await]
    {
        assert!(matches!(&refused, Err(Error::Invalid(message)) if message.contains("reason")), "{refused:?}");
    }
    plans.reject(&world.editor, plan.id, long(8192)).await.unwrap();
    let mut request = world.proposal(&[]);
    request.plan.steps = vec![step(&world.connector, &format!("restart {}", "y".repeat(100_000)))];
    let proposed = plans.propose(&world.agent, request).await.unwrap().plan;
    let preview = proposed.steps[0].dry_run_text.clone().unwrap();
    assert!(preview.len() <= rounds_core::step::OUTPUT_CAP && preview.contains("bytes cut"), "{}", preview.len());
}

/// A channel that never answers.
struct Mute(Arc<Mutex<usize>>);

#[async_trait]
impl rounds_core::ports::Notifier for Mute {
    async fn check(&self, _cx: &rounds_core::ports::CallContext) -> Result<rounds_core::ports::CheckReport, PortError> {
        Ok(rounds_core::ports::CheckReport::new("here"))
    }
    async fn send(
        &self,
        _cx: &rounds_core::ports::CallContext,
        _notice: &rounds_core::ports::Notice,
    ) -> Result<(), PortError> {
        *lock(&self.0) += 1;
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_never_answers_delays_no_other() {
    let (tried, channel, metrics) = (Arc::default(), Channel::default(), Metrics::default());
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(FakeAdapter::default())),
        Registration::datasource("errors", "Error rate", Arc::new(metrics)),
        Registration::notifier("channel", "A channel", Arc::new(channel.clone())),
        Registration::notifier("mute", "Mute", Arc::new(Mute(Arc::clone(&tried)))),
    ]);
    let settings = Settings { query_timeout: secs(30), ..Settings::default() };
    let world = World::built(settings, |builder| builder.registry(registry.unwrap())).await;
    for kind in ["mute", "channel"] {
        world.rounds.connectors().create(&world.admin, draft(kind)).await.unwrap();
    }
    let running = world.start();
    for _ in 0..20 {
        world.propose(&["restart app/web"]).await;
    }
    pass(secs(10)).await;
    assert_eq!(lock(&channel.told).len(), 20, "nobody waited for the other channel");
    assert_eq!(*lock(&tried), 1, "which is told one thing at a time");
    pass(secs(35)).await;
    assert!(*lock(&tried) >= 2, "and has its next turn");
    running.shutdown(secs(60)).await;
}
