//! Where steps run: the [`ExecutionAdapter`] port and the types that pass through it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::id::{PlanId, StepId};

/// One action as somebody proposed it: nothing in it is believed until an adapter has reviewed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// The kind of step, such as `ops.run_command`.
    pub kind: String,
    /// What the kind needs. For `ops.run_command`: `{"argv": [...], "stdin": "..."?}`, without a leading `kubectl`.
    pub params: Value,
}

impl StepSpec {
    /// The step kind of a command line.
    pub const RUN_COMMAND: &'static str = "ops.run_command";

    /// A command without a shell: one string per argument, the program's name left out.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self { kind: Self::RUN_COMMAND.into(), params: serde_json::json!({ "argv": argv }) }
    }

    /// The same command with text on its standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<String>) -> Self {
        if let Value::Object(params) = &mut self.params {
            params.insert("stdin".into(), Value::String(stdin.into()));
        }
        self
    }
}

/// What the caller is about to do with a step: the gate is wider for approved plans than for investigations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// An investigation looks: only reads pass.
    Read,
    /// A plan acts: reads and writes pass.
    Write,
}

/// How much harm a step can do, computed by the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
    /// Changes something in a way that loses state or capacity.
    Destructive,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        })
    }
}

/// One object that a step touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its namespace; `None`: the object is in none (cluster-scoped, or the adapter has no namespaces).
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its kind, in the singular and canonical: `deployment.apps`.
    pub kind: String,
    /// Its name; `None`: every object of that kind in that place (lists).
    #[serde(default)]
    pub name: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name.as_deref().unwrap_or("*"))
    }
}

/// A step that an adapter has parsed, checked and rendered canonically. What runs, what is shown and what is
/// digested all come from here, never from the proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedStep {
    /// The kind of step.
    pub kind: String,
    /// The action in a word, such as `rollout undo`; audit rows carry it.
    pub verb: String,
    /// The canonical command, for people: what is shown is what runs (rule 2).
    pub command_text: String,
    /// The canonical parameters. Reviewing them again MUST yield this same value.
    pub params: Value,
    /// Every object the step touches.
    pub targets: Vec<Target>,
    /// How much harm it can do.
    pub tier: Tier,
    /// Whether there is a known way back.
    pub reversible: bool,
    /// Whether running it twice ends where running it once does.
    pub idempotent: bool,
    /// What a reader should know: "kubectl has no dry-run for rollout restart".
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Why an adapter will not run a step, and what it would run instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which rule refused, as a stable word: `unknown_verb`, `namespace_not_allowed`.
    pub rule: String,
    /// What was found and what would be accepted.
    pub message: String,
}

impl Refusal {
    /// A refusal by a rule.
    pub fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into() }
    }
}

/// A reviewed step that only reads.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadStep(ReviewedStep);

impl ReadStep {
    /// Takes a reviewed step whose tier is [`Tier::Read`].
    ///
    /// # Errors
    /// The step writes; it needs a plan and an approval.
    pub fn new(step: ReviewedStep) -> Result<Self, Refusal> {
        match step.tier {
            Tier::Read => Ok(Self(step)),
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
/// executor makes one (rule 3): an adapter author gets one by driving a real approval, which the conformance
/// suite does.
///
/// ```compile_fail
/// # use rounds_core::ports::{ApprovedStep, ReviewedStep};
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

/// How long one call may take, and who may end it early.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The hard limit of the call. An adapter MUST end its effect (kill the process, drop the connection) when
    /// it is over.
    pub timeout: Duration,
    /// Cancelled when the caller no longer wants the answer. Reads stop; an approved effect is left to finish.
    pub cancel: CancellationToken,
}

impl CallContext {
    /// A call that may take this long.
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { timeout, cancel: CancellationToken::new() }
    }
}

/// What came back from a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepOutput {
    /// The exit code, for adapters that have one.
    pub exit_code: Option<i32>,
    /// What it said, at most [`OUTPUT_CAP`] bytes.
    pub output: String,
    /// What it said on the error channel, at most [`OUTPUT_CAP`] bytes.
    pub error_output: String,
}

impl StepOutput {
    /// The same output with both texts cut to [`OUTPUT_CAP`].
    #[must_use]
    pub fn capped(mut self) -> Self {
        self.output = cap(self.output);
        self.error_output = cap(self.error_output);
        self
    }
}

