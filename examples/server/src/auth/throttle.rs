//! So many in a while, by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::time::elapsed;

use super::limiter::TooMany;

/// How many keys are remembered; more means an attack, and those whose time is nearest to over are dropped.
const REMEMBERED: usize = 10_000;

/// Counts what happens, by key, and says when it is too much. The count starts over a while after its first. In memory: a
/// restart forgives, several replicas count apart.
#[derive(Debug)]
pub struct Throttle<K> {
    limit: u32,
    window: Duration,
    seen: Mutex<HashMap<K, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    count: u32,
    since: Timestamp,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    /// At most `limit` of a key in a `window`.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, seen: Mutex::default() }
    }

    /// Counts one more of a key.
    ///
    /// # Errors
    /// There were as many as there may be; this one is not counted.
    pub fn count(&self, key: &K, now: Timestamp) -> Result<(), TooMany> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |found: &Seen| elapsed(found.since, now) >= self.window;
        if seen.len() >= REMEMBERED && !seen.contains_key(key) {
            seen.retain(|_, found| !over(found));
            if seen.len() >= REMEMBERED {
                let oldest = seen.iter().min_by_key(|(_, found)| found.since).map(|(key, _)| key.clone());
                oldest.and_then(|oldest| seen.remove(&oldest));
            }
        }
        let found = seen.entry(key.clone()).or_insert(Seen { count: 0, since: now });
        if over(found) {
            *found = Seen { count: 0, since: now };
        }
        if found.count >= self.limit {
            let left = self.window.saturating_sub(elapsed(found.since, now));
            return Err(TooMany { retry_after: left.as_secs().max(1) });
        }
        found.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_a_key_pass_in_a_while_and_others_are_not_held_up() {
        let throttle = Throttle::new(3, Duration::from_secs(60));
        let now = chrono::DateTime::UNIX_EPOCH;
        let after = |seconds| now + chrono::TimeDelta::seconds(seconds);
        for at in [0, 10, 20] {
            throttle.count(&"a", after(at)).unwrap();
        }
        assert_eq!(throttle.count(&"a", after(45)), Err(TooMany { retry_after: 15 }));
        throttle.count(&"b", after(45)).unwrap();
        throttle.count(&"a", after(60)).unwrap();
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::new(1, Duration::from_secs(60));
        for key in 0..REMEMBERED + 10 {
            throttle.count(&key, chrono::DateTime::UNIX_EPOCH).unwrap();
        }
        assert_eq!(throttle.seen.lock().unwrap().len(), REMEMBERED);
    }
}
