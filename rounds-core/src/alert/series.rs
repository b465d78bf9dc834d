//! One alert for each label set: what an answer of many series leads to, and what it comes to for the rule as a whole.
//!
//! A rule has one instance for itself, which says when it is due and, in a summary, how it is. Beside it there is one for
//! each label set that is or was on: a label set for which the condition does not hold needs no row. What ended is kept
//! for [`RESOLVED_KEPT`], so that people see it, and cooldown and verification know it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{AlertInstance, AlertRule, AlertState, Evaluation, Observation, evaluate, next_evaluation};
use crate::canonical;
use crate::id::AlertInstanceId;
use crate::time::{Timestamp, elapsed};

/// How long the instance of a label set is kept after it resolved.
pub const RESOLVED_KEPT: Duration = Duration::from_secs(86_400);

/// For each label set that may be on there are so many that are over and kept: where pods come and go, names never return,
/// and a day of them would be without end.
const OVER_PER_PLACE: usize = 10;

/// The label sets that are over and kept no longer, because too many are over since: all but the newest.
pub(crate) fn too_many_over<'a>(
    series: impl IntoIterator<Item = &'a AlertInstance>,
    most: usize,
) -> BTreeSet<AlertInstanceId> {
    let is_over = |one: &&AlertInstance| !matches!(one.state, AlertState::Pending | AlertState::Firing);
    let mut over: Vec<&AlertInstance> = series.into_iter().filter(is_over).collect();
    over.sort_by_key(|one| std::cmp::Reverse((one.state_changed_at, one.id)));
    over.into_iter().skip(most.saturating_mul(OVER_PER_PLACE)).map(|one| one.id).collect()
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its value.
    pub value: f64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How many label sets are followed, and when one without data ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesLimits {
    /// The most that may be pending or firing at a time.
    pub most: usize,
    /// After how many intervals without a series its alert ends.
    pub no_data_intervals: u32,
    /// Whether the datasource left something out of its answer: a label set that is not in it may be there all the same.
    pub partial: bool,
    /// For how long after it resolved what is seen of one is still written down.
    pub followed: Duration,
}

/// What an answer leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesEvaluation {
    /// The rule's own instance afterwards.
    pub whole: AlertInstance,
    /// The label sets that were there and changed.
    pub changed: Vec<Evaluation>,
    /// The label sets that are on and were not there.
    pub made: Vec<Evaluation>,
    /// The label sets of which nothing is kept: with the last change of their state, when there was one.
    pub gone: Vec<Evaluation>,
}

impl SeriesEvaluation {
    /// Whether a state changed, or somebody waits to hear of one after a silence.
    #[must_use]
    pub fn matters(&self) -> bool {
        let all = self.changed.iter().chain(&self.made).chain(&self.gone);
        all.into_iter().any(|one| one.history.is_some() || one.instance.silenced)
    }
}

/// What tells one label set of a rule from another: a fingerprint of its labels, without the name of the metric.
#[must_use]
pub fn series_key(labels: &BTreeMap<String, String>) -> String {
    let named: BTreeMap<&str, &str> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let digest = Sha256::digest(canonical::to_string(&serde_json::json!(named)));
    hex::encode(&digest[..16])
}

