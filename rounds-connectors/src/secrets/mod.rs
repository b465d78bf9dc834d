//! Secret managers: what is behind `env://VAR`, `file:///abs/path` and `vault://path#field`.
//!
//! Whoever may configure a connector may name a reference, and the value goes where that connector sends it. So each
//! reaches only what the operator of the server lists: variables by prefix, files by directory, Vault by its token's
//! policy.

mod env;
mod file;
mod vault;

pub use env::EnvSecrets;
pub use file::FileSecrets;
pub use vault::VaultSecrets;

use rounds_core::ports::{PortError, PortErrorKind};

/// What follows `SCHEME://`.
fn behind<'a>(scheme: &str, reference: &'a str) -> Result<&'a str, PortError> {
    reference.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).filter(|rest| !rest.is_empty()).ok_or_else(
        || PortError::new(PortErrorKind::Invalid, format!("{reference:?} is not a reference of the form {scheme}://…")),
    )
}
