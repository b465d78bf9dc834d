//! Steps that a person approves and Rounds carries out, against a server on this machine.

use std::sync::Arc;
use std::time::Duration;

// The linker drops a crate that nothing names, and its registrations with it.
use rounds_connectors as _;
use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::investigation::Proposal;
use rounds_core::plan::{Plan, StepStatus};
use rounds_core::plugin::{Host, Outbound, Registry};
use rounds_core::service::{Approval, ConnectorDraft};
use rounds_core::step::StepSpec;
use rounds_core::testing::{MemoryStore, StaticIdentity};
use rounds_core::{ConnectorId, Error, OrgId, Rounds, Running, Settings};
use serde_json::Value;

/// Tests fail by it, and wait for nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// As `AdapterRig`, for connectors that may call this machine.
pub(crate) struct Rig {
    pub(crate) rounds: Rounds,
    pub(crate) person: Principal,
    pub(crate) connector: ConnectorId,
    running: Running,
}

impl Rig {
    pub(crate) async fn start(kind: &str, config: Value, secret: Option<&str>) -> Self {
        let person = Principal::user(OrgId::default(), "ada", OrgRole::Admin)
            .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
        let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
        let identity = Arc::new(StaticIdentity::new([person.clone()]));
        let rounds = Rounds::builder(Arc::new(MemoryStore::new()), identity)
            .registry(Registry::linked().unwrap())
            .host(Host { outbound: Outbound::loopback(), ..Host::default() })
            .settings(settings)
            .build()
            .unwrap();
        let mut draft = ConnectorDraft::new(kind, "tested").with_config(config);
        if let Some(secret) = secret {
            draft = draft.with_secret(secret);
        }
        let connector = rounds.connectors().create(&person, draft).await.unwrap().id;
        Self { running: rounds.start(), rounds, person, connector }
    }

    pub(crate) async fn try_propose(&self, steps: impl IntoIterator<Item = StepSpec>) -> Result<Plan, Error> {
        let proposal = steps.into_iter().fold(Proposal::new("a test"), |plan, step| plan.step(self.connector, step));
        Ok(self.rounds.plans().propose(&self.person, proposal).await?.plan)
    }

    pub(crate) async fn propose(&self, steps: impl IntoIterator<Item = StepSpec>) -> Plan {
        self.try_propose(steps).await.unwrap()
    }

    pub(crate) async fn approve(&self, plan: &Plan) -> Plan {
        self.rounds.plans().approve(&self.person, plan.id, &Approval::of(plan).with_auto_edit()).await.unwrap();
        self.rounds.plans().wait(&self.person, plan.id, PATIENCE).await.unwrap()
    }

    pub(crate) async fn run(&self, steps: impl IntoIterator<Item = StepSpec>) -> Plan {
        self.approve(&self.propose(steps).await).await
    }

    pub(crate) async fn end(self) {
        self.running.shutdown(PATIENCE).await;
    }
}

/// How the last step ended, and what is said of it.
pub(crate) fn ended(plan: &Plan) -> (StepStatus, String) {
    let step = plan.steps.last().unwrap();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    assert!(!format!("{plan:?}").contains("hunter2"), "rule 12: {plan:?}");
    (step.status, format!("{}\n{}", text(&step.error_text), text(&step.output_text)))
}
