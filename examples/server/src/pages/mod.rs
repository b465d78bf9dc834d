//! The pages: server-rendered, working without JavaScript; `assets/app.js` adds life.
//!
//! A page reads through the facades of core, which authorize, and shows what it got. A form posts, a facade decides,
//! and the browser is redirected; what was refused is shown on the same page with its status and the typed values.

mod account;
mod actions;
mod admin;
mod alert;
mod assets;
mod chart;
mod cx;
mod diff;
mod error;
mod form;
mod investigations;
mod minted;
mod oidc;
mod pill;
mod plan;
mod routes;
mod session;
mod settings;
mod setup;
mod when;
mod words;

use std::sync::LazyLock;

use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::error::ApiError;
use error::PageError;

pub use routes::Pages;

/// Every page.
pub fn router() -> Pages {
    Pages::new()
        .route("/", get(actions::home))
        .route("/actions", get(actions::show))
        .route("/plans", get(actions::home))
        .route("/login", get(session::login_page).post(session::login))
        .route("/login/oidc", get(oidc::begin))
        .route("/login/oidc/callback", get(oidc::callback))
        .form("/logout", post(session::logout))
        .form("/theme", post(session::theme))
        .route("/assets/{file}", get(assets::unversioned))
        .route("/assets/{version}/{*file}", get(assets::versioned))
        .merge(plan::router())
        .merge(investigations::router())
        .merge(alert::router())
        .merge(settings::router())
        .merge(setup::router())
        .merge(admin::router())
        .merge(account::router())
}

/// The page that a path belongs to: where somebody goes whose form was not taken.
pub(crate) fn shown(path: &str) -> &str {
    static PAGES: LazyLock<Pages> = LazyLock::new(router);
    PAGES.shown(path)
}

/// An error as a page says it.
pub(crate) fn refused(error: ApiError) -> Response {
    let retry_after = error.retry_after;
    let mut response = PageError::from(error).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// There is no such page.
pub async fn not_found(uri: Uri) -> Response {
    PageError::not_found(format!("there is no page {}", uri.path().chars().take(200).collect::<String>()))
        .into_response()
}
