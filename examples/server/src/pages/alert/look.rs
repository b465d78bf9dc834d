//! What a rule that is being typed says: now, over the last hours, and what it would have done.

use chrono::TimeDelta;
use rounds_core::alert::{AlertState, BacktestPoint, MarkKind};
use rounds_core::ports::Point;
use rounds_core::service::{BacktestReport, Preview};

use super::edit::{Wrong, condition, draft};
use crate::pages::chart::Chart;
pub(super) use crate::pages::chart::number;
use crate::pages::cx::Cx;
use crate::pages::form::Fields;
use crate::pages::plan::{AlertChart, of_rule};
use crate::pages::when::{When, absolute, span};

/// How far back a backtest looks: hours, and in words.
pub(super) const HOURS: [(&str, &str); 4] =
    [("1", "Last hour"), ("6", "Last 6 hours"), ("24", "Last 24 hours"), ("168", "Last 7 days")];

/// What the query says now, and how it went.
pub(super) struct Look {
    pub(super) preview: Result<Preview, String>,
    pub(super) chart: Option<AlertChart>,
    pub(super) backtest: Option<Result<Tried, String>>,
}

/// A backtest as the page shows it.
pub(super) struct Tried {
    /// `the last 24 hours`.
    pub(super) range: String,
    /// In one sentence.
    pub(super) says: String,
    pub(super) svg: String,
    pub(super) report: BacktestReport,
    now: rounds_core::Timestamp,
}

impl Tried {
    pub(super) fn time(&self, at: &rounds_core::Timestamp) -> When {
        When::new(*at, self.now)
    }

    /// What happened, the newest last; a page lists no more than this.
    pub(super) fn marks(&self) -> &[rounds_core::alert::Mark] {
        let marks = &self.report.backtest.marks;
        &marks[..marks.len().min(50)]
    }
}

/// What happened, in words.
pub(super) fn word(kind: &MarkKind) -> &'static str {
    match kind {
        MarkKind::Pending => "pending: the condition became true",
        MarkKind::Firing => "firing",
        MarkKind::Resolved => "resolved",
        MarkKind::Normal => "normal again before it fired",
        MarkKind::Gap => "no samples",
        MarkKind::NoData => "no data: the series is gone",
        _ => "",
    }
}

/// Asks the datasource what the condition says, and what it would have said when the form asks for that. A query that does
/// not work is an answer too.
pub(super) async fn look(cx: &Cx, fields: &Fields) -> Look {
    let mut wrong = Wrong::default();
    let condition = condition(fields, &mut wrong);
    let (Some(condition), Ok(datasource)) = (condition, fields.id("datasourceId")) else {
        return Look { preview: Err(wrong.all()), chart: None, backtest: None };
    };
    let alerts = cx.rounds().alerts();
    let preview = match alerts.preview(&cx.who, &condition, datasource).await {
        Ok(preview) => preview,
        Err(error) => return Look { preview: Err(error.to_string()), chart: None, backtest: None },
    };
    let hours = fields.get("op").strip_prefix("backtest-");
    let hours = hours.and_then(|hours| HOURS.iter().find(|(known, _)| *known == hours));
    let Some((hours, range)) = hours else {
        let rule = super::unsaved(cx, condition, datasource);
        let chart = of_rule(cx, &rule, &[], cx.now - TimeDelta::hours(3), cx.now).await;
        return Look { preview: Ok(preview), chart: Some(chart), backtest: None };
    };
    let mut wrong = Wrong::default();
    let tried = match draft(fields, &mut wrong) {
        Some(draft) => {
            let threshold = draft.condition.threshold;
            let from = cx.now - TimeDelta::hours(hours.parse().unwrap_or(24));
            let found = alerts.backtest(&cx.who, draft, from, cx.now).await;
            found.map(|report| tried(cx, range, report, threshold)).map_err(|error| error.to_string())
        }
        None => Err(wrong.all()),
    };
    Look { preview: Ok(preview), chart: None, backtest: Some(tried) }
}

fn tried(cx: &Cx, range: &str, report: BacktestReport, threshold: f64) -> Tried {
    let summary = &report.backtest.summary;
    let times = |count: u32| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let mut says = match (summary.fired, summary.first_fired_at) {
        (0, _) if summary.samples == 0 => "The query answered no series in this time.".to_owned(),
        (0, _) => "It would not have fired.".to_owned(),
        (fired, first) => format!(
            "It would have fired {}, first at {}, for {} in all.",
            times(fired),
            first.map(absolute).unwrap_or_default(),
            span(summary.firing_sec)
        ),
    };
    if summary.pending_only > 0 {
        says.push_str(&format!(" It would have been pending {} without firing.", times(summary.pending_only)));
    }
    let evaluations = summary.samples + summary.missing;
    if summary.samples > 0 && summary.missing * 20 > evaluations {
        // Otherwise silence would read like health.
        let percent = (summary.missing * 100).div_ceil(evaluations);
        says.push_str(&format!(" {percent} % of its evaluations found no series."));
    }
    if summary.state == AlertState::Firing {
        says.push_str(" It would be firing now.");
    }
    let value = |point: &BacktestPoint| Point { at: point.at, value: point.value.unwrap_or(f64::NAN) };
    let points: Vec<Point> = report.backtest.timeline.iter().map(value).collect();
    let gaps = report.backtest.marks.iter().filter(|mark| mark.kind == MarkKind::Gap);
    let gaps = gaps.filter_map(|mark| Some((mark.at, mark.until?, "gap")));
    let spans = report.backtest.spans.iter().map(|span| (span.from, span.to, span.state.as_str()));
    let spans: Vec<_> = gaps.chain(spans).collect();
    let chart = Chart { points: &points, start: report.from, end: report.to, threshold, moments: &[], spans: &spans };
    Tried { range: range.to_lowercase(), says, svg: chart.svg(), report, now: cx.now }
}
