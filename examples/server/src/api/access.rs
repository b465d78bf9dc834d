//! Roles and grants.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use super::{Api, Op};
use crate::accounts::{GrantDraft, GrantView, RoleView};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/access-control/roles", "What each role permits").answers::<Vec<RoleView>>(), roles)
        .at(Op::get("/api/access-control/grants", "List grants").answers::<Vec<GrantView>>(), list)
        .at(
            Op::post("/api/access-control/grants", "Grant an action on a scope, or a role")
                .body::<GrantDraft>()
                .status(201)
                .answers::<GrantView>(),
            add,
        )
        .at(
            Op::delete("/api/access-control/grants", "Take back the grant that is like this").body::<GrantDraft>(),
            remove_like,
        )
        .at(Op::delete("/api/access-control/grants/{id}", "Take a grant back"), remove)
}

async fn roles(State(state): State<AppState>, who: Who) -> Result<Json<Vec<RoleView>>, ApiError> {
    Ok(Json(state.accounts.roles(&who.principal).await?))
}

async fn list(State(state): State<AppState>, who: Who) -> Result<Json<Vec<GrantView>>, ApiError> {
    Ok(Json(state.accounts.grants(&who.principal).await?))
}

async fn add(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<GrantDraft>,
) -> Result<(StatusCode, Json<GrantView>), ApiError> {
    Ok((StatusCode::CREATED, Json(state.accounts.add_grant(&who.principal, &draft).await?)))
}

async fn remove_like(
    State(state): State<AppState>,
    who: Who,
    Body(draft): Body<GrantDraft>,
) -> Result<StatusCode, ApiError> {
    state.accounts.remove_grant_like(&who.principal, &draft).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(state): State<AppState>, who: Who, Id(id): Id<Uuid>) -> Result<StatusCode, ApiError> {
    state.accounts.remove_grant(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
