//! `/admin`: accounts, tokens and the audit log.

mod audit;
mod service_accounts;
mod users;

use axum::response::Redirect;
use axum::routing::{get, post};

use super::pill::Pill;
use crate::pages::Pages;
pub(super) use users::first_admin;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/admin", get(home))
        .route("/admin/users", get(users::list).post(users::create))
        .route("/admin/users/{id}/delete", post(users::delete))
        .route("/admin/service-accounts", get(service_accounts::list).post(service_accounts::create))
        .route("/admin/service-accounts/{id}/tokens", post(service_accounts::mint))
        .route("/admin/service-accounts/{id}/tokens/{token}/revoke", post(service_accounts::revoke))
        .route("/admin/audit", get(audit::show))
}

async fn home() -> Redirect {
    Redirect::to("/admin/service-accounts")
}
