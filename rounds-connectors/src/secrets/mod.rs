//! Secret managers: what is behind `env://VAR` and `file:///abs/path`.
//!
//! Whoever may configure a connector may name a reference, and the value goes where that connector sends it. So both
//! reach only what the operator of the server lists: variables by prefix, files by directory.

mod env;
mod file;

pub use env::EnvSecrets;
pub use file::FileSecrets;

use rounds_core::ports::{PortError, PortErrorKind};

/// What follows `SCHEME://`.
fn behind<'a>(scheme: &str, reference: &'a str) -> Result<&'a str, PortError> {
    reference.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).filter(|rest| !rest.is_empty()).ok_or_else(
        || PortError::new(PortErrorKind::Invalid, format!("{reference:?} is not a reference of the form {scheme}://…")),
    )
}
