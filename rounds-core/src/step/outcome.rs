use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::redact::redact;

/// What came back from a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StepOutput {
    /// The exit code, for adapters that have one.
    pub exit_code: Option<i32>,
    /// What it said, at most [`OUTPUT_CAP`] bytes.
    pub output: String,
    /// What it said on the error channel, at most [`OUTPUT_CAP`] bytes.
    pub error_output: String,
}

impl StepOutput {
    /// What it said, of an adapter without exit codes.
    pub fn text(output: impl Into<String>) -> Self {
        Self { output: output.into(), ..Self::default() }
    }

    /// The same output with an exit code.
    #[must_use]
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.exit_code = Some(code);
        self
    }

    /// The same output with what was said on the error channel.
    #[must_use]
    pub fn with_error_output(mut self, text: impl Into<String>) -> Self {
        self.error_output = text.into();
        self
    }

    /// The same output as it is kept: without what [looks like a credential](crate::redact), both texts cut to
    /// [`OUTPUT_CAP`].
    #[must_use]
    pub fn capped(mut self) -> Self {
        self.output = kept(self.output);
        self.error_output = kept(self.error_output);
        self
    }
}

/// What a target system said, as it goes into a row and onto pages: without what looks like a credential, which its adapter
/// may have let pass, and not longer than [`OUTPUT_CAP`] bytes.
pub(crate) fn kept(text: String) -> String {
    // Cut generously before and exactly after, so that no credential is cut in two and no text takes for ever.
    cap(redact(&cap(text, 4 * OUTPUT_CAP), &[]), OUTPUT_CAP)
}

/// Keeps head and tail of a text that is longer than so many bytes, with a marker between them.
fn cap(text: String, most: usize) -> String {
    // Room for the marker itself.
    let half = most / 2 - 64;
    if text.len() <= most {
        return text;
    }
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}\n[… {} bytes cut …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// Output and error text are kept up to this many bytes each: head and tail, with a marker that says how much
/// was cut.
pub const OUTPUT_CAP: usize = 64 * 1024;

/// Whether a failed step may have changed something. With [`outcome_unknown`](StepError::outcome_unknown) it decides what the
/// step is then: *interrupted*, which a person must acknowledge before a retry, when something may have happened and nobody
/// knows how it ended; *failed* otherwise.
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
#[non_exhaustive]
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

/// Refused before anything was sent: what an adapter finds when it reads a step's parameters again.
impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        Self::not_started(refusal.message)
    }
}

impl StepError {
    /// The effect did not start. Of a read, that is any failure: nothing was changed, whatever happened.
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
