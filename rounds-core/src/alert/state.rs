//! The state machine of an alert: instance state, what was observed, now → next state and history row.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlertRule, Severity, next_evaluation};
use crate::id::{AlertInstanceId, AlertRuleId, HistoryId, InvestigationId, OrgId};
use crate::time::{Timestamp, elapsed};

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition is false.
    #[default]
    Normal,
    /// The condition is true, not yet for long enough.
    Pending,
    /// The condition is true for long enough.
    Firing,
    /// It fired and the condition is false again.
    Resolved,
    /// The rule is not evaluated.
    Disabled,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Normal, Self::Pending, Self::Firing, Self::Resolved, Self::Disabled];

    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Disabled => "disabled",
        }
    }
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The condition was evaluated.
    Condition,
    /// The series has been gone for the configured number of intervals.
    NoData,
    /// The rule's query or condition changed, so what was seen before says nothing.
    RuleChanged,
    /// A person switched the rule off.
    Disabled,
    /// A person switched the rule on.
    Enabled,
    /// A person deleted the rule.
    Deleted,
}

/// What one evaluation saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A value. Of several series, the first in label order.
    Sample {
        /// The value.
        value: f64,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// How many series there were.
        series: usize,
    },
    /// The query worked and answered nothing.
    Empty,
    /// The query failed.
    Failed(String),
}

/// One thing that a rule watches, and what was seen of it: the rule as a whole, or one label set of a rule that has an
/// alert for each. Of such a rule, the instance of the whole says when it is due, and sums up the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertInstance {
    /// The instance.
    pub id: AlertInstanceId,
    /// Its rule.
    pub rule_id: AlertRuleId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Which label set it is, by its fingerprint; `None`: the rule as a whole.
    #[serde(default)]
    pub series: Option<String>,
    /// The state.
    pub state: AlertState,
    /// Since when.
    pub state_changed_at: Timestamp,
    /// Since when the condition is true, while pending or firing. Persisted, so a restart loses nothing (rule 13).
    pub pending_since: Option<Timestamp>,
    /// Since when it fires: names the episode.
    pub firing_since: Option<Timestamp>,
    /// When it is due next; `None`: its rule is switched off. A row, so that any replica can take it up, and a restart
    /// forgets none.
    #[serde(default)]
    pub next_evaluation_at: Option<Timestamp>,
    /// When the query last answered or failed.
    pub last_evaluated_at: Option<Timestamp>,
    /// The last value.
    pub last_value: Option<f64>,
    /// The labels of the last sample.
    pub last_labels: BTreeMap<String, String>,
    /// What its source said of it, of an alert that another evaluates.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// How bad its source says it is, of an alert that another evaluates: alerts of one name differ in that.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// When the condition last held.
    #[serde(default)]
    pub last_true_at: Option<Timestamp>,
    /// The newest episode that is over, by its beginning, of an alert that another evaluates: a late notice of it is known
    /// by that.
    #[serde(default)]
    pub ended_episode: Option<Timestamp>,
    /// The newest episode that was told to have begun, by its beginning, of such an alert.
    #[serde(default)]
    pub told_episode: Option<Timestamp>,
    /// What the last evaluation failed with; `None` after one that worked.
    pub last_error: Option<String>,
    /// What a reader should know: several series were folded to one.
    pub warning: Option<String>,
    /// When the last sample was seen.
    pub last_sample_at: Option<Timestamp>,
    /// How many answers without a series there were since then; failed queries are none.
    #[serde(default)]
    pub empty_answers: u32,
    /// The newest investigation.
    pub investigation_id: Option<InvestigationId>,
    /// The investigation that started last, and when: the next one by itself keeps its distance. Written with the
    /// start, so that of two that start in the same moment one sees the other.
    #[serde(default)]
    pub investigated: Option<(InvestigationId, Timestamp)>,
    /// Whether it fires and nobody was told, because a silence covered it when it began to: they are told once it
    /// still fires after the silence.
    #[serde(default)]
    pub silenced: bool,
}

/// A change of state, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// The row.
    pub id: HistoryId,
    /// The rule.
    pub rule_id: AlertRuleId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name at that time.
    pub rule_name: String,
    /// The state before.
    pub from_state: AlertState,
    /// The state after.
    pub to_state: AlertState,
    /// The value.
    pub value: Option<f64>,
    /// The threshold at that time.
    pub threshold: f64,
    /// When.
    pub timestamp: Timestamp,
    /// The labels of the sample.
    pub labels: BTreeMap<String, String>,
    /// Why.
    pub reason: Reason,
    /// Of a row that begins or ends an episode: since when it fires or fired. Names the episode.
    #[serde(default)]
    pub firing_since: Option<Timestamp>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The state before.
    pub from: AlertState,
    /// The state after.
    pub to: AlertState,
    /// Why.
    pub reason: Reason,
}

