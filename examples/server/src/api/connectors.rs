//! Connectors: datasources, ops connectors and notifiers share them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rounds_core::access::Action;
use rounds_core::connector::Role;
use rounds_core::connector::{Ability, CheckReport, Connector, ConnectorStatus, Routing, StoredSecret};
use rounds_core::plugin::SecretUse;
use rounds_core::service::{ConnectorDraft, ConnectorHealth, Connectors};
use rounds_core::{ConnectorId, Error, OrgId, TeamId};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lenient::{self, drop_computed, overlay};
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/connectors", "List connectors").query::<ListParams>().answers::<ListAnswer>(), list)
        .at(
            Op::post("/api/connectors", "Configure a connector")
                .body::<ConnectorDraft>()
                .status(201)
                .answers::<Answer>(),
            create,
        )
        .at(
            Op::get("/api/connectors/kinds", "The kinds of connectors, with their schemas").answers::<Vec<Kind>>(),
            kinds,
        )
        .at(Op::get("/api/connectors/{id}", "One connector").answers::<Answer>(), get)
        .at(
            Op::put("/api/connectors/{id}", "Change a connector; absent fields stay")
                .body::<ConnectorDraft>()
                .answers::<Answer>(),
            update,
        )
        .at(Op::delete("/api/connectors/{id}", "Delete a connector with its secret"), delete)
        .at(
            Op::post("/api/connectors/{id}/secret", "Set its secret, which never comes out again")
                .body::<SecretBody>()
                .answers::<Answer>(),
            set_secret,
        )
        .at(
            Op::post("/api/connectors/{id}/test", "Test the connection; 400 when it does not work")
                .answers::<TestAnswer>(),
            test,
        )
}

/// A configured connector; never its secret.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Connector")]
struct ConnectorView {
    id: ConnectorId,
    org_id: OrgId,
    #[serde(rename = "type")]
    kind: String,
    #[schemars(with = "String")]
    role: Role,
    name: String,
    config: Value,
    /// Counts changes of config and secret.
    revision: u64,
    status: ConnectorStatus,
    last_verified_at: Option<DateTime<Utc>>,
    last_verify_error: Option<String>,
    /// What the last test reported, when the other side answered at all.
    last_check: Option<CheckReport>,
    is_default: bool,
    owner_team_id: Option<TeamId>,
    /// Of a notification channel: which notices it hears of, and how often; empty: everything, at once, and once.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routing>,
    created_by: String,
    created_by_login: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// What it can do, as its config says; informational.
    capabilities: Value,
    /// Whether its kind cannot work without a secret and it has none.
    secret_missing: bool,
    /// Where its secret is, when it is a reference.
    secret_ref: Option<String>,
    /// Whether it has a secret.
    has_secret: bool,
    /// How it does, as seen by the calls of the replica that answers, since that started or the connector was changed; null
    /// before the first call. Tests count as calls. Not kept in the database.
    health: Option<HealthView>,
}

/// How a connector does.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConnectorHealth")]
struct HealthView {
    /// `ok` or `failing`, by the last call.
    state: &'static str,
    #[serde(flatten)]
    health: ConnectorHealth,
}

impl HealthView {
    fn new(health: ConnectorHealth) -> Self {
        Self { state: if health.is_failing() { "failing" } else { "ok" }, health }
    }
}

