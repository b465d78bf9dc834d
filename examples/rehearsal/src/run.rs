//! One incident through the line: real dispatcher, gate, budgets, store; the outside replayed, or live.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rounds_connectors::playbook::PlaybookInvestigator;
use rounds_core::access::{Actor, OrgRole, Principal};
use rounds_core::agent::{AgentSettings, OrchestratorAgent};
use rounds_core::alert::{AlertInstance, AlertRule, AlertState, Condition};
use rounds_core::investigation::{Investigation, InvestigationStatus, Report, Trigger};
use rounds_core::plan::Plan;
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{Commit, StoreExt as _};
use rounds_core::ports::{Datasource, ExecutionAdapter, Investigator, Model, SoleAgent, Store as _};
use rounds_core::service::{ConnectorDraft, ServiceName};
use rounds_core::{AlertRuleId, InvestigationId, OrgId, Rounds, Settings};
use rounds_store::{MasterKey, SqlStore, StoreOptions};

use crate::check::Failed;
use crate::clock::IncidentClock;
use crate::file::Incident;
use crate::replay::{ReplayedCluster, ReplayedDatasource, ReplayedModel};

/// The name of the model's connector.
pub(crate) const MODEL: &str = "llm";

/// How many connectors, and how many datasources, an incident has at most: each has a kind of its own.
pub(crate) const MOST: usize = 4;

/// Who investigates.
#[derive(Clone)]
#[non_exhaustive]
pub enum Driver {
    /// The recorded model, when there is one; else the playbook.
    Recorded,
    /// The playbook, whatever was recorded.
    Playbook,
    /// A live model, on the recorded outside.
    Live(Arc<dyn Model>),
}

/// What came of an incident.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The investigation, with its report.
    pub investigation: Investigation,
    /// The plan it led to.
    pub plan: Option<Plan>,
    /// The way back from that.
    pub rescue: Option<Plan>,
    /// The expectations that were not met.
    pub failed: Vec<Failed>,
}

impl Outcome {
    /// The report; an empty one when there is none.
    #[must_use]
    pub fn report(&self) -> Report {
        self.investigation.report.clone().unwrap_or_default()
    }
}

/// The outside of an incident, as ports.
pub(crate) struct Outside {
    pub clusters: Vec<(String, Arc<dyn ExecutionAdapter>)>,
    pub datasources: Vec<(String, Arc<dyn Datasource>)>,
    pub model: Option<Arc<dyn Model>>,
}

/// Replays an incident, and checks what must come of it.
///
/// # Errors
/// The recording does not hold together, or the temporary database cannot be made. What comes of the incident is no error.
pub async fn rehearse(incident: &Incident, driver: &Driver) -> anyhow::Result<Outcome> {
    let mut outside = Outside { clusters: Vec::new(), datasources: Vec::new(), model: None };
    for connector in &incident.connectors {
        outside.clusters.push((connector.name.clone(), Arc::new(ReplayedCluster::new(connector)?)));
    }
    for datasource in &incident.datasources {
        let replayed = ReplayedDatasource::new(datasource.clone(), incident.at);
        outside.datasources.push((datasource.name.clone(), Arc::new(replayed)));
    }
    outside.model = match (driver, &incident.model) {
        (Driver::Live(model), _) => Some(Arc::clone(model)),
        (Driver::Recorded, Some(recorded)) => Some(Arc::new(ReplayedModel::new(recorded))),
        (Driver::Recorded, None) | (Driver::Playbook, _) => None,
    };
    through_the_line(incident, outside).await
}

/// Sends an incident through the line, whatever its outside is made of.
pub(crate) async fn through_the_line(incident: &Incident, outside: Outside) -> anyhow::Result<Outcome> {
    let dir = tempfile::tempdir().context("a temporary directory is needed")?;
    let key = MasterKey::load_or_create(&dir.path().join("key"))?;
    let url = format!("sqlite://{}", dir.path().join("rehearsal.db").display());
    let store = SqlStore::open(StoreOptions::new(url, key)).await?;
    let ended = in_store(incident, outside, &store).await;
    store.close().await;
    ended
}

