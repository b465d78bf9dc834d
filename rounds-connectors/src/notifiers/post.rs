//! What the channels that post JSON over HTTP share: one request and its answer, what a bad answer means, and addresses
//! that are secrets.

use std::fmt;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{Notice, PortError, PortErrorKind, SecretHandle};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::ERROR_BODY;
use crate::http::{self, ChosenBy, Client, ClientOptions};

/// A complete answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Empty when it was longer than anybody wants to read.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Its first line, for people: bounded, without control characters.
    pub(super) fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        super::said::line(text.lines().next().unwrap_or_default(), 200)
    }
}

/// Sends a request and reads the answer, of whatever status. `what` names the place; the address is never said.
///
/// # Errors
/// It may not be called, or nobody answered.
pub(super) async fn ask(client: &Client, what: &str, request: RequestBuilder) -> Result<Answer, PortError> {
    let response = client.send(what, request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = http::read_body(response, ERROR_BODY).await.unwrap_or_default();
    Ok(Answer { status, headers, body })
}

/// The request with the notice's key, which is the same for each delivery of it: none of these services looks at it, a relay
/// in between may.
pub(super) fn keyed(request: RequestBuilder, notice: &Notice) -> RequestBuilder {
    match HeaderValue::from_str(&notice.idempotency_key) {
        Ok(key) => request.header("Idempotency-Key", key),
        Err(_) => request,
    }
}

/// What a status that is no success means, with the wait that was asked for.
pub(super) fn failed(what: &str, status: StatusCode, headers: &HeaderMap) -> PortError {
    let advice =
        if status.is_redirection() { ": a redirect, which is not followed; set the final address" } else { "" };
    PortError::new(http::status_kind(status), format!("{what} answered HTTP {}{advice}", status.as_u16()))
        .with_retry_after(http::retry_after(headers))
}

/// A service whose webhooks are addresses that let whoever knows them post.
pub(super) struct Service {
    pub(super) name: &'static str,
    /// Host names, or what they end with, dot first.
    pub(super) hosts: &'static [&'static str],
    pub(super) example: &'static str,
}

impl Service {
    fn owns(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| match name.strip_prefix('.') {
            Some(_) => host.len() > name.len() && host.ends_with(name),
            None => host == *name,
        })
    }

    /// Reads an address that is a secret; what is wrong with it is said without repeating any of it.
    pub(super) fn read(&self, secret: &SecretString) -> Result<Url, BuildError> {
        let refuse = |why: &str| {
            Err(BuildError::config(format!(
                "found {why}; the address of a webhook is expected, such as {}",
                self.example
            )))
        };
        let Ok(url) = Url::parse(secret.expose_secret().trim()) else { return refuse("no address") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("an address of another kind");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("a user name or password in the address");
        }
        if url.fragment().is_some() {
            return refuse("`#` in the address");
        }
        Ok(url)
    }
}

/// A webhook whose address is the connector's secret.
pub(super) struct Hook {
    client: Client,
    service: &'static Service,
    /// A relay or a proxy that an operator named.
    relay: Option<Url>,
    secret: SecretHandle,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("service", &self.service.name)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl Hook {
    /// Connects to nothing.
    ///
    /// # Errors
    /// `allowed_host` is none, or may not be called.
    pub(super) fn new(
        cx: &BuildContext,
        service: &'static Service,
        allowed_host: Option<&str>,
    ) -> Result<Self, BuildError> {
        let relay = allowed_host.map(str::trim).filter(|host| !host.is_empty()).map(origin).transpose()?;
        let somewhere = Url::parse(service.example).map_err(|error| BuildError::host(error.to_string()))?;
        Ok(Self {
            client: client(relay.as_ref().unwrap_or(&somewhere), &cx.host)?,
            service,
            relay,
            secret: cx.secret.clone(),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The address, read anew, and how it is named in errors: by its host.
    ///
    /// # Errors
    /// There is none, or it is not one of the service's.
    pub(super) async fn address(&self) -> Result<(Url, String), PortError> {
        let secret = self.secret.required().await?;
        let url = self
            .service
            .read(&secret)
            .map_err(|error| PortError::new(PortErrorKind::Unauthorized, format!("the secret: {error}")))?;
        let host = url.host_str().unwrap_or_default();
        let own = url.scheme() == "https" && url.port().is_none() && self.service.owns(host);
        let allowed = self.relay.as_ref().is_some_and(|relay| relay.origin() == url.origin());
        if !own && !allowed {
            let hosts: Vec<String> = self
                .service
                .hosts
                .iter()
                .map(|host| if host.starts_with('.') { format!("*{host}") } else { (*host).to_owned() })
                .collect();
            let message = format!(
                "the address in the secret is not one of {}'s: https at {} is expected, or the host that `allowedHost` \
                 names. Nothing was posted",
                self.service.name,
                hosts.join(", ")
            );
            return Err(PortError::new(PortErrorKind::Invalid, message));
        }
        let what = format!("{} ({host})", self.service.name);
        Ok((url, what))
    }
}

fn client(url: &Url, host: &Arc<Host>) -> Result<Client, BuildError> {
    http::client(&ClientOptions { url, ca_certificate: None, host, chosen_by: ChosenBy::Connector })
}

/// A host that an operator allowed: `relay.example.com`, with a port, with a scheme.
fn origin(text: &str) -> Result<Url, BuildError> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = super::address("allowedHost", &whole, "relay.example.com, relay.example.com:8443")?;
    if url.path() != "/" || url.query().is_some() {
        return Err(BuildError::config(
            "allowedHost: found a path; a host such as relay.example.com or relay.example.com:8443 is expected",
        ));
    }
    Ok(url)
}
