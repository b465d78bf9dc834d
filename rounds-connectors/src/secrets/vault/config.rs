//! Where Vault is and how Rounds logs in to it.

use std::path::PathBuf;

use reqwest::header::HeaderValue;
use rounds_core::plugin::BuildError;
use secrecy::SecretString;
use url::Url;

/// Where Vault is and how Rounds logs in to it: the operator's choice, not a connector's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VaultConfig {
    /// Its address, such as `https://vault.example:8200`; its name is what its certificate must be for.
    pub address: String,
    /// The namespace to log in to and to read in (Vault Enterprise, HCP Vault, OpenBao from 2.3 on).
    pub namespace: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub ca_certificate: Option<String>,
    /// How to log in.
    pub login: VaultLogin,
}

impl VaultConfig {
    /// A Vault without namespaces whose certificate the system trusts.
    pub fn new(address: impl Into<String>, login: VaultLogin) -> Self {
        Self { address: address.into(), namespace: None, ca_certificate: None, login }
    }

    /// The same, in a namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Option<String>) -> Self {
        self.namespace = namespace;
        self
    }

    /// The same, trusting these PEM certificates instead of the system's.
    #[must_use]
    pub fn with_ca_certificate(mut self, pem: Option<String>) -> Self {
        self.ca_certificate = pem;
        self
    }
}

/// How Rounds logs in. Each file is read again whenever it is needed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VaultLogin {
    /// A token that is there. It is renewed while it can be; nobody can replace it when it is over.
    Token(SecretString),
    /// A token in a file that somebody else keeps fresh, such as the agent's sink. It is renewed, too.
    TokenFile(PathBuf),
    /// The AppRole method: for servers outside Kubernetes.
    AppRole {
        /// Where the method is mounted, without `auth/`: `approle`.
        mount: String,
        /// The role's id. It is no secret.
        role_id: String,
        /// What proves it.
        secret_id: SecretId,
    },
    /// The Kubernetes method: the pod's own service account token proves who it is.
    Kubernetes {
        /// Where the method is mounted, without `auth/`: `kubernetes`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// The projected service account token.
        jwt_file: PathBuf,
    },
}

/// The secret half of an AppRole, in a file.
#[derive(Debug, Clone)]
pub struct SecretId {
    /// The file.
    pub file: PathBuf,
    /// Whether the file holds a response-wrapping token instead of the secret id itself. It is unwrapped once, and the secret
    /// id kept in memory; a new one in the file is unwrapped when it is needed.
    pub wrapped: bool,
}

/// An address that a client can be made for.
pub(super) fn address(text: &str) -> Result<Url, BuildError> {
    let plain = |url: &Url| {
        let whole = url.has_host() && url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && whole && url.query().is_none() && url.fragment().is_none()
    };
    // What was found may hold a password, so it is not repeated.
    Url::parse(text.trim())
        .ok()
        .filter(plain)
        .ok_or_else(|| BuildError::config("VAULT_ADDR: an address such as https://vault.example:8200 is expected"))
}

pub(super) fn namespace(text: &str) -> Result<HeaderValue, BuildError> {
    let name = text.trim().trim_matches('/');
    let wrong = || {
        let found: String = text.chars().take(100).collect();
        BuildError::config(format!("VAULT_NAMESPACE: found {found:?}; a path such as team/a is expected"))
    };
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong());
    }
    HeaderValue::from_str(name).map_err(|_| wrong())
}

/// The parts of the path below which a login method is mounted.
pub(super) fn mount(text: &str) -> Result<Vec<String>, BuildError> {
    let parts: Vec<String> = text.trim_matches('/').split('/').map(str::to_owned).collect();
    if parts.first().is_some_and(|first| first == "auth") || !parts.iter().all(|part| super::plain(part)) {
        let found: String = text.chars().take(100).collect();
        return Err(BuildError::config(format!(
            "ROUNDS_VAULT_MOUNT: found {found:?}; where the login method is mounted is expected, without auth/, such as \
             approle"
        )));
    }
    Ok(parts)
}
