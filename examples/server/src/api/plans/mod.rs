//! Plans: list, propose, decide.

mod input;
mod view;

use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::Response;
use rounds_core::plan::{Plan, PlanStatus};
use rounds_core::service::{Approval, Listed, Modification, PlanFilter, ProposeRequest};
use rounds_core::{ConnectorId, InvestigationId, PlanId, TeamId, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use self::input::{ProposeBody, StepInput};
pub(crate) use self::view::params_json;
pub use self::view::{Outcome, PlanView};
use super::paging::{one_of, with_next};
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Ids, Params};
use crate::state::AppState;

/// The longest that an answer is held.
const MAX_WAIT: u64 = 600;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get("/api/plans", "List plans, newest first; the next page is in the Link header")
            .query::<ListParams>()
            .answers::<Vec<PlanView>>(),
        list,
    )
    .at(
        Op::post("/api/plans", "Propose a plan; every step is reviewed and dry-run")
            .body::<ProposeBody>()
            .status(201)
            .answers::<PlanView>(),
        propose,
    )
    .at(Op::get("/api/plans/{id}", "One plan with its steps").answers::<PlanView>(), get)
    .at(
        Op::post("/api/plans/{id}/approve", "Approve a plan; it runs in the background")
            .query::<WaitParams>()
            .body::<ApproveBody>()
            .answers::<Outcome>(),
        approve,
    )
    .at(
        Op::post("/api/plans/{id}/reject", "Reject a plan, for good").body::<ReasonBody>().answers::<PlanView>(),
        reject,
    )
    .at(
        Op::post("/api/plans/{id}/cancel", "End a plan; a running step is seen to its end")
            .body::<ReasonBody>()
            .answers::<PlanView>(),
        cancel,
    )
    .at(
        Op::post("/api/plans/{id}/modify", "Change a waiting plan; its digest changes")
            .body::<ModifyBody>()
            .answers::<PlanView>(),
        modify,
    )
    .at(
        Op::post("/api/plans/{id}/submit", "Put a rescue plan up for approval; runs nothing").answers::<PlanView>(),
        submit,
    )
    .at(
        Op::post("/api/plans/{id}/steps/{ordinal}/retry", "Run a failed or interrupted step again")
            .query::<WaitParams>()
            .body::<RetryBody>()
            .answers::<Outcome>(),
        retry,
    )
}

/// Which plans.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// One status, or several with commas.
    status: Option<String>,
    /// Proposed by this investigation.
    investigation_id: Option<InvestigationId>,
    /// Of this team.
    owner_team_id: Option<TeamId>,
    /// With a step that runs through this connector.
    connector_id: Option<ConnectorId>,
    /// With a step that touches an object in this namespace.
    namespace: Option<String>,
    /// Proposed at this moment or later.
    from: Option<Timestamp>,
    /// Proposed before this moment.
    to: Option<Timestamp>,
    /// At most this many; at most 100.
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
    let filter = PlanFilter {
        statuses: one_of("status", params.status.as_deref(), &PlanStatus::ALL, |status| status.as_str())?,
        investigation_id: params.investigation_id,
        after: params.cursor,
        owner_team_id: params.owner_team_id,
        connector_id: params.connector_id,
        namespace: params.namespace,
        created_from: params.from,
        created_before: params.to,
        limit: params.limit.unwrap_or_default(),
    };
    let Listed { items: plans, next, .. } = state.rounds.plans().list(&who.principal, &filter).await?;
    let views: Vec<PlanView> = plans.into_iter().map(PlanView::from).collect();
    Ok(with_next(Json(views), &uri, next))
}

async fn get(State(state): State<AppState>, who: Who, Id(id): Id<PlanId>) -> Result<Json<PlanView>, ApiError> {
    Ok(Json(state.rounds.plans().get(&who.principal, id).await?.into()))
}

