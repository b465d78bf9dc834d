//! The numbers behind the readings of a report.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use rounds_core::alert::Operator;
use rounds_core::investigation::{Investigation, ReadingId, Trigger};
use rounds_core::ports::Series;
use rounds_core::{ConnectorId, Error, InvestigationId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Ids, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get(
            "/api/investigations/{id}/evidence/{reading}/series",
            "The numbers of a metric reading (R1, R2, …) over a window: what the investigation asked is asked again",
        )
        .query::<SeriesParams>()
        .answers::<SeriesAnswer>(),
        series,
    )
}

/// A reading as people write it: `R1`, or `1`.
struct Reading(ReadingId);

impl std::str::FromStr for Reading {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix('R').unwrap_or(text).parse();
        number.map(|number| Self(ReadingId(number))).map_err(|_| "a reading such as R1 is expected")
    }
}

/// Over which window.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeriesParams {
    /// From when; absent: half an hour before the alert fired, or before it was read.
    #[serde(default)]
    from: Option<DateTime<Utc>>,
    /// Until when; absent: an hour after that, at most until now.
    #[serde(default)]
    to: Option<DateTime<Utc>>,
}

/// The numbers of a reading.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EvidenceSeries")]
struct SeriesAnswer {
    reading: String,
    /// The PromQL that was asked.
    expr: String,
    datasource_id: Option<ConnectorId>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step_sec: u64,
    #[schemars(with = "Vec<Value>")]
    series: Vec<Series>,
    /// Whether something was left out.
    truncated: bool,
    warnings: Vec<String>,
    /// The threshold, when the reading is what the alert's rule asks and the caller may read rules.
    threshold: Option<f64>,
    operator: Option<Operator>,
    /// When the alert fired.
    fired_at: Option<DateTime<Utc>>,
}

async fn series(
    State(state): State<AppState>,
    who: Who,
    Ids(id, Reading(reading)): Ids<InvestigationId, Reading>,
    Params(params): Params<SeriesParams>,
) -> Result<Json<SeriesAnswer>, ApiError> {
    let who = &who.principal;
    let investigation = state.rounds.investigations().get(who, id).await?;
    let fired_at = match &investigation.trigger {
        Trigger::Alert { firing_since, .. } => Some(*firing_since),
        _ => None,
    };
    let now = state.rounds.now();
    let from = params.from.unwrap_or_else(|| middle(&investigation, reading, fired_at) - TimeDelta::minutes(30));
    let to = params.to.unwrap_or_else(|| from.checked_add_signed(TimeDelta::hours(1)).unwrap_or(now).min(now));
    let found = state.rounds.investigations().series(who, id, reading, from, to).await?;
    let condition = match investigation.rule_id() {
        Some(rule) => match state.rounds.alerts().get(who, rule).await {
            Ok(view) => Some(view.rule.condition).filter(|condition| condition.query == found.expr),
            // Gone, or not for this person: the numbers are theirs all the same.
            Err(Error::NotFound { .. } | Error::Denied(_)) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    Ok(Json(SeriesAnswer {
        reading: found.reading.to_string(),
        expr: found.expr,
        datasource_id: found.datasource_id,
        from: found.from,
        to: found.to,
        step_sec: found.step_sec,
        truncated: found.answer.truncated,
        warnings: found.answer.warnings,
        series: found.answer.series,
        threshold: condition.as_ref().map(|condition| condition.threshold),
        operator: condition.map(|condition| condition.operator),
        fired_at,
    }))
}

/// What the window is around.
fn middle(investigation: &Investigation, reading: ReadingId, fired_at: Option<DateTime<Utc>>) -> DateTime<Utc> {
    let evidence = investigation.report.iter().flat_map(|report| &report.evidence);
    let read_at = evidence.into_iter().find(|found| found.id == reading).map(|found| found.at);
    fired_at.or(read_at).unwrap_or(investigation.created_at)
}
