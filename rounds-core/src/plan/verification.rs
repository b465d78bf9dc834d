//! Whether the alert recovered after a plan completed. Beside the plan's status, which stays terminal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alert::{AlertInstance, AlertState};
use crate::time::{Timestamp, after_ms};

/// Whether the alert recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerificationStatus {
    /// The plan has not completed, or no alert is linked.
    #[default]
    NotApplicable,
    /// The alert is being watched.
    Watching,
    /// The alert went from true to false after the first step and stayed so.
    Recovered,
    /// The alert is still true at the end of the watch.
    NotRecovered,
    /// Nobody can say: no data, or it had recovered before the first step. Never a success.
    Inconclusive,
}

impl VerificationStatus {
    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "not_applicable",
            Self::Watching => "watching",
            Self::Recovered => "recovered",
            Self::NotRecovered => "not_recovered",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The watch over the linked alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether the alert recovered.
    pub status: VerificationStatus,
    /// Whether the alert was true when the first step started; without that, nothing recovered through the plan.
    pub was_firing: Option<bool>,
    /// Since when it is watched.
    pub since: Option<Timestamp>,
    /// Since when it is evaluated false without a break.
    pub false_since: Option<Timestamp>,
    /// The condition of the rule when it was looked at first: another one proves nothing of what the plan did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// Why, in a sentence.
    pub reason: Option<String>,
}

impl Verification {
    pub(super) fn begin(&mut self, linked: bool, at: Timestamp) {
        self.false_since = None;
        self.settled_at = None;
        self.since = Some(at);
        self.status = match (linked, self.was_firing) {
            (false, _) => VerificationStatus::NotApplicable,
            (true, Some(true)) => VerificationStatus::Watching,
            (true, Some(false) | None) => {
                self.settled_at = Some(at);
                self.reason = Some("the alert was not firing when the first step started".into());
                VerificationStatus::Inconclusive
            }
        };
    }

    /// The plan changed the very rule that would have to say whether it helped.
    pub(super) fn says_nothing(&mut self, at: Timestamp) {
        if self.status == VerificationStatus::Watching {
            self.status = VerificationStatus::Inconclusive;
            self.settled_at = Some(at);
            self.reason = Some("the plan changed the alert rule itself, so its silence proves nothing".into());
        }
    }

    /// Holds the rule against what it was at the first look.
    #[must_use]
    pub fn of_condition(mut self, condition: String, now: Timestamp) -> Self {
        if self.status != VerificationStatus::Watching {
            return self;
        }
        match &self.condition {
            None => self.condition = Some(condition),
            Some(first) if *first != condition => {
                let why = "the alert rule was changed while it was watched";
                return self.settled(VerificationStatus::Inconclusive, now, why);
            }
            Some(_) => {}
        }
        self
    }

    fn settled(mut self, status: VerificationStatus, at: Timestamp, reason: &str) -> Self {
        self.status = status;
        self.settled_at = Some(at);
        self.reason = Some(reason.into());
        self
    }
}

/// What verification needs to know of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertView {
    /// Its state.
    pub state: AlertState,
    /// Since when.
    pub state_changed_at: Timestamp,
    /// When the last sample was seen.
    pub last_sample_at: Option<Timestamp>,
    /// Whether the condition held at the last evaluation; `None` when it gave no number.
    pub holds: Option<bool>,
}

impl AlertView {
    /// What an instance says now. A rule with several alerts is true while one of them is; and of an alert that another
    /// evaluates nothing is heard while it is over, so that is as good as a sample.
    #[must_use]
    pub fn at(rule: &crate::alert::AlertRule, instance: &AlertInstance, now: Timestamp) -> Self {
        let on = matches!(instance.state, AlertState::Pending | AlertState::Firing);
        if rule.source.is_some() {
            return Self {
                state: instance.state,
                state_changed_at: instance.state_changed_at,
                last_sample_at: Some(now),
                // That its source fell silent is no end of it.
                holds: (on || instance.last_sample_at >= Some(instance.state_changed_at)).then_some(on),
            };
        }
        if rule.is_each() && instance.series.is_none() {
            let answered = instance.last_error.is_none() && instance.last_sample_at == instance.last_evaluated_at;
            return Self {
                state: instance.state,
                state_changed_at: instance.state_changed_at,
                last_sample_at: instance.last_sample_at,
                holds: answered.then_some(on),
            };
        }
        Self::of(rule, instance)
    }

    /// What an instance and its rule say.
    #[must_use]
    pub fn of(rule: &crate::alert::AlertRule, instance: &AlertInstance) -> Self {
        // The last value is news only when nothing failed or came back empty since. `NaN` is what a ratio becomes
        // when there is nothing left to count: no data.
        let answered = instance.last_evaluated_at == instance.last_sample_at;
        let value = instance.last_value.filter(|value| answered && !value.is_nan());
        Self {
            state: instance.state,
            state_changed_at: instance.state_changed_at,
            last_sample_at: instance.last_sample_at,
            holds: value.map(|value| rule.condition.operator.holds(value, rule.condition.threshold)),
        }
    }
}

/// One look at the alert: true-to-false, and so for `stable_ms`, is recovered; still true `deadline_ms` after the
/// plan completed is not; anything else by then is inconclusive. Whatever is not known to be false, an evaluation
/// without a number included, ends the stretch that counts.
#[must_use]
pub fn verify(
    watch: &Verification,
    alert: Option<&AlertView>,
    now: Timestamp,
    stable_ms: u64,
    deadline_ms: u64,
) -> Verification {
    if watch.status != VerificationStatus::Watching {
        return watch.clone();
    }
    let mut next = watch.clone();
    let Some(since) = watch.since else {
        return next.settled(VerificationStatus::Inconclusive, now, "nobody wrote down when the watch began");
    };
    let Some(alert) = alert else {
        return next.settled(VerificationStatus::Inconclusive, now, "the alert rule is gone");
    };
    if alert.state == AlertState::Disabled {
        return next.settled(VerificationStatus::Inconclusive, now, "the alert rule was switched off");
    }
    // Only a sample taken after the plan completed says anything about what the plan did.
    let sample = alert.last_sample_at.filter(|at| *at > since).zip(alert.holds);
    match sample {
        Some((at, false)) => {
            // A state that changed since then was true in between, or is that of another rule.
            let false_since = next.false_since.filter(|since| alert.state_changed_at <= *since).unwrap_or(at);
            next.false_since = Some(false_since);
            // Measured between samples, not to now: silence after one good sample is not stability.
            if at >= after_ms(false_since, stable_ms) {
                return next.settled(VerificationStatus::Recovered, now, "the condition is false and stayed so");
            }
        }
        Some((_, true)) | None => next.false_since = None,
    }
    if now >= after_ms(since, deadline_ms) {
        let (status, reason) = match sample {
            Some((_, true)) => (VerificationStatus::NotRecovered, "the condition is still true"),
            Some((_, false)) => (VerificationStatus::Inconclusive, "the condition was not false for long enough"),
            None => (VerificationStatus::Inconclusive, "there is no sample to tell by"),
        };
        return next.settled(status, now, reason);
    }
    next
}
