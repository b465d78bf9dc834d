//! How connectors do: what came of the calls that this process made of them.
//!
//! Kept in memory, by process: a connector may be reachable from one replica and not from another, and a row written for
//! each query would cost more than it tells. The log says when one begins to fail and when it works again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connector::{Connector, Role};
use crate::id::ConnectorId;
use crate::redact::redact;
use crate::time::Timestamp;

/// So many characters of what went wrong are kept.
const MESSAGE: usize = 300;
/// So many answers in a row that refuse what was asked, and none that does not, are a failure of the connector.
const SUSPECTS: u32 = 3;

/// How a connector does, as seen by the calls of one process since it started or the connector was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectorHealth {
    /// The first failure since the last success; absent: it does not fail.
    pub failing_since: Option<Timestamp>,
    /// When a call last succeeded.
    pub last_success_at: Option<Timestamp>,
    /// When a call last failed.
    pub last_failure_at: Option<Timestamp>,
    /// What was wrong then: at most 300 characters, without what looks like a credential.
    pub last_failure: Option<String>,
    /// How many calls failed since the last success.
    pub consecutive_failures: u64,
}

impl ConnectorHealth {
    /// Whether its last call failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// The other side did what was asked.
    Ok,
    /// It did not, and would not do something else either.
    Failed(String),
    /// It answered that this cannot be done. That is what was asked, as a rule; when nothing else comes, it is the
    /// connector.
    Refused(String),
    /// Nobody knows: the caller lost interest, or nothing was asked of the other side.
    Unknown,
}

impl CallResult {
    fn label(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Which connector was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    pub id: ConnectorId,
    pub revision: u64,
    kind: String,
    name: String,
    role: &'static str,
}

impl Called {
    pub fn new(row: &Connector) -> Self {
        let role = match row.role {
            Role::Execution => "execution",
            Role::Datasource => "datasource",
            Role::Notifier => "notifier",
            Role::Model => "model",
        };
        Self { id: row.id, revision: row.revision, kind: row.kind.clone(), name: row.name.clone(), role }
    }

    /// By the name that an operator gave it: there are as many as there are connectors.
    fn labels(&self) -> [(&'static str, String); 3] {
        [("kind", self.kind.clone()), ("connector", self.name.clone()), ("role", self.role.to_owned())]
    }

    fn up(&self, value: f64) {
        gauge!("rounds_connector_up", &self.labels()).set(value);
    }
}

struct Seen {
    called: Called,
    health: ConnectorHealth,
    suspects: u32,
}

/// The health of every connector that was called.
#[derive(Default)]
pub(crate) struct Healths(Mutex<HashMap<ConnectorId, Seen>>);

impl Healths {
    fn seen(&self) -> MutexGuard<'_, HashMap<ConnectorId, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what came of a call.
    pub fn called(&self, called: &Called, at: Timestamp, took: Option<Duration>, result: CallResult) {
        let [kind, connector, role] = called.labels();
        let labels = [kind, connector, role, ("result", result.label().to_owned())];
        counter!("rounds_connector_calls_total", &labels).increment(1);
        if let Some(took) = took {
            histogram!("rounds_connector_call_duration_seconds", &called.labels()).record(took.as_secs_f64());
        }
        let mut all = self.seen();
        let new = || Seen { called: called.clone(), health: ConnectorHealth::default(), suspects: 0 };
        let seen = all.entry(called.id).or_insert_with(new);
        if called.revision < seen.called.revision {
            // The end of a call of what it was before.
            return;
        }
        if seen.called != *called {
            if seen.called.labels() != called.labels() {
                seen.called.up(f64::NAN);
            }
            *seen = new();
        }
        let health = &mut seen.health;
        let (why, counts) = match result {
            CallResult::Unknown => return,
            CallResult::Ok => {
                if health.is_failing() {
                    tracing::info!(connector = called.name, kind = called.kind, "a connector works again");
                }
                seen.suspects = 0;
                health.failing_since = None;
                health.consecutive_failures = 0;
                health.last_success_at = Some(at);
                return called.up(1.0);
            }
            CallResult::Failed(why) => (why, true),
            CallResult::Refused(why) => {
                seen.suspects = seen.suspects.saturating_add(1);
                (why, seen.suspects >= SUSPECTS)
            }
        };
        if !counts {
            return;
        }
        let why = bounded(&why);
        if !health.is_failing() {
            tracing::warn!(connector = called.name, kind = called.kind, error = %why, "a connector fails");
            health.failing_since = Some(at);
        }
        health.last_failure_at = Some(at);
        health.last_failure = Some(why);
        health.consecutive_failures = health.consecutive_failures.saturating_add(1);
        called.up(0.0);
    }

