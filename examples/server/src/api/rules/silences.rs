//! Silences.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rounds_core::alert::Silence;
use rounds_core::service::SilenceDraft;
use rounds_core::{AlertRuleId, OrgId, SilenceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/alert-rules/silences", "List silences").answers::<Vec<SilenceView>>(), silences)
        .at(
            Op::post("/api/alert-rules/silences", "Silence a rule, or all that match")
                .body::<SilenceDraft>()
                .status(201)
                .answers::<SilenceView>(),
            silence,
        )
        .at(
            Op::delete("/api/alert-rules/silences", "End a silence").query::<SilenceParams>().body::<SilenceParams>(),
            unsilence_named,
        )
        .at(Op::delete("/api/alert-rules/silences/{id}", "End a silence"), unsilence)
}

/// A silence.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Silence")]
struct SilenceView {
    id: SilenceId,
    org_id: OrgId,
    /// One rule; null: every rule that the matchers match.
    rule_id: Option<AlertRuleId>,
    /// Labels that a rule or its sample must carry with these values.
    matchers: BTreeMap<String, String>,
    comment: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    created_by: String,
    created_by_login: String,
}

impl From<Silence> for SilenceView {
    fn from(silence: Silence) -> Self {
        Self {
            id: silence.id,
            org_id: silence.org_id,
            rule_id: silence.rule_id,
            matchers: silence.matchers,
            comment: silence.comment,
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            created_by: silence.created_by.id,
            created_by_login: silence.created_by.login,
        }
    }
}

async fn silences(State(state): State<AppState>, who: Who) -> Result<Json<Vec<SilenceView>>, ApiError> {
    let found = state.rounds.alerts().silences(&who.principal).await?;
    Ok(Json(found.into_iter().map(SilenceView::from).collect()))
}

async fn silence(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<SilenceDraft>,
) -> Result<(StatusCode, Json<SilenceView>), ApiError> {
    Ok((StatusCode::CREATED, Json(state.rounds.alerts().silence(&who.principal, draft).await?.into())))
}

/// Which silence, in the query or the body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SilenceParams {
    /// Its id.
    #[serde(default)]
    id: Option<SilenceId>,
}

async fn unsilence_named(
    state: State<AppState>,
    who: Who,
    Params(params): Params<SilenceParams>,
    Body(body): Body<SilenceParams>,
) -> Result<StatusCode, ApiError> {
    match (params.id, body.id) {
        (Some(id), None) | (None, Some(id)) => unsilence(state, who, Id(id)).await,
        (Some(id), Some(same)) if id == same => unsilence(state, who, Id(id)).await,
        _ => Err(ApiError::bad_request("id: the id of one silence is expected, in the query or the body")),
    }
}

async fn unsilence(State(state): State<AppState>, who: Who, Id(id): Id<SilenceId>) -> Result<StatusCode, ApiError> {
    state.rounds.alerts().unsilence(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
