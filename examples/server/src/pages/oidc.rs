//! Signing in with an identity provider: to it, and back from it. Without one there is nothing here.

use axum::response::Response;

use super::cx::Anybody;
use super::error::PageError;
use crate::auth::Peer;
use crate::state::AppState;

#[cfg(feature = "oidc")]
mod with {
    use axum::response::{IntoResponse as _, Redirect};
    use axum_extra::extract::CookieJar;
    use secrecy::ExposeSecret as _;

    use super::{Anybody, AppState, PageError, Peer, Response, absent};
    use crate::auth::{safe_next, session_cookie};
    use crate::error::ApiError;
    use crate::oidc::{Brought, FLOW_COOKIE, Oidc};
    use crate::pages::cx::{Shell, page_with};
    use crate::pages::session::LoginPage;

    pub(in crate::pages) fn provider(state: &AppState) -> Option<String> {
        state.oidc.as_ref().map(|oidc| oidc.name().to_owned())
    }

    pub(in crate::pages) async fn begin(on: Anybody, peer: Peer, jar: CookieJar) -> Result<Response, PageError> {
        let oidc = on.state.oidc.as_ref().ok_or_else(absent)?;
        // Whoever comes first makes the first admin, and that is nobody whom a provider sends.
        if !on.state.accounts.has_users().await? {
            return Ok(Redirect::to("/setup").into_response());
        }
        let next = safe_next(on.around.param("next"));
        match oidc.begin(next, peer.secure, on.around.now).await {
            Ok((to, cookie)) => Ok((jar.add(cookie), Redirect::to(&to)).into_response()),
            Err(error) => Ok(refused(&on, error, next)),
        }
    }

    pub(in crate::pages) async fn callback(on: Anybody, peer: Peer, jar: CookieJar) -> Result<Response, PageError> {
        let oidc = on.state.oidc.as_ref().ok_or_else(absent)?;
        if !on.state.accounts.has_users().await? {
            return Ok(Redirect::to("/setup").into_response());
        }
        let cookie = jar.get(FLOW_COOKIE).map(|cookie| cookie.value().to_owned());
        // Once, whatever comes of it.
        let jar = jar.add(Oidc::over(peer.secure));
        let brought = Brought {
            code: on.around.param("code"),
            state: on.around.param("state"),
            error: on.around.param("error"),
            cookie: cookie.as_deref(),
        };
        Ok(match oidc.finish(&on.state, &brought, &peer).await {
            Ok((signed_in, next)) => {
                let session = session_cookie(signed_in.token.expose_secret(), peer.secure);
                (jar.add(session), Redirect::to(safe_next(Some(&next)))).into_response()
            }
            Err(error) => (jar, refused(&on, error, "/")).into_response(),
        })
    }

    /// The sign-in page, with what was in the way.
    fn refused(on: &Anybody, error: ApiError, next: &str) -> Response {
        let error = PageError::from(error);
        let mut shell = Shell::anonymous(&on.around, "Sign in", "").refused(Some(&error));
        shell.path = "/login".into();
        let page = LoginPage { shell, user: String::new(), next: next.to_owned(), provider: provider(&on.state) };
        page_with(error.status, &page)
    }
}

#[cfg(feature = "oidc")]
pub(super) use with::{begin, callback, provider};

/// What the provider is called.
#[cfg(not(feature = "oidc"))]
pub(super) fn provider(_: &AppState) -> Option<String> {
    None
}

#[cfg(not(feature = "oidc"))]
pub(super) async fn begin(_: Anybody, _: Peer) -> Result<Response, PageError> {
    Err(absent())
}

#[cfg(not(feature = "oidc"))]
pub(super) async fn callback(_: Anybody, _: Peer) -> Result<Response, PageError> {
    Err(absent())
}

fn absent() -> PageError {
    PageError::not_found("sign-in with a provider is not set up on this server: sign in with your password")
}