impl ConnectorView {
    /// What never changes: a connector may be sent back with these.
    const FIXED: &'static [&'static str] = &["id", "orgId", "role", "createdBy", "createdByLogin", "createdAt"];

    /// What is seen and not written: passed over.
    const SEEN: &'static [&'static str] = &[
        "revision",
        "status",
        "lastVerifiedAt",
        "lastVerifyError",
        "lastCheck",
        "updatedAt",
        "secretMissing",
        "hasSecret",
        "health",
    ];

    fn new(connector: Connector, connectors: &Connectors<'_>) -> Self {
        let health = connectors.health(&connector).map(HealthView::new);
        let required = connectors
            .kinds()
            .get(&connector.kind)
            .is_ok_and(|registration| matches!(registration.secret(), SecretUse::Required(_)));
        Self {
            id: connector.id,
            org_id: connector.org_id,
            kind: connector.kind,
            role: connector.role,
            name: connector.name,
            capabilities: connector.config.get("capabilities").cloned().unwrap_or_else(|| json!([])),
            config: connector.config,
            revision: connector.revision,
            status: connector.status,
            last_verified_at: connector.last_verified_at,
            last_verify_error: connector.last_verify_error,
            last_check: connector.last_check,
            is_default: connector.is_default,
            owner_team_id: connector.owner_team_id,
            routing: (connector.role == Role::Notifier).then_some(connector.routing),
            created_by: connector.created_by.id,
            created_by_login: connector.created_by.login,
            created_at: connector.created_at,
            updated_at: connector.updated_at,
            secret_missing: required && connector.secret.is_none(),
            has_secret: connector.secret.is_some(),
            health,
            secret_ref: match connector.secret {
                Some(StoredSecret::Reference(reference)) => Some(reference),
                Some(StoredSecret::Inline(_)) | None => None,
            },
        }
    }
}

/// One connector.
#[derive(Debug, Serialize, JsonSchema)]
struct Answer {
    connector: ConnectorView,
}

/// Every connector.
#[derive(Debug, Serialize, JsonSchema)]
struct ListAnswer {
    connectors: Vec<ConnectorView>,
}

fn answer(state: &AppState, connector: Connector) -> Answer {
    Answer { connector: ConnectorView::new(connector, &state.rounds.connectors()) }
}

