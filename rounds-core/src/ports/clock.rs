//! Time, as services see it.

use std::time::Duration;

use async_trait::async_trait;

use crate::time::{Timestamp, truncate};

/// The time. Services read it nowhere else, so a test can drive it.
///
/// An implementation MUST answer UTC truncated to microseconds ([`truncate`]). `sleep` is cancel safe.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns once this much of the clock's time has passed.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        truncate(chrono::Utc::now())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
