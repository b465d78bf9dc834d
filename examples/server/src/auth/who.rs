use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum_extra::extract::CookieJar;
use rounds_core::TokenId;
use rounds_core::access::Principal;
use secrecy::SecretString;

use super::cookies::SESSION_COOKIE;
use super::csrf;
use crate::error::ApiError;
use crate::state::AppState;

/// How somebody proved who they are.
#[derive(Debug, Clone)]
pub enum Via {
    /// A session cookie.
    Session(SecretString),
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
    /// Who is asking, or why nobody is.
    pub(crate) async fn of(parts: &Parts, state: &AppState) -> Result<Self, ApiError> {
        // A token that was sent is meant: a dead one does not fall back to a session that happens to be there.
        if let Some(token) = bearer(&parts.headers)? {
            let found = state.accounts.bearer(&token, state.rounds.now()).await?;
            let found = found.ok_or_else(ApiError::unauthorized)?;
            return Ok(Self { principal: found.principal, via: Via::Token(found.token_id) });
        }
        let token = session_token(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let principal = state.accounts.session(&token, state.rounds.now()).await?;
        let principal = principal.ok_or_else(ApiError::unauthorized)?;
        Ok(Self { principal, via: Via::Session(token) })
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
