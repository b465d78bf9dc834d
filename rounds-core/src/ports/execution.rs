//! Where steps run: the [`ExecutionAdapter`] port and the types that only it knows.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{CallContext, CheckReport, DataSet, PortError};
use crate::id::{PlanId, StepId};
use crate::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Tier};
use crate::time::Timestamp;

/// A reviewed step that only reads.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadStep(ReviewedStep);

impl ReadStep {
    /// Takes a reviewed step whose tier is [`Tier::Read`].
    ///
    /// # Errors
    /// The step writes; it needs a plan and an approval.
    pub fn new(step: ReviewedStep) -> Result<Self, Refusal> {
        Self::check(&step)?;
        Ok(Self(step))
    }

    pub(crate) fn check(step: &ReviewedStep) -> Result<(), Refusal> {
        match step.tier {
            Tier::Read => Ok(()),
            Tier::Write | Tier::Destructive => Err(Refusal::new(
                "not_a_read",
                format!("`{}` changes something: propose it as a step of a plan", step.command_text),
            )),
        }
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> &ReviewedStep {
        &self.0
    }
}

/// One attempt at a step that a person approved. It is taken by value, cannot be cloned, and only Rounds'
/// executor makes one (rule 3): the author of an adapter gets one by driving a real approval, as `testing::AdapterRig`
/// does.
///
/// ```compile_fail
/// # use rounds_core::ports::ApprovedStep;
/// # use rounds_core::step::ReviewedStep;
/// fn forge(step: ReviewedStep) -> ApprovedStep {
///     ApprovedStep { step, plan_id: todo!(), step_id: todo!(), ordinal: 0, attempt: 1 }
/// }
/// ```
///
/// ```compile_fail
/// fn run_it_twice(step: rounds_core::ports::ApprovedStep) -> [rounds_core::ports::ApprovedStep; 2] {
///     [step.clone(), step]
/// }
/// ```
#[derive(Debug)]
pub struct ApprovedStep {
    step: ReviewedStep,
    plan_id: PlanId,
    step_id: StepId,
    ordinal: u32,
    attempt: u32,
}

impl ApprovedStep {
    pub(crate) fn new(step: ReviewedStep, plan_id: PlanId, step_id: StepId, ordinal: u32, attempt: u32) -> Self {
        Self { step, plan_id, step_id, ordinal, attempt }
    }

    /// The step as it was shown, digested and approved.
    #[must_use]
    pub fn step(&self) -> &ReviewedStep {
        &self.step
    }

    /// The plan it belongs to.
    #[must_use]
    pub fn plan_id(&self) -> PlanId {
        self.plan_id
    }

    /// Its place in the plan, counted from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A key that is the same for the same attempt and differs between attempts, for systems that deduplicate.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}:{}", self.plan_id, self.step_id, self.attempt)
    }
}

/// What the target system says a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DryRun {
    /// The preview, from the target system; or why there can be none.
    pub text: String,
    /// Whether the target system itself checked the change.
    pub checked_by_server: bool,
}

impl DryRun {
    /// A preview that the target system made.
    pub fn by_server(text: impl Into<String>) -> Self {
        Self { text: text.into(), checked_by_server: true }
    }

    /// Why there is no preview by the target system, and what is known without one.
    pub fn not_by_server(text: impl Into<String>) -> Self {
        Self { text: text.into(), checked_by_server: false }
    }
}

/// The way back from a step, made of what is there before it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Inverse {
    /// No way back is known.
    Unknown,
    /// There is nothing to undo: the step only reads, or its effect leaves nothing behind.
    NotNeeded,
    /// These steps, in this order, bring back what was observed. They are a proposal like any other: reviewed,
    /// shown, approved.
    Steps(Vec<StepSpec>),
}

/// What an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterInfo {
    /// The step kinds it reviews, such as `ops.run_command`. A step of another kind is refused before
    /// [`review`](ExecutionAdapter::review).
    pub step_kinds: Vec<String>,
    /// What an operator or a model should know to write steps for it: verbs, namespaces, limits.
    pub usage: String,
    /// The namespaces it may touch; empty: it has none to offer.
    pub namespaces: Vec<String>,
    /// How long one of its steps may take, in a plan or as a dry-run, when the connector's config says so; `None`: as
    /// long as [`Settings::step_timeout`](crate::Settings) says. An investigation's read gets the shorter of both.
    pub step_timeout: Option<Duration>,
}

impl AdapterInfo {
    /// An adapter of command lines (`ops.run_command`), without namespaces.
    pub fn commands(usage: impl Into<String>) -> Self {
        Self::new([StepSpec::RUN_COMMAND], usage)
    }

