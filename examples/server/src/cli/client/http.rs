//! One server, asked with a token.

use std::time::Duration;

use reqwest::{Method, Response, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::failure::{Exit, Failure};
use super::remote::is_loopback;
use super::text;

/// How long finding the server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The most bytes of an answer: 100 plans with all that their steps printed.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// One server, asked with a token.
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
    patience: Duration,
}

/// What the server answered.
pub(super) struct Answer {
    pub body: Value,
    /// Where the next page starts.
    pub next: Option<String>,
}

impl Api {
    pub(super) fn new(base: Url, token: SecretString, patience: Duration) -> Result<Self, Failure> {
        #[allow(clippy::disallowed_methods, reason = "the command line is a client of the server and of nothing else")]
        let mut http = reqwest::Client::builder()
            // Elsewhere the token is nobody's business.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("rounds-server/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| Failure::failed(format!("making an HTTP client: {error}")))?;
        Ok(Self { http, base, token, patience })
    }

    /// The address of a path: each part is one part, whatever stands in it.
    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        if path.iter().any(|part| part.is_empty() || matches!(*part, "." | "..")) {
            return Err(Failure::usage("an id is expected, and found an empty one or dots"));
        }
        match url.path_segments_mut() {
            Ok(mut parts) => parts.pop_if_empty().push("api").extend(path),
            Err(()) => return Err(Failure::usage("--server: the address of a server is expected")),
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.find(path, &[]).await?.body)
    }

    pub(super) async fn find(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.call(Method::GET, path, query, None).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        Ok(self.call(Method::POST, path, &[], Some(body)).await?.body)
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        self.call(Method::DELETE, path, &[], None).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let url = self.url(path, query)?;
        let is_write = method != Method::GET;
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answered = tokio::time::timeout(self.patience, async {
            let response = request.send().await.map_err(|error| self.unreachable(&error))?;
            self.read(response).await
        });
        answered.await.unwrap_or_else(|_| {
            let mut message =
                format!("{} did not answer within {} s (--timeout)", self.name(), self.patience.as_secs());
            if is_write {
                message.push_str(": it may have been done nevertheless, look before trying again");
            }
            Err(Failure::new(Exit::TimedOut, message))
        })
    }

    /// Opens a stream of events, from after the last one that was seen.
    pub(super) async fn events(&self, last: Option<&str>) -> Result<Response, Failure> {
        let url = self.url(&["events"], &[])?;
        let mut request = self.http.get(url).bearer_auth(self.token.expose_secret());
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let opened = tokio::time::timeout(CONNECT, request.send()).await;
        let response = opened
            .map_err(|_| Failure::new(Exit::Unavailable, format!("{} does not answer", self.name())))?
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        match self.read(response).await {
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new(Exit::Unavailable, "the server answers something else than events")),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, Failure> {
        let status = response.status().as_u16();
        let next = response.headers().get(header::LINK).and_then(|link| next_cursor(link.to_str().ok()?));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_LIMIT {
                return Err(Failure::new(Exit::Unavailable, "the answer is larger than anything a Rounds server says"));
            }
        }
        let body = match bytes.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&bytes),
        };
        match (status, body) {
            (200..300, Ok(body)) => Ok(Answer { body, next }),
            (200..300, Err(_)) => Err(Failure::new(
                Exit::Unavailable,
                format!("{} answers {status} with something that is not JSON: is it a Rounds server?", self.name()),
            )),
            (_, body) => {
                let body = body.unwrap_or(Value::Null);
                let mut failure = Failure::new(Exit::of_status(status), refusal(&self.name(), status, &body));
                failure.answer = Some((status, body));
                Err(failure)
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        // The innermost reason; the address, which the outer ones repeat, is said once.
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        let hint = if error.is_connect() { ": is it running, and is --server right?" } else { "" };
        Failure::new(Exit::Unavailable, format!("{} cannot be reached: {reason}{hint}", self.name()))
    }

    fn name(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

/// What a refusal says, with the facts that the gate gives for it.
fn refusal(name: &str, status: u16, body: &Value) -> String {
    let Some(message) = body.get("message").and_then(Value::as_str) else {
        return format!("{name} answers {status} and says no more: is it a Rounds server?");
    };
    let mut told = text::clean_lines(message);
    if let Some(refusals) = body.pointer("/details/refusals").and_then(Value::as_array) {
        for refusal in refusals {
            told.push_str(&format!("\n  {}", text::cut(&text::json_line(refusal), 400)));
        }
    }
    told
}

fn next_cursor(link: &str) -> Option<String> {
    let target = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let target = target.trim().strip_prefix('<')?.split('>').next()?;
    let query = target.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "cursor")
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_part_of_the_path() {
        let base = Url::parse("https://rounds.example.org/behind/").unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Api::new(base, "t".to_owned().into(), CONNECT).unwrap();
        let url = api.url(&["plans", "../users?x#y"], &[]).unwrap();
        assert_eq!(url.as_str(), "https://rounds.example.org/behind/api/plans/..%2Fusers%3Fx%23y");
        assert!(api.url(&["plans", ".."], &[]).is_err() && api.url(&["plans", ""], &[]).is_err());
    }

    #[test]
    fn the_next_page_is_in_the_link() {
        let link = "</api/plans?status=failed&cursor=a%2Fb>; rel=\"next\"";
        assert_eq!(next_cursor(link).as_deref(), Some("a/b"));
        assert_eq!(next_cursor("</x>; rel=\"last\""), None);
    }
}
