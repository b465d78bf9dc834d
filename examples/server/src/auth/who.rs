use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum_extra::extract::CookieJar;
use rounds_core::access::Principal;
use rounds_core::{Timestamp, TokenId};
use secrecy::SecretString;
use uuid::Uuid;

use super::cookies::SESSION_COOKIE;
use super::csrf;
use super::peer::Peer;
use crate::error::ApiError;
use crate::state::AppState;

/// A session that goes on.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// What it is listed and ended by.
    pub id: Uuid,
    /// What the cookie carries.
    pub token: SecretString,
}

/// The header of what a page that was left open asks by itself: it is answered, and does not keep the session alive.
const UNATTENDED: &str = "x-unattended";

/// How somebody proved who they are.
#[derive(Debug, Clone)]
pub enum Via {
    /// A session cookie.
    Session(LiveSession),
    /// A bearer token.
    Token(TokenId),
}

/// Who is asking. Writes with a session carry a CSRF token; bearer tokens need none.
#[derive(Debug, Clone)]
pub struct Who {
    /// The account, with its role and grants as they are now.
    pub principal: Principal,
    /// How it was proved.
    pub via: Via,
}

impl Who {
    /// Who is asking, or why nobody is. A session is used by this.
    pub(crate) async fn of(parts: &Parts, state: &AppState) -> Result<Self, ApiError> {
        // What a page asks by itself says so.
        Self::found(parts, state, !parts.headers.contains_key(UNATTENDED)).await
    }

    /// Who asked once and still listens. A page that was left open somewhere does not keep its session alive.
    pub(crate) async fn still(parts: &Parts, state: &AppState) -> Result<Self, ApiError> {
        Self::found(parts, state, false).await
    }

    async fn found(parts: &Parts, state: &AppState, is_use: bool) -> Result<Self, ApiError> {
        let now = state.rounds.now();
        // A token that was sent is meant: a dead one does not fall back to a session that happens to be there.
        if let Some(token) = bearer(&parts.headers)? {
            // The token is looked at first: whoever holds a live one is not held up by others at the same address.
            let Some(found) = state.accounts.bearer(&token, now).await? else {
                return Err(dead_token(parts, state, now));
            };
            return Ok(Self { principal: found.principal, via: Via::Token(found.token_id) });
        }
        let token = session_token(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let session = state.accounts.session(&token, now).await?.ok_or_else(ApiError::unauthorized)?;
        if is_use {
            state.accounts.seen(&session, now).await;
        }
        Ok(Self { principal: session.principal, via: Via::Session(LiveSession { id: session.session_id, token }) })
    }

    /// The session that asks, when it is one.
    #[must_use]
    pub fn session_id(&self) -> Option<Uuid> {
        match &self.via {
            Via::Session(session) => Some(session.id),
            Via::Token(_) => None,
        }
    }

    /// The session that asks: for what a token, which may have been taken, cannot do.
    ///
    /// # Errors
    /// 403 for a token.
    pub fn by_session(&self, what: &str) -> Result<Uuid, ApiError> {
        self.session_id().ok_or_else(|| {
            let message = format!("a token cannot {what}: sign in (POST /api/login) and do it with the session");
            ApiError::new(StatusCode::FORBIDDEN, "needs_session", message)
        })
    }
}

/// A token that is none is counted against its address, and after too many the answer says so.
fn dead_token(parts: &Parts, state: &AppState, now: Timestamp) -> ApiError {
    let address = Peer::of(parts, state).address;
    match state.dead_tokens.count(&address, now) {
        Ok(()) => ApiError::unauthorized(),
        Err(too_many) => {
            let message = format!(
                "too many requests with tokens that are not live: try again in {} seconds, with a live one at once",
                too_many.retry_after
            );
            ApiError::too_many("too_many_dead_tokens", message, too_many)
        }
    }
}

pub(crate) fn session_token(headers: &HeaderMap) -> Option<SecretString> {
    let jar = CookieJar::from_headers(headers);
    jar.get(SESSION_COOKIE).map(|cookie| SecretString::from(cookie.value())).filter(|token| {
        use secrecy::ExposeSecret as _;
        !token.expose_secret().is_empty()
    })
}

fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() => Ok(Some(SecretString::from(token))),
        _ => Err(ApiError::unauthorized()),
    }
}

impl FromRequestParts<AppState> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let who = Self::of(parts, state).await?;
        if let (Via::Session(_), false) = (&who.via, parts.method.is_safe()) {
            csrf::check_header(&parts.headers)?;
        }
        Ok(who)
    }
}
