//! Calls into connectors and investigators, which are other people's code: one that hangs or panics is an answer,
//! and never the end of the service that asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt;

use super::shared::Shared;

/// What a port is given beyond its own limit, so that its own words about a timeout come first.
pub(crate) const SLACK: Duration = Duration::from_secs(1);

/// Awaits a call, at most for `limit`; the error says in a few words what it did instead of answering.
pub(crate) async fn guarded<T>(
    shared: &Shared,
    limit: Duration,
    call: impl Future<Output = T> + Send,
) -> Result<T, String> {
    tokio::select! {
        biased;
        answer = AssertUnwindSafe(call).catch_unwind() => answer.map_err(|panic| said(panic.as_ref())),
        () = shared.clock.sleep(limit) => Err(format!("it took longer than {} s", limit.as_secs_f64())),
    }
}

/// Makes a call that does not wait: building a connector, asking a gate.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| said(panic.as_ref()))
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    format!("it panicked: {}", panic_text(panic))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}
