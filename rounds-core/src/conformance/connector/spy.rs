//! Between the executor and an adapter: what reached it, and what it answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::connector::CheckReport;
use crate::plan::Plan;
use crate::plugin::{Registration, Registry};
use crate::ports::{AdapterInfo, ApprovedStep, CallContext, DryRun, ExecutionAdapter, Inverse, PortError, ReadStep};
use crate::service::ConnectorDraft;
use crate::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use crate::testing::AdapterRig;

/// One run of an approved step.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) step: ReviewedStep,
    /// `None`: it never came back by itself.
    pub(super) result: Option<Result<StepOutput, StepError>>,
}

/// An adapter that keeps what its `execute` was given and answered. It has no preview of its own, so that what a server
/// sees is the effect.
struct Spy {
    inner: Arc<dyn ExecutionAdapter>,
    timeout: Duration,
    /// Drops what runs.
    drop: CancellationToken,
    ran: Arc<Mutex<Vec<Ran>>>,
}

#[async_trait]
impl ExecutionAdapter for Spy {
    fn describe(&self) -> AdapterInfo {
        self.inner.describe().with_step_timeout(self.timeout)
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.inner.review(step, mode)
    }

    async fn discover(&self, cx: &CallContext, refused: &Refusal) -> Result<bool, PortError> {
        self.inner.discover(cx, refused).await
    }

    async fn dry_run(&self, _: &CallContext, _: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::not_by_server("not asked here"))
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        self.inner.inverse(cx, step).await
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.inner.read(cx, step).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let at = {
            let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
            ran.push(Ran { step: step.step().clone(), result: None });
            ran.len() - 1
        };
        tokio::select! {
            () = self.drop.cancelled() => Err(StepError::unknown("dropped", StepOutput::default())),
            result = self.inner.execute(cx, step) => {
                self.ran.lock().unwrap_or_else(PoisonError::into_inner)[at].result = Some(result.clone());
                result
            }
        }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.inner.check(cx).await
    }
}

/// An adapter in a Rounds of its own, where its steps are approved and carried out.
pub(super) struct Approval {
    rig: AdapterRig,
    ran: Arc<Mutex<Vec<Ran>>>,
    /// Drops what runs.
    pub(super) drop: CancellationToken,
}

impl Approval {
    /// Its steps may take that long, and are dropped by the executor when they go on for `grace` after that.
    pub(super) async fn of(inner: Arc<dyn ExecutionAdapter>, timeout: Duration, grace: Duration) -> Self {
        let (ran, drop) = (Arc::<Mutex<Vec<Ran>>>::default(), CancellationToken::new());
        let spy = Spy { inner, timeout, drop: drop.clone(), ran: Arc::clone(&ran) };
        let registration = Registration::execution("conformance", "Conformance", Arc::new(spy));
        let settings = Settings {
            poll_interval: Duration::from_millis(50),
            // Whether an adapter ends by itself is what is looked at, so nobody ends it early.
            effect_grace: grace,
            ..Settings::default()
        };
        let registry = Registry::new([registration]).expect("one kind");
        let draft = ConnectorDraft::new("conformance", "conformance");
        let rig = AdapterRig::with(registry, draft, settings).await;
        Self { rig: rig.unwrap_or_else(|error| panic!("the adapter is refused: {error}")), ran, drop }
    }

    /// Proposes one step.
    pub(super) async fn propose(&self, step: StepSpec) -> Result<Plan, crate::Error> {
        self.rig.propose([step]).await
    }

    /// Proposes one step, approves it and waits until it has run: the plan as it ended.
    pub(super) async fn run(&self, step: StepSpec) -> Plan {
        match self.rig.run([step]).await {
            Ok(plan) => plan,
            Err(error) => panic!("the approved step is not carried out: {error}"),
        }
    }

    /// Everything that was run.
    pub(super) fn ran(&self) -> Vec<Ran> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the services.
    pub(super) async fn end(self) {
        self.rig.end().await;
    }
}

/// Runs one step through a real approval: what its adapter answered.
pub(super) async fn approved(
    inner: Arc<dyn ExecutionAdapter>,
    step: StepSpec,
    timeout: Duration,
    grace: Duration,
) -> Result<StepOutput, StepError> {
    let approval = Approval::of(inner, timeout, grace).await;
    approval.run(step).await;
    let ran = approval.ran();
    approval.end().await;
    match ran.into_iter().next() {
        Some(Ran { result: Some(result), .. }) => result,
        Some(Ran { result: None, .. }) => panic!("an approved step had {timeout:?}, and does not end by itself"),
        None => panic!("an approved step never reached the adapter"),
    }
}