/// Keeps head and tail of a text that is longer than [`OUTPUT_CAP`] bytes, with a marker between them.
pub(crate) fn cap(text: String) -> String {
    // Room for the marker itself.
    const HALF: usize = OUTPUT_CAP / 2 - 64;
    if text.len() <= OUTPUT_CAP {
        return text;
    }
    let head = text.floor_char_boundary(HALF);
    let tail = text.ceil_char_boundary(text.len() - HALF);
    format!("{}\n[… {} bytes cut …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// Output and error text are kept up to this many bytes each: head and tail, with a marker that says how much
/// was cut.
pub const OUTPUT_CAP: usize = 64 * 1024;

/// Whether a failed step may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Proven: nothing was changed, running it again is safe.
    NotStarted,
    /// Something may have changed. When in doubt, an adapter says this.
    MayHaveHappened,
}

/// Why a step did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// Whether the effect may have happened.
    pub effect: Effect,
    /// Whether the outcome itself is unknown (a timeout, a lost connection): the step is then `interrupted`
    /// rather than `failed`.
    pub outcome_unknown: bool,
    /// What was tried, what went wrong, what would work. Never a secret.
    pub message: String,
    /// What it said before it failed.
    pub output: StepOutput,
}

impl StepError {
    /// The effect did not start.
    pub fn not_started(message: impl Into<String>) -> Self {
        Self {
            effect: Effect::NotStarted,
            outcome_unknown: false,
            message: message.into(),
            output: StepOutput::default(),
        }
    }

    /// It ran and said that it failed.
    pub fn failed(message: impl Into<String>, output: StepOutput) -> Self {
        Self { effect: Effect::MayHaveHappened, outcome_unknown: false, message: message.into(), output }
    }

    /// It started and nobody knows how it ended.
    pub fn unknown(message: impl Into<String>, output: StepOutput) -> Self {
        Self { effect: Effect::MayHaveHappened, outcome_unknown: true, message: message.into(), output }
    }
}

/// What the target system says a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// The preview, from the target system; or why there can be none.
    pub text: String,
    /// Whether the target system itself checked the change.
    pub checked_by_server: bool,
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

/// What a connector's test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// In a sentence: what was reached, as whom, which version.
    pub message: String,
    /// Facts worth showing: versions, what the credentials can do.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// What an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// The step kinds it reviews, such as `ops.run_command`.
    pub step_kinds: Vec<String>,
    /// What an operator or a model should know to write steps for it: verbs, namespaces, limits.
    pub usage: String,
    /// The namespaces it may touch; empty: it has none to offer.
    pub namespaces: Vec<String>,
    /// How long one of its steps may take, in a plan or as a dry-run, when the connector's config says so; `None`: as
    /// long as [`Settings::step_timeout`](crate::Settings) says. An investigation's read gets the shorter of both.
    pub step_timeout: Option<Duration>,
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
/// - say [`Effect::NotStarted`] only when it is proven;
/// - keep secrets out of errors, output and `Debug`.
///
/// A wrapper around another adapter MUST pass on [`discover`](Self::discover) and [`inverse`](Self::inverse), too:
/// they have default bodies for systems that have nothing to discover and nothing to take back.
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
    async fn discover(&self, _cx: &CallContext, _refused: &Refusal) -> Result<bool, super::PortError> {
        Ok(false)
    }

    /// Asks the target system what the step would do, changing nothing.
    ///
    /// # Errors
    /// The target system refused the change, or could not be asked.
    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError>;

    /// The way back from a step that has not run yet, made of what is there now rather than guessed.
    ///
    /// # Errors
    /// The target system could not be asked.
    async fn inverse(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        Ok(if step.tier == Tier::Read { Inverse::NotNeeded } else { Inverse::Unknown })
    }

    /// Runs a step that only reads.
    ///
    /// # Errors
    /// The read failed; nothing was changed in any case.
    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError>;

    /// Runs a step that a person approved.
    ///
    /// # Errors
    /// [`StepError`] says whether the effect may have happened.
    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError>;

    /// Tests the connection: is the system reachable, with which identity, which version.
    ///
    /// # Errors
    /// What was tried and what went wrong, for the person who configures the connector.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, super::PortError>;
}
