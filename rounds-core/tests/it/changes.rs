//! Changes from outside: who may tell them, once, for how long, and who reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use rounds_core::access::{Denied, OrgRole, Principal};
use rounds_core::change::{ChangeDraft, ChangeKind};
use rounds_core::investigation::Findings;
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{RecordKind, Store as _};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, DryRun, ExecutionAdapter,
    FiredAlert, Investigator, Line, PortError, PortErrorKind, Query, ReadStep, Toolbox,
};
use rounds_core::service::{ChangeFilter, ConnectorDraft};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource};
use rounds_core::{Error, OrgId, Settings, Timestamp};

use crate::harness::{World, eventually, lock};

fn deployed(title: &str) -> ChangeDraft {
    ChangeDraft::new(ChangeKind::Deployment, title)
}

async fn titles(world: &World, filter: ChangeFilter) -> Vec<String> {
    let found = world.rounds.changes().list(&world.viewer, &filter).await.unwrap();
    found.into_iter().map(|change| change.title).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_recorded_by_people_and_programs_and_never_by_an_agent_or_a_viewer() {
    let world = World::new().await;
    let pipeline = Principal::service_account(OrgId::default(), "pipeline", OrgRole::Editor);
    for who in [&world.editor, &world.admin, &pipeline] {
        let recorded = world.rounds.changes().record(who, deployed("web v1")).await.unwrap();
        assert_eq!((recorded.existing, recorded.change.recorded_by), (false, who.actor()));
    }
    let mut agent = world.agent.clone();
    (agent.role, agent.server_admin) = (OrgRole::Admin, true);
    let refused = world.rounds.changes().record(&agent, deployed("web v2")).await.unwrap_err();
    assert!(matches!(refused, Error::Denied(Denied::AgentsNeverDecide { .. })), "{refused}");
    let refused = world.rounds.changes().record(&world.viewer, deployed("web v2")).await.unwrap_err();
    assert_eq!(refused.to_string(), "viewer needs changes:write on changes:*");
    assert_eq!(titles(&world, ChangeFilter::default()).await, ["web v1"; 3]);
    let audited = world.audited("change.record").await;
    assert_eq!(audited.len(), 3, "each recording is in the audit log");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_recorded_once_however_often_it_is_told_and_a_key_stands_for_one_change() {
    let world = World::new().await;
    let changes = world.rounds.changes();
    let told = || deployed("web v1").with_key("run-1");
    let (a, b) = tokio::join!(changes.record(&world.editor, told()), changes.record(&world.admin, told()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.change.id, b.change.id);
    assert!(a.existing != b.existing, "one of them was first");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let again = changes.record(&world.editor, told()).await.unwrap();
    assert!(again.existing && again.change == a.change, "telling it later does not move it");
    let other = changes.record(&world.editor, deployed("web v2").with_key("run-1")).await.unwrap_err();
    assert_eq!((other.code(), other.http_status()), ("idempotency_key_reused", 409));
    let elsewhere = Principal::user(OrgId::new("other"), "eve", OrgRole::Admin);
    assert!(!changes.record(&elsewhere, told()).await.unwrap().existing, "a key is an organisation's own");
    assert!(changes.list(&elsewhere, &ChangeFilter::default()).await.unwrap().len() == 1);
    assert_eq!(titles(&world, ChangeFilter::default()).await, ["web v1"]);
}

#[tokio::test(start_paused = true)]
async fn changes_are_listed_by_when_they_happened_and_where() {
    let world = World::new().await;
    let now = world.rounds.now();
    let ago = |minutes| now - TimeDelta::minutes(minutes);
    for (title, minutes, namespace) in [
        ("late", 1, Some("shop")),
        ("early", 60, Some("shop")),
        ("elsewhere", 30, Some("bank")),
        ("anywhere", 20, None),
    ] {
        let mut draft = deployed(title).at(ago(minutes));
        draft.namespace = namespace.map(str::to_owned);
        world.rounds.changes().record(&world.editor, draft).await.unwrap();
    }
    assert_eq!(titles(&world, ChangeFilter::default()).await, ["late", "anywhere", "elsewhere", "early"]);
    let shop = || ChangeFilter { namespace: Some("shop".into()), ..Default::default() };
    assert_eq!(titles(&world, shop()).await, ["late", "anywhere", "early"]);
    let between = ChangeFilter { from: Some(ago(60)), to: Some(ago(20)), ..shop() };
    assert_eq!(titles(&world, between).await, ["anywhere", "early"], "both ends belong to it");
    assert_eq!(titles(&world, ChangeFilter { limit: 1, ..shop() }).await, ["late"]);
    // Pages go on after the last one, however many are of one moment.
    for nth in 0..5 {
        let at = Some(ago(90));
        world
            .rounds
            .changes()
            .record(&world.editor, ChangeDraft { at, ..deployed(&format!("same {nth}")) })
            .await
            .unwrap();
    }
    let (mut paged, mut to, mut after) = (Vec::new(), Some(ago(90)), None);
    loop {
        let filter = ChangeFilter { to, after, limit: 2, ..Default::default() };
        let page = world.rounds.changes().list(&world.viewer, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        (to, after) = (Some(last.at), Some(last.id));
        paged.extend(page.into_iter().map(|change| change.title));
    }
    assert_eq!(paged.iter().filter(|title| title.starts_with("same")).count(), 5, "{paged:?}");
    assert_eq!(paged.iter().collect::<std::collections::BTreeSet<_>>().len(), paged.len(), "{paged:?}");
    let backwards = ChangeFilter { from: Some(now), to: Some(ago(1)), ..Default::default() };
    let refused = world.rounds.changes().list(&world.viewer, &backwards).await.unwrap_err();
    assert!(refused.to_string().starts_with("from: "), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_changes_make_room_and_old_ones_are_forgotten() {
    let settings = Settings { changes_kept: 3, change_retention: Duration::from_secs(3600), ..Settings::default() };
    let world = World::with(settings).await;
    for number in 1..=5 {
        world.rounds.changes().record(&world.editor, deployed(&format!("v{number}"))).await.unwrap();
    }
    assert_eq!(titles(&world, ChangeFilter::default()).await, ["v5", "v4", "v3"]);
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert!(titles(&world, ChangeFilter::default()).await.is_empty(), "forgotten, swept or not");
    let left = || async { world.store.count(RecordKind::Change, None).await.unwrap().values().sum::<u64>() };
    assert_eq!(left().await, 3);
    let _running = world.start();
    eventually("old changes are swept", async || (left().await == 0).then_some(())).await;
}

/// Tells what changed, or fails.
struct Rollouts(bool);

#[async_trait]
impl Datasource for Rollouts {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::changes("nothing")
    }

    async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("here"))
    }

    async fn query(&self, _: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let Query::Changes { end, .. } = query else { panic!("{query:?}") };
        match self.0 {
            true => Ok(DataSet::of_lines(vec![Line::new(*end, BTreeMap::new(), "rolled out")])),
            false => Err(PortError::new(PortErrorKind::Unavailable, "nobody answers")),
        }
    }
}

/// A cluster that remembers a rollout.
#[derive(Default)]
struct Remembers(FakeAdapter);

#[async_trait]
impl ExecutionAdapter for Remembers {
    fn describe(&self) -> AdapterInfo {
        self.0.describe()
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.0.review(step, mode)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        self.0.dry_run(cx, step).await
    }

    async fn changes(
        &self,
        _: &CallContext,
        (start, _): (Timestamp, Timestamp),
        namespace: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        let text = format!("deployment {}/web rolled out", namespace.unwrap_or("all"));
        Ok(Some(DataSet::of_lines(vec![Line::new(start, BTreeMap::new(), text)])))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.0.read(cx, step).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        self.0.execute(cx, step).await
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.0.check(cx).await
    }
}

/// Asks what changed, and what a rule without a datasource would ask.
#[derive(Clone, Default)]
struct Asks(Arc<Mutex<Vec<Result<DataSet, String>>>>);

#[async_trait]
impl Investigator for Asks {
    fn name(&self) -> &str {
        "asks"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let (start, end) = (tools.now() - TimeDelta::hours(1), tools.now());
        for query in [
            Query::Changes { start, end, namespace: Some("shop".into()) },
            Query::Instant { expr: "up".into(), at: None },
        ] {
            let reading = tools.query(None, query).await;
            lock(&self.0).push(reading.answer);
        }
        let said = tools.evidence()[0].excerpt.clone();
        Ok(Findings { summary: said, ..Findings::default() })
    }
}

#[tokio::test(start_paused = true)]
async fn an_investigation_reads_recorded_changes_beside_datasources_and_says_who_could_not_be_asked() {
    let metrics = FakeDatasource::default();
    metrics.set(1.0);
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(Remembers::default())),
        Registration::datasource("errors", "Error rate", Arc::new(metrics)),
        Registration::datasource("rollouts", "Rollouts", Arc::new(Rollouts(true))),
        Registration::datasource("broken", "Broken", Arc::new(Rollouts(false))),
    ])
    .unwrap();
    let asks = Asks::default();
    let by = Arc::new(asks.clone());
    let world = World::built(Settings::default(), |builder| builder.registry(registry).investigator(by)).await;
    world.mint();
    for kind in ["rollouts", "broken"] {
        world.rounds.connectors().create(&world.admin, ConnectorDraft::new(kind, kind)).await.unwrap();
    }
    world.rounds.changes().record(&world.editor, deployed("web v42").in_namespace("shop")).await.unwrap();
    world.rounds.changes().record(&world.editor, deployed("atm v7").in_namespace("bank")).await.unwrap();
    let _running = world.start();
    world.rounds.investigations().ask(&world.editor, "why?").await.unwrap();
    let report = world.investigated().await.report.unwrap();

    let answers = lock(&asks.0).clone();
    let changes = answers[0].as_ref().expect("one source that fails hides no other");
    let texts: Vec<&str> = changes.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["deployment shop/web rolled out", "deployment: web v42", "rolled out"]);
    assert_eq!(changes.lines[1].labels["namespace"], "shop");
    assert_eq!(changes.lines[1].labels["recordedBy"], "editor");
    assert_eq!(changes.warnings.len(), 1);
    assert!(
        changes.warnings[0].contains("broken could not be asked") && changes.warnings[0].contains("nobody answers")
    );
    assert!(report.summary.contains("web v42") && report.summary.contains("broken could not be asked"), "{report:?}");

    let metrics = answers[1].as_ref().expect("datasources of changes do not take the default from the one of metrics");
    assert_eq!(metrics.series.len(), 1);
}
