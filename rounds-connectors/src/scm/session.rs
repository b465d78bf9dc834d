//! Requests of one call: one deadline over all of them, one credential, and no answer that repeats it.

use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use rounds_core::plugin::{BuildError, Host};
use rounds_core::ports::{CallContext, CheckReport, PortError, PortErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::forge::Failure;
use crate::http::{self, ChosenBy, Client, ClientOptions};
use crate::remote::{Answer, exchange};

/// Says what an answer that is no success means; `what` is where and what was tried.
pub(crate) type Judge = fn(what: &str, answer: &Answer) -> Failure;

/// What a step may take beyond its slowest request: it makes many, most of which are quick.
const BESIDE: Duration = Duration::from_secs(100);

/// A forge's API.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    base: Url,
    limit: Duration,
    name: &'static str,
    headers: &'static [(&'static str, &'static str)],
    judge: Judge,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// How the credential is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `PRIVATE-TOKEN: …`.
    PrivateToken,
}

impl Remote {
    /// Checks the address and connects to nothing.
    ///
    /// # Errors
    /// A value of the config is wrong, by its field.
    pub(crate) fn new(
        name: &'static str,
        base: &str,
        timeout_sec: u64,
        ca_certificate: Option<&str>,
        host: &Host,
        headers: &'static [(&'static str, &'static str)],
        judge: Judge,
    ) -> Result<Self, BuildError> {
        let wrong = |why: &str| {
            BuildError::config(format!("baseUrl: {why}; an address such as https://git.example.com is accepted"))
        };
        let base = Url::parse(base.trim()).map_err(|_| wrong("not an address"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("found neither http:// nor https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("found a user name or password in the address"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("found `?` or `#`"));
        }
        if !(1..=300).contains(&timeout_sec) {
            return Err(BuildError::config(format!("timeoutSec: found {timeout_sec}; 1 to 300 is accepted")));
        }
        let chosen_by = ChosenBy::Connector;
        let client = http::client(&ClientOptions { url: &base, ca_certificate, host, chosen_by })?;
        Ok(Self { client, base, limit: Duration::from_secs(timeout_sec), name, headers, judge })
    }

    /// How long a whole step may take.
    pub(crate) fn step_timeout(&self) -> Duration {
        self.limit + BESIDE
    }

    /// What a connection test says, with what is missing, and with what everybody on the way can read.
    pub(crate) fn tested(&self, report: CheckReport, lack: Option<String>) -> CheckReport {
        let report = match self.base.scheme() {
            "http" => {
                report.with_facts([("warning".to_owned(), "the credential travels unencrypted: use https".to_owned())])
            }
            _ => report,
        };
        match lack {
            Some(lack) => report.lacking(lack),
            None => report,
        }
    }

    /// The requests of one call.
    ///
    /// # Errors
    /// The credential is none that can be sent.
    pub(crate) fn session(&self, span: &Span, scheme: Scheme, secret: &SecretString) -> Result<Session<'_>, Failure> {
        let token = secret.expose_secret().trim();
        let unsendable = || Failure::Lost {
            error: PortError::new(
                PortErrorKind::Unauthorized,
                format!("{}: the secret is no token: one word of printable characters is accepted", self.name),
            ),
            sent: false,
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unsendable());
        }
        let (name, text) = match scheme {
            Scheme::Bearer => (reqwest::header::AUTHORIZATION, zeroize::Zeroizing::new(format!("Bearer {token}"))),
            Scheme::PrivateToken => {
                (HeaderName::from_static("private-token"), zeroize::Zeroizing::new(token.to_owned()))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        Ok(Session { remote: self, span: span.clone(), header: (name, value), token: token.to_owned().into() })
    }
}

/// The time of one call, over all its requests.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    deadline: Instant,
    cancel: CancellationToken,
}

impl Span {
    /// Of a call that stops when nobody wants the answer any more.
    pub(crate) fn of(cx: &CallContext) -> Self {
        Self { deadline: Instant::now() + cx.timeout, cancel: cx.cancel.clone() }
    }

    /// Of an approved effect, which is left to finish.
    pub(crate) fn of_effect(cx: &CallContext) -> Self {
        Self { deadline: Instant::now() + cx.timeout, cancel: CancellationToken::new() }
    }
}

/// The requests of one call.
pub(crate) struct Session<'a> {
    remote: &'a Remote,
    span: Span,
    header: (HeaderName, HeaderValue),
    token: SecretString,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// What is tried: `reading the branch main`.
    pub(crate) what: String,
    pub(crate) method: Method,
    /// The path below the base address; each part is escaped, slashes in it too.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'a str, String)>,
    pub(crate) body: Option<Value>,
}

