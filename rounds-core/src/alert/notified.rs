//! Alerts that somebody else evaluates: what a notice of Alertmanager or Grafana does to an instance.
//!
//! Such a notice may come twice, late, from each of several Alertmanagers that gossip, and again every few hours while the
//! alert fires. What an episode is called by, and so what makes two notices speak of the same one, is the fingerprint of
//! the alert (the instance) and the moment it started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{Reason, moved};
use super::{AlertInstance, AlertRule, AlertState, Evaluation, Severity};
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
    /// How bad it is.
    pub severity: Severity,
}

/// Two starts of one alert that are this close are one episode: replicas that evaluate the same rule see it begin within an
/// evaluation interval of each other.
const SAME_START: Duration = Duration::from_secs(60);

/// What a notice does to an instance. Ask again with the instance that came out until the answer has no history row: a
/// new episode ends the one before it first. `None`: the notice is about an episode that is over, or says nothing new.
///
/// - An episode fires once, however often it is told, and a late notice of one that is over wakes nothing: not even when its
///   end was told before its beginning.
/// - Whoever merges several senders says the earliest start, so an earlier start than that of what fires is the same episode. A
///   later one is another: that the old one ended was never told.
/// - One that ended because nothing was heard of it fires again when it is told again.
#[must_use]
pub fn notified(rule: &AlertRule, before: &AlertInstance, seen: &Notified, now: Timestamp) -> Option<Evaluation> {
    if !rule.enabled || before.ended_episode.is_some_and(|ended| seen.starts_at <= ended) {
        return None;
    }
    let mut next = before.clone();
    match (before.state, seen.resolved) {
        (AlertState::Firing, true) => {
            let mut evaluation = ended(rule, before, Reason::Condition, now);
            let instance = &mut evaluation.instance;
            instance.ended_episode = before.told_episode.max(Some(seen.starts_at));
            instance.last_sample_at = Some(now);
            Some(evaluation)
        }
        (AlertState::Firing, false) => {
            let told = before.told_episode.unwrap_or(seen.starts_at);
            if seen.starts_at > told && elapsed(told, seen.starts_at) > SAME_START {
                let mut evaluation = ended(rule, before, Reason::Condition, now);
                evaluation.instance.ended_episode = Some(told);
                return Some(evaluation);
            }
            // Told again: what it says of itself may be newer.
            next.see(seen, now);
            next.told_episode = Some(told.max(seen.starts_at));
            Some(Evaluation { instance: next, history: None })
        }
        (_, true) => {
            // Its beginning may still be on its way.
            next.ended_episode = Some(seen.starts_at);
            Some(Evaluation { instance: next, history: None })
        }
        (_, false) => {
            next.see(seen, now);
            // An episode that ended unheard and is told again is named by this moment: its name is taken.
            let since = if before.told_episode == Some(seen.starts_at) { now } else { seen.starts_at };
            next.told_episode = Some(seen.starts_at);
            let mut evaluation = moved(rule, next, AlertState::Firing, Reason::Condition, seen.value, now);
            evaluation.instance.pending_since = Some(since);
            evaluation.instance.firing_since = Some(since);
            if let Some(row) = &mut evaluation.history {
                row.firing_since = Some(since);
            }
            Some(evaluation)
        }
    }
}

/// An alert of which nobody has said for so long that it fires, or `None` while there is time. Whoever should have told its end
/// may be gone; told again, it fires again.
#[must_use]
pub fn unheard(rule: &AlertRule, before: &AlertInstance, stale: Duration, now: Timestamp) -> Option<Evaluation> {
    let heard = before.last_sample_at.unwrap_or(before.state_changed_at);
    let is_stale = before.state == AlertState::Firing && elapsed(heard, now) >= stale;
    is_stale.then(|| ended(rule, before, Reason::NoData, now))
}

fn ended(rule: &AlertRule, before: &AlertInstance, reason: Reason, now: Timestamp) -> Evaluation {
    let next = AlertInstance { last_evaluated_at: Some(now), ..before.clone() };
    moved(rule, next, AlertState::Resolved, reason, before.last_value, now)
}

impl AlertInstance {
    fn see(&mut self, seen: &Notified, now: Timestamp) {
        self.last_evaluated_at = Some(now);
        self.last_sample_at = Some(now);
        self.last_value = seen.value;
        self.severity = Some(seen.severity);
        self.last_labels.clone_from(&seen.labels);
        self.annotations.clone_from(&seen.annotations);
    }
}
