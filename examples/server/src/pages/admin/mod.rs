//! `/admin`: accounts, what they may do, and the audit log.

mod audit;
mod roles;
mod service_accounts;
mod teams;
mod user;
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
        .route("/admin/users/{id}", get(user::show).post(user::change))
        .form("/admin/users/{id}/password", post(user::password))
        .form("/admin/users/{id}/sessions/end", post(user::end_sessions))
        .form("/admin/users/{id}/delete", post(user::delete))
        .route("/admin/teams", get(teams::list).post(teams::create))
        .form("/admin/teams/{id}/delete", post(teams::delete))
        .form("/admin/teams/{id}/members", post(teams::add_member))
        .form("/admin/teams/{id}/members/{member}/remove", post(teams::remove_member))
        .route("/admin/roles", get(roles::show).post(roles::grant))
        .form("/admin/roles/{grant}/take-back", post(roles::take_back))
        .route("/admin/service-accounts", get(service_accounts::list).post(service_accounts::create))
        .form("/admin/service-accounts/{id}/tokens", post(service_accounts::mint))
        .form("/admin/service-accounts/{id}/tokens/{token}/revoke", post(service_accounts::revoke))
        .form("/admin/service-accounts/{id}/disabled", post(service_accounts::set_disabled))
        .form("/admin/service-accounts/{id}/delete", post(service_accounts::delete))
        .route("/admin/audit", get(audit::show))
        .form("/admin/audit/verify", post(audit::verify))
}

async fn home() -> Redirect {
    Redirect::to("/admin/service-accounts")
}
