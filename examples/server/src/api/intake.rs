//! Alerts that others evaluate: the webhook receivers of Alertmanager and Grafana.
//!
//! Both send at least once and again every few hours, from each of several replicas that gossip; core counts every alert once,
//! by fingerprint and start. What is not known here is passed over, because newer senders say more. A store that fails is
//! answered with 503, so that the sender sends all of it again.
//!
//! Sources: Alertmanager's webhook payload, version 4; Grafana's webhook contact point, version 1.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rounds_core::alert::{Notified, Severity};
use rounds_core::service::{ExternalAlert, Received};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::AppState;

/// A group of thousands of alerts with their annotations.
const LARGEST: usize = 16 * 1024 * 1024;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post("/api/alerts/alertmanager", "Alertmanager's webhook receiver: notices of version 4")
            .query::<Source>()
            .body::<Payload>()
            .answers::<Taken>(),
        alertmanager,
    )
    .at(
        Op::post("/api/alerts/grafana", "Grafana's webhook contact point: notices of version 1")
            .query::<Source>()
            .body::<Payload>()
            .answers::<Taken>(),
        grafana,
    )
}

/// Who sends.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    /// The name of the source, which its rules are called by: the same for all replicas of one Alertmanager, another for
    /// another. `alertmanager` or `grafana` when absent.
    source: Option<String>,
}

/// A notice about a group of alerts. Fields that are not named here are passed over.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Payload {
    /// The version of the protocol: `4` of Alertmanager, `1` of Grafana.
    version: String,
    /// How many alerts the sender left out (`max_alerts`).
    #[serde(default)]
    truncated_alerts: u64,
    /// The alerts.
    alerts: Vec<Alert>,
}

/// One alert of a notice.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Alert {
    /// `firing` or `resolved`.
    status: Status,
    /// Its labels; `alertname` is one of them.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Its annotations, filled in.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Since when it fires.
    starts_at: DateTime<Utc>,
    /// Where its rule is shown.
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
    /// What tells it from others.
    fingerprint: String,
    /// Grafana: the values of its expressions, by their letters.
    #[serde(default)]
    values: Option<BTreeMap<String, Option<f64>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Firing,
    Resolved,
}

/// What became of a notice.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Taken {
    /// How many fire since this notice.
    fired: usize,
    /// How many are over since this notice.
    resolved: usize,
    /// How many said nothing new.
    unchanged: usize,
    /// What was not taken.
    ignored: Vec<Ignored>,
    /// What a reader should know.
    warnings: Vec<String>,
}

/// An alert that was not taken.
#[derive(Debug, Serialize, JsonSchema)]
struct Ignored {
    fingerprint: String,
    reason: String,
}

async fn alertmanager(
    state: State<AppState>,
    who: Who,
    Params(source): Params<Source>,
    request: Request,
) -> Result<Json<Taken>, ApiError> {
    receive(state, who, source.source.as_deref().unwrap_or("alertmanager"), "4", read(request).await?).await
}

async fn grafana(
    state: State<AppState>,
    who: Who,
    Params(source): Params<Source>,
    request: Request,
) -> Result<Json<Taken>, ApiError> {
    receive(state, who, source.source.as_deref().unwrap_or("grafana"), "1", read(request).await?).await
}

/// Reads a notice. Its sender drops what is refused for its size, so there is room for a group of thousands.
async fn read(request: Request) -> Result<Payload, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), LARGEST).await.map_err(|_| {
        let message =
            format!("the body could not be read to its end, or is larger than {LARGEST} bytes: group the alerts");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(format!("the body does not hold: {error}")))
}

async fn receive(
    State(state): State<AppState>,
    who: Who,
    source: &str,
    version: &str,
    payload: Payload,
) -> Result<Json<Taken>, ApiError> {
    if payload.version != version {
        let found: String = payload.version.chars().take(20).collect();
        return Err(ApiError::bad_request(format!("version: found `{found}`; `{version}` is accepted")));
    }
    let mut warnings = unknown_severities(&payload.alerts);
    let alerts: Vec<ExternalAlert> = payload.alerts.into_iter().map(external).collect();
    let Received { fired, resolved, unchanged, ignored, .. } =
        state.rounds.alerts().receive(&who.principal, source, &alerts).await?;
    let left_out = (payload.truncated_alerts > 0).then(|| {
        format!("the sender left out {} alerts: raise its max_alerts, or group them", payload.truncated_alerts)
    });
    if let Some(warning) = &left_out {
        tracing::warn!(source, %warning, "a notice is not complete");
    }
    warnings.extend(left_out);
    Ok(Json(Taken {
        fired,
        resolved,
        unchanged,
        ignored: ignored.into_iter().map(|(fingerprint, reason)| Ignored { fingerprint, reason }).collect(),
        warnings,
    }))
}

/// The words that are taken for a warning, because nobody knows them here.
fn unknown_severities(alerts: &[Alert]) -> Vec<String> {
    let words = alerts.iter().filter_map(|alert| alert.labels.get("severity"));
    let unknown: BTreeSet<String> =
        words.filter(|word| Severity::named(word).is_none()).map(|word| word.chars().take(40).collect()).collect();
    let said = unknown.into_iter().take(10).map(|word| {
        format!("severity `{word}` is taken for warning; info, low, medium, warning, high, critical are known")
    });
    said.collect()
}

fn external(alert: Alert) -> ExternalAlert {
    let severity = alert.labels.get("severity").and_then(|word| Severity::named(word));
    // Of several expressions nobody knows which one the condition is about.
    let value =
        alert.values.filter(|values| values.len() == 1).and_then(|values| values.into_values().next().flatten());
    ExternalAlert {
        name: alert.labels.get("alertname").cloned().unwrap_or_default(),
        fingerprint: alert.fingerprint,
        query: asked(&alert.generator_url).unwrap_or_default(),
        notified: Notified {
            starts_at: rounds_core::time::truncate(alert.starts_at),
            resolved: alert.status == Status::Resolved,
            labels: alert.labels,
            annotations: alert.annotations,
            value,
            severity: severity.unwrap_or_default(),
        },
    }
}

/// The expression that Prometheus puts into the address of its graph.
fn asked(generator: &str) -> Option<String> {
    let url = Url::parse(generator).ok()?;
    let expr = url.query_pairs().find(|(name, _)| name == "g0.expr")?.1.into_owned();
    (expr.len() <= rounds_core::alert::AlertRule::TEXT_MAX).then_some(expr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_is_read_from_the_address_that_prometheus_gives() {
        let given = "http://prom:9090/graph?g0.expr=rate%28errors%5B5m%5D%29+%3E+1&g0.tab=1";
        assert_eq!(asked(given).as_deref(), Some("rate(errors[5m]) > 1"));
        for other in ["", "not an address", "https://grafana/alerting/grafana/x/view"] {
            assert_eq!(asked(other), None);
        }
    }
}