    /// An adapter of these step kinds, without namespaces.
    pub fn new<S: Into<String>>(step_kinds: impl IntoIterator<Item = S>, usage: impl Into<String>) -> Self {
        Self {
            step_kinds: step_kinds.into_iter().map(Into::into).collect(),
            usage: usage.into(),
            namespaces: Vec::new(),
            step_timeout: None,
        }
    }

    /// The same, with the namespaces it may touch.
    #[must_use]
    pub fn with_namespaces<S: Into<String>>(mut self, namespaces: impl IntoIterator<Item = S>) -> Self {
        self.namespaces = namespaces.into_iter().map(Into::into).collect();
        self
    }

    /// The same, with a time limit for its steps.
    #[must_use]
    pub fn with_step_timeout(mut self, timeout: Duration) -> Self {
        self.step_timeout = Some(timeout);
        self
    }
}

/// Runs steps against one system, such as a cluster.
///
/// **Implemented by** connector authors. **Called by** Rounds' executor ([`execute`](Self::execute)), decisions
/// ([`review`](Self::review), [`dry_run`](Self::dry_run)) and investigations ([`read`](Self::read)).
///
/// An implementation MUST:
/// - keep `review` pure and deterministic: no I/O, no clock, the same answer for the same input and the same
///   [discovered](Self::discover) knowledge, and `review(canonical params) == the same ReviewedStep`;
/// - run exactly what was reviewed, passing arguments as they are, never through a shell;
/// - make every mutating request of a dry-run one that the target system will not persist;
/// - say [`Effect::NotStarted`](crate::step::Effect::NotStarted) only when it is proven;
/// - keep secrets out of errors, output and `Debug`.
///
/// The guide `docs/write-a-connector.md` of the repository goes through one method by
/// method. A wrapper around another adapter MUST pass on [`discover`](Self::discover), [`inverse`](Self::inverse) and
/// [`changes`](Self::changes), too: they have default bodies for systems that have nothing to discover, nothing to take back,
/// and no history.
///
/// **Cancel safety**: all but `execute` may be dropped at any await; `execute` is never dropped by Rounds before its
/// timeout, and MUST leave no running effect behind when it is.
#[async_trait]
pub trait ExecutionAdapter: Send + Sync {
    /// What this adapter is and how steps for it are written.
    fn describe(&self) -> AdapterInfo;

    /// Parses, checks and canonicalises a step.
    ///
    /// # Errors
    /// [`Refusal`] says what was found and what would be accepted.
    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal>;

    /// Called when a review refused: learns from the target system what the review lacked, such as the kinds of
    /// objects it serves. `true`: something was learned, so the review is worth asking again. Knowledge that is fresh
    /// need not be asked for again; refusals can come often.
    ///
    /// # Errors
    /// The target system could not be asked; the refusal stands, and a person reads both.
    async fn discover(&self, _cx: &CallContext, _refused: &Refusal) -> Result<bool, PortError> {
        Ok(false)
    }

    /// Asks the target system what the step would do, changing nothing. Asked when a step is proposed or modified; what it
    /// says is shown to whoever decides.
    ///
    /// # Errors
    /// The target system refused the change, or could not be asked. That is shown in the preview's place and stops nothing: a
    /// step may rest on one before it.
    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError>;

    /// The way back from a step that has not run yet, made of what is there now rather than guessed. Asked when an
    /// investigation proposes a plan without a rescue of its own.
    ///
    /// # Errors
    /// The target system could not be asked.
    async fn inverse(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        Ok(if step.tier == Tier::Read { Inverse::NotNeeded } else { Inverse::Unknown })
    }

    /// What changed in the target system between two moments, both included, as far as it remembers: rollouts, say. With a
    /// namespace, only what is in it. `None`: it keeps no history. Asked by investigations, as whoever may read.
    ///
    /// An implementation reads what a [`read`](Self::read) could read, and no more; it bounds what it answers and says so in
    /// [`DataSet::truncated`]. What of it could not be read is in [`DataSet::warnings`].
    ///
    /// # Errors
    /// Nothing of it could be read.
    async fn changes(
        &self,
        _cx: &CallContext,
        _between: (Timestamp, Timestamp),
        _namespace: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        Ok(None)
    }

    /// Runs a step that only reads.
    ///
    /// # Errors
    /// The read failed; nothing was changed in any case.
    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError>;

    /// Runs a step that a person approved. One that is not back at [`CallContext::timeout`] plus
    /// [`Settings::effect_grace`](crate::Settings::effect_grace) is dropped, and the step interrupted.
    ///
    /// # Errors
    /// [`StepError`] says whether the effect may have happened.
    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError>;

    /// Tests the connection: is the system reachable, with which identity, which version.
    ///
    /// # Errors
    /// What was tried and what went wrong, for the person who configures the connector.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;
}