/// What an evaluation leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The instance afterwards.
    pub instance: AlertInstance,
    /// The history row, when the state changed.
    pub history: Option<HistoryRow>,
}

impl AlertInstance {
    /// A new instance of a rule: normal, nothing seen.
    #[must_use]
    pub fn new(rule: &AlertRule, now: Timestamp) -> Self {
        Self {
            id: AlertInstanceId::new(),
            rule_id: rule.id,
            org_id: rule.org_id.clone(),
            series: None,
            state: if rule.enabled { AlertState::Normal } else { AlertState::Disabled },
            state_changed_at: now,
            pending_since: None,
            firing_since: None,
            next_evaluation_at: (rule.enabled && rule.source.is_none()).then_some(now),
            last_evaluated_at: None,
            last_value: None,
            last_labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            severity: None,
            last_true_at: None,
            ended_episode: None,
            told_episode: None,
            last_error: None,
            warning: None,
            last_sample_at: None,
            empty_answers: 0,
            investigation_id: None,
            investigated: None,
            silenced: false,
        }
    }

    /// A new instance of one label set: normal, nothing seen. It is never due by itself: its rule is.
    #[must_use]
    pub fn of_series(rule: &AlertRule, key: String, now: Timestamp) -> Self {
        Self { series: Some(key), next_evaluation_at: None, ..Self::new(rule, now) }
    }
}

/// One evaluation: what was seen at `now` moves the instance on.
///
/// - A failed query or an empty answer changes no state, unless the series has been gone for `no_data_intervals`
///   intervals and was missed as often: then a pending or firing alert ends with [`Reason::NoData`]. Time alone
///   would let the first empty answer after an outage end an alert in flight.
/// - After a gap of more than three intervals a pending alert starts waiting anew: an outage between two true
///   samples is not a duration.
/// - A disabled rule stays disabled whatever is seen.
#[must_use]
pub fn evaluate(
    rule: &AlertRule,
    before: &AlertInstance,
    seen: &Observation,
    now: Timestamp,
    no_data_intervals: u32,
) -> Evaluation {
    let mut next = before.clone();
    if before.state == AlertState::Disabled {
        return Evaluation { instance: next, history: None };
    }
    next.last_evaluated_at = Some(now);
    next.next_evaluation_at = Some(next_evaluation(rule, now));
    let (value, labels, series) = match seen {
        Observation::Failed(error) => {
            next.last_error = Some(error.clone());
            return Evaluation { instance: next, history: None };
        }
        Observation::Empty => {
            next.last_error = None;
            next.warning = Some("the query answers no series".into());
            next.empty_answers = before.empty_answers.saturating_add(1);
            let gone_for = elapsed(before.last_sample_at.unwrap_or(before.state_changed_at), now);
            let gone = next.empty_answers >= no_data_intervals && gone_for >= rule.interval() * no_data_intervals;
            let gone = gone && !is_kept(rule, before, now);
            let to = match before.state {
                AlertState::Pending if gone => AlertState::Normal,
                AlertState::Firing if gone => AlertState::Resolved,
                AlertState::Normal
                | AlertState::Pending
                | AlertState::Firing
                | AlertState::Resolved
                | AlertState::Disabled => return Evaluation { instance: next, history: None },
            };
            return moved(rule, next, to, Reason::NoData, None, now);
        }
        Observation::Sample { value, labels, series } => (*value, labels, *series),
    };
    next.last_error = None;
    next.last_value = Some(value);
    next.last_labels.clone_from(labels);
    next.last_sample_at = Some(now);
    next.empty_answers = 0;
    next.warning = (series > 1).then(|| {
        format!("the query answers {series} series; only the first in label order counts: aggregate it to one")
    });
    let holds = rule.condition.operator.holds(value, rule.condition.threshold);
    if holds {
        next.last_true_at = Some(now);
    }
    let to = match (before.state, holds) {
        (AlertState::Normal | AlertState::Resolved, true) => {
            next.pending_since = Some(now);
            if rule.condition.for_duration_sec == 0 { AlertState::Firing } else { AlertState::Pending }
        }
        (AlertState::Pending, true) => {
            let gap = before.last_sample_at.is_none_or(|last| elapsed(last, now) > rule.interval() * 3);
            let since = before.pending_since.filter(|_| !gap).unwrap_or(now);
            next.pending_since = Some(since);
            if elapsed(since, now).as_secs_f64() >= rule.condition.for_duration_sec as f64 {
                AlertState::Firing
            } else {
                AlertState::Pending
            }
        }
        (AlertState::Pending, false) => AlertState::Normal,
        (AlertState::Firing, false) if is_kept(rule, before, now) => AlertState::Firing,
        (AlertState::Firing, false) => AlertState::Resolved,
        (AlertState::Firing, true) | (AlertState::Normal | AlertState::Resolved, false) | (AlertState::Disabled, _) => {
            before.state
        }
    };
    if to == before.state {
        return Evaluation { instance: next, history: None };
    }
    moved(rule, next, to, Reason::Condition, Some(value), now)
}

