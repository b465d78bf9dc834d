//! What a rule would have done: samples of the past through the same transition as those of today.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlertInstance, AlertRule, AlertState, Observation, Reason, evaluate};
use crate::time::{Timestamp, elapsed};

/// What a rule would have done over a range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Backtest {
    /// Every evaluation, in order of time.
    pub timeline: Vec<BacktestPoint>,
    /// What happened, in order of time.
    pub marks: Vec<Mark>,
    /// When it would have been pending and firing, in order of time.
    pub spans: Vec<Span>,
    /// All of it in a few numbers.
    pub summary: BacktestSummary,
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BacktestPoint {
    /// When.
    pub at: Timestamp,
    /// The value; absent without a series. JSON writes what is no number as null, too.
    pub value: Option<f64>,
    /// The state after it.
    pub state: AlertState,
}

/// What kind of moment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MarkKind {
    /// The condition became true.
    Pending,
    /// It would have fired.
    Firing,
    /// It would have been resolved.
    Resolved,
    /// The condition became false before it held for long enough.
    Normal,
    /// No sample for more than three intervals: what was pending waits anew after it.
    Gap,
    /// The series was gone for so long that what was pending or firing ended.
    NoData,
}

/// A moment worth a word.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Mark {
    /// What happened.
    pub kind: MarkKind,
    /// When, or from when.
    pub at: Timestamp,
    /// Until when, for what lasts: a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The value at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// A time in one state: `pending` or `firing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Span {
    /// The state.
    pub state: AlertState,
    /// Since when.
    pub from: Timestamp,
    /// Until when, or the end of the range.
    pub to: Timestamp,
}

/// A backtest in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BacktestSummary {
    /// How often it would have fired.
    pub fired: u32,
    /// How long it would have been firing, in seconds, up to the end of the range.
    pub firing_sec: u64,
    /// When it would have fired first.
    pub first_fired_at: Option<Timestamp>,
    /// When it would have fired last.
    pub last_fired_at: Option<Timestamp>,
    /// How often it would have been pending without firing.
    pub pending_only: u32,
    /// How many evaluations had a sample.
    pub samples: usize,
    /// How many had none.
    pub missing: usize,
    /// The state at the end.
    pub state: AlertState,
}

/// Replays what was seen, in order of time, from normal. It is the transition of the evaluator, so the two agree on the
/// same samples. Whether the rule is switched on does not matter.
///
/// The samples are one interval apart, or the caller says otherwise with another interval in the rule: a gap is
/// counted in intervals.
#[must_use]
pub fn backtest(rule: &AlertRule, seen: &[(Timestamp, Observation)], no_data_intervals: u32) -> Backtest {
    let mut found = Backtest::default();
    let (Some((first, _)), Some((end, _))) = (seen.first(), seen.last()) else { return found };
    let rule = AlertRule { enabled: true, ..rule.clone() };
    let mut instance = AlertInstance::new(&rule, *first);
    let mut last_sample = None;
    for (at, observation) in seen {
        let value = match observation {
            Observation::Sample { value, .. } => Some(*value),
            Observation::Empty | Observation::Failed(_) => None,
        };
        if value.is_some() {
            found.summary.samples += 1;
            found.marks.extend(gap(&rule, last_sample.unwrap_or(*first), *at));
            last_sample = Some(*at);
        } else {
            found.summary.missing += 1;
        }
        let evaluation = evaluate(&rule, &instance, observation, *at, no_data_intervals);
        if let Some(row) = &evaluation.history {
            let kind = match (row.reason, row.to_state) {
                (Reason::NoData, _) => MarkKind::NoData,
                (_, AlertState::Pending) => MarkKind::Pending,
                (_, AlertState::Firing) => MarkKind::Firing,
                (_, AlertState::Resolved) => MarkKind::Resolved,
                (_, AlertState::Normal | AlertState::Disabled) => MarkKind::Normal,
            };
            found.marks.push(Mark { kind, at: *at, until: None, value });
            found.moved(row.from_state, row.to_state, *at);
        }
        instance = evaluation.instance;
        found.timeline.push(BacktestPoint { at: *at, value, state: instance.state });
    }
    found.marks.extend(gap(&rule, last_sample.unwrap_or(*first), *end));
    if let Some(open) = found.spans.last_mut().filter(|span| span.state == instance.state) {
        open.to = *end;
    }
    let firing = found.spans.iter().filter(|span| span.state == AlertState::Firing);
    found.summary.firing_sec = firing.map(|span| elapsed(span.from, span.to).as_secs()).sum();
    found.summary.state = instance.state;
    found
}

/// The backtests of several label sets as one: everything that happened, in order of time, and the values of the one that
/// would have fired for the longest.
#[must_use]
pub fn backtests(each: Vec<Backtest>) -> Backtest {
    let mut all = Backtest::default();
    let shown = each.iter().max_by_key(|one| (one.summary.firing_sec, one.summary.samples));
    all.timeline = shown.map(|one| one.timeline.clone()).unwrap_or_default();
    let order = [AlertState::Firing, AlertState::Pending, AlertState::Resolved, AlertState::Normal];
    let state = order.into_iter().find(|state| each.iter().any(|one| one.summary.state == *state));
    all.summary.state = state.unwrap_or_default();
    all.summary.missing = each.iter().map(|one| one.summary.missing).min().unwrap_or_default();
    for one in each {
        all.marks.extend(one.marks);
        all.spans.extend(one.spans);
        all.summary.fired += one.summary.fired;
        all.summary.firing_sec += one.summary.firing_sec;
        all.summary.pending_only += one.summary.pending_only;
        all.summary.samples += one.summary.samples;
        let first = [all.summary.first_fired_at, one.summary.first_fired_at];
        all.summary.first_fired_at = first.into_iter().flatten().min();
        all.summary.last_fired_at = all.summary.last_fired_at.max(one.summary.last_fired_at);
    }
    all.marks.sort_by_key(|mark| mark.at);
    all.spans.sort_by_key(|span| (span.from, span.to));
    all
}

/// What the evaluator takes for a gap: more than three intervals between two samples.
fn gap(rule: &AlertRule, last: Timestamp, at: Timestamp) -> Option<Mark> {
    (elapsed(last, at) > rule.interval() * 3).then_some(Mark {
        kind: MarkKind::Gap,
        at: last,
        until: Some(at),
        value: None,
    })
}

impl Backtest {
    fn moved(&mut self, from: AlertState, to: AlertState, at: Timestamp) {
        if matches!(from, AlertState::Pending | AlertState::Firing)
            && let Some(ended) = self.spans.last_mut()
        {
            ended.to = at;
        }
        match to {
            AlertState::Firing => {
                self.summary.fired += 1;
                self.summary.first_fired_at.get_or_insert(at);
                self.summary.last_fired_at = Some(at);
                self.spans.push(Span { state: to, from: at, to: at });
            }
            AlertState::Pending => self.spans.push(Span { state: to, from: at, to: at }),
            AlertState::Normal if from == AlertState::Pending => self.summary.pending_only += 1,
            AlertState::Normal | AlertState::Resolved | AlertState::Disabled => {}
        }
    }
}
