//! Alert rules, their history, trials, import and silences.

mod import;
mod promql;
mod rulefile;
mod silences;
mod trial;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::access::Action;
use rounds_core::alert::{AlertState, HistoryRow};
use rounds_core::service::RuleDraft;
use rounds_core::{AlertInstanceId, AlertRuleId, InvestigationId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lenient::{self, drop_computed, overlay};
use super::paging::one_of;
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;
use view::RuleView;

pub(super) fn routes(api: Api) -> Api {
    let api = api
        .at(
            Op::get("/api/alert-rules", "List alert rules with their state")
                .query::<ListParams>()
                .answers::<ListAnswer>(),
            list,
        )
        .at(
            Op::post("/api/alert-rules", "Make an alert rule").body::<RuleDraft>().status(201).answers::<RuleView>(),
            create,
        );
    let api = import::routes(silences::routes(trial::routes(api)));
    api.at(Op::get("/api/alert-rules/{id}", "One alert rule with its state").answers::<RuleView>(), get)
        .at(
            Op::put("/api/alert-rules/{id}", "Change a rule; absent fields stay, null clears")
                .body::<RuleChange>()
                .answers::<RuleView>(),
            update,
        )
        .at(Op::delete("/api/alert-rules/{id}", "Delete a rule"), delete)
        .at(Op::post("/api/alert-rules/{id}/enable", "Evaluate it").answers::<RuleView>(), enable)
        .at(Op::post("/api/alert-rules/{id}/disable", "Evaluate it no more").answers::<RuleView>(), disable)
        .at(
            Op::post("/api/alert-rules/{id}/fork", "A copy under another name, switched off")
                .body::<ForkBody>()
                .status(201)
                .answers::<RuleView>(),
            fork,
        )
        .at(
            Op::post("/api/alert-rules/{id}/investigate", "Investigate it now, as the service account")
                .body::<InvestigateBody>()
                .answers::<Investigating>(),
            investigate,
        )
        .at(
            Op::get("/api/alert-rules/{id}/history", "How its state changed, newest first")
                .query::<HistoryParams>()
                .answers::<Vec<HistoryRow>>(),
            history,
        )
}

/// What changes about a rule: every field is optional here, also those that a new one needs.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertRuleChange", transform = |schema: &mut schemars::Schema| { schema.remove("required"); })]
#[expect(dead_code, reason = "it describes; what is sent is laid over what there is")]
struct RuleChange {
    /// Whether it is evaluated.
    enabled: Option<bool>,
    #[serde(flatten)]
    rule: RuleDraft,
}

/// Every rule.
#[derive(Debug, Serialize, JsonSchema)]
struct ListAnswer {
    list: Vec<RuleView>,
    total: usize,
}

/// Which rules.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// In this state, or one of several with commas.
    state: Option<String>,
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Json<ListAnswer>, ApiError> {
    let states = one_of("state", params.state.as_deref(), &AlertState::ALL, AlertState::as_str)?;
    let mut found = state.rounds.alerts().list(&who.principal).await?;
    found.retain(|found| states.is_empty() || states.contains(&found.state()));
    Ok(Json(ListAnswer { total: found.len(), list: found.into_iter().map(RuleView::from).collect() }))
}

async fn create(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<RuleDraft>,
) -> Result<(StatusCode, Json<RuleView>), ApiError> {
    state.accounts.check_owner(&who.principal, Action::AlertRulesWrite, draft.owner_team_id).await?;
    let made = state.rounds.alerts().create(&who.principal, draft).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

async fn get(State(state): State<AppState>, who: Who, Id(id): Id<AlertRuleId>) -> Result<Json<RuleView>, ApiError> {
    Ok(Json(state.rounds.alerts().get(&who.principal, id).await?.into()))
}

async fn update(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
    Body(mut change): Body<Map<String, Value>>,
) -> Result<Json<RuleView>, ApiError> {
    let alerts = state.rounds.alerts();
    let found = alerts.get(&who.principal, id).await?;
    let rule = found.rule.clone();
    let enabled = match change.remove("enabled") {
        Some(Value::Bool(enabled)) => enabled,
        None | Some(Value::Null) => rule.enabled,
        Some(_) => return Err(ApiError::bad_request("enabled: true or false is expected")),
    };
    let disables = change.get("state").is_some_and(|state| state == AlertState::Disabled.as_str());
    if disables && rule.enabled && enabled {
        return Err(ApiError::bad_request("state: it is computed; send `\"enabled\": false` to disable a rule"));
    }
    let shown = serde_json::to_value(RuleView::from(found.clone())).map_err(ApiError::internal)?;
    drop_computed(&mut change, &shown, RuleView::FIXED, RuleView::SEEN)?;
    let base = json!({
        "name": rule.name,
        "description": rule.description,
        "condition": rule.condition,
        "evaluationIntervalSec": rule.evaluation_interval_sec,
        "severity": rule.severity,
        "labels": rule.labels,
        "annotations": rule.annotations,
        "series": rule.series,
        "absentIsZero": rule.absent_is_zero,
        "datasourceId": rule.datasource_id,
        "ownerTeamId": rule.owner_team_id,
    });
    let mut changed = found;
    // Only switched on or off, it is not changed otherwise, and says so in the audit log.
    if !change.is_empty() || enabled == rule.enabled {
        let Value::Object(whole) = overlay(base, change) else { return Err(ApiError::internal("a rule is an object")) };
        let draft: RuleDraft = lenient::read(whole)?;
        let new_owner = draft.owner_team_id.filter(|_| draft.owner_team_id != rule.owner_team_id);
        state.accounts.check_owner(&who.principal, Action::AlertRulesWrite, new_owner).await?;
        changed = alerts.update(&who.principal, id, draft).await?;
    }
    if enabled != rule.enabled {
        changed = alerts.set_enabled(&who.principal, id, enabled).await?;
    }
    Ok(Json(changed.into()))
}

async fn delete(State(state): State<AppState>, who: Who, Id(id): Id<AlertRuleId>) -> Result<StatusCode, ApiError> {
    state.rounds.alerts().delete(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enable(State(state): State<AppState>, who: Who, Id(id): Id<AlertRuleId>) -> Result<Json<RuleView>, ApiError> {
    Ok(Json(state.rounds.alerts().set_enabled(&who.principal, id, true).await?.into()))
}

async fn disable(State(state): State<AppState>, who: Who, Id(id): Id<AlertRuleId>) -> Result<Json<RuleView>, ApiError> {
    Ok(Json(state.rounds.alerts().set_enabled(&who.principal, id, false).await?.into()))
}

/// How to copy.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ForkBody {
    /// The copy's name; absent: the rule's name and "(copy)".
    #[serde(default)]
    name: Option<String>,
}

async fn fork(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
    Body(body): Body<ForkBody>,
) -> Result<(StatusCode, Json<RuleView>), ApiError> {
    let copy = state.rounds.alerts().fork(&who.principal, id, body.name).await?;
    Ok((StatusCode::CREATED, Json(copy.into())))
}

/// How to investigate.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InvestigateBody {
    /// Even when this firing was investigated already.
    #[serde(default)]
    force: bool,
    /// One label set of the rule; absent: what fires for the longest.
    #[serde(default)]
    instance_id: Option<AlertInstanceId>,
}

/// The investigation that there is now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Investigating {
    investigation_id: InvestigationId,
    /// Whether it was there already.
    existing: bool,
    /// `true` when it is new and waits for its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<bool>,
}

async fn investigate(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
    Body(body): Body<InvestigateBody>,
) -> Result<Json<Investigating>, ApiError> {
    let queued = state.rounds.alerts().investigate_series(&who.principal, id, body.instance_id, body.force).await?;
    Ok(Json(Investigating {
        investigation_id: queued.investigation_id,
        existing: queued.existing,
        queued: (!queued.existing).then_some(true),
    }))
}

/// How much history.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    /// At most this many rows; 50 when absent, at most 500.
    limit: Option<u32>,
}

async fn history(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<AlertRuleId>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Vec<HistoryRow>>, ApiError> {
    Ok(Json(state.rounds.alerts().history(&who.principal, id, params.limit.unwrap_or(50)).await?))
}
