//! The two cookies.

use axum_extra::extract::cookie::{Cookie, SameSite};

/// Carries the session.
pub const SESSION_COOKIE: &str = "rounds_session";
/// Carries the CSRF token, for scripts of the page to read.
pub const CSRF_COOKIE: &str = "rounds_csrf";

/// The cookie of a new session. The browser forgets it when it closes; the server's own limit counts.
#[must_use]
pub fn session_cookie(token: &str, secure: bool) -> Cookie<'static> {
    Cookie::build((SESSION_COOKIE, token.to_owned()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(secure)
        .build()
}

/// What takes the session cookie away again.
#[must_use]
pub fn end_session(secure: bool) -> Cookie<'static> {
    let mut cookie = session_cookie("", secure);
    cookie.make_removal();
    cookie
}

pub(super) fn csrf_cookie(token: &str, secure: bool) -> Cookie<'static> {
    // Scripts of the page read it and echo it, so it is not HttpOnly.
    Cookie::build((CSRF_COOKIE, token.to_owned())).path("/").same_site(SameSite::Lax).secure(secure).build()
}