impl<'a> Ask<'a> {
    /// A read.
    pub(crate) fn get(what: impl Into<String>, path: impl IntoIterator<Item = &'a str>) -> Self {
        Self { what: what.into(), method: Method::GET, path: path.into_iter().collect(), query: Vec::new(), body: None }
    }

    /// A request with a body.
    pub(crate) fn post(what: impl Into<String>, path: impl IntoIterator<Item = &'a str>, body: Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(what, path) }
    }

    /// The same with one more parameter.
    pub(crate) fn query(mut self, name: &'a str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }
}

impl Session<'_> {
    /// Sends a request and reads its whole answer, which is a success.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let what = format!("{}: {}", self.remote.name, ask.what);
        let unsent =
            |kind, why: &str| Failure::Lost { error: PortError::new(kind, format!("{what}: {why}")), sent: false };
        let left = self.span.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unsent(PortErrorKind::Timeout, "not sent: the time of this step is over"));
        }
        let mut url = self.remote.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query.iter().map(|(name, value)| (*name, value.as_str())));
        }
        let (name, value) = self.header.clone();
        let mut request = self.remote.client.request(ask.method.clone(), url).header(name, value);
        for (name, value) in self.remote.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let mut cx = CallContext::with_timeout(left);
        cx.cancel = self.span.cancel.clone();
        let answer = exchange(&self.remote.client, &cx, self.remote.limit, &what, request)
            .await
            .map_err(|fault| Failure::Lost { error: fault.error, sent: fault.sent })?;
        // Nothing of such an answer may reach an error, a page or a model.
        let token = self.token.expose_secret().as_bytes();
        if answer.body.windows(token.len()).any(|window| window == token) {
            let error = PortError::new(
                PortErrorKind::Protocol,
                format!("{what}: the answer ({}) repeats this connector's credential and is not read", answer.status),
            );
            return Err(match refused(answer.status) {
                true => Failure::Refused { status: answer.status, error },
                false => Failure::Lost { error, sent: true },
            });
        }
        if answer.status.is_success() { Ok(answer) } else { Err((self.remote.judge)(&what, &answer)) }
    }

    /// The same, and the answer as what the protocol says.
    ///
    /// # Errors
    /// As [`send`](Self::send), or the answer is something else.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        let what = format!("{}: {}", self.remote.name, ask.what);
        let answer = self.send(ask).await?;
        answer.json(&what).map_err(|error| Failure::Lost { error, sent: true })
    }

    /// The same; `None` for 404.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub(crate) async fn json_if_there<T: serde::de::DeserializeOwned>(
        &self,
        ask: Ask<'_>,
    ) -> Result<Option<T>, Failure> {
        match self.json(ask).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is(StatusCode::NOT_FOUND) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// An answer of this session that is not what it has to be.
    pub(crate) fn odd(&self, why: impl std::fmt::Display) -> Failure {
        let message = format!("{}: the answer is not what was expected: {why}", self.remote.name);
        Failure::Lost { error: PortError::new(PortErrorKind::Protocol, message), sent: true }
    }
}

/// Whether a status says that the request was turned down, so that it changed nothing. A redirect is not followed; a
/// timeout and whatever a gateway says in a server's place leave open what happened.
pub(crate) fn refused(status: StatusCode) -> bool {
    status.is_redirection() || (status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT)
}

/// The usual verdict over a status, with the forge's own words.
pub(crate) fn verdict(what: &str, answer: &Answer, said: &str, limited: Option<Option<Duration>>) -> Failure {
    let status = answer.status;
    let said = super::names::visible(&said.chars().take(600).collect::<String>()).replace('\n', " ");
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    if let Some(wait) = limited {
        let when = match wait {
            Some(wait) => format!("; it asks to be left alone for {} s", wait.as_secs()),
            None => String::new(),
        };
        let error = PortError::new(PortErrorKind::RateLimited, format!("{what}: rate limited ({status}){when}{said}"))
            .with_retry_after(wait);
        return Failure::Refused { status, error };
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED => " (the credential is not accepted: is it expired or revoked?)",
        StatusCode::FORBIDDEN => " (the credential lacks a right for this)",
        StatusCode::NOT_FOUND => " (it is not there, or the credential may not see it)",
        status if status.is_redirection() => {
            " (it has moved: use its present name and address; redirects are not followed)"
        }
        _ => "",
    };
    let error = PortError::new(http::status_kind(status), format!("{what}: {status}{hint}{said}"));
    if refused(status) { Failure::Refused { status, error } } else { Failure::Lost { error, sent: true } }
}
