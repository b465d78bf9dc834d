//! Trying a condition: what it says now, and what it would have said.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use rounds_core::alert::{Backtest, Condition, Operator};
use rounds_core::ports::Series;
use rounds_core::service::{BacktestReport, Preview, RuleDraft};
use rounds_core::{AlertRuleId, ConnectorId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::view::RuleView;
use crate::api::lenient;
use crate::api::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post("/api/alert-rules/preview", "What a condition says right now")
            .body::<PreviewBody>()
            .answers::<PreviewAnswer>(),
        preview,
    )
    .at(
        Op::post("/api/alert-rules/backtest", "What a rule would have done over the past; nothing is stored")
            .body::<BacktestBody>()
            .answers::<BacktestAnswer>(),
        backtest,
    )
    .at(
        Op::post("/api/alert-rules/{id}/backtest", "What a rule that there is would have done over the past")
            .body::<RangeFields>()
            .answers::<BacktestAnswer>(),
        backtest_rule,
    )
    .at(Op::post("/api/alert-rules/{id}/test", "What it says right now").answers::<PreviewAnswer>(), test)
}

/// A condition to try: alone, in a whole rule, or flat.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PreviewBody")]
struct PreviewFields {
    /// The whole condition.
    #[serde(default)]
    condition: Option<Condition>,
    /// The query instead. Alone: its value, and nothing to hold.
    #[serde(default)]
    query: Option<String>,
    /// How its value is compared; beside `query`.
    #[serde(default)]
    operator: Option<Operator>,
    /// What it is compared with; beside `operator`.
    #[serde(default)]
    threshold: Option<f64>,
    /// How long it must hold; a preview does not wait for it.
    #[serde(default)]
    for_duration_sec: Option<u64>,
    /// The datasource; absent: the organisation's default.
    #[serde(default)]
    datasource_id: Option<ConnectorId>,
}

/// The same as it stands in a rule: what else the rule says is not read.
struct PreviewBody(PreviewFields);

impl<'de> Deserialize<'de> for PreviewBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_a_rule = [
            "name",
            "description",
            "evaluationIntervalSec",
            "severity",
            "labels",
            "annotations",
            "series",
            "absentIsZero",
            "ownerTeamId",
            "enabled",
        ];
        let others: Vec<&str> = of_a_rule.iter().chain(RuleView::FIXED).chain(RuleView::SEEN).copied().collect();
        lenient::without(deserializer, &others).map(Self)
    }
}

impl JsonSchema for PreviewBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        PreviewFields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PreviewFields::json_schema(generator)
    }
}

/// What a condition says right now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PreviewAnswer {
    /// The value, of the first series in label order; null without one.
    value: Option<f64>,
    /// Whether the condition holds: the rule would be pending or firing.
    holds: bool,
    /// How many series the query answers with: more than one are folded to the first.
    series_count: usize,
    #[schemars(with = "Vec<Value>")]
    series: Vec<Series>,
    warnings: Vec<String>,
}

impl From<Preview> for PreviewAnswer {
    fn from(preview: Preview) -> Self {
        Self {
            value: preview.value,
            holds: preview.holds,
            series_count: preview.answer.series.len(),
            series: preview.answer.series,
            warnings: preview.answer.warnings,
        }
    }
}

async fn preview(
    State(state): State<AppState>,
    who: Who,
    Body(PreviewBody(body)): Body<PreviewBody>,
) -> Result<Json<PreviewAnswer>, ApiError> {
    let for_duration_sec = body.for_duration_sec.unwrap_or_default();
    let (condition, only_value) = match (body.condition, body.query, body.operator, body.threshold) {
        (Some(condition), None, None, None) => (condition, false),
        (None, Some(query), Some(operator), Some(threshold)) => {
            (Condition { query, operator, threshold, for_duration_sec, keep_firing_for_sec: 0 }, false)
        }
        // With NaN nothing but != holds, so a bare query never does.
        (None, Some(query), None, None) => (
            Condition { query, operator: Operator::Gt, threshold: f64::NAN, for_duration_sec, keep_firing_for_sec: 0 },
            true,
        ),
        _ => {
            return Err(ApiError::bad_request(
                "one of condition and query is expected; beside query, operator and threshold or neither",
            ));
        }
    };
    let mut preview = state.rounds.alerts().preview(&who.principal, &condition, body.datasource_id).await?;
    preview.holds &= !only_value;
    Ok(Json(preview.into()))
}

