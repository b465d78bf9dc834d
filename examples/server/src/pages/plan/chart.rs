//! The chart of an alert's recent values, read through the facade and drawn as SVG.

use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::Timestamp;
use rounds_core::alert::{AlertRule, AlertState, HistoryRow};

use crate::pages::chart::Chart;
use crate::pages::cx::Cx;

/// A page does not wait longer than this for a picture.
const PATIENCE: Duration = Duration::from_secs(2);
const POINTS: i32 = 120;

/// A chart, or why there is none.
pub(in crate::pages) struct AlertChart {
    pub(in crate::pages) svg: Option<String>,
    pub(in crate::pages) why: String,
}

/// The values of a rule between two moments.
pub(in crate::pages) async fn of_rule(
    cx: &Cx,
    rule: &AlertRule,
    history: &[HistoryRow],
    start: Timestamp,
    end: Timestamp,
) -> AlertChart {
    if let Some(source) = &rule.source {
        return AlertChart { svg: None, why: format!("{source} evaluates this alert, so there are no values here.") };
    }
    let step = ((end - start) / POINTS).max(TimeDelta::seconds(1)).to_std().unwrap_or(Duration::from_secs(15));
    let alerts = cx.rounds().alerts();
    let query = alerts.range(&cx.who, &rule.condition.query, rule.datasource_id, start, end, step);
    let answer = match tokio::time::timeout(PATIENCE, query).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return AlertChart { svg: None, why: format!("The values could not be read: {error}") },
        Err(_) => {
            let why = format!("The values could not be read: the datasource did not answer within {PATIENCE:?}.");
            return AlertChart { svg: None, why };
        }
    };
    // The evaluator counts the first series in label order, so that one is drawn.
    let Some(series) = answer.series.iter().min_by(|a, b| a.labels.cmp(&b.labels)) else {
        return AlertChart { svg: None, why: "The query answers no series for this time.".into() };
    };
    let moments: Vec<(Timestamp, &'static str)> = history
        .iter()
        .filter(|row| row.timestamp >= start && row.timestamp <= end)
        .filter_map(|row| match row.to_state {
            AlertState::Firing => Some((row.timestamp, "fired")),
            AlertState::Resolved => Some((row.timestamp, "resolved")),
            AlertState::Normal | AlertState::Pending | AlertState::Disabled => None,
        })
        .collect();
    let threshold = rule.condition.threshold;
    let chart = Chart { points: &series.points, start, end, threshold, moments: &moments, spans: &[] };
    AlertChart { svg: Some(chart.svg()), why: String::new() }
}