/// One evaluation of a rule with an alert for each label set: each goes through [`evaluate`] on its own. `None` for what
/// was seen: the query failed, which changes no label set.
#[must_use]
pub fn evaluate_each(
    rule: &AlertRule,
    whole: &AlertInstance,
    series: &[AlertInstance],
    seen: Result<Vec<Sample>, String>,
    now: Timestamp,
    limits: SeriesLimits,
) -> SeriesEvaluation {
    let mut found = SeriesEvaluation { whole: whole.clone(), changed: Vec::new(), made: Vec::new(), gone: Vec::new() };
    if whole.state == AlertState::Disabled {
        return found;
    }
    found.whole.last_evaluated_at = Some(now);
    found.whole.next_evaluation_at = Some(next_evaluation(rule, now));
    let mut samples = match seen {
        Ok(samples) => samples,
        Err(error) => {
            found.whole.last_error = Some(error);
            return found;
        }
    };
    found.whole.last_error = None;
    found.whole.warning = match (samples.is_empty(), limits.partial) {
        _ if rule.absent_is_zero => None,
        (true, _) => Some("the query answers no series".into()),
        (false, true) => Some(
            "the datasource left series out of its answer, and nobody watches those: ask for fewer, such as with the comparison in \
             the query"
                .into(),
        ),
        (false, false) => None,
    };
    if !samples.is_empty() || rule.absent_is_zero {
        found.whole.last_sample_at = Some(now);
    }
    samples.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut answered: BTreeMap<String, Sample> = BTreeMap::new();
    for sample in samples {
        // Of two that differ in the metric's name only, the first counts.
        answered.entry(series_key(&sample.labels)).or_insert(sample);
    }
    let mut after: Vec<AlertInstance> = Vec::new();
    for before in series {
        let sample = before.series.as_ref().and_then(|key| answered.remove(key));
        let observed = match sample {
            Some(Sample { value, labels }) => Observation::Sample { value, labels, series: 1 },
            None if rule.absent_is_zero => {
                Observation::Sample { value: 0.0, labels: before.last_labels.clone(), series: 1 }
            }
            // It may be in what was left out.
            None if limits.partial => {
                after.push(before.clone());
                continue;
            }
            None => Observation::Empty,
        };
        let mut evaluation = evaluate(rule, before, &observed, now, limits.no_data_intervals);
        evaluation.instance.next_evaluation_at = None;
        let next = &evaluation.instance;
        match next.state {
            AlertState::Pending | AlertState::Firing => {
                after.push(next.clone());
                found.changed.push(evaluation);
            }
            AlertState::Resolved if evaluation.history.is_some() => {
                after.push(next.clone());
                found.changed.push(evaluation);
            }
            AlertState::Resolved if elapsed(next.state_changed_at, now) < limits.followed => {
                after.push(next.clone());
                found.changed.push(evaluation);
            }
            AlertState::Resolved if elapsed(next.state_changed_at, now) < RESOLVED_KEPT => after.push(before.clone()),
            AlertState::Resolved | AlertState::Normal | AlertState::Disabled => found.gone.push(evaluation),
        }
    }
    let forgotten = too_many_over(&after, limits.most);
    for over in after.extract_if(.., |one| forgotten.contains(&one.id)) {
        // With the row of its end, when this was it.
        let changed = found.changed.iter().position(|one| one.instance.id == over.id);
        let last = changed.map(|at| found.changed.remove(at));
        found.gone.push(last.unwrap_or(Evaluation { instance: over, history: None }));
    }
    let on = |instance: &&AlertInstance| matches!(instance.state, AlertState::Pending | AlertState::Firing);
    let mut places = limits.most.saturating_sub(after.iter().filter(on).count());
    let mut over = 0;
    // In label order, so that who has no place does not change from one evaluation to the next.
    let mut new: Vec<(String, Sample)> = answered.into_iter().collect();
    new.sort_by(|(_, a), (_, b)| a.labels.cmp(&b.labels));
    for (key, Sample { value, labels }) in new {
        if !rule.condition.operator.holds(value, rule.condition.threshold) {
            continue;
        }
        if places == 0 {
            over += 1;
            continue;
        }
        places -= 1;
        let before = AlertInstance::of_series(rule, key, now);
        let mut evaluation = evaluate(rule, &before, &Observation::Sample { value, labels, series: 1 }, now, 1);
        evaluation.instance.next_evaluation_at = None;
        after.push(evaluation.instance.clone());
        found.made.push(evaluation);
    }
    if over > 0 {
        found.whole.warning = Some(format!(
            "the condition holds for {over} more label sets than the {} that are followed at a time: they are not \
             alerts. Aggregate the query to fewer series, or raise the setting",
            limits.most
        ));
    }
    summarize(&mut found.whole, &after, now);
    found
}

/// What the label sets come to for their rule: the worst of their states, since when, and what one of them saw.
pub(crate) fn summarize(whole: &mut AlertInstance, series: &[AlertInstance], now: Timestamp) {
    let of = |state: AlertState| series.iter().filter(move |one| one.state == state);
    let order = [AlertState::Firing, AlertState::Pending, AlertState::Resolved];
    let state = order.into_iter().find(|state| of(*state).next().is_some()).unwrap_or(AlertState::Normal);
    if whole.state != state {
        whole.state = state;
        whole.state_changed_at = now;
    }
    whole.firing_since = of(AlertState::Firing).filter_map(|one| one.firing_since).min();
    whole.pending_since = series
        .iter()
        .filter(|one| matches!(one.state, AlertState::Pending | AlertState::Firing))
        .filter_map(|one| one.pending_since)
        .min();
    let shown = of(state).min_by(|a, b| a.last_labels.cmp(&b.last_labels));
    whole.last_value = shown.and_then(|one| one.last_value);
    whole.last_labels = shown.map(|one| one.last_labels.clone()).unwrap_or_default();
    if let Some(newest) = series.iter().filter_map(|one| one.investigation_id).max() {
        whole.investigation_id = Some(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_set_is_known_by_its_labels_and_not_by_its_metric() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let key = series_key(&labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(key, series_key(&labels(&[("b", "2"), ("a", "1"), ("__name__", "up")])));
        assert_ne!(key, series_key(&labels(&[("a", "12"), ("b", "")])));
        assert_ne!(key, series_key(&labels(&[("a", "1")])));
    }
}
