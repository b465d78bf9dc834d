//! `vault://path#field`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::plugin::{BuildError, Host};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretResolver};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::http::{self, BodyError, ChosenBy, Client, ClientOptions};

/// How long one look-up may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Larger answers are not secrets.
const MAX_BYTES: usize = 1024 * 1024;

/// Secrets in HashiCorp Vault or OpenBao, in a key-value engine of either version, under the HTTP API's own paths:
/// `vault://secret/data/rounds/prod#kubeconfig` asks `GET /v1/secret/data/rounds/prod` and takes the field
/// `kubeconfig`. What the token may read is Vault's policy to say.
///
/// Sources: Vault's HTTP API for KV version 1 (`data.<field>`) and version 2 (`data.data.<field>`).
#[derive(Clone)]
pub struct VaultSecrets {
    client: Client,
    address: Url,
    token: SecretString,
}

impl VaultSecrets {
    /// The Vault at this address, with this token.
    ///
    /// # Errors
    /// The address is not one, or this host cannot make an HTTP client for it.
    pub fn new(address: &str, token: SecretString, host: &Arc<Host>) -> Result<Self, BuildError> {
        let address = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty())
            .ok_or_else(|| {
                BuildError::config("VAULT_ADDR: an address such as https://vault.example:8200 is expected")
            })?;
        let client = http::client(&ClientOptions {
            url: &address,
            ca_certificate: None,
            host,
            // `VAULT_ADDR` is the operator's; a reference chooses a path below it and no more.
            chosen_by: ChosenBy::Operator,
        })?;
        Ok(Self { client, address, token })
    }

    async fn ask(&self, reference: &str) -> Result<SecretString, PortError> {
        let invalid = |why: &str| PortError::new(PortErrorKind::Invalid, format!("{reference}: {why}"));
        let (path, field) = super::behind("vault", reference)?
            .split_once('#')
            .filter(|(path, field)| !path.is_empty() && !field.is_empty())
            .ok_or_else(|| invalid("a reference of the form vault://path#field is expected"))?;
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.split('/').all(plain) || path.contains(['?', '\\', '%']) {
            return Err(invalid("the path is that of the HTTP API after /v1/, without empty parts, `..`, `?` or `%`"));
        }
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| invalid("Vault's address has no path"))?
            .pop_if_empty()
            .push("v1")
            .extend(path.split('/'));
        let request = self.client.get(url).header("X-Vault-Token", self.token.expose_secret());
        let answer = self.client.send(&format!("{reference}: asking Vault"), request).await?;
        let status = answer.status();
        if !status.is_success() {
            let why = match status.as_u16() {
                403 => "Vault's policy does not let this token read it, or the token is over",
                404 => "Vault has nothing there; for version 2 of the key-value engine the path has /data/ in it",
                _ => "Vault refused",
            };
            return Err(PortError::new(http::status_kind(status), format!("{reference}: {why} ({status})")));
        }
        let body = http::read_body(answer, MAX_BYTES).await.map_err(|error| {
            let why = match error {
                BodyError::TooLarge => "Vault's answer is larger than a secret",
                BodyError::Cut { .. } => "Vault's answer broke off",
            };
            PortError::new(PortErrorKind::Protocol, format!("{reference}: {why}"))
        })?;
        // Never quote the answer: it is the secret.
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|_| PortError::new(PortErrorKind::Protocol, format!("{reference}: Vault's answer is not JSON")))?;
        let data = &answer["data"];
        let found = match &data["data"] {
            Value::Object(_) => &data["data"][field],
            _ => &data[field],
        };
        match found {
            Value::String(secret) => Ok(SecretString::from(secret.as_str())),
            _ => Err(PortError::new(
                PortErrorKind::Unauthorized,
                format!("{reference}: what Vault has there holds no text in the field `{field}`"),
            )),
        }
    }
}

#[async_trait]
impl SecretResolver for VaultSecrets {
    fn scheme(&self) -> &'static str {
        "vault"
    }

    async fn resolve(&self, reference: &str) -> Result<SecretString, PortError> {
        let cx = CallContext::with_timeout(LIMIT);
        http::within(&cx, LIMIT, "asking Vault", self.ask(reference)).await
    }
}
