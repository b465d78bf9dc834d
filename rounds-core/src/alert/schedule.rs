//! When a rule is evaluated next: on a grid of its interval, spread by its id.

use super::AlertRule;
use crate::time::{Timestamp, after_ms};

/// The first moment after `now` at which a rule is due: `phase + n * interval`, where the phase is the rule's own, so
/// that a thousand rules do not ask in the same instant, and the same in every replica. An evaluation that was late
/// makes the next one no later, and leaves no backlog.
#[must_use]
pub fn next_evaluation(rule: &AlertRule, now: Timestamp) -> Timestamp {
    let interval = u64::try_from(rule.interval().as_millis()).unwrap_or(u64::MAX).max(1);
    // The random half of a UUID v7.
    let phase = rule.id.as_uuid().as_u64_pair().1 % interval;
    next_tick(now, interval, phase)
}

fn next_tick(now: Timestamp, interval: u64, phase: u64) -> Timestamp {
    let now_ms = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    let into = (now_ms % interval + interval - phase % interval) % interval;
    after_ms(now, interval - into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_on_the_grid_and_after_now() {
        let now = chrono::DateTime::from_timestamp_millis(1_000_250).unwrap();
        for (interval, phase, expected) in [(1000, 0, 1_001_000), (1000, 300, 1_000_300), (1000, 250, 1_001_250)] {
            assert_eq!(next_tick(now, interval, phase).timestamp_millis(), expected);
        }
    }
}
