//! Where secrets come from.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use super::PortError;

/// Resolves secret references of one scheme: `env://VAR`, `file:///abs/path`, `vault://path#field`.
///
/// **Implemented by** whoever brings a secret manager. **Called** once per use of a credential, so a rotated
/// secret is picked up without a restart. An implementation MUST NOT cache beyond one call, log the value or put
/// it in an error. Cancel safe.
///
/// ```
/// use rounds_core::async_trait;
/// use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
/// use rounds_core::secrecy::SecretString;
///
/// /// `keyring://NAME`.
/// struct Keyring;
/// # fn ask_the_keyring(_: &str) -> Option<String> { None }
///
/// #[async_trait]
/// impl SecretResolver for Keyring {
///     fn scheme(&self) -> &'static str {
///         "keyring"
///     }
///
///     async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
///         let name = reference.strip_prefix("keyring://").unwrap_or_default();
///         let found = ask_the_keyring(name).map(SecretString::from);
///         found.ok_or_else(|| PortError::new(PortErrorKind::Unauthorized, format!("{reference}: there is no such entry")))
///     }
/// }
/// ```
#[async_trait]
pub trait SecretResolver: Send + Sync {
    /// The scheme, without `://`.
    fn scheme(&self) -> &'static str;

    /// Reads the secret behind a whole reference, scheme included.
    ///
    /// # Errors
    /// The reference is malformed, or there is no such secret; the message names the reference, never a value.
    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError>;
}

/// A connector's way to its own secret, and to no other. Ask at each call and keep nothing.
#[derive(Clone)]
pub struct SecretHandle(Source);

#[derive(Clone)]
enum Source {
    None,
    Inline(SecretString),
    Reference { resolver: Arc<dyn SecretResolver>, reference: String },
    Broken(String),
}

impl SecretHandle {
    /// A connector without a secret.
    #[must_use]
    pub fn none() -> Self {
        Self(Source::None)
    }

    /// A secret that is at hand.
    #[must_use]
    pub fn inline(secret: SecretString) -> Self {
        Self(Source::Inline(secret))
    }

    /// A secret that is resolved at each use.
    #[must_use]
    pub fn reference(resolver: Arc<dyn SecretResolver>, reference: String) -> Self {
        Self(Source::Reference { resolver, reference })
    }

    /// A secret that cannot be had, with the reason; each use says it.
    #[must_use]
    pub fn broken(reason: impl Into<String>) -> Self {
        Self(Source::Broken(reason.into()))
    }

    /// Whether there is one at all.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !matches!(self.0, Source::None)
    }

    /// The secret, resolved now; `None` when the connector has none.
    ///
    /// # Errors
    /// The reference cannot be resolved.
    pub async fn reveal(&self) -> Result<Option<SecretString>, PortError> {
        match &self.0 {
            Source::None => Ok(None),
            Source::Inline(secret) => Ok(Some(secret.clone())),
            Source::Reference { resolver, reference } => resolver.resolve(reference).await.map(Some),
            Source::Broken(reason) => Err(PortError::new(super::PortErrorKind::Unauthorized, reason.clone())),
        }
    }

    /// The secret of a connector that cannot work without one.
    ///
    /// # Errors
    /// It has none, or the reference cannot be resolved.
    pub async fn required(&self) -> Result<SecretString, PortError> {
        self.reveal().await?.ok_or_else(|| {
            PortError::new(super::PortErrorKind::Unauthorized, "this connector has no secret: set one in its settings")
        })
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::None => "SecretHandle(none)",
            Source::Inline(_) => "SecretHandle(inline, redacted)",
            Source::Reference { .. } => "SecretHandle(reference)",
            Source::Broken(_) => "SecretHandle(broken)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_12_debug_hides_the_secret() {
        let handle = SecretHandle::inline(SecretString::from("hunter2"));
        assert!(!format!("{handle:?}").contains("hunter2"));
    }
}
