//! A step before its adapter's gate: once, and once more when the adapter could learn what it lacked.

use super::guard::{SLACK, caught, guarded};
use super::live::Live;
use super::shared::Shared;
use crate::ports::{CallContext, ExecutionAdapter, ReadStep};
use crate::step::{Mode, Refusal, ReviewedStep, StepSpec};

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The gate refuses it.
    Refused(Refusal),
    /// The gate refuses it for want of knowledge that the target system would not give; it may pass another time.
    Unasked(Refusal),
    /// The adapter panicked instead of judging: "it panicked: …".
    Panicked(String),
}

impl Stopped {
    /// As a refusal, for whoever wrote the step.
    pub fn into_refusal(self, connector: &str) -> Refusal {
        match self {
            Self::Refused(refusal) | Self::Unasked(refusal) => refusal,
            Self::Panicked(said) => {
                Refusal::new("adapter_panicked", format!("the connector {connector} could not judge it: {said}"))
            }
        }
    }
}

/// What an adapter says of a step, and what no adapter can forget: only the kinds that it names are its own, what is
/// shown is plain, only reads are for investigations, and what it renders is canonical, so that what is stored is judged
/// alike ever after.
fn judged(adapter: &dyn ExecutionAdapter, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
    Refusal::unless_one_of("step kind", &step.kind, adapter.describe().step_kinds)?;
    let reviewed = adapter.review(step, mode)?;
    plain(&reviewed)?;
    if mode == Mode::Read {
        ReadStep::check(&reviewed)?;
    }
    let canonical = reviewed.spec();
    if canonical != *step && adapter.review(&canonical, mode).as_ref() != Ok(&reviewed) {
        return Err(Refusal::new(
            "not_canonical",
            format!(
                "the connector renders `{}` in a way that it does not itself read back: a fault of the connector",
                reviewed.command_text
            ),
        ));
    }
    Ok(reviewed)
}

/// What people decide by must look like what it is: a line break, an escape sequence or a mark that turns the direction of
/// writing round could make one command look like another (rule 2).
fn plain(step: &ReviewedStep) -> Result<(), Refusal> {
    let odd = |c: &char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let check = |what: &str, text: &str| match text.chars().find(odd) {
        Some(found) => {
            let message = format!("the {what} holds {found:?}; what is shown is plain text in one line");
            Err(Refusal::new("not_plain", message))
        }
        None => Ok(()),
    };
    check("command", &step.command_text)?;
    check("verb", &step.verb)?;
    for target in &step.targets {
        check("kind of a target", &target.kind)?;
        check("name of a target", target.name.as_deref().unwrap_or_default())?;
        check("namespace of a target", target.namespace.as_deref().unwrap_or_default())?;
        if target.name.as_deref() == Some("") || target.namespace.as_deref() == Some("") || target.kind.is_empty() {
            return Err(Refusal::new("target_unnamed", "found a target with an empty kind, name or namespace"));
        }
    }
    Ok(())
}

/// What the gate of a connector says of a step.
pub(crate) async fn review(
    shared: &Shared,
    live: &Live<dyn ExecutionAdapter>,
    step: &StepSpec,
    mode: Mode,
) -> Result<ReviewedStep, Stopped> {
    let ask = || match caught(|| judged(live.port.as_ref(), step, mode)) {
        Ok(judged) => judged.map_err(Stopped::Refused),
        Err(panicked) => Err(Stopped::Panicked(panicked)),
    };
    let refusal = match ask() {
        Err(Stopped::Refused(refusal)) => refusal,
        judged => return judged,
    };
    let cx = CallContext::with_timeout(shared.settings.query_timeout);
    let unasked = match guarded(shared, cx.timeout + SLACK, live.port.discover(&cx, &refusal)).await {
        Ok(Ok(true)) => return ask(),
        Ok(Ok(false)) => return Err(Stopped::Refused(refusal)),
        Ok(Err(error)) => error.to_string(),
        Err(broken) => broken,
    };
    let message = format!("{} (the system itself could not be asked: {unasked})", refusal.message);
    Err(Stopped::Unasked(Refusal { message, ..refusal }))
}
