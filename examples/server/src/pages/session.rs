//! Signing in and out, and the choice of light or dark.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use secrecy::SecretString;
use url::form_urlencoded;

use super::cx::{Anybody, Shell, THEME_COOKIE, page_with};
use super::error::PageError;
use super::form::Fields;
use super::oidc;
use crate::api::sign_in;
use crate::auth::{self, PageUser, Peer, safe_next};

#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) shell: Shell,
    pub(super) user: String,
    pub(super) next: String,
    /// What the provider is called, where there is one.
    pub(super) provider: Option<String>,
}

impl LoginPage {
    /// Where signing in with the provider begins.
    fn begin(&self) -> String {
        let next: String = form_urlencoded::byte_serialize(self.next.as_bytes()).collect();
        format!("/login/oidc?next={next}")
    }
}

pub(super) async fn login_page(on: Anybody) -> Result<Response, PageError> {
    if !on.state.accounts.has_users().await? {
        return Ok(Redirect::to("/setup").into_response());
    }
    let next = safe_next(on.around.param("next")).to_owned();
    let shell = Shell::anonymous(&on.around, "Sign in", "");
    Ok(page_with(StatusCode::OK, &LoginPage { shell, user: String::new(), next, provider: oidc::provider(&on.state) }))
}

pub(super) async fn login(on: Anybody, peer: Peer, jar: CookieJar, fields: Fields) -> Response {
    let user = fields.get("user").trim();
    let next = safe_next(fields.text("next")).to_owned();
    match sign_in(&on.state, &peer, user, SecretString::from(fields.get("password"))).await {
        Ok(cookie) => (jar.add(cookie), Redirect::to(&next)).into_response(),
        Err(error) => {
            let retry_after = error.retry_after;
            let error = PageError::from(error);
            let shell = Shell::anonymous(&on.around, "Sign in", "").refused(Some(&error));
            let mut response = page_with(
                error.status,
                &LoginPage { shell, user: user.to_owned(), next, provider: oidc::provider(&on.state) },
            );
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

pub(super) async fn logout(
    on: Anybody,
    user: PageUser,
    peer: Peer,
    jar: CookieJar,
    _: Fields,
) -> Result<Response, PageError> {
    on.state.accounts.sign_out(&user.principal, &user.session.token).await?;
    Ok((jar.add(auth::end_session(peer.secure)), Redirect::to("/login?done=signed-out")).into_response())
}

/// Remembers light or dark in a cookie, so that the first byte of a page already knows.
pub(super) async fn theme(peer: Peer, jar: CookieJar, fields: Fields) -> Response {
    let theme = match fields.get("theme") {
        "light" => "light",
        "dark" => "dark",
        _ => "auto",
    };
    let cookie = Cookie::build((THEME_COOKIE, theme))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(peer.secure)
        .permanent()
        .build();
    (jar.add(cookie), Redirect::to(safe_next(fields.text("back")))).into_response()
}
