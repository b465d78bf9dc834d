//! One request to the query API: address, credentials, status, envelope.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{PortError, PortErrorKind, SecretHandle};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::answer::Envelope;
use super::config::{Auth, PrometheusConfig, header};
use crate::http::{self, BodyError, ChosenBy, Client, ClientOptions};

/// Error bodies are for people; more than this is not read.
const ERROR_BODY: usize = 64 * 1024;

/// The HTTP API of one server.
pub(super) struct Api {
    client: Client,
    base: Url,
    auth: Auth,
    secret: SecretHandle,
    headers: HeaderMap,
    max_body: usize,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// What one call sends to sign in, and the words that must not come back in an error.
struct Credentials {
    headers: HeaderMap,
    secrets: Vec<SecretString>,
}

impl Credentials {
    fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(SecretString::expose_secret).filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "[redacted]");
        }
        text.chars().filter(|c| !c.is_control() || *c == '\n').take(1_000).collect()
    }
}

impl Api {
    pub(super) fn new(cx: BuildContext, config: PrometheusConfig) -> Result<Self, BuildError> {
        let base = config.base()?;
        let client = http::client(&ClientOptions {
            url: &base,
            ca_certificate: config.ca_certificate.as_deref(),
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })?;
        let headers = config.plain_headers()?;
        if let Auth::Basic { username } = &config.auth
            && (username.is_empty() || username.contains(':'))
        {
            return Err(BuildError::config("auth.username: a name without `:` is expected"));
        }
        Ok(Self { client, base, auth: config.auth, secret: cx.secret, headers, max_body: config.max_body_bytes })
    }

    /// The address, which holds no credential.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What a person who tests the connector should know.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([("address".to_owned(), self.base().to_owned())]);
        let signs_in = !matches!(self.auth, Auth::None);
        if signs_in && self.base.scheme() == "http" {
            facts.insert("warning".into(), "the credential travels unencrypted: use https".into());
        } else if !signs_in && self.secret.is_present() {
            facts.insert("warning".into(), "the secret is not used, because `auth` is `none`".into());
        }
        facts
    }

    /// Asks with POST, which has room for long queries; servers that refuse POST are asked with GET.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        form: &[(&'static str, String)],
    ) -> Result<Envelope<T>, PortError> {
        let credentials = self.credentials().await?;
        let response = self.send(Method::POST, path, form, &credentials).await?;
        let response = if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            self.send(Method::GET, path, form, &credentials).await?
        } else {
            response
        };
        self.read(path, response, &credentials).await
    }

    /// Asks with GET.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        form: &[(&'static str, String)],
    ) -> Result<Envelope<T>, PortError> {
        let credentials = self.credentials().await?;
        let response = self.send(Method::GET, path, form, &credentials).await?;
        self.read(path, response, &credentials).await
    }

    /// An answer that breaks the protocol.
    pub(super) fn malformed(&self, path: &[&str], found: &str) -> PortError {
        PortError::new(
            PortErrorKind::Protocol,
            format!("{} does not answer as Prometheus does: found {found}", self.endpoint(path)),
        )
    }

    fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }

    async fn credentials(&self) -> Result<Credentials, PortError> {
        let mut credentials = Credentials { headers: HeaderMap::new(), secrets: Vec::new() };
        if matches!(self.auth, Auth::None) {
            return Ok(credentials);
        }
        let unusable = |message: &str| PortError::new(PortErrorKind::Unauthorized, message.to_owned());
        let Some(secret) = self.secret.reveal().await? else {
            return Err(unusable(match self.auth {
                Auth::None => "",
                Auth::Basic { .. } => "the connector signs in with a password and has no secret: set the password",
                Auth::Bearer {} => "the connector signs in with a token and has no secret: set the token",
                Auth::Headers {} => "the connector signs in with secret headers and has no secret: set a JSON object",
            }));
        };
        // Files and pasted values often end with a line break, which no credential does.
        let exposed = secret.expose_secret().trim_end_matches(['\r', '\n']);
        match &self.auth {
            Auth::None => {}
            Auth::Basic { username } => {
                let request = self.client.get(self.base.clone()).basic_auth(username, Some(exposed));
                let built = request.build().map_err(|_| unusable("the password cannot be sent in a header"))?;
                if let Some(value) = built.headers().get(AUTHORIZATION) {
                    credentials.headers.insert(AUTHORIZATION, value.clone());
                    // Base64 hides nothing.
                    let encoded = value.to_str().unwrap_or_default().trim_start_matches("Basic ");
                    credentials.secrets.push(encoded.into());
                }
                credentials.secrets.push(exposed.into());
            }
            Auth::Bearer {} => {
                let mut value = HeaderValue::from_str(&format!("Bearer {exposed}"))
                    .map_err(|_| unusable("the token holds characters that a header cannot"))?;
                value.set_sensitive(true);
                credentials.headers.insert(AUTHORIZATION, value);
                credentials.secrets.push(exposed.into());
            }
            Auth::Headers {} => {
                let headers: BTreeMap<String, String> = serde_json::from_str(exposed)
                    .map_err(|_| unusable("the secret is not a JSON object of header names and values"))?;
                for (name, value) in headers {
                    let (name, mut parsed) =
                        header(&name, &value).map_err(|what| unusable(&format!("the secret's {what}")))?;
                    parsed.set_sensitive(true);
                    credentials.headers.insert(name, parsed);
                    credentials.secrets.push(value.into());
                }
            }
        }
        Ok(credentials)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        form: &[(&'static str, String)],
        credentials: &Credentials,
    ) -> Result<Response, PortError> {
        let url = self.endpoint(path);
        let request: RequestBuilder =
            self.client.request(method.clone(), url.clone()).header(ACCEPT, "application/json");
        let request = request.headers(self.headers.clone()).headers(credentials.headers.clone());
        let request = if method == Method::POST { request.form(form) } else { request.query(form) };
        self.client.send(url.as_str(), request).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        response: Response,
        credentials: &Credentials,
    ) -> Result<Envelope<T>, PortError> {
        let url = self.endpoint(path);
        let status = response.status();
        if status.is_redirection() {
            return Err(redirected(&url, &response));
        }
        let asked = http::retry_after(response.headers());
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no content type").chars().take(80).collect::<String>();
        let cap = if status.is_success() { self.max_body } else { ERROR_BODY };
        let body = match http::read_body(response, cap).await {
            Ok(body) => body,
            // What went wrong is said by the status; a huge or broken error page adds nothing.
            Err(_) if !status.is_success() => Vec::new(),
            Err(BodyError::TooLarge) => {
                return Err(PortError::new(
                    PortErrorKind::Protocol,
                    format!(
                        "{url}: the answer is larger than {cap} bytes: ask for less (aggregate with sum by (…), a \
                         longer step, a shorter range) or raise maxBodyBytes"
                    ),
                ));
            }
            Err(BodyError::Cut { after, cause }) => {
                return Err(PortError::new(
                    PortErrorKind::Unavailable,
                    format!("{url}: the answer was cut off after {after} bytes: {}", credentials.redact(&cause)),
                ));
            }
        };
        if status.is_success() {
            return success(&url, &body, &content_type, credentials);
        }
        Err(failure(&url, status, &body, &content_type, credentials).with_retry_after(asked))
    }
}

fn redirected(url: &Url, response: &Response) -> PortError {
    let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok());
    let to = to.map_or_else(
        || "nowhere".to_owned(),
        |mut to| {
            to.set_query(None);
            to.set_fragment(None);
            let _ = to.set_username("");
            let _ = to.set_password(None);
            to.to_string()
        },
    );
    PortError::new(
        PortErrorKind::Protocol,
        format!(
            "{url} redirects ({}) to {to}, and redirects are not followed, so that credentials stay where they belong: \
             set `url` to the final address",
            response.status().as_u16()
        ),
    )
}