    /// How a connector does; `None`: this process has not called what it is now.
    pub fn of(&self, row: &Connector) -> Option<ConnectorHealth> {
        let all = self.seen();
        let seen = all.get(&row.id).filter(|seen| seen.called.revision == row.revision)?;
        Some(seen.health.clone()).filter(|health| *health != ConnectorHealth::default())
    }

    /// Forgets a connector that is no more.
    pub fn forget(&self, id: ConnectorId) {
        if let Some(seen) = self.seen().remove(&id) {
            // A gauge cannot be taken back, and 0 would be an alarm for ever.
            seen.called.up(f64::NAN);
        }
    }
}

fn bounded(why: &str) -> String {
    // Cut generously before and exactly after, so that no credential is cut in two and no text takes for ever.
    let why: String = why.chars().take(20 * MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let why = redact(&why, &[]);
    match why.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone as _, Utc};

    use super::*;

    fn called(revision: u64) -> Called {
        static ID: std::sync::LazyLock<ConnectorId> = std::sync::LazyLock::new(ConnectorId::new);
        let (kind, name) = ("prometheus".to_owned(), "metrics".to_owned());
        Called { id: *ID, revision, kind, name, role: "datasource" }
    }

    fn at(seconds: i64) -> Timestamp {
        Utc.timestamp_opt(0, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    fn health(healths: &Healths) -> ConnectorHealth {
        healths.seen().values().next().unwrap().health.clone()
    }

    #[test]
    fn a_connector_fails_from_its_first_failure_until_it_succeeds() {
        let healths = Healths::default();
        let call = |seconds, result| healths.called(&called(1), at(seconds), None, result);
        call(1, CallResult::Ok);
        call(2, CallResult::Failed("nobody answers".into()));
        call(3, CallResult::Failed("still nobody".into()));
        let failing = health(&healths);
        assert_eq!((failing.failing_since, failing.last_failure_at), (Some(at(2)), Some(at(3))));
        assert_eq!((failing.last_success_at, failing.consecutive_failures), (Some(at(1)), 2));
        assert_eq!(failing.last_failure.as_deref(), Some("still nobody"));
        call(4, CallResult::Unknown);
        assert_eq!(health(&healths), failing);
        call(5, CallResult::Ok);
        let mended = health(&healths);
        assert!(!mended.is_failing() && mended.consecutive_failures == 0);
        assert_eq!(mended.last_failure.as_deref(), Some("still nobody"), "what it was stays to be read");
    }

    #[test]
    fn one_wrong_question_is_not_the_connectors_and_nothing_but_refusals_is() {
        let healths = Healths::default();
        let call = |result| healths.called(&called(1), at(1), None, result);
        let refused = || CallResult::Refused("parse error".into());
        for _ in 0..5 {
            call(refused());
            call(refused());
            call(CallResult::Ok);
            assert!(!health(&healths).is_failing());
        }
        (0..SUSPECTS).for_each(|_| call(refused()));
        assert!(health(&healths).is_failing());
    }

    #[test]
    fn another_revision_begins_anew_and_the_end_of_an_old_call_changes_nothing() {
        let healths = Healths::default();
        healths.called(&called(1), at(1), None, CallResult::Failed("wrong address".into()));
        healths.called(&called(2), at(2), None, CallResult::Ok);
        assert_eq!(health(&healths), ConnectorHealth { last_success_at: Some(at(2)), ..ConnectorHealth::default() });
        healths.called(&called(1), at(3), None, CallResult::Failed("wrong address".into()));
        assert!(!health(&healths).is_failing());
    }

    #[test]
    fn rule_12_what_is_kept_is_bounded_and_without_credentials() {
        let healths = Healths::default();
        let said = format!("GET /?token=tok_4711aa\n\u{1b}[31m{}", "x".repeat(100_000));
        healths.called(&called(1), at(1), None, CallResult::Failed(said));
        let kept = health(&healths).last_failure.unwrap();
        assert!(kept.chars().count() <= MESSAGE + 1 && !kept.contains("tok_4711aa"), "{kept}");
        assert!(!kept.contains(char::is_control), "{kept:?}");
    }
}
