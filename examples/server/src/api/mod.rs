//! The HTTP API. Each module adds its routes to one table, which is both the router and the OpenAPI document.

mod health;
mod login;
mod table;

pub use login::sign_in;
pub use table::{Api, Op};

/// Every route of the API.
#[must_use]
pub fn api() -> Api {
    let api = Api::new();
    let api = login::routes(api);
    health::routes(api)
}