fn success<T: DeserializeOwned>(
    url: &Url,
    body: &[u8],
    content_type: &str,
    credentials: &Credentials,
) -> Result<Envelope<T>, PortError> {
    match serde_json::from_slice::<Envelope<T>>(body) {
        Ok(envelope) if envelope.status == "success" => Ok(envelope),
        Ok(envelope) => Err(said(url, StatusCode::OK, &envelope.error_type, &credentials.redact(&envelope.error))),
        Err(error) if content_type.contains("json") => Err(PortError::new(
            PortErrorKind::Protocol,
            format!("{url}: the answer is not what Prometheus's API says: {}", credentials.redact(&error.to_string())),
        )),
        Err(_) => Err(PortError::new(
            PortErrorKind::Protocol,
            format!(
                "{url} answered {content_type} instead of JSON: a login page, a proxy or another service? `url` is the \
                 address before /api/v1, with the path prefix when the server has one"
            ),
        )),
    }
}

fn failure(url: &Url, status: StatusCode, body: &[u8], content_type: &str, credentials: &Credentials) -> PortError {
    if let Ok(envelope) = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(body)
        && envelope.status == "error"
    {
        return said(url, status, &envelope.error_type, &credentials.redact(&envelope.error));
    }
    let code = status.as_u16();
    let kind = http::status_kind(status);
    let advice = match kind {
        PortErrorKind::Unauthorized => ": the credentials were refused; check `auth` and the connector's secret",
        PortErrorKind::Unavailable | PortErrorKind::Timeout => ": the server cannot answer right now",
        _ if status == StatusCode::NOT_FOUND => {
            ": there is no query API here; `url` is the address before /api/v1, with the path prefix when the server \
             has one"
        }
        _ => "",
    };
    let mut text = credentials.redact(&String::from_utf8_lossy(body));
    // Pages are for browsers; plain text, such as a gateway's "no upstream", is worth a line.
    text = if content_type.starts_with("text/plain") {
        text.lines().next().unwrap_or("").trim().into()
    } else {
        String::new()
    };
    let quoted =
        if text.is_empty() { String::new() } else { format!(" (\"{}\")", text.chars().take(200).collect::<String>()) };
    PortError::new(kind, format!("{url} answered HTTP {code} with {content_type}{quoted}{advice}"))
}

/// An error in the API's own words.
fn said(url: &Url, status: StatusCode, error_type: &str, error: &str) -> PortError {
    let kind = match (error_type, http::status_kind(status)) {
        (_, PortErrorKind::Unauthorized) => PortErrorKind::Unauthorized,
        ("bad_data" | "execution" | "not_found", _) => PortErrorKind::Invalid,
        ("timeout", _) => PortErrorKind::Timeout,
        ("canceled" | "internal" | "unavailable", _) => PortErrorKind::Unavailable,
        (_, kind) => kind,
    };
    let shown = if error_type.is_empty() { "an error" } else { error_type };
    let said = if error.is_empty() { "without saying why" } else { error };
    match kind {
        PortErrorKind::Invalid => PortError::new(kind, format!("the query was refused ({shown}): {said}")),
        _ => PortError::new(kind, format!("{url} answered {shown} (HTTP {}): {said}", status.as_u16())),
    }
}
