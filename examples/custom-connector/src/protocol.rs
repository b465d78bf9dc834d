//! How the service manager is spoken to: what any of its clients would have to do, whether for Rounds or not.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rounds_core::plugin::BuildError;
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretHandle};
use rounds_core::step::{ReviewedStep, StepError, StepOutput, Tier};
use secrecy::ExposeSecret as _;
use url::Url;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// What a unit can be asked, and how much harm it does.
pub(crate) const VERBS: [(&str, Tier); 4] =
    [("status", Tier::Read), ("start", Tier::Write), ("restart", Tier::Write), ("stop", Tier::Destructive)];

/// A client of the service manager.
pub(crate) struct Manager {
    http: reqwest::Client,
    url: Url,
    token: SecretHandle,
}

/// Why a unit's verb is called.
pub(crate) enum Call {
    DryRun,
    Read,
    /// For good, under a key by which the service manager knows a repeat.
    Run(String),
}

impl Manager {
    /// Checks the address and connects to nothing.
    #[allow(clippy::disallowed_methods, reason = "the one file of this crate where HTTP clients are made")]
    pub(crate) fn new(url: &str, token: SecretHandle) -> Result<Self, BuildError> {
        let url = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let url = url.ok_or_else(|| BuildError::config("url: an address such as http://127.0.0.1:9000 is accepted"))?;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self { http: http.map_err(|error| BuildError::host(format!("no HTTP client: {error}")))?, url, token })
    }

    /// What the service manager answers to `<verb> <unit>`.
    pub(crate) async fn call(&self, cx: &CallContext, step: &ReviewedStep, call: Call) -> Result<String, StepError> {
        let not_started = |error: PortError| StepError::not_started(error.to_string());
        let [verb, unit] = step.argv()[..] else {
            return Err(StepError::not_started("a verb and a unit are expected"));
        };
        let request = match verb {
            "status" => self.request(cx, Method::GET, &["units", unit]).await.map_err(not_started)?,
            _ => self.request(cx, Method::POST, &["units", unit, verb]).await.map_err(not_started)?,
        };
        let request = match &call {
            Call::DryRun => request.query(&[("dryRun", "true")]),
            Call::Read => request,
            Call::Run(key) => request.header("Idempotency-Key", key),
        };
        let unknown = |error: reqwest::Error| match error.is_connect() {
            // Nobody heard of it.
            true => StepError::not_started(format!("{} cannot be reached", self.url)),
            false => StepError::unknown(format!("no whole answer: {}", error.without_url()), StepOutput::default()),
        };
        let answer = request.send().await.map_err(unknown)?;
        let status = answer.status();
        let text = text(answer).await.map_err(unknown)?;
        match status {
            StatusCode::OK => Ok(text),
            // Refused before anything was done: the protocol says so.
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
                Err(StepError::not_started(format!("{status}: {text}")))
            }
            _ => Err(StepError::failed(status.to_string(), StepOutput::default().with_error_output(text))),
        }
    }

    /// The service manager's name and version.
    pub(crate) async fn version(&self, cx: &CallContext) -> Result<String, PortError> {
        let broken = |error: reqwest::Error| {
            let kind = if error.is_timeout() { PortErrorKind::Timeout } else { PortErrorKind::Unavailable };
            PortError::new(kind, format!("{}: {}", self.url, error.without_url()))
        };
        let answer = self.request(cx, Method::GET, &["version"]).await?.send().await.map_err(broken)?;
        match answer.status() {
            StatusCode::OK => text(answer).await.map_err(broken),
            StatusCode::UNAUTHORIZED => Err(PortError::new(PortErrorKind::Unauthorized, "it refuses this token")),
            other => Err(PortError::new(PortErrorKind::Protocol, format!("it answers {other}"))),
        }
    }

    /// A request with the token of this moment, so that a new one counts at once.
    async fn request(&self, cx: &CallContext, method: Method, path: &[&str]) -> Result<RequestBuilder, PortError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let token = self.token.required().await?;
        Ok(self.http.request(method, url).bearer_auth(token.expose_secret()).timeout(cx.timeout))
    }
}

async fn text(mut answer: Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
