//! Backtests: a rule over the past of its datasource. Nothing is stored and nothing starts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::alerts::Alerts;
use super::drafts::RuleDraft;
use super::error::Error;
use crate::access::Principal;
use crate::alert::{AlertRule, Backtest, Observation, backtest, backtests, series_key};
use crate::id::AlertRuleId;
use crate::ports::{DataSet, Point, Series};
use crate::time::{Timestamp, after_ms, elapsed};

/// The most evaluations of one backtest: what Prometheus answers for one range.
pub const BACKTEST_POINTS: u64 = 11_000;

/// The longest range of a backtest, in seconds: 31 days.
pub const BACKTEST_RANGE_SEC: u64 = 31 * 86_400;

/// A backtest with what it rests on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BacktestReport {
    /// From when, the first evaluation.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Between two evaluations, in seconds.
    pub step_sec: u64,
    /// Whether that is more than the rule's own interval, because the range is long.
    pub coarser: bool,
    /// How many series the query answered: of several, the first in label order counts at each evaluation, unless the rule
    /// has an alert for each.
    pub series_count: usize,
    /// Whether the datasource left something out.
    pub truncated: bool,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// What the rule would have done.
    pub backtest: Backtest,
}

impl Alerts<'_> {
    /// What a rule would have done between two moments. Changes nothing.
    ///
    /// # Errors
    /// `alert.rules:read` is missing, a field does not hold, the range is empty, in the future or longer than
    /// [`BACKTEST_RANGE_SEC`], or the datasource refused the query.
    pub async fn backtest(
        &self,
        who: &Principal,
        draft: RuleDraft,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BacktestReport, Error> {
        self.may_read(who).await?;
        let mut rule = self.drafted(who, draft, true);
        if rule.name.trim().is_empty() {
            // What is tried out has no name yet.
            rule.name = "backtest".into();
        }
        rule.validate().map_err(|error| Error::Invalid(error.to_string()))?;
        self.replay(who, rule, from, to).await
    }

    /// What a rule that there is would have done between two moments, as it is now.
    ///
    /// # Errors
    /// As [`backtest`](Self::backtest), and there is no such rule.
    pub async fn backtest_rule(
        &self,
        who: &Principal,
        id: AlertRuleId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BacktestReport, Error> {
        let rule = self.get(who, id).await?.rule;
        self.replay(who, rule, from, to).await
    }

    async fn replay(
        &self,
        who: &Principal,
        mut rule: AlertRule,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BacktestReport, Error> {
        let now = self.shared.now();
        if from >= to {
            return Err(Error::Invalid(format!("from: found {from}; a moment before {to} is expected")));
        }
        let to = to.min(now);
        if from >= to {
            return Err(Error::Invalid(format!("from: found {from}; a moment in the past is expected")));
        }
        if elapsed(from, to).as_secs() > BACKTEST_RANGE_SEC {
            let days = BACKTEST_RANGE_SEC / 86_400;
            return Err(Error::Invalid(format!("from: found {from}; at most {days} days before {to} are accepted")));
        }
        let step_sec = step_for(elapsed(from, to).as_secs(), rule.evaluation_interval_sec);
        let coarser = step_sec > rule.evaluation_interval_sec;
        let step = Duration::from_secs(step_sec);
        let answer = self.range(who, &rule.condition.query, rule.datasource_id, from, to, step).await?;
        let mut warnings = answer.warnings.clone();
        if answer.series.len() > 1 && !rule.is_each() {
            warnings.push(format!(
                "the query answers {} series; only the first in label order counts at each evaluation: aggregate it to \
                 one",
                answer.series.len()
            ));
        }
        if coarser {
            warnings.push(format!(
                "the range is long for an interval of {} s, so it is evaluated every {step_sec} s: what is shorter may \
                 be missed",
                rule.evaluation_interval_sec
            ));
            // A gap is counted in the intervals that there are here.
            rule.evaluation_interval_sec = step_sec;
        }
        let no_data = self.shared.settings.no_data_intervals;
        let backtest = if rule.is_each() {
            let mut sets: BTreeMap<String, Vec<Series>> = BTreeMap::new();
            for series in &answer.series {
                sets.entry(series_key(&series.labels)).or_default().push(series.clone());
            }
            let most = self.shared.settings.series_per_rule;
            if sets.len() > most {
                warnings.push(format!("the query answers {} label sets; {most} of them were replayed", sets.len()));
            }
            let replayed = sets
                .into_values()
                .take(most)
                .map(|series| backtest(&rule, &folded(&DataSet::of_series(series), from, to, step), no_data));
            backtests(replayed.collect())
        } else {
            backtest(&rule, &folded(&answer, from, to, step), no_data)
        };
        Ok(BacktestReport {
            from,
            to,
            step_sec,
            coarser,
            series_count: answer.series.len(),
            truncated: answer.truncated,
            warnings,
            backtest,
        })
    }
}

/// Between two evaluations: the rule's interval, or more when that would be too many of them.
fn step_for(range_sec: u64, interval_sec: u64) -> u64 {
    interval_sec.max(1).max(range_sec.div_ceil(BACKTEST_POINTS - 1))
}

/// What the evaluator would have seen at each step: of the series that have a point there, the first in label order.
fn folded(answer: &DataSet, from: Timestamp, to: Timestamp, step: Duration) -> Vec<(Timestamp, Observation)> {
    let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
    let ticks = u64::try_from(elapsed(from, to).as_millis()).unwrap_or(u64::MAX) / step_ms + 1;
    let ticks = usize::try_from(ticks.min(BACKTEST_POINTS)).unwrap_or(usize::MAX);
    let mut seen: Vec<(Timestamp, Observation)> =
        (0..ticks).map(|tick| (after_ms(from, tick as u64 * step_ms), Observation::Empty)).collect();
    let mut series: Vec<&Series> = answer.series.iter().collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    for one in series {
        for Point { at, value } in &one.points {
            // Datasources keep milliseconds at best, so a point may be a little beside its tick.
            let place = (*at - from).num_milliseconds() as f64 / step_ms as f64;
            if place < -0.5 {
                continue;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
            let Some((_, seen)) = seen.get_mut(place.round().max(0.0) as usize) else { continue };
            match seen {
                Observation::Sample { series, .. } => *series += 1,
                Observation::Empty | Observation::Failed(_) => {
                    *seen = Observation::Sample { value: *value, labels: one.labels.clone(), series: 1 };
                }
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backtest_has_more_points_than_prometheus_answers_and_none_is_finer_than_the_interval() {
        for (range, interval) in [(3_600, 60), (604_800, 1), (604_800, 60), (BACKTEST_RANGE_SEC, 1), (1, 86_400)] {
            let step = step_for(range, interval);
            assert!(step >= interval && range / step < BACKTEST_POINTS, "{range} s by {interval} s: {step} s");
        }
        assert_eq!(step_for(3_600, 60), 60);
    }

    #[test]
    fn at_each_step_the_first_series_in_label_order_that_has_a_point_counts() {
        let from = Timestamp::UNIX_EPOCH;
        let series = |pod: &str, points: &[(u64, f64)]| {
            let points = points.iter().map(|(at, value)| Point { at: after_ms(from, *at), value: *value }).collect();
            Series::new(BTreeMap::from([("pod".into(), pod.into())]), points)
        };
        let answer = DataSet::of_series(vec![
            series("b", &[(0, 2.0), (10_001, 2.0), (30_000, 2.0)]),
            series("a", &[(9_999, 1.0)]),
        ]);
        let seen = folded(&answer, from, after_ms(from, 35_000), Duration::from_secs(10));
        let values: Vec<Option<(f64, usize)>> = seen
            .iter()
            .map(|(_, seen)| match seen {
                Observation::Sample { value, series, .. } => Some((*value, *series)),
                _ => None,
            })
            .collect();
        assert_eq!(values, [Some((2.0, 1)), Some((1.0, 2)), None, Some((2.0, 1))]);
    }
}
