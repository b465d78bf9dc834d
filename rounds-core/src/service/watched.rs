//! Ports as the services call them: each call is measured, and what came of it is the connector's health.
//!
//! A call that its caller drops counts as failed when its time was over, or when it panicked; else nobody knows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::health::{CallResult, Called, Healths};
use crate::plugin::Built;
use crate::ports::{
    AdapterInfo, Answers, ApprovedStep, CallContext, CheckReport, Clock, Completion, CompletionRequest, DataSet,
    Datasource, DatasourceInfo, DryRun, ExecutionAdapter, Inverse, Model, ModelInfo, Notice, Notifier, PortError,
    PortErrorKind, Query, ReadStep,
};
use crate::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use crate::time::Timestamp;

/// Who writes down what comes of calls.
#[derive(Clone)]
pub(crate) struct Watch {
    pub called: Called,
    pub healths: Arc<Healths>,
    pub clock: Arc<dyn Clock>,
}

/// A port that is watched.
struct Watched<P: ?Sized> {
    port: Arc<P>,
    watch: Watch,
}

/// The same port, watched.
pub(crate) fn watched(built: Built, watch: Watch) -> Built {
    match built {
        Built::Execution(port) => Built::Execution(Arc::new(Watched { port, watch })),
        Built::Datasource(port) => Built::Datasource(Arc::new(Watched { port, watch })),
        Built::Notifier(port) => Built::Notifier(Arc::new(Watched { port, watch })),
        Built::Model(port) => Built::Model(Arc::new(Watched { port, watch })),
    }
}

/// A call under way.
struct Call<'a> {
    watch: &'a Watch,
    cx: &'a CallContext,
    began: Instant,
    is_over: bool,
}

impl Watch {
    async fn call<T>(
        &self,
        cx: &CallContext,
        result: impl FnOnce(&T) -> CallResult + Send,
        call: impl Future<Output = T> + Send,
    ) -> T {
        let mut under_way = Call { watch: self, cx, began: Instant::now(), is_over: false };
        let answer = call.await;
        under_way.over(result(&answer));
        answer
    }
}

impl Call<'_> {
    fn over(&mut self, result: CallResult) {
        self.is_over = true;
        let Watch { called, healths, clock } = self.watch;
        healths.called(called, clock.now(), Some(self.began.elapsed()), result);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let limit = self.cx.timeout;
        let result = if std::thread::panicking() {
            CallResult::Failed("it panicked".into())
        } else if self.began.elapsed() >= limit && !self.cx.cancel.is_cancelled() {
            CallResult::Failed(format!("it did not answer within {} s", limit.as_secs_f64()))
        } else {
            CallResult::Unknown
        };
        self.over(result);
    }
}

/// A failure of a port whose refusals are about what was asked.
fn of_port(error: &PortError) -> CallResult {
    match error.kind {
        PortErrorKind::Invalid => CallResult::Refused(error.to_string()),
        PortErrorKind::Exhausted => CallResult::Unknown,
        PortErrorKind::Unauthorized
        | PortErrorKind::Unavailable
        | PortErrorKind::RateLimited
        | PortErrorKind::Timeout
        | PortErrorKind::Protocol => CallResult::Failed(error.to_string()),
    }
}

fn asked<T>(answer: &Result<T, PortError>) -> CallResult {
    answer.as_ref().map_or_else(of_port, |_| CallResult::Ok)
}

/// What is sent is always of the same form, so a refusal is about the connector.
fn sent<T>(answer: &Result<T, PortError>) -> CallResult {
    match asked(answer) {
        CallResult::Refused(why) => CallResult::Failed(why),
        result => result,
    }
}

fn checked(answer: &Result<CheckReport, PortError>) -> CallResult {
    match answer {
        // It answered, and that does not suffice: the test says so, and calls will show.
        Ok(report) if report.lack.is_some() => CallResult::Unknown,
        answer => sent(answer),
    }
}

fn stepped<T>(answer: &Result<T, StepError>) -> CallResult {
    match answer {
        Ok(_) => CallResult::Ok,
        Err(error) if error.outcome_unknown => CallResult::Failed(error.message.clone()),
        // A command about an object that is not there, a preview of what the target system refuses: as a rule it is the step.
        Err(error) => CallResult::Refused(error.message.clone()),
    }
}

#[async_trait]
impl Datasource for Watched<dyn Datasource> {
    fn describe(&self) -> DatasourceInfo {
        self.port.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.watch.call(cx, checked, self.port.check(cx)).await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        self.watch.call(cx, asked, self.port.query(cx, query)).await
    }
}

#[async_trait]
impl Notifier for Watched<dyn Notifier> {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.watch.call(cx, checked, self.port.check(cx)).await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        self.watch.call(cx, sent, self.port.send(cx, notice)).await
    }

    /// Not watched: whoever can reach the server can send what is no answer.
    fn answers(&self) -> Option<&dyn Answers> {
        self.port.answers()
    }
}

#[async_trait]
impl Model for Watched<dyn Model> {
    fn describe(&self) -> ModelInfo {
        self.port.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.watch.call(cx, checked, self.port.check(cx)).await
    }

    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        self.watch.call(cx, asked, self.port.complete(cx, request)).await
    }
}

#[async_trait]
impl ExecutionAdapter for Watched<dyn ExecutionAdapter> {
    fn describe(&self) -> AdapterInfo {
        self.port.describe()
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.port.review(step, mode)
    }

