//! The HTTP side: one request after the other, errors as exit codes, and the stream of events.

use std::time::Duration;

use eventsource_stream::{Event, Eventsource as _};
use futures::{Stream, StreamExt as _};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::{Host, Url};

use super::{Code, Failure};

/// The most of an answer that is read.
const MOST: usize = 64 * 1024 * 1024;

/// A server, asked as somebody.
pub(super) struct Api {
    http: reqwest::Client,
    base: String,
    token: SecretString,
    timeout: Duration,
}

impl Api {
    pub(super) fn new(server: &Url, token: SecretString, insecure: bool, timeout: Duration) -> Result<Self, Failure> {
        let here = match server.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match server.scheme() {
            "https" => {}
            "http" if here || insecure => {}
            "http" => {
                return Err(Failure::usage(format!(
                    "--server {server}: the token would travel in clear; use https://, or --insecure-http if nobody else is on \
                     the way"
                )));
            }
            other => {
                return Err(Failure::usage(format!("--server: found `{other}://`; http:// or https:// is expected")));
            }
        }
        // The operator's own proxies (HTTPS_PROXY and so on) hold here. A redirect is never followed: the token goes to
        // the address that was given.
        #[allow(clippy::disallowed_methods, reason = "a command line is a client of its own, outside of the server")]
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("rounds/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::new(Code::Unreachable, format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, base: server.as_str().trim_end_matches('/').to_owned(), token, timeout })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(self.request(Method::GET, path)).await
    }

    /// The items of a list that comes in pages, of at most so many.
    pub(super) async fn get_pages(&self, path: &str, most: usize) -> Result<Vec<Value>, Failure> {
        let (mut items, mut next) = (Vec::new(), Some(path.to_owned()));
        for _ in 0..most {
            let Some(path) = next else { break };
            let response = self.send(self.request(Method::GET, &path).timeout(self.timeout)).await?;
            next = next_of(&response);
            items.extend(self.json(response).await?.as_array().cloned().unwrap_or_default());
        }
        Ok(items)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(self.request(Method::POST, path).json(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(self.request(Method::DELETE, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.expose_secret())
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request.timeout(self.timeout)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(json!({}));
        }
        self.json(response).await
    }

    async fn json(&self, response: Response) -> Result<Value, Failure> {
        let body = read(response).await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::new(Code::Unreachable, format!("{} does not answer as Rounds does: {error}", self.base))
        })
    }

    /// Sends, and takes anything but success for a failure.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let message =
                format!("{} answers with a redirect, which is not followed: --server is not its address", self.base);
            return Err(Failure::new(Code::Unreachable, message));
        }
        let body = read(response).await.unwrap_or_default();
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let said = body.as_ref().and_then(|body| body["message"].as_str()).unwrap_or("the server gave no reason");
        let message = match status {
            StatusCode::UNAUTHORIZED => format!("{said}: the token is unknown, revoked or expired"),
            _ => said.to_owned(),
        };
        let code = match status.as_u16() {
            401 | 403 => Code::Denied,
            404 => Code::NotFound,
            409 => Code::Conflict,
            422 => Code::Refused,
            429 | 500..=599 => Code::Unreachable,
            _ => Code::Usage,
        };
        Err(Failure { code, message, body })
    }

    /// The events from the one after `after` on, until the server ends the stream.
    pub(super) async fn events(
        &self,
        path: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Event, String>> + use<>, Failure> {
        let mut request = self.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let stream = self.send(request).await?.bytes_stream().eventsource();
        Ok(stream.map(|event| event.map_err(|error| error.to_string())))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let code = if error.is_timeout() { Code::TimedOut } else { Code::Unreachable };
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Failure::new(code, format!("{} cannot be reached: {cause}", self.base))
    }
}

/// Where the next page is: a path of the same server, or nothing. What a server says never leads elsewhere with the token.
fn next_of(response: &Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().ok()?;
    let (path, relation) = link.strip_prefix('<')?.split_once('>')?;
    (relation.contains("rel=\"next\"") && path.starts_with("/api/")).then(|| path.to_owned())
}

async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MOST {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
