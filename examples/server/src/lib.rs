//! The Rounds server as a library: HTTP API, sign-in and pages over [`rounds_core::Rounds`].
//!
//! An embedder mounts [`router`] over a state of their own; the binary boots one from its settings. Everything that
//! a person can decide is decided in core: this crate translates, and says who is asking.

pub mod accounts;
mod alone;
pub mod api;
pub mod auth;
pub mod boot;
pub mod cli;
pub mod demo;
pub mod error;
pub mod extract;
pub mod http;
#[cfg(feature = "oidc")]
pub mod oidc;
pub mod pages;
mod secrets;
pub mod settings;
pub mod state;

pub use boot::{App, Boot};
pub use error::ApiError;
pub use http::router;
pub use state::AppState;