    async fn discover(&self, cx: &CallContext, refused: &Refusal) -> Result<bool, PortError> {
        // `false` may mean that nobody was asked.
        let learned = |answer: &Result<bool, PortError>| match answer {
            Ok(false) => CallResult::Unknown,
            answer => asked(answer),
        };
        self.watch.call(cx, learned, self.port.discover(cx, refused)).await
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        // One that nobody was asked about says nothing of the other side.
        let previewed = |answer: &Result<DryRun, StepError>| match answer {
            Ok(preview) if !preview.checked_by_server => CallResult::Unknown,
            answer => stepped(answer),
        };
        self.watch.call(cx, previewed, self.port.dry_run(cx, step)).await
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let found = |answer: &Result<Inverse, StepError>| match answer {
            Ok(Inverse::Unknown | Inverse::NotNeeded) => CallResult::Unknown,
            answer => stepped(answer),
        };
        self.watch.call(cx, found, self.port.inverse(cx, step)).await
    }

    async fn changes(
        &self,
        cx: &CallContext,
        between: (Timestamp, Timestamp),
        namespace: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        // `None`: nobody was asked.
        let remembered = |answer: &Result<Option<DataSet>, PortError>| match answer {
            Ok(None) => CallResult::Unknown,
            answer => asked(answer),
        };
        self.watch.call(cx, remembered, self.port.changes(cx, between, namespace)).await
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.watch.call(cx, stepped, self.port.read(cx, step)).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        self.watch.call(cx, stepped, self.port.execute(cx, step)).await
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.watch.call(cx, checked, self.port.check(cx)).await
    }
}

impl Watch {
    /// That the connector could not even be built counts as a call that failed.
    pub(crate) fn not_built(&self, why: String) {
        let Self { called, healths, clock } = self;
        healths.called(called, clock.now(), None::<Duration>, CallResult::Failed(why));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures::FutureExt as _;

    use super::*;
    use crate::connector::Connector;
    use crate::id::{ConnectorId, OrgId};
    use crate::ports::SystemClock;

    /// Does what the test says; `None`: answers nothing.
    struct Odd(fn() -> Option<Result<DataSet, PortError>>);

    #[async_trait]
    impl Datasource for Odd {
        fn describe(&self) -> DatasourceInfo {
            DatasourceInfo::metrics("PromQL")
        }

        async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
            Ok(CheckReport::new("it is there").lacking("a right"))
        }

        async fn query(&self, _: &CallContext, _: &Query) -> Result<DataSet, PortError> {
            match (self.0)() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn row() -> Connector {
        let actor = crate::access::Actor::system();
        serde_json::from_value(serde_json::json!({
            "id": ConnectorId::new(), "orgId": OrgId::default(), "kind": "odd", "role": "datasource",
            "name": "odd", "config": {}, "revision": 1, "isDefault": false, "ownerTeamId": null, "status": "unverified",
            "lastVerifiedAt": null, "lastVerifyError": null, "createdBy": actor,
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    fn odd(answer: fn() -> Option<Result<DataSet, PortError>>) -> (Arc<dyn Datasource>, Arc<Healths>, Connector) {
        let (row, healths) = (row(), Arc::<Healths>::default());
        let watch = Watch { called: Called::new(&row), healths: Arc::clone(&healths), clock: Arc::new(SystemClock) };
        match watched(Built::Datasource(Arc::new(Odd(answer))), watch) {
            Built::Datasource(port) => (port, healths, row),
            other => panic!("{other:?}"),
        }
    }

    const ASKED: Query = Query::Labels { label: None, matchers: Vec::new() };

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_counts_by_why_it_was() {
        let cx = CallContext::with_timeout(Duration::from_secs(1));
        let (port, healths, row) = odd(|| None);
        let early = tokio::time::timeout(Duration::from_millis(500), port.query(&cx, &ASKED)).await;
        assert!(early.is_err() && healths.of(&row).is_none(), "the caller lost interest: nobody knows");
        let late = tokio::time::timeout(Duration::from_secs(2), port.query(&cx, &ASKED)).await;
        assert!(late.is_err());
        let failure = healths.of(&row).and_then(|health| health.last_failure).unwrap_or_default();
        assert!(failure.contains("did not answer within 1 s"), "{failure}");

        let (port, healths, row) = odd(|| panic!("oh"));
        assert!(AssertUnwindSafe(port.query(&cx, &ASKED)).catch_unwind().await.is_err());
        assert!(healths.of(&row).is_some_and(|health| health.is_failing()));
    }

    #[tokio::test]
    async fn what_nobody_asked_of_the_other_side_says_nothing_of_it() {
        let cx = CallContext::with_timeout(Duration::from_secs(1));
        let (port, healths, row) = odd(|| Some(Err(PortError::new(PortErrorKind::Exhausted, "no budget"))));
        assert!(port.query(&cx, &ASKED).await.is_err() && port.check(&cx).await.is_ok());
        assert!(healths.of(&row).is_none());
        let (port, healths, row) = odd(|| Some(Err(PortError::new(PortErrorKind::Unavailable, "nobody there"))));
        assert!(port.query(&cx, &ASKED).await.is_err());
        assert!(healths.of(&row).is_some_and(|health| health.is_failing()));
    }
}
