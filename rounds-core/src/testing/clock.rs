use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::ports::Clock;
use crate::time::{Timestamp, after_ms};

/// A clock that stands still until a test moves it. Sleepers wake as it passes their time.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
    moves: Mutex<()>,
}

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now), moves: Mutex::new(()) }
    }

    /// Moves the clock on and wakes whoever waited for that.
    pub fn advance(&self, by: Duration) {
        let _one_at_a_time = self.moves.lock();
        self.now.send_modify(|now| *now = after_ms(*now, u64::try_from(by.as_millis()).unwrap_or(u64::MAX)));
    }
}

impl Default for ManualClock {
    /// 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default())
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = after_ms(self.now(), u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let mut now = self.now.subscribe();
        // The sender lives as long as `self`, so this ends only when the time has come.
        let _ = now.wait_for(|now| *now >= until).await;
    }
}
