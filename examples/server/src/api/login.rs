//! Signing in and out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum_extra::extract::CookieJar;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Api, Op};
use crate::auth::{self, Attempt, Peer, Via, Who, safe_next};
use crate::error::ApiError;
use crate::extract::Body;
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post("/api/login", "Sign in; sets the session cookie").open().body::<Login>().answers::<LoggedIn>(),
        login,
    )
    .at(Op::post("/api/logout", "Sign out; ends the session").answers::<Message>(), logout)
}

/// Who signs in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// Login or email.
    user: String,
    /// The password.
    #[schemars(with = "String")]
    password: SecretString,
    /// Where to go afterwards: a path of this site.
    #[serde(default)]
    next: Option<String>,
}

/// Signed in.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    message: &'static str,
    redirect_url: String,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
struct Message {
    message: &'static str,
}

async fn login(
    State(state): State<AppState>,
    peer: Peer,
    jar: CookieJar,
    Body(body): Body<Login>,
) -> Result<(CookieJar, Json<LoggedIn>), ApiError> {
    let redirect_url = safe_next(body.next.as_deref()).to_owned();
    let cookie = sign_in(&state, &peer, &body.user, body.password).await?;
    Ok((jar.add(cookie), Json(LoggedIn { message: "Logged in", redirect_url })))
}

/// Signs in, counting failures; gives the session's cookie. For the API and the page alike.
///
/// # Errors
/// 401 for whatever is wrong with user or password, 429 after too many failures.
pub async fn sign_in(
    state: &AppState,
    peer: &Peer,
    user: &str,
    password: SecretString,
) -> Result<axum_extra::extract::cookie::Cookie<'static>, ApiError> {
    let attempt = attempt(state, user, peer).await?;
    match state.accounts.sign_in(user, password, peer).await? {
        Some(signed_in) => {
            attempt.succeeded();
            Ok(auth::session_cookie(signed_in.token.expose_secret(), peer.secure))
        }
        None => {
            attempt.failed(state.rounds.now());
            tracing::warn!(address = %peer.address, "a sign-in failed");
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_login", "user or password is wrong"))
        }
    }
}

/// Begins an attempt at a password, unless too many failed lately.
pub(super) async fn attempt<'a>(state: &'a AppState, user: &str, peer: &Peer) -> Result<Attempt<'a>, ApiError> {
    state.logins.attempt(user, peer.address, || state.rounds.now()).await.map_err(|too_many| {
        let message = format!("too many failed sign-ins: try again in {} seconds", too_many.retry_after);
        ApiError::too_many("too_many_logins", message, too_many)
    })
}

async fn logout(
    State(state): State<AppState>,
    who: Who,
    peer: Peer,
    jar: CookieJar,
) -> Result<(CookieJar, Json<Message>), ApiError> {
    match who.via {
        Via::Session(session) => state.accounts.sign_out(&who.principal, &session.token).await?,
        Via::Token(_) => {
            return Err(ApiError::bad_request("a token has no session to end: revoke it instead"));
        }
    }
    Ok((jar.add(auth::end_session(peer.secure)), Json(Message { message: "Logged out" })))
}
