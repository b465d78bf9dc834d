//! The first steps of an installation, and its language model.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rounds_core::connector::Role;
use rounds_core::{OrgId, PrincipalId};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Api, Op};
use crate::accounts::{LlmDraft, LlmView, UserDraft};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::Body;
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/setup/status", "What is set up").open().answers::<SetupStatus>(), status)
        .at(
            Op::post("/api/setup/admin", "Make the first admin, once")
                .open()
                .body::<AdminBody>()
                .status(201)
                .answers::<AdminMade>(),
            admin,
        )
        .at(Op::get("/api/system/llm", "The language model, without its key").answers::<Option<LlmView>>(), llm)
        .at(
            Op::put("/api/system/llm", "Set the language model; its key never comes out again")
                .body::<LlmDraft>()
                .answers::<LlmView>(),
            set_llm,
        )
}

/// What is set up.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetupStatus {
    /// The wizard was finished, or there is an admin and a connector.
    pub configured: bool,
    /// There is, or was, an admin: the wizard makes none any more.
    pub has_admin: bool,
    /// There is a language model.
    #[serde(rename = "hasLLM")]
    pub has_llm: bool,
    /// How many connectors there are.
    pub connector_count: usize,
    /// Whether one of them tells people.
    pub has_notifications: bool,
    /// When the oldest admin was made.
    pub bootstrapped_at: Option<DateTime<Utc>>,
    /// When the wizard was finished, which closes it; otherwise when the oldest connector was made.
    pub configured_at: Option<DateTime<Utc>>,
}

/// What is set up, for the wizard's page too.
///
/// # Errors
/// The store cannot be read.
pub async fn setup_status(state: &AppState) -> Result<SetupStatus, ApiError> {
    let progress = state.accounts.setup_progress().await?;
    let has_admin = state.accounts.has_users().await?;
    let users = state.accounts.identity().users(&OrgId::default()).await?;
    let connectors = &progress.connectors;
    let configured = progress.finished_at.is_some() || (has_admin && !connectors.is_empty());
    let oldest = connectors.iter().map(|connector| connector.created_at).min();
    Ok(SetupStatus {
        configured,
        has_admin,
        has_llm: progress.has(Role::Model),
        connector_count: connectors.len(),
        has_notifications: progress.has(Role::Notifier),
        bootstrapped_at: users.iter().filter(|user| user.is_server_admin).map(|user| user.created_at).min(),
        configured_at: progress.finished_at.or(oldest.filter(|_| configured)),
    })
}

async fn status(State(state): State<AppState>) -> Result<Json<SetupStatus>, ApiError> {
    Ok(Json(setup_status(&state).await?))
}

/// The first admin.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AdminBody {
    /// An address.
    #[serde(default)]
    email: Option<String>,
    /// The name to show; absent: the login.
    #[serde(default)]
    name: Option<String>,
    /// What they sign in with.
    login: String,
    /// 8 to 256 characters.
    #[schemars(with = "String")]
    password: SecretString,
}

/// The first admin was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AdminMade {
    user_id: PrincipalId,
    org_id: OrgId,
}

async fn admin(
    State(state): State<AppState>,
    Body(body): Body<AdminBody>,
) -> Result<(StatusCode, Json<AdminMade>), ApiError> {
    let draft = UserDraft {
        email: body.email,
        login: body.login,
        name: body.name,
        password: body.password,
        org_role: rounds_core::access::OrgRole::Admin,
        is_admin: true,
    };
    let made = state.accounts.first_admin(draft).await?;
    Ok((StatusCode::CREATED, Json(AdminMade { user_id: made.id, org_id: made.org_id })))
}

async fn llm(State(state): State<AppState>, who: Who) -> Result<Json<Option<LlmView>>, ApiError> {
    Ok(Json(state.accounts.llm(&who.principal).await?))
}

async fn set_llm(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<LlmDraft>,
) -> Result<Json<LlmView>, ApiError> {
    Ok(Json(state.accounts.set_llm(&who.principal, draft).await?))
}
