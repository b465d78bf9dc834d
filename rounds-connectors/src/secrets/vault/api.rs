//! One call of Vault's HTTP API, and what its statuses mean.

use std::time::Duration;

use reqwest::header::{HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use rounds_core::redact::redact;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::http::{self, Client};
use crate::remote::exchange;

/// The most of Vault's own words that is repeated.
const WORDS: usize = 300;

/// A Vault.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) address: Url,
    pub(super) namespace: Option<HeaderValue>,
}

/// A complete answer, with any status.
pub(super) struct Said {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    /// Where a node that does not serve this points to.
    elsewhere: Option<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Api {
    /// Asks. `what` says in errors what was being done.
    pub(super) async fn call(
        &self,
        cx: &CallContext,
        what: &str,
        (method, path): (Method, &[&str]),
        token: Option<&SecretString>,
        body: Option<&Value>,
    ) -> Result<Said, PortError> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| PortError::new(PortErrorKind::Invalid, format!("{what}: Vault's address has no path")))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        // Agents and proxies can be told to serve only what carries this, which no forged link does.
        let mut request = self.client.request(method, url).header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                let why = "the token holds characters that no token of Vault's has";
                PortError::new(PortErrorKind::Unauthorized, format!("{what}: {why}"))
            })?;
            value.set_sensitive(true);
            request = request.header("X-Vault-Token", value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = exchange(&self.client, cx, cx.timeout, what, request).await.map_err(PortError::from)?;
        let elsewhere = answer.headers.get(LOCATION).and_then(|place| Url::parse(place.to_str().ok()?).ok());
        Ok(Said {
            status: answer.status,
            retry_after: http::retry_after(&answer.headers),
            elsewhere: elsewhere.and_then(|url| Some(url.host_str()?.chars().take(100).collect())),
            body: Zeroizing::new(answer.body),
        })
    }
}

impl Said {
    /// The body as what the protocol says it is. The error does not quote it: it may hold a secret.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, PortError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let why = if error.is_data() {
                "Vault's answer lacks what is expected of it"
            } else {
                "Vault's answer is not JSON"
            };
            PortError::new(PortErrorKind::Protocol, format!("{what}: {why}"))
        })
    }

    /// What is wrong with Vault itself, as opposed to what it was asked; `None`: nothing.
    pub(super) fn trouble(&self) -> Option<(PortErrorKind, String)> {
        let status = self.status.as_u16();
        let kind = match status {
            429 => PortErrorKind::RateLimited,
            300..400 => PortErrorKind::Invalid,
            412 | 472 | 473 | 500.. => PortErrorKind::Unavailable,
            _ => return None,
        };
        let why = match status {
            300..400 => match &self.elsewhere {
                Some(host) => format!(
                    "this node does not serve requests and points to {host}: tokens are not taken elsewhere by \
                     themselves, so let VAULT_ADDR name the active node or the load balancer"
                ),
                None => "something between Rounds and Vault redirects: VAULT_ADDR is Vault's own address".to_owned(),
            },
            412 => "this node has not caught up yet".to_owned(),
            429 => "Vault takes no more requests just now (a rate limit quota, or a standby node)".to_owned(),
            472 => "this node is a disaster recovery secondary, which serves no reads".to_owned(),
            473 => "this node is a performance standby that cannot serve this".to_owned(),
            501 => "Vault is not initialized".to_owned(),
            503 => "Vault is sealed or down for maintenance: unseal it".to_owned(),
            _ => "Vault failed; its own log says why".to_owned(),
        };
        Some((kind, format!("{why} ({})", self.status)))
    }

    /// As an error.
    pub(super) fn error(&self, what: &str, kind: PortErrorKind, why: &str) -> PortError {
        PortError::new(kind, format!("{what}: {why}")).with_retry_after(self.retry_after)
    }

    /// Vault's own words about what it refused, for answers that hold no secret: those to logins. The credential that was
    /// sent is taken out, should it be echoed.
    pub(super) fn words(&self, sent: &[&str]) -> String {
        #[derive(Deserialize)]
        struct Errors {
            #[serde(default)]
            errors: Vec<String>,
        }
        let errors = serde_json::from_slice(&self.body).map(|found: Errors| found.errors).unwrap_or_default();
        let text = redact(&errors.join("; "), sent);
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect()
    }
}
