//! Teams.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::{PrincipalId, TeamId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::users::MemberBody;
use super::{Api, Op};
use crate::accounts::TeamView;
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Ids};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/teams", "List teams").answers::<Vec<TeamView>>(), list)
        .at(Op::post("/api/teams", "Make a team").body::<TeamBody>().status(201).answers::<TeamView>(), create)
        .at(Op::delete("/api/teams/{id}", "Delete a team; what was granted to it goes too"), delete)
        .at(
            Op::post("/api/teams/{id}/members", "Put somebody into a team").body::<MemberBody>().answers::<TeamView>(),
            add_member,
        )
        .at(Op::delete("/api/teams/{id}/members/{user}", "Take somebody out of a team"), remove_member)
}

/// A team to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TeamBody {
    /// Its name; unique in the organisation.
    name: String,
}

async fn list(State(state): State<AppState>, who: Who) -> Result<Json<Vec<TeamView>>, ApiError> {
    Ok(Json(state.accounts.teams(&who.principal).await?))
}

async fn create(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<TeamBody>,
) -> Result<(StatusCode, Json<TeamView>), ApiError> {
    Ok((StatusCode::CREATED, Json(state.accounts.create_team(&who.principal, &body.name).await?)))
}

async fn delete(State(state): State<AppState>, who: Who, Id(id): Id<TeamId>) -> Result<StatusCode, ApiError> {
    state.accounts.delete_team(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_member(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<TeamId>,
    Body(body): Body<MemberBody>,
) -> Result<Json<TeamView>, ApiError> {
    Ok(Json(state.accounts.add_member(&who.principal, id, body.user_id).await?))
}

async fn remove_member(
    State(state): State<AppState>,
    who: Who,
    Ids(id, member): Ids<TeamId, PrincipalId>,
) -> Result<StatusCode, ApiError> {
    state.accounts.remove_member(&who.principal, id, member).await?;
    Ok(StatusCode::NO_CONTENT)
}
