//! Alerts that somebody else evaluates: what a notice of Alertmanager or Grafana does to an instance.
//!
//! Such a notice may come twice, late, from each of several Alertmanagers that gossip, and again every few hours while the
//! alert fires. What an episode is called by, and so what makes two notices speak of the same one, is the fingerprint of
//! the alert (the instance) and the moment it started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{Reason, moved};
use super::{AlertInstance, AlertRule, AlertState, Evaluation};
use crate::time::{Timestamp, elapsed};

/// What a notice says of one alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    /// Since when it fires: names the episode.
    pub starts_at: Timestamp,
    /// Whether it is over.
    pub resolved: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as they were filled in.
    pub annotations: BTreeMap<String, String>,
    /// Its value, when the source says one.
    pub value: Option<f64>,
}

/// What a notice does to an instance. Ask again with the instance that came out until the answer has no history row: a
/// new episode ends the one before it first. `None`: the notice is about an episode that is over, or says nothing new.
///
/// - An episode fires once, however often it is told, and a late notice of one that is over wakes nothing.
/// - A later start than that of what fires is a new episode: that the old one ended was never told.
/// - The end of an episode that is not the one that fires ends nothing.
#[must_use]
pub fn notified(rule: &AlertRule, before: &AlertInstance, seen: &Notified, now: Timestamp) -> Option<Evaluation> {
    if !rule.enabled {
        return None;
    }
    let mut next = before.clone();
    match before.state {
        AlertState::Firing => {
            let since = before.firing_since.unwrap_or(seen.starts_at);
            if seen.resolved && seen.starts_at >= since {
                let mut evaluation = ended(rule, before, Reason::Condition, now);
                evaluation.instance.last_sample_at = Some(now);
                return Some(evaluation);
            }
            if seen.resolved || seen.starts_at < since {
                return None;
            }
            if seen.starts_at > since {
                return Some(ended(rule, before, Reason::Condition, now));
            }
            // Told again: what it says of itself may be newer.
            next.see(seen, now);
            Some(Evaluation { instance: next, history: None })
        }
        AlertState::Normal | AlertState::Pending | AlertState::Resolved | AlertState::Disabled => {
            if seen.resolved || before.ended_episode.is_some_and(|ended| seen.starts_at <= ended) {
                return None;
            }
            next.see(seen, now);
            let mut evaluation = moved(rule, next, AlertState::Firing, Reason::Condition, seen.value, now);
            evaluation.instance.pending_since = Some(seen.starts_at);
            evaluation.instance.firing_since = Some(seen.starts_at);
            if let Some(row) = &mut evaluation.history {
                row.firing_since = Some(seen.starts_at);
            }
            Some(evaluation)
        }
    }
}

/// An alert of which nobody has said for so long that it fires, or `None` while there is time. Whoever should have told its end
/// may be gone.
#[must_use]
pub fn unheard(rule: &AlertRule, before: &AlertInstance, stale: Duration, now: Timestamp) -> Option<Evaluation> {
    let heard = before.last_sample_at.unwrap_or(before.state_changed_at);
    let is_stale = before.state == AlertState::Firing && elapsed(heard, now) >= stale;
    is_stale.then(|| ended(rule, before, Reason::NoData, now))
}

fn ended(rule: &AlertRule, before: &AlertInstance, reason: Reason, now: Timestamp) -> Evaluation {
    let mut next = before.clone();
    next.ended_episode = before.firing_since.max(before.ended_episode);
    next.last_evaluated_at = Some(now);
    moved(rule, next, AlertState::Resolved, reason, before.last_value, now)
}

impl AlertInstance {
    fn see(&mut self, seen: &Notified, now: Timestamp) {
        self.last_evaluated_at = Some(now);
        self.last_sample_at = Some(now);
        self.last_value = seen.value;
        self.last_labels.clone_from(&seen.labels);
        self.annotations.clone_from(&seen.annotations);
    }
}