async fn propose(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<ProposeBody>,
) -> Result<(StatusCode, Json<PlanView>), ApiError> {
    if let Some(primary) = body.rescue_for_plan_id {
        let others = [body.rescue.is_some(), body.investigation_id.is_some(), body.linked_alert_rule_id.is_some()];
        if others.contains(&true) {
            return Err(ApiError::bad_request(
                "rescueForPlanId stands alone: rescue, investigationId and linkedAlertRuleId are those of the plan that \
                 is undone",
            ));
        }
        let rescue = input::proposal(body.summary, body.steps)?;
        let draft = state.rounds.plans().propose_rescue(&who.principal, primary, &rescue).await?;
        return Ok((StatusCode::CREATED, Json(draft.into())));
    }
    let rescue = body.rescue.map(|rescue| input::proposal(rescue.summary, rescue.steps)).transpose()?;
    let request = ProposeRequest::from(input::proposal(body.summary, body.steps)?)
        .with_rescue(rescue)
        .with_investigation(body.investigation_id)
        .with_alert_rule(body.linked_alert_rule_id);
    let proposed = state.rounds.plans().propose(&who.principal, request).await?;
    Ok((StatusCode::CREATED, Json(proposed.plan.into())))
}

/// How to approve.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApproveBody {
    /// No step needs an approval of its own. Needs plans:auto_edit on everything the plan touches.
    #[serde(default)]
    auto_edit: bool,
    /// The digest of what was shown; another one than the plan's is refused.
    #[serde(default)]
    digest: Option<String>,
}

/// Whether to hold the answer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WaitParams {
    /// Hold the answer until the plan no longer goes on by itself, for at most this many seconds.
    wait: Option<u64>,
}

impl WaitParams {
    /// The plan once it no longer goes on by itself, when the client wants to wait for that.
    pub(super) async fn wait(&self, state: &AppState, who: &Who, plan: Plan) -> Result<Plan, ApiError> {
        let Some(seconds) = self.wait.filter(|seconds| *seconds > 0) else { return Ok(plan) };
        let limit = Duration::from_secs(seconds.min(MAX_WAIT));
        let plans = state.rounds.plans();
        tokio::select! {
            waited = plans.wait(&who.principal, plan.id, limit) => Ok(waited?),
            // The plan goes on without the one who asked, here or in the next process.
            () = state.stop.cancelled() => Ok(plan),
        }
    }
}

async fn approve(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PlanId>,
    Params(wait): Params<WaitParams>,
    Body(body): Body<ApproveBody>,
) -> Result<Json<Outcome>, ApiError> {
    let approval = Approval { auto_edit: body.auto_edit, digest: body.digest };
    let plan = state.rounds.plans().approve(&who.principal, id, &approval).await?;
    Ok(Json(wait.wait(&state, &who, plan).await?.into()))
}

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReasonBody {
    /// Why, for those who come after.
    #[serde(default)]
    pub reason: Option<String>,
}

async fn reject(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PlanId>,
    Body(body): Body<ReasonBody>,
) -> Result<Json<PlanView>, ApiError> {
    Ok(Json(state.rounds.plans().reject(&who.principal, id, body.reason).await?.into()))
}

async fn cancel(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PlanId>,
    Body(body): Body<ReasonBody>,
) -> Result<Json<PlanView>, ApiError> {
    Ok(Json(state.rounds.plans().cancel(&who.principal, id, body.reason).await?.into()))
}

/// The new steps of a plan.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModifyBody {
    /// The new summary; absent: as before.
    #[serde(default)]
    summary: Option<String>,
    /// The new steps, all of them.
    steps: Vec<StepInput>,
    /// The digest of what was changed; another one than the plan's is refused.
    #[serde(default)]
    digest: Option<String>,
}

async fn modify(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PlanId>,
    Body(body): Body<ModifyBody>,
) -> Result<Json<PlanView>, ApiError> {
    let change = Modification { summary: body.summary, steps: input::steps(body.steps)?, digest: body.digest };
    Ok(Json(state.rounds.plans().modify(&who.principal, id, &change).await?.into()))
}

async fn submit(State(state): State<AppState>, who: Who, Id(id): Id<PlanId>) -> Result<Json<PlanView>, ApiError> {
    Ok(Json(state.rounds.plans().submit(&who.principal, id).await?.into()))
}

/// How to retry.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryBody {
    /// An interrupted step may have taken effect: say that this is known.
    #[serde(default)]
    acknowledge_unknown_outcome: bool,
}

async fn retry(
    State(state): State<AppState>,
    who: Who,
    Ids(id, ordinal): Ids<PlanId, u32>,
    Params(wait): Params<WaitParams>,
    Body(body): Body<RetryBody>,
) -> Result<Json<Outcome>, ApiError> {
    let plan = state.rounds.plans().retry(&who.principal, id, ordinal, body.acknowledge_unknown_outcome).await?;
    Ok(Json(wait.wait(&state, &who, plan).await?.into()))
}
