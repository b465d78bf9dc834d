//! Investigations: ask, read, follow.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use rounds_core::investigation::{
    Evidence, Investigation, InvestigationStatus, ModelUse, Report, RootCause, RuledOut, Section, SkipReason, ToolUse,
    Trigger,
};
use rounds_core::service::{InvestigationFilter, Listed};
use rounds_core::{AlertRuleId, InvestigationId, OrgId, PlanId, PrincipalId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::{one_of, with_next};
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get("/api/investigations", "List investigations, newest first; the next page is in the Link header")
            .query::<ListParams>()
            .answers::<Vec<InvestigationView>>(),
        list,
    )
    .at(
        Op::post("/api/investigations", "Ask a question; it is investigated in the background")
            .body::<AskBody>()
            .status(201)
            .answers::<InvestigationView>(),
        ask,
    )
    .at(Op::get("/api/investigations/{id}", "One investigation").answers::<InvestigationView>(), get)
    .at(Op::get("/api/investigations/{id}/report", "Its report").answers::<Report>(), report)
    .at(Op::post("/api/investigations/{id}/cancel", "End it").answers::<InvestigationView>(), cancel)
}

/// An investigation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Investigation")]
pub(super) struct InvestigationView {
    id: InvestigationId,
    org_id: OrgId,
    pub(super) status: InvestigationStatus,
    question: String,
    rule_id: Option<AlertRuleId>,
    alert: Option<AlertView>,
    /// The service account it runs as.
    created_by: String,
    created_by_login: Option<String>,
    /// The person who asked, when one did.
    requested_by: Option<String>,
    requested_by_login: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    attempt: u32,
    investigator: Option<String>,
    skip_reason: Option<SkipReason>,
    error: Option<String>,
    plan_id: Option<PlanId>,
    summary: Option<String>,
    root_cause: Option<RootCause>,
    sections: Vec<Section>,
    /// What it is not.
    ruled_out: Vec<RuledOut>,
    unknowns: Vec<String>,
    evidence: Vec<Evidence>,
    /// The calls of its tools, when a model drove it.
    calls: Vec<ToolUse>,
    /// The limit that ended it before it was done.
    limit: Option<String>,
    /// Who wrote what was found.
    written_by: Option<String>,
    /// The version of the prompt, when a model drove it.
    prompt_version: Option<String>,
    /// How much of a model it used, over all attempts; told while it runs, too.
    model_use: Option<ModelUse>,
    refused_proposal: Option<String>,
}

/// The alert it is about, as it fired.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AlertView {
    rule_id: AlertRuleId,
    rule_name: String,
    firing_since: DateTime<Utc>,
    value: Option<f64>,
    labels: std::collections::BTreeMap<String, String>,
}

impl InvestigationView {
    pub(super) fn new(found: Investigation, agent: PrincipalId) -> Self {
        let rule_id = found.rule_id();
        let report = found.report.unwrap_or_default();
        let summary = Some(report.summary).filter(|summary| !summary.is_empty());
        Self {
            id: found.id,
            org_id: found.org_id,
            status: found.status,
            question: found.question,
            rule_id,
            alert: match found.trigger {
                Trigger::Alert { rule_id, rule_name, firing_since, value, labels, .. } => {
                    Some(AlertView { rule_id, rule_name, firing_since, value, labels })
                }
                _ => None,
            },
            created_by: found.run_as.as_ref().map_or_else(|| agent.to_string(), |actor| actor.id.clone()),
            created_by_login: found.run_as.map(|actor| actor.login),
            requested_by: found.requested_by.as_ref().map(|actor| actor.id.clone()),
            requested_by_login: found.requested_by.map(|actor| actor.login),
            created_at: found.created_at,
            updated_at: found.updated_at,
            started_at: found.started_at,
            finished_at: found.finished_at,
            attempt: found.attempt,
            investigator: found.investigator,
            skip_reason: found.skip_reason,
            error: found.error,
            plan_id: found.plan_id,
            summary,
            root_cause: report.root_cause,
            sections: report.sections,
            ruled_out: report.ruled_out,
            unknowns: report.unknowns,
            evidence: report.evidence,
            calls: report.calls,
            limit: report.limit,
            written_by: report.written_by,
            prompt_version: report.prompt_version,
            model_use: found.model_use,
            refused_proposal: report.refused_proposal,
        }
    }
}

/// Which investigations.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// One status, or several with commas.
    status: Option<String>,
    /// About this rule.
    rule_id: Option<AlertRuleId>,
    /// At most this many; at most 100.
    limit: Option<u32>,
    /// Where the page starts, from the Link header of the one before.
    cursor: Option<InvestigationId>,
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    OriginalUri(uri): OriginalUri,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let filter = InvestigationFilter {
        statuses: one_of("status", params.status.as_deref(), &InvestigationStatus::ALL, InvestigationStatus::as_str)?,
        rule_id: params.rule_id,
        after: params.cursor,
        limit: params.limit.unwrap_or(100),
    };
    let Listed { items: found, next, .. } = state.rounds.investigations().list(&who.principal, &filter).await?;
    let views: Vec<_> = found.into_iter().map(|found| InvestigationView::new(found, state.agent)).collect();
    Ok(with_next(Json(views), &uri, next))
}

/// A question.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AskBody {
    /// What to find out.
    question: String,
}

async fn ask(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<AskBody>,
) -> Result<(StatusCode, Json<InvestigationView>), ApiError> {
    let asked = state.rounds.investigations().ask(&who.principal, &body.question).await?;
    Ok((StatusCode::CREATED, Json(InvestigationView::new(asked, state.agent))))
}

async fn get(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<InvestigationId>,
) -> Result<Json<InvestigationView>, ApiError> {
    let found = state.rounds.investigations().get(&who.principal, id).await?;
    Ok(Json(InvestigationView::new(found, state.agent)))
}

async fn report(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<InvestigationId>,
) -> Result<Json<Report>, ApiError> {
    let found = state.rounds.investigations().get(&who.principal, id).await?;
    let status = found.status.as_str();
    found.report.map(Json).ok_or_else(|| {
        let message = format!("investigation {id} has no report: it is {status}");
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    })
}

async fn cancel(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<InvestigationId>,
) -> Result<Json<InvestigationView>, ApiError> {
    let ended = state.rounds.investigations().cancel(&who.principal, id).await?;
    Ok(Json(InvestigationView::new(ended, state.agent)))
}
