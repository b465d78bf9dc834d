use std::sync::Arc;
use std::time::Duration;

use super::MemoryStore;
use crate::access::{Action, OrgRole, Principal, Scope};
use crate::id::{ConnectorId, OrgId};
use crate::investigation::Proposal;
use crate::plan::Plan;
use crate::plugin::{Host, Outbound, Registry};
use crate::ports::SoleAgent;
use crate::service::{Approval, ConnectorDraft};
use crate::settings::Settings;
use crate::step::StepSpec;
use crate::{Error, Rounds, Running};

/// How long a plan may take before [`AdapterRig::run`] gives up on it. Tests fail by it, and wait for nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connector in a Rounds of its own, for the tests of whoever writes it: an
/// [`ApprovedStep`](crate::ports::ApprovedStep) cannot be made by hand, so its steps are proposed, approved by a person and
/// carried out, as anywhere else.
///
/// ```
/// use std::sync::Arc;
/// use rounds_core::plugin::{Registration, Registry};
/// use rounds_core::service::ConnectorDraft;
/// use rounds_core::step::StepSpec;
/// use rounds_core::testing::{AdapterRig, FakeAdapter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new([Registration::execution("units", "Units", Arc::new(FakeAdapter::default()))])?;
/// let rig = AdapterRig::start(registry, ConnectorDraft::new("units", "edge")).await?;
/// let plan = rig.run([StepSpec::command(["restart", "app/web"]), StepSpec::command(["get", "app/web"])]).await?;
/// assert_eq!(plan.steps[0].output_text.as_deref(), Some("ok"));
/// assert!(rig.propose([StepSpec::command(["forbidden", "app/web"])]).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct AdapterRig {
    rounds: Rounds,
    running: Running,
    person: Principal,
    connector: ConnectorId,
}

impl AdapterRig {
    /// Configures the connector and starts the services.
    ///
    /// # Errors
    /// The connector's config or secret is refused.
    pub async fn start(registry: Registry, draft: ConnectorDraft) -> Result<Self, Error> {
        let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::default() };
        Self::with(registry, draft, settings).await
    }

    /// The same with other settings, such as a short `step_timeout`.
    ///
    /// # Errors
    /// As [`start`](Self::start), or a setting cannot work.
    pub async fn with(registry: Registry, draft: ConnectorDraft, settings: Settings) -> Result<Self, Error> {
        let person = Principal::user(OrgId::default(), "tester", OrgRole::Admin)
            .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
        let agent = SoleAgent::new(Principal::agent(OrgId::default(), "agent"));
        let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(agent))
            .registry(registry)
            // What a connector's tests talk to is on this machine.
            .host(Host { outbound: Outbound::loopback(), ..Host::default() })
            .settings(settings)
            .build()
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let connector = rounds.connectors().create(&person, draft).await?.id;
        Ok(Self { running: rounds.start(), rounds, person, connector })
    }

    /// Proposes steps: each is reviewed and dry-run, and none has run.
    ///
    /// # Errors
    /// The adapter refuses one of them.
    pub async fn propose(&self, steps: impl IntoIterator<Item = StepSpec>) -> Result<Plan, Error> {
        let proposal = steps.into_iter().fold(Proposal::new("a test"), |plan, step| plan.step(self.connector, step));
        Ok(self.rounds.plans().propose(&self.person, proposal).await?.plan)
    }

    /// Proposes steps, approves all of them and waits until they have run.
    ///
    /// # Errors
    /// The adapter refuses one of them. That one failed is no error: the plan says so.
    pub async fn run(&self, steps: impl IntoIterator<Item = StepSpec>) -> Result<Plan, Error> {
        let plan = self.propose(steps).await?;
        self.rounds.plans().approve(&self.person, plan.id, &Approval::of(&plan).with_auto_edit()).await?;
        self.rounds.plans().wait(&self.person, plan.id, PATIENCE).await
    }

    /// The whole of it, for everything else.
    #[must_use]
    pub fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// Who approves here: an admin who may auto-edit everything.
    #[must_use]
    pub fn person(&self) -> &Principal {
        &self.person
    }

    /// The connector.
    #[must_use]
    pub fn connector(&self) -> ConnectorId {
        self.connector
    }

    /// Stops the services. Whatever runs is seen to its end.
    pub async fn end(self) {
        self.running.shutdown(PATIENCE).await;
    }
}
