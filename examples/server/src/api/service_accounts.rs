//! Service accounts and their tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::access::OrgRole;
use rounds_core::{PrincipalId, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Api, Op};
use crate::accounts::{ServiceAccountChange, ServiceAccountView, TokenView};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Ids, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post("/api/serviceaccounts", "Make a service account")
            .body::<CreateBody>()
            .status(201)
            .answers::<ServiceAccountView>(),
        create,
    )
    .at(
        Op::get("/api/serviceaccounts/search", "List service accounts").query::<SearchParams>().answers::<Found>(),
        search,
    )
    .at(Op::get("/api/serviceaccounts/{id}", "One service account").answers::<ServiceAccountView>(), get)
    .at(
        Op::put("/api/serviceaccounts/{id}", "Change a service account; absent fields stay")
            .body::<ServiceAccountChange>()
            .answers::<ServiceAccountView>(),
        change,
    )
    .at(Op::delete("/api/serviceaccounts/{id}", "Delete a service account with its tokens"), delete)
    .at(
        Op::post("/api/serviceaccounts/{id}/tokens", "Mint a token; its text is shown this once")
            .body::<TokenBody>()
            .status(201)
            .answers::<Value>(),
        mint,
    )
    .at(Op::get("/api/serviceaccounts/{id}/tokens", "List its tokens").answers::<Vec<TokenView>>(), tokens)
    .at(Op::delete("/api/serviceaccounts/{id}/tokens/{token}", "Revoke a token: it is dead at once"), revoke)
}

/// A service account to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateBody {
    /// Its name; its login is `sa-<name>`.
    name: String,
    /// `Viewer`, `Editor` or `Admin`.
    #[serde(default = "viewer")]
    role: OrgRole,
    /// Whether it is an agent: it proposes and never decides. For server admins to say.
    #[serde(default)]
    is_agent: bool,
}

fn viewer() -> OrgRole {
    OrgRole::Viewer
}

async fn create(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<CreateBody>,
) -> Result<(StatusCode, Json<ServiceAccountView>), ApiError> {
    let made = state.accounts.create_service_account(&who.principal, &body.name, body.role, body.is_agent).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Which service accounts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchParams {
    /// A part of login or name.
    query: Option<String>,
    /// Which page, from 1.
    page: Option<usize>,
    /// Accounts on a page; at most 500.
    #[serde(alias = "perPage")]
    perpage: Option<usize>,
}

/// A page of service accounts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServiceAccounts")]
struct Found {
    total_count: usize,
    service_accounts: Vec<ServiceAccountView>,
    page: usize,
    per_page: usize,
}

async fn search(
    State(state): State<AppState>,
    who: Who,
    Params(params): Params<SearchParams>,
) -> Result<Json<Found>, ApiError> {
    let wanted = params.query.unwrap_or_default().to_lowercase();
    let mut found = state.accounts.service_accounts(&who.principal).await?;
    found.retain(|account| {
        account.login.to_lowercase().contains(&wanted) || account.name.to_lowercase().contains(&wanted)
    });
    let page = params.page.unwrap_or(1).max(1);
    let per_page = params.perpage.unwrap_or(100).clamp(1, 500);
    let total_count = found.len();
    let service_accounts = found.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
    Ok(Json(Found { total_count, service_accounts, page, per_page }))
}

async fn get(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
) -> Result<Json<ServiceAccountView>, ApiError> {
    Ok(Json(state.accounts.service_account(&who.principal, id).await?))
}

async fn change(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
    Body(change): Body<ServiceAccountChange>,
) -> Result<Json<ServiceAccountView>, ApiError> {
    Ok(Json(state.accounts.change_service_account(&who.principal, id, change).await?))
}

async fn delete(State(state): State<AppState>, who: Who, Id(id): Id<PrincipalId>) -> Result<StatusCode, ApiError> {
    state.accounts.delete_service_account(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A token to be minted.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenBody {
    /// What it is for.
    pub name: String,
    /// When it ends; absent or 0: when it is revoked.
    #[serde(default)]
    pub seconds_to_live: Option<u64>,
}

async fn mint(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let minted = state.accounts.mint_token(&who.principal, id, &body.name, body.seconds_to_live).await?;
    Ok((StatusCode::CREATED, Json(minted.to_json())))
}

async fn tokens(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
) -> Result<Json<Vec<TokenView>>, ApiError> {
    Ok(Json(state.accounts.tokens(&who.principal, id).await?))
}

async fn revoke(
    State(state): State<AppState>,
    who: Who,
    Ids(id, token): Ids<PrincipalId, TokenId>,
) -> Result<StatusCode, ApiError> {
    state.accounts.revoke_token(&who.principal, id, token).await?;
    Ok(StatusCode::NO_CONTENT)
}
