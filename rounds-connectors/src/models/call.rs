//! One call to a provider: address, key, limits, and errors that say who failed without saying the key.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode};
use rounds_core::ports::{CallContext, Completion, PortError, PortErrorKind, SecretHandle, StopReason};
use rounds_core::redact::redact;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::fault::Fault;
use super::sse::{Broken, Parser};
use super::tools::estimate;
use crate::http::{self, BodyError, Client};

/// One event of a stream is at most this long. Whole answers of today's models fit into one many times over.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Error bodies are for people; more than this is not read, and less than this is shown.
const ERROR_BODY: usize = 64 * 1024;
const ERROR_CHARS: usize = 1_000;

/// How long and how large an answer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeout: Duration,
    pub(super) idle: Duration,
    pub(super) max_body: usize,
}

/// How the key is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyHeader {
    pub(super) name: &'static str,
    /// What stands before the key in the header: `Bearer `.
    pub(super) prefix: &'static str,
    /// Whether nothing works without a key.
    pub(super) required: bool,
}

/// Puts an answer together.
pub(super) trait Assemble: Send {
    /// Takes one event of a stream; breaks after the last one.
    fn event(&mut self, data: &str) -> Result<ControlFlow<()>, Fault>;

    /// Takes an answer that came in one piece.
    fn whole(&mut self, body: &str) -> Result<(), Fault>;

    /// The answer, or that it is not whole.
    fn finish(self) -> Result<Completion, Fault>;
}

/// The HTTP API of one provider.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) base: Url,
    pub(super) secret: SecretHandle,
    pub(super) key: KeyHeader,
    /// Headers of every request.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) limits: Limits,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("base", &self.base.as_str())
            .field("secret", &self.secret)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The key of one call.
struct Key(Option<SecretString>);

impl Key {
    /// The text without the key, without what looks like another one, in printable characters and not too long.
    fn redact(&self, text: &str) -> String {
        redact(&self.take_out(text), &[])
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(ERROR_CHARS)
            .collect()
    }

    /// The text without the key, however short that is.
    fn take_out(&self, text: &str) -> String {
        self.0.as_ref().map_or_else(|| text.to_owned(), |key| text.replace(key.expose_secret(), "[redacted]"))
    }
}

/// What a call ends with, before it is known what to say about it.
type Answer<T> = Result<T, Fault>;

impl Api {
    /// The address, which holds no key.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address of an endpoint.
    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Asks for a completion.
    pub(super) async fn complete(
        &self,
        cx: &CallContext,
        url: Url,
        body: &Value,
        assembler: impl Assemble,
    ) -> Result<Completion, PortError> {
        http::within(cx, self.limits.timeout, &shown(&url), async {
            let key = self.key().await?;
            let body = body.to_string();
            let size = body.len();
            let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
            let response = self.send(request.header(ACCEPT, "text/event-stream, application/json"), &url, &key).await?;
            match self.read(response, assembler).await {
                Ok(completion) => Ok(completion),
                Err(fault) if fault.refused => {
                    let text = key.redact(&fault.message);
                    Ok(Completion::new(text, Vec::new(), estimate(size, 0)).with_stop(StopReason::Refused))
                }
                Err(fault) => Err(error(&url, &key, fault)),
            }
        })
        .await
    }

    /// Reads a JSON document.
    pub(super) async fn get(&self, cx: &CallContext, url: Url) -> Result<Value, PortError> {
        http::within(cx, self.limits.timeout, &shown(&url), async {
            let key = self.key().await?;
            let response =
                self.send(self.client.get(url.clone()).header(ACCEPT, "application/json"), &url, &key).await?;
            let read = async {
                let response = success(response).await?;
                let body = whole_body(response, self.limits.max_body).await?;
                let body = key.take_out(std::str::from_utf8(&body).map_err(|_| not_text())?);
                serde_json::from_str(&body).map_err(|error| Fault::json(&error))
            };
            read.await.map_err(|fault| error(&url, &key, fault))
        })
        .await
    }

