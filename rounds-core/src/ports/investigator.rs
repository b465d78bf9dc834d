//! Who finds the cause: the [`Investigator`] port and the [`Toolbox`] it works with.

use async_trait::async_trait;

use super::{AdapterInfo, DataSet, PortError, Query};
use crate::alert::AlertRule;
use crate::id::{ConnectorId, InvestigationId};
use crate::investigation::{Findings, ReadingId};
use crate::step::{Mode, Refusal, ReviewedStep, StepOutput, StepSpec};
use crate::time::Timestamp;

/// What an investigation starts from: an alert that fires, or a person's question.
#[derive(Debug, Clone, PartialEq)]
pub struct FiredAlert {
    /// The investigation.
    pub investigation_id: InvestigationId,
    /// Which run of it this is, counted from 1; a crash resumes with the next.
    pub attempt: u32,
    /// The rule; `None` when a person asks about nothing in particular, or the rule is gone.
    pub rule: Option<AlertRule>,
    /// Since when the alert fires.
    pub firing_since: Timestamp,
    /// The value that the condition was true for.
    pub value: Option<f64>,
    /// The labels of the sample that fired.
    pub labels: std::collections::BTreeMap<String, String>,
    /// What a person asked, when one did.
    pub question: Option<String>,
}

/// An execution connector, as an investigator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorView {
    /// Its id, for [`Toolbox::read`] and proposals.
    pub id: ConnectorId,
    /// Its kind, such as `kubernetes`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it is and how steps for it are written.
    pub info: AdapterInfo,
}

/// Something that was really read in this run. A report may cite it; nothing else may be cited.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<T> {
    /// What to cite.
    pub id: ReadingId,
    /// The answer, or why there is none. A source that could not be read rules nothing out.
    pub answer: Result<T, String>,
}

/// Everything an investigator can reach: reads, through the same gate as plans, each recorded as evidence.
/// There is no way to write in it.
///
/// **Implemented by** Rounds' dispatcher, acting as the service account; by tests. Cancel safe.
#[async_trait]
pub trait Toolbox: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// The execution connectors of the organisation, by name.
    fn connectors(&self) -> Vec<ConnectorView>;

    /// Asks a datasource; `None`: the rule's own, else the organisation's default.
    async fn query(&self, datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet>;

    /// Runs a step that only reads. What the gate refuses is an answer, too.
    async fn read(&self, connector: ConnectorId, step: StepSpec) -> Reading<StepOutput>;

    /// What the gate says of a step, without running it.
    ///
    /// # Errors
    /// The gate refuses it, or there is no such connector.
    async fn review(&self, connector: ConnectorId, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal>;
}

/// Finds out why an alert fires.
///
/// **Implemented by** the playbook investigator, the model-driven agent, and embedders. **Called by** the
/// dispatcher, once per attempt. It holds no adapter that can write: what it proposes is reviewed, dry-run and
/// stored by Rounds, and approved by a person. It MUST cite only readings of this run, and SHOULD report what it
/// could not find out; a report without a plan is a normal result. Cancel safe: it is dropped at the run timeout.
///
/// ```
/// use rounds_core::async_trait;
/// use rounds_core::investigation::{Findings, Proposal, RootCause};
/// use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
/// use rounds_core::step::StepSpec;
///
/// /// Proposes a restart of whatever is said to hang.
/// struct Restarter;
///
/// #[async_trait]
/// impl Investigator for Restarter {
///     fn name(&self) -> &str {
///         "restarter"
///     }
///
///     async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
///         let mut findings = Findings { summary: "Nothing hangs.".into(), ..Findings::default() };
///         for connector in tools.connectors() {
///             let state = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await;
///             // A source that could not be read rules nothing out, and is no evidence.
///             if state.answer.is_ok_and(|output| output.output.contains("hangs")) {
///                 findings.summary = "app/web hangs.".into();
///                 findings.root_cause = Some(RootCause::new("It says so itself.", [state.id]));
///                 let restart = StepSpec::command(["restart", "app/web"]);
///                 findings.plan = Some(Proposal::new("Restart it").step(connector.id, restart));
///             }
///         }
///         Ok(findings)
///     }
/// }
/// ```
#[async_trait]
pub trait Investigator: Send + Sync {
    /// A short name, for reports: `playbook`.
    fn name(&self) -> &str;

    /// Investigates one alert.
    ///
    /// # Errors
    /// It could not even report; the investigation fails with this message.
    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError>;
}
