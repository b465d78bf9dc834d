//! Changes from outside: pipelines and people tell them, investigations read them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rounds_core::change::{ChangeDraft, ChangeKind, ChangeRecord};
use rounds_core::service::ChangeFilter;
use rounds_core::{ChangeId, OrgId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Params};
use crate::state::AppState;

/// The most that one listing answers.
const MOST: u32 = 1_000;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get("/api/changes", "What changed outside of Rounds, the latest first")
            .query::<ListParams>()
            .answers::<Vec<ChangeView>>(),
        list,
    )
    .at(
        Op::post("/api/changes", "Tell a change; 200 instead of 201 when it was told before under the same key")
            .body::<ChangeDraft>()
            .status(201)
            .or_status(200)
            .answers::<ChangeView>(),
        record,
    )
}

/// Which changes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// That happened at or after this moment.
    from: Option<DateTime<Utc>>,
    /// That happened at or before this moment.
    to: Option<DateTime<Utc>>,
    /// In this namespace, or in none.
    namespace: Option<String>,
    /// At most so many: 1 to 1000; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// A change, as it was recorded.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Change")]
struct ChangeView {
    id: ChangeId,
    org_id: OrgId,
    kind: ChangeKind,
    title: String,
    /// Who tells it, such as `github-actions`.
    source: Option<String>,
    /// Null: not in one, or in all.
    namespace: Option<String>,
    service: Option<String>,
    labels: BTreeMap<String, String>,
    url: Option<String>,
    /// When it happened.
    at: DateTime<Utc>,
    idempotency_key: Option<String>,
    /// When Rounds was told.
    recorded_at: DateTime<Utc>,
    recorded_by: String,
    recorded_by_login: String,
}

impl From<ChangeRecord> for ChangeView {
    fn from(change: ChangeRecord) -> Self {
        Self {
            id: change.id,
            org_id: change.org_id,
            kind: change.kind,
            title: change.title,
            source: change.source,
            namespace: change.namespace,
            service: change.service,
            labels: change.labels,
            url: change.url,
            at: change.at,
            idempotency_key: change.idempotency_key,
            recorded_at: change.recorded_at,
            recorded_by: change.recorded_by.id,
            recorded_by_login: change.recorded_by.login,
        }
    }
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Json<Vec<ChangeView>>, ApiError> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit: found {limit}; 1 to {MOST} is accepted")));
    }
    let filter = ChangeFilter { from: params.from, to: params.to, namespace: params.namespace, after: None, limit };
    let found = state.rounds.changes().list(&who.principal, &filter).await?;
    Ok(Json(found.into_iter().map(ChangeView::from).collect()))
}

async fn record(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<ChangeDraft>,
) -> Result<(StatusCode, Json<ChangeView>), ApiError> {
    let recorded = state.rounds.changes().record(&who.principal, draft).await?;
    let status = if recorded.existing { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(recorded.change.into())))
}