/// Which connectors.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// Of this kind, such as `kubernetes`.
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn list(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Json<ListAnswer>, ApiError> {
    let connectors = state.rounds.connectors();
    let mut found = connectors.list(&who.principal).await?;
    if let Some(kind) = params.kind.filter(|kind| !kind.is_empty()) {
        found.retain(|connector| connector.kind == kind);
        let known: Vec<&str> = connectors.kinds().iter().map(|registration| registration.kind()).collect();
        if found.is_empty() && !known.contains(&kind.as_str()) {
            let kind: String = kind.chars().take(80).collect();
            let message = format!("type: unknown value `{kind}`; known values: {}", known.join(", "));
            return Err(ApiError::bad_request(message));
        }
    }
    let views = found.into_iter().map(|connector| ConnectorView::new(connector, &connectors)).collect();
    Ok(Json(ListAnswer { connectors: views }))
}

async fn get(State(state): State<AppState>, who: Who, Id(id): Id<ConnectorId>) -> Result<Json<Answer>, ApiError> {
    let found = state.rounds.connectors().get(&who.principal, id).await?;
    Ok(Json(answer(&state, found)))
}

async fn create(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<Map<String, Value>>,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    in_config(&body)?;
    let mut draft: ConnectorDraft = lenient::read(body)?;
    if draft.config.is_null() {
        draft.config = json!({});
    }
    state.accounts.check_owner(&who.principal, Action::ConnectorsWrite, draft.owner_team_id).await?;
    let made = state.rounds.connectors().create(&who.principal, draft).await?;
    Ok((StatusCode::CREATED, Json(answer(&state, made))))
}

async fn update(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<ConnectorId>,
    Body(mut change): Body<Map<String, Value>>,
) -> Result<Json<Answer>, ApiError> {
    let found = state.rounds.connectors().get(&who.principal, id).await?;
    let shown = serde_json::to_value(answer(&state, found.clone()).connector).map_err(ApiError::internal)?;
    drop_computed(&mut change, &shown, ConnectorView::FIXED, ConnectorView::SEEN)?;
    // Sent back as it was shown, what is shown of the config is no change.
    if change.get("capabilities").is_some_and(|sent| shown.get("capabilities") == Some(sent)) {
        change.remove("capabilities");
    }
    in_config(&change)?;
    // Sent back as it was shown, a reference is no change.
    let same_reference = match &found.secret {
        Some(StoredSecret::Reference(reference)) => {
            change.get("secretRef").is_some_and(|sent| sent == reference.as_str())
        }
        Some(StoredSecret::Inline(_)) | None => false,
    };
    if same_reference {
        change.remove("secretRef");
    }
    let base = json!({
        "type": found.kind,
        "name": found.name,
        "config": found.config,
        "isDefault": found.is_default,
        "ownerTeamId": found.owner_team_id,
    });
    let Value::Object(whole) = overlay(base, change) else {
        return Err(ApiError::internal("a connector is an object"));
    };
    let mut draft: ConnectorDraft = lenient::read(whole)?;
    if draft.config.is_null() {
        draft.config = json!({});
    }
    let new_owner = draft.owner_team_id.filter(|_| draft.owner_team_id != found.owner_team_id);
    state.accounts.check_owner(&who.principal, Action::ConnectorsWrite, new_owner).await?;
    let changed = state.rounds.connectors().update(&who.principal, id, draft).await?;
    Ok(Json(answer(&state, changed)))
}

/// Parts of the config that stand beside it are named, not dropped.
fn in_config(body: &Map<String, Value>) -> Result<(), ApiError> {
    for name in ["capabilities", "allowedNamespaces"] {
        if body.get(name).is_some_and(|sent| !sent.is_null()) {
            return Err(ApiError::bad_request(format!("{name}: it belongs into the config: send config.{name}")));
        }
    }
    Ok(())
}

async fn delete(State(state): State<AppState>, who: Who, Id(id): Id<ConnectorId>) -> Result<StatusCode, ApiError> {
    state.rounds.connectors().delete(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A secret, or where it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretBody {
    /// The secret itself, kept encrypted.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    secret: Option<SecretString>,
    /// Where it is: `env://VAR`, `file:///abs/path`, `vault://path#field`.
    #[serde(default)]
    secret_ref: Option<String>,
}

async fn set_secret(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<ConnectorId>,
    Body(body): Body<SecretBody>,
) -> Result<Json<Answer>, ApiError> {
    let secret = match (body.secret, body.secret_ref) {
        (Some(secret), None) => StoredSecret::Inline(secret),
        (None, Some(reference)) => StoredSecret::Reference(reference),
        _ => return Err(ApiError::bad_request("one of secret and secretRef is expected")),
    };
    let changed = state.rounds.connectors().set_secret(&who.principal, id, secret).await?;
    Ok(Json(answer(&state, changed)))
}

/// What a test found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TestAnswer {
    ok: bool,
    message: String,
    /// Facts worth showing: versions, what the credentials can do.
    facts: std::collections::BTreeMap<String, String>,
    /// What the credentials can and cannot do.
    abilities: Vec<Ability>,
}

async fn test(State(state): State<AppState>, who: Who, Id(id): Id<ConnectorId>) -> Result<Response, ApiError> {
    match state.rounds.connectors().test(&who.principal, id).await {
        Ok(report) => {
            let CheckReport { message, facts, abilities, .. } = report;
            Ok(Json(TestAnswer { ok: true, message, facts, abilities }).into_response())
        }
        Err(error @ (Error::Port(_) | Error::Invalid(_))) => {
            let kept = state.rounds.connectors().get(&who.principal, id).await.ok();
            let abilities = kept.and_then(|kept| kept.last_check).map(|report| report.abilities).unwrap_or_default();
            let answer =
                json!({ "ok": false, "code": error.code(), "message": error.to_string(), "abilities": abilities });
            Ok((StatusCode::BAD_REQUEST, Json(answer)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// A kind of connector.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Kind {
    kind: &'static str,
    title: &'static str,
    #[schemars(with = "String")]
    role: Role,
    /// The JSON Schema of `config`.
    schema: Value,
    secret: KindSecret,
}

/// Whether a kind has a secret.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct KindSecret {
    /// `none`, `optional` or `required`.
    #[serde(rename = "use")]
    use_: &'static str,
    /// What it is.
    help: Option<&'static str>,
}

async fn kinds(State(state): State<AppState>, _who: Who) -> Json<Vec<Kind>> {
    let connectors = state.rounds.connectors();
    let kinds = connectors.kinds().iter().map(|registration| Kind {
        kind: registration.kind(),
        title: registration.title(),
        role: registration.role(),
        schema: registration.schema(),
        secret: match registration.secret() {
            SecretUse::Required(help) => KindSecret { use_: "required", help: Some(help) },
            SecretUse::Optional(help) => KindSecret { use_: "optional", help: Some(help) },
            _ => KindSecret { use_: "none", help: None },
        },
    });
    Json(kinds.collect())
}
