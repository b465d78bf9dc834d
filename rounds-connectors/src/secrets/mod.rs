//! Secret managers: what is behind `env://VAR`, `file:///abs/path` and `vault://path#field`.
//!
//! Whoever may configure a connector may name a reference, and the value goes where that connector sends it. So each
//! reaches only what the operator of the server lists: variables by prefix, files by directory, Vault by its token's
//! policy. None of them keeps a secret beyond the call, so a rotated one is used from the next call on.

mod env;
mod file;
mod open;
mod vault;

pub use env::EnvSecrets;
pub use file::FileSecrets;
pub use vault::{SecretId, VaultConfig, VaultLogin, VaultSecrets};

use rounds_core::ports::{PortError, PortErrorKind};

/// How often a file is looked for again when it was exchanged under our eyes.
const ROTATIONS: u32 = 3;

/// What follows `SCHEME://`. References are shown in errors, so they are of one line.
fn behind<'a>(scheme: &str, reference: &'a str) -> Result<&'a str, PortError> {
    let rest = reference.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    rest.filter(|rest| !rest.is_empty() && !rest.contains(char::is_control)).ok_or_else(|| {
        PortError::new(PortErrorKind::Invalid, format!("{reference:?} is not a reference of the form {scheme}://…"))
    })
}
