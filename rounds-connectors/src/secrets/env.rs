//! `env://VAR`.

use std::fmt;

use async_trait::async_trait;
use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
use secrecy::{ExposeSecret as _, SecretString};

type Lookup = Box<dyn Fn(&str) -> Option<SecretString> + Send + Sync>;

/// Secrets in environment variables whose name starts with a prefix. The library reads no environment: the server
/// hands over the lookup.
///
/// ```
/// use rounds_connectors::secrets::EnvSecrets;
/// use rounds_core::ports::SecretResolver;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let secrets = EnvSecrets::new("ROUNDS_SECRET_", |name| (name == "ROUNDS_SECRET_PROD").then(|| "s3cr3t".into()));
/// assert!(secrets.resolve("env://ROUNDS_SECRET_PROD").await.is_ok());
/// let error = secrets.resolve("env://PATH").await.unwrap_err();
/// assert!(error.to_string().contains("start with ROUNDS_SECRET_"));
/// # });
/// ```
pub struct EnvSecrets {
    prefix: String,
    lookup: Lookup,
}

impl fmt::Debug for EnvSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvSecrets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl EnvSecrets {
    /// Variables that start with `prefix`; the empty prefix opens every variable to whoever configures connectors.
    pub fn new(
        prefix: impl Into<String>,
        lookup: impl Fn(&str) -> Option<SecretString> + Send + Sync + 'static,
    ) -> Self {
        Self { prefix: prefix.into(), lookup: Box::new(lookup) }
    }
}

#[async_trait]
impl SecretResolver for EnvSecrets {
    fn scheme(&self) -> &'static str {
        "env"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let name = super::behind(self.scheme(), reference)?;
        if !name.starts_with(&self.prefix) {
            return Err(PortError::new(
                PortErrorKind::Unauthorized,
                format!(
                    "{reference}: only variables whose names start with {} may be used; rename it, or the server's operator changes the prefix",
                    self.prefix
                ),
            ));
        }
        // Nobody means the empty secret.
        (self.lookup)(name).filter(|found| !found.expose_secret().is_empty()).ok_or_else(|| {
            PortError::new(
                PortErrorKind::Unauthorized,
                format!(
                    "{reference}: the server has no such environment variable, or it is empty; set it and start the \
                     server again"
                ),
            )
        })
    }
}
