//! Time as Rounds stores it: UTC, whole microseconds.

use chrono::{DateTime, SubsecRound, Utc};

/// A moment in UTC, truncated to microseconds so that every database gives back what it was given.
pub type Timestamp = DateTime<Utc>;

/// Drops what is finer than a microsecond. Clocks do this once, so nothing else has to.
#[must_use]
pub fn truncate(at: DateTime<Utc>) -> Timestamp {
    at.trunc_subsecs(6)
}

/// `at + ms` milliseconds; saturates at the ends of time.
#[must_use]
pub fn after_ms(at: Timestamp, ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(chrono::TimeDelta::try_milliseconds)
        .and_then(|delta| at.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// How long from `earlier` to `later`; zero when `later` comes first.
#[must_use]
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> std::time::Duration {
    (later - earlier).to_std().unwrap_or_default()
}
