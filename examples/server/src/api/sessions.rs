//! What somebody signs in with: sessions, the password, tokens of one's own; and, for admins, the sessions of others.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rounds_core::{PrincipalId, TokenId};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::login::attempt;
use super::service_accounts::TokenBody;
use super::{Api, Op};
use crate::accounts::{SessionView, TokenView};
use crate::auth::{Peer, Who};
use crate::error::ApiError;
use crate::extract::{Body, Id};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/user/sessions", "One's own sessions").answers::<Vec<SessionView>>(), mine)
        .at(Op::delete("/api/user/sessions/{id}", "End a session of one's own: it is over at once"), end)
        .at(Op::delete("/api/user/sessions", "End every session of one's own but the one that asks"), end_others)
        .at(
            Op::post("/api/user/password", "Change one's own password; every other session ends")
                .body::<PasswordBody>()
                .status(204),
            password,
        )
        .at(Op::get("/api/user/tokens", "One's own tokens").answers::<Vec<TokenView>>(), tokens)
        .at(
            Op::post("/api/user/tokens", "Mint a token of one's own, with a session; its text is shown this once")
                .body::<TokenBody>()
                .status(201)
                .answers::<Value>(),
            mint,
        )
        .at(Op::delete("/api/user/tokens/{id}", "Revoke a token of one's own"), revoke)
        .at(Op::get("/api/admin/users/{id}/sessions", "A user's sessions").answers::<Vec<SessionView>>(), of_user)
        .at(Op::delete("/api/admin/users/{id}/sessions", "End every session of a user"), end_of_user)
}

async fn mine(State(state): State<AppState>, who: Who) -> Result<Json<Vec<SessionView>>, ApiError> {
    Ok(Json(state.accounts.my_sessions(&who.principal, who.session_id()).await?))
}

async fn end(State(state): State<AppState>, who: Who, Id(id): Id<Uuid>) -> Result<StatusCode, ApiError> {
    state.accounts.end_my_session(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_others(State(state): State<AppState>, who: Who) -> Result<StatusCode, ApiError> {
    state.accounts.end_my_other_sessions(&who.principal, who.session_id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password of one's own.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordBody {
    /// The one that works now.
    #[schemars(with = "String")]
    current_password: SecretString,
    /// 8 to 256 characters.
    #[schemars(with = "String")]
    new_password: SecretString,
}

async fn password(
    State(state): State<AppState>,
    who: Who,
    peer: Peer,
    Body(body): Body<PasswordBody>,
) -> Result<StatusCode, ApiError> {
    change_password(&state, &who, &peer, &body.current_password, &body.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes one's own password. Wrong guesses at the current one count as failed sign-ins: a session that was left open
/// is no way to try passwords. For the API and the page alike.
///
/// # Errors
/// 403 for a token or when the current password is another, 400 when the new one does not hold, 429 after too many
/// failures.
pub(crate) async fn change_password(
    state: &AppState,
    who: &Who,
    peer: &Peer,
    current: &SecretString,
    new: &SecretString,
) -> Result<(), ApiError> {
    let session = who.by_session("change the password")?;
    let attempt = attempt(state, &who.principal.login, peer).await?;
    if state.accounts.change_my_password(&who.principal, session, current, new).await? {
        attempt.succeeded();
        return Ok(());
    }
    attempt.failed(state.rounds.now());
    tracing::warn!(address = %peer.address, "a change of password failed: the current one was wrong");
    Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_password", "the current password is another"))
}

async fn tokens(State(state): State<AppState>, who: Who) -> Result<Json<Vec<TokenView>>, ApiError> {
    Ok(Json(state.accounts.my_tokens(&who.principal).await?))
}

async fn mint(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    // Or a token with an end could make itself one without.
    who.by_session("mint a token of one's own")?;
    let minted = state.accounts.mint_mine(&who.principal, &body.name, body.seconds_to_live).await?;
    Ok((StatusCode::CREATED, Json(minted.to_json())))
}

async fn revoke(State(state): State<AppState>, who: Who, Id(id): Id<TokenId>) -> Result<StatusCode, ApiError> {
    state.accounts.revoke_mine(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn of_user(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<PrincipalId>,
) -> Result<Json<Vec<SessionView>>, ApiError> {
    Ok(Json(state.accounts.user_sessions(&who.principal, id, who.session_id()).await?))
}

async fn end_of_user(State(state): State<AppState>, who: Who, Id(id): Id<PrincipalId>) -> Result<StatusCode, ApiError> {
    state.accounts.end_user_sessions(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
