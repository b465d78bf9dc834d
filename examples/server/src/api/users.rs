//! People: whoever asks, and all of them for admins.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::access::{Grant, OrgRole};
use rounds_core::{OrgId, PrincipalId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Api, Op};
use crate::accounts::{UserChange, UserDraft, UserView};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/user", "Who is asking").answers::<Me>(), me)
        .at(Op::get("/api/whoami", "Who is asking").answers::<Me>(), me)
        .at(Op::get("/api/admin/users", "List users").answers::<Vec<UserView>>(), list)
        .at(Op::post("/api/admin/users", "Make a user").body::<UserDraft>().status(201).answers::<UserView>(), create)
        .at(Op::get("/api/admin/users/{id}", "One user").answers::<UserView>(), get)
        .at(
            Op::put("/api/admin/users/{id}", "Change a user; absent fields stay")
                .body::<UserChange>()
                .answers::<UserView>(),
            change,
        )
        .at(Op::delete("/api/admin/users/{id}", "Delete a user"), delete)
}

/// Whoever asks.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CurrentUser")]
struct Me {
    id: PrincipalId,
    email: Option<String>,
    login: String,
    name: String,
    org_id: OrgId,
    role: OrgRole,
    is_server_admin: bool,
    is_disabled: bool,
    is_service_account: bool,
    is_agent: bool,
    orgs: Vec<OrgView>,
    /// What was granted beyond the role.
    #[schemars(with = "Vec<Value>")]
    grants: Vec<Grant>,
}

/// An organisation somebody belongs to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrgMembership")]
struct OrgView {
    org_id: OrgId,
    name: String,
    role: OrgRole,
}

async fn me(State(state): State<AppState>, who: Who) -> Result<Json<Me>, ApiError> {
    let account = state.accounts.myself(&who.principal).await?;
    let principal = who.principal;
    Ok(Json(Me {
        id: account.id,
        email: account.email,
        login: account.login,
        name: account.name,
        org_id: principal.org_id.clone(),
        role: principal.role,
        is_server_admin: principal.server_admin,
        is_disabled: account.is_disabled,
        is_service_account: principal.kind == rounds_core::access::ActorType::ServiceAccount,
        is_agent: principal.is_agent,
        orgs: vec![OrgView { org_id: principal.org_id, name: crate::boot::ORG_NAME.into(), role: principal.role }],
        grants: principal.grants,
    }))
}

async fn list(State(state): State<AppState>, who: Who) -> Result<Json<Vec<UserView>>, ApiError> {
    Ok(Json(state.accounts.users(&who.principal).await?))
}

async fn get(State(state): State<AppState>, who: Who, Id(id): Id<PrincipalId>) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.accounts.user_view(&who.principal, id).await?))
}

async fn create(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<UserDraft>,
) -> Result<(StatusCode, Json<UserView>), ApiError> {
    Ok((StatusCode::CREATED, Json(state.accounts.create_user(&who.principal, draft).await?)))
}

async fn change(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
    Body(change): Body<UserChange>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(state.accounts.change_user(&who.principal, id, change).await?))
}

async fn delete(State(state): State<AppState>, who: Who, Id(id): Id<PrincipalId>) -> Result<StatusCode, ApiError> {
    state.accounts.delete_user(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A member of a team.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MemberBody {
    /// Who.
    pub user_id: PrincipalId,
}