/// Whether an alert goes on firing because its condition held a moment ago.
fn is_kept(rule: &AlertRule, before: &AlertInstance, now: Timestamp) -> bool {
    let last = before.last_true_at.or(before.firing_since);
    let keep = rule.condition.keep_firing_for_sec;
    before.state == AlertState::Firing && last.is_some_and(|last| elapsed(last, now).as_secs_f64() < keep as f64)
}

/// The rule's query or condition changed: what was seen before says nothing.
#[must_use]
pub fn reset(rule: &AlertRule, before: &AlertInstance, now: Timestamp) -> Evaluation {
    let mut next = before.clone();
    next.next_evaluation_at = rule.enabled.then_some(now);
    next.last_value = None;
    next.last_error = None;
    next.warning = None;
    next.last_sample_at = None;
    next.last_true_at = None;
    next.empty_answers = 0;
    let to = match before.state {
        AlertState::Disabled => AlertState::Disabled,
        AlertState::Normal | AlertState::Pending | AlertState::Firing | AlertState::Resolved => AlertState::Normal,
    };
    // The history row keeps the labels: silences match what was firing by them.
    let mut evaluation = if to == before.state {
        Evaluation { instance: next, history: None }
    } else {
        moved(rule, next, to, Reason::RuleChanged, None, now)
    };
    evaluation.instance.last_labels.clear();
    evaluation
}

/// A person deletes the rule. The instance goes with it; the history row stays.
#[must_use]
pub fn remove(rule: &AlertRule, before: &AlertInstance, now: Timestamp) -> Evaluation {
    moved(rule, before.clone(), AlertState::Disabled, Reason::Deleted, None, now)
}

/// A person switches the rule off. An episode that was firing ends.
#[must_use]
pub fn disable(rule: &AlertRule, before: &AlertInstance, now: Timestamp) -> Evaluation {
    if before.state == AlertState::Disabled {
        return Evaluation { instance: before.clone(), history: None };
    }
    let next = AlertInstance { next_evaluation_at: None, ..before.clone() };
    moved(rule, next, AlertState::Disabled, Reason::Disabled, None, now)
}

/// A person switches the rule on: it starts from normal.
#[must_use]
pub fn enable(rule: &AlertRule, before: &AlertInstance, now: Timestamp) -> Evaluation {
    if before.state != AlertState::Disabled {
        return Evaluation { instance: before.clone(), history: None };
    }
    let mut next = before.clone();
    next.next_evaluation_at = Some(now);
    next.last_sample_at = None;
    next.empty_answers = 0;
    moved(rule, next, AlertState::Normal, Reason::Enabled, None, now)
}

/// The one place that writes `state`, but for the summary of a rule with several label sets.
pub(super) fn moved(
    rule: &AlertRule,
    mut next: AlertInstance,
    to: AlertState,
    reason: Reason,
    value: Option<f64>,
    now: Timestamp,
) -> Evaluation {
    let from = next.state;
    let fired_since = next.firing_since;
    next.state = to;
    next.state_changed_at = now;
    next.silenced = false;
    match to {
        AlertState::Firing => next.firing_since = Some(now),
        AlertState::Pending => next.firing_since = None,
        AlertState::Normal | AlertState::Resolved | AlertState::Disabled => {
            next.pending_since = None;
            next.firing_since = None;
        }
    }
    let history = HistoryRow {
        id: HistoryId::new(),
        rule_id: rule.id,
        org_id: rule.org_id.clone(),
        rule_name: rule.name.clone(),
        from_state: from,
        to_state: to,
        value,
        threshold: rule.condition.threshold,
        timestamp: now,
        labels: next.last_labels.clone(),
        reason,
        firing_since: next.firing_since.or(fired_since),
    };
    Evaluation { instance: next, history: Some(history) }
}
