//! Failed sign-ins are counted, by login and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rounds_core::Timestamp;
use tokio::sync::Notify;

/// Failures of one login from anywhere before it must wait.
const PER_LOGIN: u32 = 10;
/// Failures from one address, whatever the login.
const PER_ADDRESS: u32 = 50;
/// After this long without a failure, all is forgotten.
const WINDOW: Duration = Duration::from_secs(300);
/// How many logins and addresses are remembered; more means an attack, and the oldest are dropped.
const REMEMBERED: usize = 10_000;

/// Too many failures lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// After this many seconds it may be tried again.
    pub retry_after: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Login(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    failures: u32,
    /// When it last failed.
    last: Timestamp,
    /// How many passwords are looked at right now.
    running: u32,
}

/// Who failed to sign in lately. In memory: a restart forgives, several replicas count apart.
///
/// Only failures count. As long as the attempts under way could use up what is left, the next one waits for them: so
/// many at once cannot slip through together, and somebody whose password is right is never refused for being quick.
#[derive(Debug, Default)]
pub struct LoginLimiter {
    seen: Mutex<HashMap<Key, Seen>>,
    ended: Notify,
}

/// An attempt under way. Dropped without a word, it counts for nothing.
#[derive(Debug)]
#[must_use = "a failure that is not told of does not count"]
pub struct Attempt<'a> {
    limiter: &'a LoginLimiter,
    keys: [(Key, u32); 2],
}

enum Turn {
    Now,
    Later,
}

impl LoginLimiter {
    /// Begins an attempt, when there is room for another failure.
    ///
    /// # Errors
    /// There were too many failures.
    pub async fn attempt(
        &self,
        login: &str,
        address: IpAddr,
        now: impl Fn() -> Timestamp,
    ) -> Result<Attempt<'_>, TooMany> {
        let keys = keys(login, address);
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Heard from here on, so that an end between the look and the wait is not missed.
            ended.as_mut().enable();
            if let Turn::Now = self.turn(&keys, now())? {
                return Ok(Attempt { limiter: self, keys });
            }
            ended.await;
        }
    }

    fn turn(&self, keys: &[(Key, u32); 2], now: Timestamp) -> Result<Turn, TooMany> {
        let mut seen = self.lock();
        let mut turn = Turn::Now;
        for (key, limit) in keys {
            let Some(found) = seen.get(key) else { continue };
            let left = left(found.last, now);
            let failures = if left.is_some() { found.failures } else { 0 };
            if failures >= *limit {
                return Err(TooMany { retry_after: left.unwrap_or(1) });
            }
            if failures + found.running >= *limit {
                turn = Turn::Later;
            }
        }
        if let Turn::Now = turn {
            for (key, _) in keys {
                if seen.len() >= REMEMBERED && !seen.contains_key(key) {
                    make_room(&mut seen, now);
                }
                let found = seen.entry(key.clone()).or_insert(Seen { failures: 0, last: now, running: 0 });
                if left(found.last, now).is_none() {
                    found.failures = 0;
                }
                found.running += 1;
            }
        }
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The password was wrong.
    pub fn failed(self, now: Timestamp) {
        let mut seen = self.limiter.lock();
        for (key, _) in &self.keys {
            if let Some(found) = seen.get_mut(key) {
                let failures = if left(found.last, now).is_some() { found.failures } else { 0 };
                (found.failures, found.last) = (failures + 1, now);
            }
        }
    }

    /// The password was right: the login starts over. The address keeps its count, or an attacker with one account
    /// could reset it at will.
    pub fn succeeded(self) {
        let mut seen = self.limiter.lock();
        if let Some(found) = seen.get_mut(&self.keys[0].0) {
            found.failures = 0;
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut seen = self.limiter.lock();
        for (key, _) in &self.keys {
            let Some(found) = seen.get_mut(key) else { continue };
            found.running = found.running.saturating_sub(1);
            if found.running == 0 && found.failures == 0 {
                seen.remove(key);
            }
        }
        drop(seen);
        self.limiter.ended.notify_waiters();
    }
}

/// Forgets what is over, else the oldest that nobody tries at the moment.
fn make_room(seen: &mut HashMap<Key, Seen>, now: Timestamp) {
    seen.retain(|_, found| found.running > 0 || left(found.last, now).is_some());
    if seen.len() < REMEMBERED {
        return;
    }
    let idle = seen.iter().filter(|(_, found)| found.running == 0);
    if let Some(oldest) = idle.min_by_key(|(_, found)| found.last).map(|(key, _)| key.clone()) {
        seen.remove(&oldest);
    }
}

fn keys(login: &str, address: IpAddr) -> [(Key, u32); 2] {
    [(Key::Login(normal(login)), PER_LOGIN), (Key::Address(address), PER_ADDRESS)]
}

fn normal(login: &str) -> String {
    login.trim().chars().take(256).collect::<String>().to_lowercase()
}

/// How many seconds remain, when any do.
fn left(last: Timestamp, now: Timestamp) -> Option<u64> {
    let since = rounds_core::time::elapsed(last, now);
    WINDOW.checked_sub(since).filter(|left| !left.is_zero()).map(|left| left.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_login_that_failed_too_often_waits_and_a_window_later_it_may_try_again() {
        let limiter = LoginLimiter::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let now = chrono::DateTime::UNIX_EPOCH;
        for _ in 0..PER_LOGIN {
            limiter.attempt("Ada", address, || now).await.unwrap().failed(now);
        }
        let refused = limiter.attempt("ada ", address, || now).await.unwrap_err();
        assert_eq!(refused, TooMany { retry_after: 300 });
        limiter.attempt("bob", address, || now).await.unwrap().succeeded();
        let later = now + chrono::TimeDelta::seconds(301);
        limiter.attempt("ada", address, || later).await.unwrap().failed(later);
        limiter.attempt("ada", address, || later).await.unwrap().succeeded();
    }

    #[tokio::test]
    async fn attempts_at_once_wait_for_each_other_and_no_more_fail_than_may() {
        let limiter = LoginLimiter::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let now = chrono::DateTime::UNIX_EPOCH;
        for (right, expected) in [(true, 40), (false, PER_LOGIN as usize)] {
            let attempts = (0..40).map(|_| async {
                let attempt = limiter.attempt("ada", address, || now).await?;
                tokio::task::yield_now().await;
                if right {
                    attempt.succeeded()
                } else {
                    attempt.failed(now)
                }
                Ok::<(), TooMany>(())
            });
            let looked_at = futures::future::join_all(attempts).await;
            assert_eq!(looked_at.iter().filter(|attempt| attempt.is_ok()).count(), expected);
        }
        assert!(limiter.lock().values().all(|seen| seen.running == 0));
    }
}
