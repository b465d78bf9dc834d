//! Failed sign-ins are counted, by login and by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rounds_core::Timestamp;

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
struct Failures {
    count: u32,
    last: Timestamp,
}

/// Who failed to sign in lately. In memory: a restart forgives, several replicas count apart.
#[derive(Debug, Default)]
pub struct LoginLimiter {
    failures: Mutex<HashMap<Key, Failures>>,
}

impl LoginLimiter {
    /// Counts an attempt before its password is looked at, so that many at once cannot slip through together.
    ///
    /// # Errors
    /// There were too many.
    pub fn attempt(&self, login: &str, address: IpAddr, now: Timestamp) -> Result<(), TooMany> {
        let keys = keys(login, address);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in &keys {
            if let Some(found) = failures.get(key)
                && let Some(left) = left(found.last, now)
                && found.count >= *limit
            {
                return Err(TooMany { retry_after: left });
            }
        }
        for (key, _) in keys {
            if failures.len() >= REMEMBERED && !failures.contains_key(&key) {
                failures.retain(|_, found| left(found.last, now).is_some());
                if failures.len() >= REMEMBERED
                    && let Some(oldest) =
                        failures.iter().min_by_key(|(_, found)| found.last).map(|(key, _)| key.clone())
                {
                    failures.remove(&oldest);
                }
            }
            let found = failures.entry(key).or_insert(Failures { count: 0, last: now });
            let count = if left(found.last, now).is_some() { found.count } else { 0 };
            *found = Failures { count: count + 1, last: now };
        }
        Ok(())
    }

    /// A password was right: the login starts over. The address keeps its count less this attempt, or an attacker
    /// with one account could reset it at will.
    pub fn succeeded(&self, login: &str, address: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&Key::Login(normal(login)));
        if let Some(found) = failures.get_mut(&Key::Address(address)) {
            found.count = found.count.saturating_sub(1);
        }
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

    #[test]
    fn a_login_that_failed_too_often_waits_and_a_window_later_it_may_try_again() {
        let limiter = LoginLimiter::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let now = chrono::DateTime::UNIX_EPOCH;
        for _ in 0..PER_LOGIN {
            limiter.attempt("Ada", address, now).unwrap();
        }
        assert_eq!(limiter.attempt("ada ", address, now), Err(TooMany { retry_after: 300 }));
        limiter.attempt("bob", address, now).unwrap();
        let later = now + chrono::TimeDelta::seconds(301);
        limiter.attempt("ada", address, later).unwrap();
    }
}