async fn test(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
) -> Result<Json<PreviewAnswer>, ApiError> {
    let alerts = state.rounds.alerts();
    let rule = alerts.get(&who.principal, id).await?.rule;
    Ok(Json(alerts.preview(&who.principal, &rule.condition, rule.datasource_id).await?.into()))
}

/// Over which time: the last hours, or between two moments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RangeFields {
    /// The last so many hours; 24 when nothing else is said. Instead of `from` and `to`.
    #[serde(default)]
    hours: Option<f64>,
    /// From when.
    #[serde(default)]
    from: Option<DateTime<Utc>>,
    /// Until when; absent: until now. Beside `from`.
    #[serde(default)]
    to: Option<DateTime<Utc>>,
}

impl RangeFields {
    fn between(&self, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), ApiError> {
        let hours = match (self.hours, self.from, self.to) {
            (None, Some(from), to) => return Ok((from, to.unwrap_or(now))),
            (hours, None, None) => hours.unwrap_or(24.0),
            _ => return Err(ApiError::bad_request("one of hours and from is expected; to stands beside from")),
        };
        #[allow(clippy::cast_possible_truncation, reason = "it is looked at first")]
        let length = (hours > 0.0 && hours <= 24.0 * 366.0).then(|| TimeDelta::milliseconds((hours * 3.6e6) as i64));
        let length = length.filter(|length| *length > TimeDelta::zero()).ok_or_else(|| {
            ApiError::bad_request(format!("hours: found {hours}; a number above 0, at most 744 (31 days), is expected"))
        })?;
        Ok((now - length, now))
    }
}

/// A rule to try, as one writes it to make it; its name may be left out.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BacktestBody")]
#[expect(dead_code, reason = "it describes; what is sent is read in two parts")]
struct BacktestFields {
    /// Its name; absent: it has none yet.
    name: Option<String>,
    /// When it is true.
    condition: Condition,
    /// Between two evaluations, in seconds; absent: 60.
    evaluation_interval_sec: Option<u64>,
    /// The datasource; absent: the organisation's default.
    datasource_id: Option<ConnectorId>,
    #[serde(flatten)]
    range: RangeFields,
}

struct BacktestBody {
    draft: RuleDraft,
    range: RangeFields,
}

impl<'de> Deserialize<'de> for BacktestBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut rule = Map::<String, Value>::deserialize(deserializer)?;
        let mut range = Map::new();
        for name in ["hours", "from", "to"] {
            range.extend(rule.remove(name).map(|value| (name.to_owned(), value)));
        }
        // A rule that there is may be sent as it was shown.
        for name in RuleView::FIXED.iter().chain(RuleView::SEEN).chain(&["enabled"]) {
            rule.remove(*name);
        }
        rule.entry("name").or_insert_with(|| Value::String(String::new()));
        Ok(Self {
            draft: lenient::read(rule).map_err(|error| D::Error::custom(error.body.message))?,
            range: lenient::read(range).map_err(|error| D::Error::custom(error.body.message))?,
        })
    }
}

impl JsonSchema for BacktestBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        BacktestFields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BacktestFields::json_schema(generator)
    }
}

/// What a rule would have done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Backtest")]
struct BacktestAnswer {
    /// The first evaluation.
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Between two evaluations, in seconds.
    step_sec: u64,
    /// Whether that is more than the rule's own interval, because the range is long.
    coarser: bool,
    /// How many series the query answers: of several, the first in label order counts.
    series_count: usize,
    /// Whether the datasource left something out.
    truncated: bool,
    warnings: Vec<String>,
    #[serde(flatten)]
    backtest: Backtest,
}

impl From<BacktestReport> for BacktestAnswer {
    fn from(report: BacktestReport) -> Self {
        Self {
            from: report.from,
            to: report.to,
            step_sec: report.step_sec,
            coarser: report.coarser,
            series_count: report.series_count,
            truncated: report.truncated,
            warnings: report.warnings,
            backtest: report.backtest,
        }
    }
}

async fn backtest(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<BacktestBody>,
) -> Result<Json<BacktestAnswer>, ApiError> {
    let (from, to) = body.range.between(state.rounds.now())?;
    Ok(Json(state.rounds.alerts().backtest(&who.principal, body.draft, from, to).await?.into()))
}

async fn backtest_rule(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
    Body(range): Body<RangeFields>,
) -> Result<Json<BacktestAnswer>, ApiError> {
    let (from, to) = range.between(state.rounds.now())?;
    Ok(Json(state.rounds.alerts().backtest_rule(&who.principal, id, from, to).await?.into()))
}
