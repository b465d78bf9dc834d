//! Approval requests, across plans.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use rounds_core::plan::{PlanOutcome, RequestKind, RequestStatus, Step};
use rounds_core::ports::StoreExt as _;
use rounds_core::service::{ApprovalFilter, ApprovalView as Found, Listed};
use rounds_core::{ConnectorId, Error, InvestigationId, OrgId, PlanId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::paging::{one_of, with_next};
use super::plans::{ReasonBody, WaitParams, params_json};
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get("/api/approvals", "List approval requests, newest first; the next page is in the Link header")
            .query::<ListParams>()
            .answers::<Vec<ApprovalView>>(),
        list,
    )
    .at(Op::get("/api/approvals/{id}", "One approval request").answers::<ApprovalView>(), get)
    .at(
        Op::post("/api/approvals/{id}/approve", "Approve what it asks: a plan or a step")
            .query::<WaitParams>()
            .body::<ReasonBody>()
            .answers::<ApprovalView>(),
        approve,
    )
    .at(
        Op::post("/api/approvals/{id}/reject", "Reject what it asks").body::<ReasonBody>().answers::<ApprovalView>(),
        reject,
    )
}

/// A decision that waits for a person, or was taken.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Approval")]
struct ApprovalView {
    id: RequestId,
    action: ActionView,
    context: ContextView,
    status: RequestStatus,
    /// The digest of the plan revision it is about.
    digest: String,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<String>,
    resolved_by_login: Option<String>,
    /// Why it was decided so, when the person said.
    resolution_reason: Option<String>,
    /// The connector, when all that is asked about runs on one.
    connector_id: Option<ConnectorId>,
    /// The namespace, when all that is asked about is in one.
    target_namespace: Option<String>,
    /// Where the plan is.
    outcome: PlanOutcome,
}

/// What is to be done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ActionView {
    /// `remediation_plan` for a whole plan, else the kind of the step.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of the connector.
    target_service: String,
    params: Value,
}

/// Where it comes from.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContextView {
    investigation_id: Option<InvestigationId>,
    requested_by: String,
    reason: String,
    plan_id: PlanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_ordinal: Option<u32>,
}

type Kinds = BTreeMap<ConnectorId, String>;

/// What connectors are, by id: a deleted one has no kind any more.
async fn kinds(state: &AppState, org: &OrgId) -> Result<Kinds, ApiError> {
    let connectors = state.rounds.store().connectors(org).await?;
    Ok(connectors.into_iter().map(|found| (found.value.id, found.value.kind)).collect())
}

fn view(found: Found, kinds: &Kinds) -> ApprovalView {
    let Found { request, plan } = found;
    let ordinal = match request.kind {
        RequestKind::Plan => None,
        RequestKind::Step { ordinal } => Some(ordinal),
    };
    let asked: Vec<&Step> = plan.steps.iter().filter(|step| ordinal.is_none_or(|only| step.ordinal == only)).collect();
    let connector_id = same(asked.iter().map(|step| step.connector_id));
    let service = |step: &&Step| kinds.get(&step.connector_id).cloned().unwrap_or_else(|| "unknown".into());
    let action = match (ordinal, asked.first()) {
        (Some(_), Some(step)) => ActionView {
            kind: step.review.kind.clone(),
            target_service: service(step),
            params: {
                let mut params = params_json(&step.review.params, step.connector_id);
                if let Value::Object(params) = &mut params {
                    params.insert("commandText".into(), step.review.command_text.clone().into());
                }
                params
            },
        },
        _ => ActionView {
            kind: "remediation_plan".into(),
            target_service: same(asked.iter().map(service)).unwrap_or_else(|| "several".into()),
            params: json!({
                "planId": plan.id,
                "summary": plan.summary,
                "digest": request.digest,
                "commands": asked.iter().map(|step| step.review.command_text.as_str()).collect::<Vec<_>>(),
            }),
        },
    };
    let targets = asked.iter().flat_map(|step| step.review.targets.iter().map(|target| target.namespace.clone()));
    ApprovalView {
        id: request.id,
        action,
        context: ContextView {
            investigation_id: plan.investigation_id,
            requested_by: plan.created_by.id.clone(),
            reason: plan.summary.clone(),
            plan_id: plan.id,
            step_ordinal: ordinal,
        },
        status: request.status,
        expires_at: request.expires_at,
        created_at: request.created_at,
        resolved_at: request.resolved_at,
        resolved_by: request.resolved_by.as_ref().map(|actor| actor.id.clone()),
        resolved_by_login: request.resolved_by.map(|actor| actor.login),
        resolution_reason: request.reason,
        digest: request.digest,
        connector_id,
        target_namespace: same(targets).flatten(),
        outcome: PlanOutcome::of(&plan),
    }
}

/// The one value that all are, if they are.
fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

/// Which requests.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// One status, or several with commas.
    status: Option<String>,
    /// Of this plan.
    plan_id: Option<PlanId>,
    /// Of at most this many plans; at most 100.
    limit: Option<u32>,
    /// Where the page starts, from the Link header of the one before.
    cursor: Option<PlanId>,
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    OriginalUri(uri): OriginalUri,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let filter = ApprovalFilter {
        statuses: one_of("status", params.status.as_deref(), &RequestStatus::ALL, RequestStatus::as_str)?,
        plan_id: params.plan_id,
        after: params.cursor,
        limit: params.limit.unwrap_or(100).min(100),
    };
    let Listed { items: found, next, .. } = state.rounds.approvals().list(&who.principal, &filter).await?;
    let kinds = kinds(&state, &who.principal.org_id).await?;
    let views: Vec<ApprovalView> = found.into_iter().map(|found| view(found, &kinds)).collect();
    Ok(with_next(Json(views), &uri, next))
}

async fn get(State(state): State<AppState>, who: Who, Id(id): Id<RequestId>) -> Result<Json<ApprovalView>, ApiError> {
    let found = state.rounds.approvals().get(&who.principal, id).await?;
    Ok(Json(view(found, &kinds(&state, &who.principal.org_id).await?)))
}

async fn approve(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<RequestId>,
    Params(wait): Params<WaitParams>,
    Body(body): Body<ReasonBody>,
) -> Result<Json<ApprovalView>, ApiError> {
    let approved = state.rounds.approvals().approve_because(&who.principal, id, body.reason).await;
    let found = decided(&state, &who, id, approved).await?;
    wait.wait(&state, &who, found.plan).await?;
    get(State(state), who, Id(id)).await
}

async fn reject(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<RequestId>,
    Body(body): Body<ReasonBody>,
) -> Result<Json<ApprovalView>, ApiError> {
    let rejected = state.rounds.approvals().reject(&who.principal, id, body.reason).await;
    let found = decided(&state, &who, id, rejected).await?;
    Ok(Json(view(found, &kinds(&state, &who.principal.org_id).await?)))
}

/// A request that was decided before answers with who and when, for programs too.
async fn decided(state: &AppState, who: &Who, id: RequestId, result: Result<Found, Error>) -> Result<Found, ApiError> {
    let error = match result {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let resolved = matches!(&error, Error::Conflict { code: "already_resolved", .. });
    let error = ApiError::from(error);
    if !resolved {
        return Err(error);
    }
    let request = state.rounds.approvals().get(&who.principal, id).await?.request;
    Err(error.with_details(json!({
        "status": request.status,
        "resolvedBy": request.resolved_by.as_ref().map(|actor| &actor.id),
        "resolvedByLogin": request.resolved_by.as_ref().map(|actor| &actor.login),
        "resolvedAt": request.resolved_at,
    })))
}
