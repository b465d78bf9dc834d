use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep,
};
use crate::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier};

/// What a [`FakeAdapter`] does with the next step.
#[derive(Debug, Clone)]
pub enum FakeOutcome {
    /// It succeeds with this output.
    Done(String),
    /// It ends like this.
    Error(StepError),
    /// It waits until the test releases it, then succeeds.
    Hang(Arc<Notify>),
}

/// An execution adapter without a system behind it: it records what it was asked to run and answers as told.
///
/// Commands are `<verb> <namespace>/<name>`, shown and [recorded](Self::executed) as `fake <verb> <namespace>/<name>`; `get` reads, `delete` is destructive, `forbidden` is refused,
/// anything else writes.
#[derive(Debug, Clone, Default)]
pub struct FakeAdapter {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    script: Mutex<VecDeque<FakeOutcome>>,
    executed: Mutex<Vec<String>>,
    refuse: Mutex<Option<String>>,
}

impl FakeAdapter {
    /// Does this with the next step that has no other script before it.
    pub fn script(&self, outcome: FakeOutcome) {
        lock(&self.inner.script).push_back(outcome);
    }

    /// Refuses every review from now on, as a gate does whose rules changed; `None`: no more.
    pub fn refuse(&self, reason: Option<&str>) {
        *lock(&self.inner.refuse) = reason.map(str::to_owned);
    }

    /// The commands that were executed, in order.
    #[must_use]
    pub fn executed(&self) -> Vec<String> {
        lock(&self.inner.executed).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl ExecutionAdapter for FakeAdapter {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo::commands("<verb> <namespace>/<name>")
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        if let Some(reason) = lock(&self.inner.refuse).clone() {
            return Err(Refusal::new("fake", reason));
        }
        let argv: Vec<String> =
            step.params.get("argv").and_then(|argv| serde_json::from_value(argv.clone()).ok()).ok_or_else(|| {
                Refusal::new("params", "found no argv; {\"argv\": [\"<verb>\", \"<ns>/<name>\"]} is accepted")
            })?;
        let [verb, target] = argv.as_slice() else {
            return Err(Refusal::new("argv", format!("found {} arguments; 2 are accepted", argv.len())));
        };
        let tier = match verb.as_str() {
            "forbidden" => return Err(Refusal::new("unknown_verb", "`forbidden` is never accepted")),
            "get" => Tier::Read,
            "delete" => Tier::Destructive,
            _ => Tier::Write,
        };
        if mode == Mode::Read && tier != Tier::Read {
            return Err(Refusal::new("mode", format!("`{verb}` writes; `get` is accepted in an investigation")));
        }
        let touched = match target.split_once('/') {
            Some((namespace, name)) => Target::new("thing", name).in_namespace(namespace),
            None => Target::new("thing", target),
        };
        let spec = StepSpec::new(step.kind.clone(), serde_json::json!({ "argv": argv }));
        let reviewed = ReviewedStep::new(spec, verb, format!("fake {verb} {target}"), tier).on(touched).idempotent();
        Ok(if tier == Tier::Write { reviewed.reversible() } else { reviewed })
    }

    async fn dry_run(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::by_server(format!("would run {}", step.command_text)))
    }

    async fn read(&self, _cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(format!("read {}", step.step().command_text)).with_exit_code(0))
    }

    async fn execute(&self, _cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        lock(&self.inner.executed).push(step.step().command_text.clone());
        let outcome = lock(&self.inner.script).pop_front();
        match outcome {
            None => Ok(StepOutput::text("ok").with_exit_code(0)),
            Some(FakeOutcome::Done(output)) => Ok(StepOutput::text(output).with_exit_code(0)),
            Some(FakeOutcome::Error(error)) => Err(error),
            Some(FakeOutcome::Hang(released)) => {
                released.notified().await;
                Ok(StepOutput::text("released").with_exit_code(0))
            }
        }
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("there is nothing to reach"))
    }
}
