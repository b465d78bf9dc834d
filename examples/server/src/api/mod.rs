//! The HTTP API. Each module adds its routes to one table, which is both the router and the OpenAPI document.

mod access;
mod approvals;
mod audit;
mod changes;
mod connectors;
mod dead_letters;
mod events;
mod evidence;
mod health;
mod intake;
mod investigations;
mod lenient;
mod login;
pub mod metrics;
pub mod openapi;
mod paging;
mod plans;
mod rules;
mod service_accounts;
mod sessions;
mod setup;
mod slack;
mod table;
mod teams;
mod users;

pub use login::sign_in;
pub(crate) use plans::asked_to_wait;
pub(crate) use sessions::change_password;
pub use setup::{SetupStatus, setup_status};
pub use table::{Api, Op};

/// Every route of the API.
#[must_use]
pub fn api() -> Api {
    let modules = [
        login::routes,
        health::routes,
        setup::routes,
        users::routes,
        sessions::routes,
        teams::routes,
        service_accounts::routes,
        access::routes,
        rules::routes,
        intake::routes,
        connectors::routes,
        dead_letters::routes,
        changes::routes,
        investigations::routes,
        evidence::routes,
        plans::routes,
        approvals::routes,
        slack::routes,
        audit::routes,
        events::routes,
        metrics::routes,
        openapi::routes,
    ];
    modules.into_iter().fold(Api::new(), |api, routes| routes(api))
}