    async fn key(&self) -> Result<Key, PortError> {
        let secret = self.secret.reveal().await?;
        // Files and pasted values often end with a line break, which no key does.
        let key = secret.as_ref().map(|secret| secret.expose_secret().trim()).filter(|key| !key.is_empty());
        if key.is_none() && self.key.required {
            return Err(PortError::new(
                PortErrorKind::Unauthorized,
                "the connector has no API key: set it as the connector's secret",
            ));
        }
        Ok(Key(key.map(SecretString::from)))
    }

    async fn send(&self, mut request: RequestBuilder, url: &Url, key: &Key) -> Result<Response, PortError> {
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Key(Some(secret)) = key {
            let mut value =
                HeaderValue::from_str(&format!("{}{}", self.key.prefix, secret.expose_secret())).map_err(|_| {
                    let message = "the connector's API key holds characters that a header cannot: set it anew";
                    PortError::new(PortErrorKind::Unauthorized, message)
                })?;
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static(self.key.name), value);
        }
        self.client.send(&shown(url), request).await
    }

    async fn read(&self, response: Response, mut assembler: impl Assemble) -> Answer<Completion> {
        let response = success(response).await?;
        let content_type = content_type(&response);
        if content_type.contains("json") {
            // A proxy that cannot stream.
            let body = whole_body(response, self.limits.max_body).await?;
            let body = std::str::from_utf8(&body).map_err(|_| not_text())?;
            assembler.whole(body)?;
            return assembler.finish();
        }
        if !content_type.starts_with("text/event-stream") {
            return Err(Fault::protocol(format!(
                "answered {content_type} instead of a stream of events: a login page, a proxy or another service? Check \
                 `baseUrl`"
            )));
        }
        self.stream(response, assembler).await
    }

    async fn stream(&self, mut response: Response, mut assembler: impl Assemble) -> Answer<Completion> {
        let max_body = self.limits.max_body;
        let mut parser = Parser::new(MAX_EVENT.min(max_body));
        let mut read = 0_usize;
        loop {
            let Ok(chunk) = tokio::time::timeout(self.limits.idle, response.chunk()).await else {
                let idle = self.limits.idle.as_secs();
                let message = format!("the answer stopped coming: nothing for {idle} s (`idleTimeoutSec`)");
                return Err(Fault::new(PortErrorKind::Timeout, message));
            };
            let Ok(chunk) = chunk else { return Err(Fault::cut_off()) };
            let Some(chunk) = chunk else { return assembler.finish() };
            read = read.saturating_add(chunk.len());
            if read > max_body {
                return Err(too_large(max_body));
            }
            let events = parser.feed(&chunk).map_err(|broken| match broken {
                Broken::NotText => not_text(),
                Broken::TooLarge => {
                    Fault::protocol(format!("one event is larger than {} bytes", MAX_EVENT.min(max_body)))
                }
            })?;
            for event in events {
                if assembler.event(&event.data)?.is_break() {
                    return assembler.finish();
                }
            }
        }
    }
}

/// An address as it is shown: without what `check` and Azure put behind the path.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// The one place where a fault becomes an error.
fn error(url: &Url, key: &Key, fault: Fault) -> PortError {
    let message = format!("{}: {}", shown(url), key.redact(&fault.message));
    PortError::new(fault.kind, message).with_retry_after(fault.retry_after)
}

fn not_text() -> Fault {
    Fault::protocol("the answer is not UTF-8")
}

fn too_large(cap: usize) -> Fault {
    Fault::protocol(format!("the answer is larger than {cap} bytes (`maxBodyBytes`)"))
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or("no content type").chars().take(80).collect()
}

async fn whole_body(response: Response, cap: usize) -> Answer<Vec<u8>> {
    http::read_body(response, cap).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(cap),
        BodyError::Cut { .. } => Fault::cut_off(),
    })
}

/// The response when it is a success, and what the provider says when it is none.
async fn success(response: Response) -> Answer<Response> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    if status.is_redirection() {
        return Err(Fault::protocol(format!(
            "redirects (HTTP {}), and redirects are not followed, so that the key stays where it belongs: set `baseUrl` to \
             the final address",
            status.as_u16()
        )));
    }
    let (headers, content_type) = (response.headers().clone(), content_type(&response));
    // What went wrong is said by the status; a huge or broken error page adds nothing.
    let body = http::read_body(response, ERROR_BODY).await.unwrap_or_default();
    Err(Fault::of_answer(status, &headers, &body, &content_type))
}
