//! Alert rules, their history and silences.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rounds_core::alert::{AlertState, Condition, HistoryRow, Operator, Severity, Silence};
use rounds_core::ports::Series;
use rounds_core::service::{Preview, RuleDraft, RuleView as Found, SilenceDraft};
use rounds_core::{AlertRuleId, ConnectorId, InvestigationId, OrgId, SilenceId, TeamId};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::lenient::{self, drop_computed, overlay};
use super::paging::one_of;
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

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
        )
        .at(
            Op::post("/api/alert-rules/preview", "What a condition says right now")
                .body::<PreviewBody>()
                .answers::<PreviewAnswer>(),
            preview,
        )
        .at(Op::get("/api/alert-rules/silences", "List silences").answers::<Vec<SilenceView>>(), silences)
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
        .at(Op::delete("/api/alert-rules/silences/{id}", "End a silence"), unsilence);
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
        .at(Op::post("/api/alert-rules/{id}/test", "What it says right now").answers::<PreviewAnswer>(), test)
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

/// A rule with what was seen.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertRule")]
struct RuleView {
    id: AlertRuleId,
    org_id: OrgId,
    name: String,
    description: String,
    condition: Condition,
    evaluation_interval_sec: u64,
    severity: Severity,
    labels: BTreeMap<String, String>,
    datasource_id: Option<ConnectorId>,
    owner_team_id: Option<TeamId>,
    enabled: bool,
    /// Whether rules are evaluated at all on this server.
    evaluated: bool,
    state: AlertState,
    state_changed_at: DateTime<Utc>,
    pending_since: Option<DateTime<Utc>>,
    firing_since: Option<DateTime<Utc>>,
    last_evaluated_at: Option<DateTime<Utc>>,
    last_value: Option<f64>,
    last_labels: BTreeMap<String, String>,
    last_error: Option<String>,
    /// What a reader should know: several series were folded to one.
    warning: Option<String>,
    investigation_id: Option<InvestigationId>,
    created_by: String,
    created_by_login: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl RuleView {
    /// What never changes: a rule may be sent back with these.
    const FIXED: &'static [&'static str] = &["id", "orgId", "createdBy", "createdByLogin", "createdAt"];

    /// What is seen and not written: passed over.
    const SEEN: &'static [&'static str] = &[
        "evaluated",
        "state",
        "stateChangedAt",
        "pendingSince",
        "firingSince",
        "lastEvaluatedAt",
        "lastValue",
        "lastLabels",
        "lastError",
        "warning",
        "investigationId",
        "updatedAt",
    ];
}

impl From<Found> for RuleView {
    fn from(found: Found) -> Self {
        let state = found.state();
        let Found { rule, instance, evaluated } = found;
        let seen = instance.as_ref();
        Self {
            id: rule.id,
            org_id: rule.org_id,
            name: rule.name,
            description: rule.description,
            condition: rule.condition,
            evaluation_interval_sec: rule.evaluation_interval_sec,
            severity: rule.severity,
            labels: rule.labels,
            datasource_id: rule.datasource_id,
            owner_team_id: rule.owner_team_id,
            enabled: rule.enabled,
            evaluated,
            state,
            state_changed_at: seen.map_or(rule.created_at, |seen| seen.state_changed_at),
            pending_since: seen.and_then(|seen| seen.pending_since),
            firing_since: seen.and_then(|seen| seen.firing_since),
            last_evaluated_at: seen.and_then(|seen| seen.last_evaluated_at),
            last_value: seen.and_then(|seen| seen.last_value),
            last_error: seen.and_then(|seen| seen.last_error.clone()),
            warning: seen.and_then(|seen| seen.warning.clone()),
            investigation_id: seen.and_then(|seen| seen.investigation_id),
            last_labels: instance.map(|seen| seen.last_labels).unwrap_or_default(),
            created_by: rule.created_by.id,
            created_by_login: rule.created_by.login,
            created_at: rule.created_at,
            updated_at: rule.updated_at,
        }
    }
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
        "datasourceId": rule.datasource_id,
        "ownerTeamId": rule.owner_team_id,
    });
    let mut changed = found;
    // Only switched on or off, it is not changed otherwise, and says so in the audit log.
    if !change.is_empty() || enabled == rule.enabled {
        let Value::Object(whole) = overlay(base, change) else { return Err(ApiError::internal("a rule is an object")) };
        changed = alerts.update(&who.principal, id, lenient::read(whole)?).await?;
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
        let of_a_rule =
            ["name", "description", "evaluationIntervalSec", "severity", "labels", "ownerTeamId", "enabled"];
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
            (Condition { query, operator, threshold, for_duration_sec }, false)
        }
        // With NaN nothing but != holds, so a bare query never does.
        (None, Some(query), None, None) => {
            (Condition { query, operator: Operator::Gt, threshold: f64::NAN, for_duration_sec }, true)
        }
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
    let queued = state.rounds.alerts().investigate(&who.principal, id, body.force).await?;
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
