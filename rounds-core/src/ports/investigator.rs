//! Who finds the cause: the [`Investigator`] port and the [`Toolbox`] it works with.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AdapterInfo, DataSet, DatasourceInfo, Model, PortError, Query};
use crate::access::{Action, Denied};
use crate::alert::AlertRule;
use crate::id::{ConnectorId, InvestigationId};
use crate::investigation::{Evidence, Findings, Proposal, ReadingId};
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
    /// What the rule, or the source that evaluates it, says to people about what fires, with its places filled in.
    pub annotations: std::collections::BTreeMap<String, String>,
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

/// A datasource, as an investigator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasourceView {
    /// Its id, for [`Toolbox::query`].
    pub id: ConnectorId,
    /// Its name.
    pub name: String,
    /// What it answers.
    pub info: DatasourceInfo,
    /// Whether it is asked when no other is named.
    pub is_default: bool,
}

/// Something that was really read in this run. A report may cite it; nothing else may be cited.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<T> {
    /// What to cite.
    pub id: ReadingId,
    /// The answer, or why there is none. A source that could not be read rules nothing out.
    pub answer: Result<T, String>,
}

/// What a proposal would come to, as far as it can be known before it is stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProposalPreview {
    /// Its steps, in their order.
    pub steps: Vec<PreviewedStep>,
    /// The way back from it, made of what is there now; `None`: no step of it has a way back that its adapter knows.
    pub way_back: Option<Proposal>,
}

impl ProposalPreview {
    /// Steps without a known way back.
    #[must_use]
    pub fn new(steps: Vec<PreviewedStep>) -> Self {
        Self { steps, way_back: None }
    }

    /// The same with the way back.
    #[must_use]
    pub fn with_way_back(mut self, way_back: Option<Proposal>) -> Self {
        self.way_back = way_back;
        self
    }
}

/// A step that the gate lets pass, with what the target system says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewedStep {
    /// The step as it would be shown, approved and run.
    pub review: ReviewedStep,
    /// What the target system says it would do, or why there is no such answer.
    pub dry_run: String,
}

/// Everything an investigator can reach: reads, through the same gate as plans, each recorded as evidence.
/// There is no way to write in it.
///
/// **Implemented by** Rounds' dispatcher, acting as the service account; by tests. Cancel safe.
#[async_trait]
pub trait Toolbox: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// When the run is ended, whatever it is doing then. What was [noted](Self::note) by then is kept.
    fn deadline(&self) -> Timestamp;

    /// The execution connectors of the organisation, by name.
    fn connectors(&self) -> Vec<ConnectorView>;

    /// The datasources of the organisation, by name.
    fn datasources(&self) -> Vec<DatasourceView>;

    /// The organisation's language model; `None`: none is configured. It counts what it costs, is refused
    /// ([`PortErrorKind::Exhausted`](super::PortErrorKind::Exhausted)) when a [budget](crate::investigation::Budget) is used
    /// up, and is called again by itself where that is safe and the time allows.
    ///
    /// # Errors
    /// One is configured and cannot be used.
    fn model(&self) -> Result<Option<Arc<dyn Model>>, PortError>;

    /// Whether the service account that the run acts as may do this. Reads and proposals are checked anyway; this is for
    /// whoever wants to say so beforehand.
    ///
    /// # Errors
    /// It may not; the refusal names action and scope.
    async fn permits(&self, action: Action) -> Result<(), Denied>;

    /// Asks a datasource; `None`: the rule's own, else the organisation's default. For changes, `None` asks all that answer
    /// such questions, and Rounds' own plans.
    async fn query(&self, datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet>;

    /// Runs a step that only reads. What the gate refuses is an answer, too.
    async fn read(&self, connector: ConnectorId, step: StepSpec) -> Reading<StepOutput>;

    /// What the gate says of a step, without running it.
    ///
    /// # Errors
    /// The gate refuses it, or there is no such connector.
    async fn review(&self, connector: ConnectorId, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal>;

    /// What a proposal would come to: every step reviewed and dry-run by its target system. Nothing is stored.
    ///
    /// # Errors
    /// What stands in its way, for whoever wrote it; of several steps, all their refusals.
    async fn preview(&self, proposal: &Proposal) -> Result<ProposalPreview, String>;

    /// Every reading of this run so far, in order.
    fn evidence(&self) -> Vec<Evidence>;

    /// Notes what was found so far. People who watch see it, and it is kept if the run does not come to its end; what
    /// [`Investigator::investigate`] returns replaces it.
    fn note(&self, so_far: &Findings);
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
