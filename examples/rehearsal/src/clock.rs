use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::ports::Clock;
use tokio::time::Instant;

/// The time of the incident: it starts when that began to be investigated, and goes on as time does.
pub(crate) struct IncidentClock {
    base: Timestamp,
    start: Instant,
}

impl IncidentClock {
    pub(crate) fn new(base: Timestamp) -> Self {
        Self { base: rounds_core::time::truncate(base), start: Instant::now() }
    }
}

#[async_trait]
impl Clock for IncidentClock {
    fn now(&self) -> Timestamp {
        rounds_core::time::truncate(self.base + self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
