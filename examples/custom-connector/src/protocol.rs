//! How the service manager is spoken to: what any of its clients would have to do, whether for Rounds or not; and what any
//! client in Rounds has to do: it calls only what the operator of the server allows, follows no redirect, reads no more than
//! it must, ends in time, and says no secret.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError, Outbound};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretHandle};
use rounds_core::step::{StepError, StepOutput};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 256 * 1024;
/// The most of an answer that an error quotes.
const MAX_QUOTE: usize = 500;

/// A client of the service manager.
pub(crate) struct Manager {
    http: reqwest::Client,
    url: Url,
    token: SecretHandle,
}

/// Why something is called.
pub(crate) enum Ask<'a> {
    /// To look.
    Look,
    /// To look, with parameters.
    About(&'a [(&'a str, String)]),
    /// To hear what would happen.
    WhatIf,
    /// For good, under a key by which the service manager knows a repeat, perhaps with a message.
    Once(&'a str, Option<&'a Value>),
}

/// Why there is no answer to use.
pub(crate) enum Failure {
    /// Nothing was done: nobody took the request, or it was refused before anything began.
    Undone(PortError),
    /// Nobody knows: the request was taken, and no whole answer came.
    Unknown(PortError),
    /// The service manager says that it failed.
    Failed(PortError),
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Undone(error) | Failure::Unknown(error) | Failure::Failed(error) => error,
        }
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Undone(error) => Self::not_started(error.to_string()),
            Failure::Unknown(error) => Self::unknown(error.to_string(), StepOutput::default()),
            Failure::Failed(error) => Self::failed(error.to_string(), StepOutput::default()),
        }
    }
}

/// Resolves names, and leaves out the addresses that may not be called.
struct Allowed(Outbound);

impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let outbound = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let mut allowed = Vec::new();
            for address in tokio::net::lookup_host((host.as_str(), 0)).await? {
                outbound.check(&host, address.ip())?;
                allowed.push(SocketAddr::new(address.ip(), 0));
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Manager {
    /// Checks the address and connects to nothing.
    #[allow(clippy::disallowed_methods, reason = "the one file of this crate where HTTP clients are made")]
    pub(crate) fn new(cx: &BuildContext, url: &str) -> Result<Self, BuildError> {
        let outbound = &cx.host.outbound;
        let url =
            Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.username().is_empty());
        let url = url.ok_or_else(|| BuildError::config("url: an address such as http://127.0.0.1:9000 is accepted"))?;
        // An address is not resolved, so nobody would ask about it later.
        let host = url.host_str().unwrap_or_default();
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            outbound.check(host, address).map_err(|refused| BuildError::config(format!("url: {refused}")))?;
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Allowed(outbound.clone())))
            .build()
            .map_err(|error| BuildError::host(format!("no HTTP client: {error}")))?;
        Ok(Self { http, url, token: cx.secret.clone() })
    }

    /// What the service manager answers.
    pub(crate) async fn call(
        &self,
        cx: &CallContext,
        method: Method,
        path: &[&str],
        ask: Ask<'_>,
    ) -> Result<String, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        // The token of this moment, so that a new one counts at once.
        let token = self.token.required().await.map_err(Failure::Undone)?;
        let request = self.http.request(method, url).bearer_auth(token.expose_secret());
        let request = match ask {
            Ask::Look => request,
            Ask::About(parameters) => request.query(parameters),
            Ask::WhatIf => request.query(&[("dryRun", "true")]),
            Ask::Once(key, message) => {
                let request = request.header("Idempotency-Key", key);
                match message {
                    Some(message) => request.json(message),
                    None => request,
                }
            }
        };
        let unknown = |kind, why: String| Failure::Unknown(PortError::new(kind, format!("{}: {why}", self.url)));
        tokio::select! {
            answer = self.exchange(request, &token) => answer,
            () = cx.cancel.cancelled() => Err(unknown(PortErrorKind::Unavailable, "cancelled by the caller".into())),
            () = tokio::time::sleep(cx.timeout) => {
                Err(unknown(PortErrorKind::Timeout, format!("no whole answer within {:?}", cx.timeout)))
            }
        }
    }

    async fn exchange(&self, request: RequestBuilder, token: &SecretString) -> Result<String, Failure> {
        let error = |kind, why: String| PortError::new(kind, format!("{}: {why}", self.url));
        let answer = request.send().await.map_err(|failed| match failed.is_connect() {
            // Nobody heard of it.
            true => Failure::Undone(error(PortErrorKind::Unavailable, "it cannot be reached".into())),
            false => {
                Failure::Unknown(error(PortErrorKind::Unavailable, format!("no answer: {}", failed.without_url())))
            }
        })?;
        let (status, wait) = (answer.status(), answer.headers().get("retry-after").cloned());
        let text = whole(answer).await.map_err(|(kind, why)| Failure::Unknown(error(kind, why)))?;
        if status == StatusCode::OK {
            return Ok(text);
        }
        let kind = match status.as_u16() {
            401 | 403 => PortErrorKind::Unauthorized,
            400 | 404 => PortErrorKind::Invalid,
            429 => PortErrorKind::RateLimited,
            408 | 500.. => PortErrorKind::Unavailable,
            _ => PortErrorKind::Protocol,
        };
        // It may say back what it was sent, and write for a terminal.
        let quote = text.replace(token.expose_secret(), "[redacted]");
        let quote: String = quote.chars().filter(|c| !c.is_control()).take(MAX_QUOTE).collect();
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let error = error(kind, format!("{status}: {quote}")).with_retry_after(wait);
        Err(match status {
            // Refused before anything was done: the protocol says so.
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Failure::Undone(error),
            _ => Failure::Failed(error),
        })
    }

    /// The service manager's name and version.
    pub(crate) async fn version(&self, cx: &CallContext) -> Result<String, PortError> {
        let version = self.call(cx, Method::GET, &["version"], Ask::Look).await?;
        Ok(version.chars().filter(|c| !c.is_control()).take(100).collect())
    }

    /// An answer as what it should be. The error does not quote it.
    pub(crate) fn json<T: DeserializeOwned>(answer: &str) -> Result<T, PortError> {
        serde_json::from_str(answer).map_err(|error| {
            PortError::new(PortErrorKind::Protocol, format!("no answer of a service manager: {error}"))
        })
    }
}

/// A body to its end, if that is near.
async fn whole(mut answer: Response) -> Result<String, (PortErrorKind, String)> {
    let cut = |error: reqwest::Error| (PortErrorKind::Unavailable, format!("half an answer: {}", error.without_url()));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(cut)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err((PortErrorKind::Protocol, format!("the answer is larger than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