async fn in_store(incident: &Incident, outside: Outside, store: &SqlStore) -> anyhow::Result<Outcome> {
    let org = OrgId::default();
    let admin = Principal::user(org.clone(), "rehearsal", OrgRole::Admin);
    let agent = SoleAgent::new(Principal::agent(org.clone(), "@syntropize/rounds"));
    let (registrations, drafts, investigator) = assembled(incident, outside);
    let settings = Settings { auto_investigation: true, ..Settings::default() };
    let others = ServiceName::ALL.into_iter().filter(|name| *name != ServiceName::Dispatcher);
    let mut builder = Rounds::builder(Arc::new(store.clone()), Arc::new(agent))
        .registry(Registry::new(registrations)?)
        .clock(Arc::new(IncidentClock::new(incident.at)))
        .investigator(investigator)
        .settings(settings);
    for service in others {
        builder = builder.without(service);
    }
    let rounds = builder.build()?;
    for draft in drafts {
        rounds.connectors().create(&admin, draft).await?;
    }
    let id = queue(incident, store, &org, &admin.actor()).await?;
    let running = rounds.start();
    let investigation = ended(&rounds, store, id).await;
    running.shutdown(Duration::from_secs(5)).await;
    let investigation = investigation?;
    let plan = match investigation.plan_id {
        Some(id) => store.plan(id).await?.map(|found| found.value),
        None => None,
    };
    let rescue = match plan.as_ref().and_then(|plan| plan.rescue_plan_id) {
        Some(id) => store.plan(id).await?.map(|found| found.value),
        None => None,
    };
    let report = investigation.report.clone().unwrap_or_default();
    let mut failed = incident.expect.check(&report, plan.as_ref(), rescue.as_ref());
    if investigation.status != InvestigationStatus::Completed {
        let found = investigation.error.clone().unwrap_or_else(|| investigation.status.as_str().to_owned());
        failed.insert(0, Failed { expectation: "the investigation comes to its end".into(), found });
    }
    Ok(Outcome { investigation, plan, rescue, failed })
}

type Assembled = (Vec<Registration>, Vec<ConnectorDraft>, Arc<dyn Investigator>);

/// Connectors under kinds of their own (each kind has one), and who investigates with them.
fn assembled(incident: &Incident, outside: Outside) -> Assembled {
    let (mut registrations, mut drafts) = (Vec::new(), Vec::new());
    // The playbook looks at connectors of this kind; a second cluster would need a registration that makes several.
    for (kind, (name, cluster)) in
        kinds(["kubernetes", "kubernetes-2", "kubernetes-3", "kubernetes-4"], outside.clusters)
    {
        registrations.push(Registration::execution(kind, "A recorded cluster", cluster));
        drafts.push(ConnectorDraft::new(kind, name));
    }
    for (place, (kind, (name, source))) in
        kinds(["metrics", "metrics-2", "metrics-3", "metrics-4"], outside.datasources).enumerate()
    {
        registrations.push(Registration::datasource(kind, "A recorded datasource", source));
        let mut draft = ConnectorDraft::new(kind, name);
        draft.is_default = place == 0;
        drafts.push(draft);
    }
    let playbook: Arc<dyn Investigator> = Arc::new(PlaybookInvestigator::default());
    let Some(model) = outside.model else { return (registrations, drafts, playbook) };
    registrations.push(Registration::model("model", "A model", model));
    drafts.push(ConnectorDraft::new("model", MODEL));
    // One read after the other: readings are numbered as they come, and citations must mean the same each time.
    let mut settings = AgentSettings::default();
    settings.parallel_reads = 1;
    let agent = OrchestratorAgent::new(settings);
    let agent = if incident.facts { agent.with_playbook(playbook) } else { agent };
    (registrations, drafts, Arc::new(agent))
}

fn kinds<T>(kinds: [&'static str; MOST], ports: Vec<T>) -> impl Iterator<Item = (&'static str, T)> {
    kinds.into_iter().zip(ports)
}

/// The alert as it fired then, with its investigation, waiting for the dispatcher.
async fn queue(incident: &Incident, store: &SqlStore, org: &OrgId, by: &Actor) -> anyhow::Result<InvestigationId> {
    let alert = &incident.alert;
    let condition = Condition {
        query: alert.query.clone(),
        operator: alert.operator,
        threshold: alert.threshold,
        for_duration_sec: alert.for_sec,
        keep_firing_for_sec: 0,
    };
    let rule = AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: org.clone(),
        name: alert.name.clone(),
        description: alert.description.clone(),
        condition,
        evaluation_interval_sec: 60,
        severity: alert.severity,
        labels: alert.rule_labels.clone(),
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: by.clone(),
        created_at: incident.at,
        updated_at: incident.at,
    };
    let mut instance = AlertInstance::new(&rule, incident.at);
    instance.state = AlertState::Firing;
    instance.firing_since = Some(alert.firing_since);
    let trigger = Trigger::Alert {
        rule_id: rule.id,
        rule_name: rule.name.clone(),
        instance_id: instance.id,
        firing_since: alert.firing_since,
        value: alert.value,
        labels: alert.labels.clone(),
        after_silence: false,
    };
    let question = format!("Why is \"{}\" firing?", rule.name);
    let investigation = Investigation::queued(org.clone(), question, trigger, incident.at);
    let id = investigation.id;
    store.commit(Commit::new().insert(rule).insert(instance).insert(investigation)).await?;
    Ok(id)
}

async fn ended(rounds: &Rounds, store: &SqlStore, id: InvestigationId) -> anyhow::Result<Investigation> {
    let limit = rounds.settings().investigation_timeout + Duration::from_secs(30);
    let wait = async {
        loop {
            match store.investigation(id).await? {
                Some(found) if found.value.status.is_terminal() => return Ok(found.value),
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                None => anyhow::bail!("the investigation is gone"),
            }
        }
    };
    tokio::time::timeout(limit, wait).await.context("the investigation did not end")?
}
