//! Cross-site request forgery: double submit. A token in a cookie that scripts of this site can read, echoed in a
//! header (`x-csrf-token`) or a form field (`csrf`) by every write that a cookie authenticates.

use std::convert::Infallible;

use axum::Form;
use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use rand::TryRngCore as _;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::cookies::{CSRF_COOKIE, csrf_cookie};
use super::peer::Peer;
use crate::error::ApiError;
use crate::state::AppState;

/// The header that scripts echo the token in.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The hidden field that forms echo the token in.
pub const CSRF_FIELD: &str = "csrf";

/// The token that this browser has to echo: for a page's forms.
#[derive(Debug, Clone)]
pub struct CsrfToken(pub String);

impl FromRequestParts<AppState> for CsrfToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(String::new())))
    }
}

/// Middleware: mints the cookie on any safe request without one, and tells handlers the token.
pub async fn mint(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let known = cookie(&parts.headers);
    let mut minted = None;
    let token = match known {
        Some(token) => Some(token),
        None if parts.method.is_safe() => {
            minted = random().map(|token| csrf_cookie(&token, Peer::of(&parts, &state).secure));
            minted.as_ref().map(|cookie| cookie.value().to_owned())
        }
        None => None,
    };
    if let Some(token) = token {
        parts.extensions.insert(CsrfToken(token));
    }
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(value) = minted.and_then(|cookie| cookie.to_string().parse().ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

fn random() -> Option<String> {
    let mut bytes = [0u8; 32];
    match rand::rngs::OsRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Some(hex::encode(bytes)),
        Err(error) => {
            tracing::error!(%error, "the system gives no random bytes: no CSRF token could be made");
            None
        }
    }
}

/// The cookie's token, when it looks like one of ours.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    let token = jar.get(CSRF_COOKIE)?.value();
    (token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| token.to_owned())
}

/// Checks a write that a cookie authenticates: the token that came back must be the cookie's.
pub(crate) fn check(headers: &HeaderMap, echoed: Option<&str>) -> Result<(), ApiError> {
    let refused = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, "csrf", message));
    // Browsers say where a request comes from; another site has no business with a session of this one, and neither has a
    // neighbour under the same domain, which could plant a cookie of ours.
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return refused("the request comes from another site");
    }
    let Some(cookie) = cookie(headers) else {
        return refused("there is no rounds_csrf cookie: load a page or make any GET first, it is set then");
    };
    match echoed {
        Some(echoed) if bool::from(echoed.as_bytes().ct_eq(cookie.as_bytes())) => Ok(()),
        Some(_) => refused("the CSRF token is not the one of the rounds_csrf cookie: reload and try again"),
        None => refused("a write with a session needs the value of the rounds_csrf cookie in the header x-csrf-token"),
    }
}

pub(crate) fn check_header(headers: &HeaderMap) -> Result<(), ApiError> {
    check(headers, headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()))
}

/// A page's form, once its CSRF token was checked. `T` need not know the field `csrf`.
pub struct CsrfForm<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for CsrfForm<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = crate::extract::bytes(Request::from_parts(parts.clone(), body), state).await?;
        let field = form_urlencoded::parse(&bytes).find(|(name, _)| name == CSRF_FIELD).map(|(_, value)| value);
        match &field {
            Some(echoed) => check(&parts.headers, Some(echoed))?,
            // A script may send the form with the header instead.
            None => check_header(&parts.headers)?,
        }
        let request = Request::from_parts(parts, HttpBody::from(bytes));
        let Form(value) = Form::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::bad_request(format!("the form does not hold: {}", rejection.body_text())))?;
        Ok(Self(value))
    }
}
