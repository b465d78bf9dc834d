//! One bounded read over HTTP: address, credentials, status, body. Nothing is retried, no redirect is followed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{PortError, PortErrorKind, SecretHandle};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::config::{Auth, Setup, secret_header};
use super::one_line;
use crate::http::{self, BodyError, ChosenBy, Client, ClientOptions};

/// Error bodies are for people; more than this is not read.
const ERROR_BODY: usize = 64 * 1024;

/// The HTTP API of one server.
pub(crate) struct Api {
    client: Client,
    base: Url,
    root: &'static [&'static str],
    auth: Auth,
    secret: SecretHandle,
    headers: HeaderMap,
    max_body: usize,
    ask_for_less: &'static str,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// What one call sends to sign in, and the words that must not come back in an error.
pub(crate) struct Credentials {
    headers: HeaderMap,
    secrets: Vec<SecretString>,
}

impl Credentials {
    /// Somebody else's text without this call's secrets, for an error: bounded, and nothing a terminal obeys.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(SecretString::expose_secret).filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "[redacted]");
        }
        text.chars().filter(|c| !c.is_control() || *c == '\n').take(1_000).collect()
    }
}

/// A complete answer of any status but a redirection.
pub(crate) struct Answer {
    /// Where it comes from, without the query.
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    /// How long the server asks to be left alone.
    retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// Checks what it is made from in full and connects to nothing.
    ///
    /// # Errors
    /// An address, a header or a tenant is not one, or may not be used.
    pub(crate) fn new(cx: &BuildContext, setup: &Setup<'_>) -> Result<Self, BuildError> {
        let base = setup.base()?;
        let client = http::client(&ClientOptions {
            url: &base,
            ca_certificate: setup.ca_certificate,
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })?;
        let headers = setup.plain_headers()?;
        setup.check_auth()?;
        Ok(Self {
            client,
            base,
            root: setup.root,
            auth: setup.auth.clone(),
            secret: cx.secret.clone(),
            headers,
            max_body: setup.max_body,
            ask_for_less: setup.ask_for_less,
        })
    }

    /// The address, which holds no credential.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What a person who tests the connector should know.
    pub(crate) fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([("address".to_owned(), self.base().to_owned())]);
        let tenant = self.headers.get("x-scope-orgid").and_then(|tenant| tenant.to_str().ok());
        facts.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant.to_owned())));
        let signs_in = !matches!(self.auth, Auth::None);
        if signs_in && self.base.scheme() == "http" {
            facts.insert("warning".into(), "the credential travels unencrypted: use https".into());
        } else if !signs_in && self.secret.is_present() {
            facts.insert("warning".into(), "the secret is not used, because `auth` is `none`".into());
        }
        facts
    }

    /// Where a path under the API's root is.
    pub(crate) fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(self.root).extend(path);
        }
        url
    }

    /// Resolves the secret, for one call.
    ///
    /// # Errors
    /// There is none, or it is not what `auth` needs.
    pub(crate) async fn credentials(&self) -> Result<Credentials, PortError> {
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
                    let (name, parsed) =
                        secret_header(&name, &value).map_err(|what| unusable(&format!("the secret's {what}")))?;
                    credentials.headers.insert(name, parsed);
                    credentials.secrets.push(value.into());
                }
            }
        }
        Ok(credentials)
    }

    /// One request and its whole answer. Parameters go into the query of a GET and into the form of a POST.
    ///
    /// # Errors
    /// Nobody answered, the answer is a redirection, too large, or was cut off. Any other status is an answer.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(String, String)],
        credentials: &Credentials,
    ) -> Result<Answer, PortError> {
        let url = self.endpoint(path);
        let request: RequestBuilder =
            self.client.request(method.clone(), url.clone()).header(ACCEPT, "application/json");
        let request = request.headers(self.headers.clone()).headers(credentials.headers.clone());
        let request = match (method == Method::POST, parameters.is_empty()) {
            (true, _) => request.form(parameters),
            (false, false) => request.query(parameters),
            (false, true) => request,
        };
        let response = self.client.send(url.as_str(), request).await?;
        self.read(url, response, credentials).await
    }

    async fn read(&self, url: Url, response: Response, credentials: &Credentials) -> Result<Answer, PortError> {
        let status = response.status();
        if status.is_redirection() {
            return Err(redirected(&url, &response));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no content type").chars().take(80).collect::<String>();
        let retry_after = http::retry_after(response.headers());
        let cap = if status.is_success() { self.max_body } else { ERROR_BODY };
        let body = match http::read_body(response, cap).await {
            Ok(body) => body,
            // What went wrong is said by the status; a huge or broken error page adds nothing.
            Err(_) if !status.is_success() => Vec::new(),
            Err(BodyError::TooLarge) => {
                let less = self.ask_for_less;
                return Err(PortError::new(
                    PortErrorKind::Protocol,
                    format!(
                        "{url}: the answer is larger than {cap} bytes: ask for less ({less}) or raise maxBodyBytes"
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
        Ok(Answer { url, status, content_type, retry_after, body })
    }
}

impl Answer {
    /// A success whose body is not what the protocol says: JSON of another shape, or a page.
    pub(crate) fn odd(&self, whose: &str, error: &serde_json::Error, credentials: &Credentials) -> PortError {
        let url = &self.url;
        let message = if self.content_type.contains("json") {
            format!("{url}: the answer is not what {whose} API says: {}", credentials.redact(&error.to_string()))
        } else {
            format!(
                "{url} answered {} instead of JSON: a login page, a proxy or another service? `url` is the address \
                 before the API, with the path prefix when the server has one",
                self.content_type
            )
        };
        PortError::new(PortErrorKind::Protocol, message)
    }

    /// The same error with how long the server asked to be left alone, when it did and asking again may help.
    pub(crate) fn asked_to_wait(&self, mut error: PortError) -> PortError {
        if error.is_transient() {
            error.retry_after = self.retry_after;
        }
        error
    }

    /// A failure that the API's own envelope did not explain. A line of plain text, such as a gateway's "no upstream", is
    /// quoted; pages are for browsers.
    pub(crate) fn failure(&self, no_api_here: &str, credentials: &Credentials) -> PortError {
        let kind = http::status_kind(self.status);
        let advice = match kind {
            PortErrorKind::Unauthorized => ": the credentials were refused; check `auth` and the connector's secret",
            PortErrorKind::Unavailable | PortErrorKind::Timeout => ": the server cannot answer right now",
            _ if self.status == StatusCode::NOT_FOUND => no_api_here,
            _ => "",
        };
        let text = match self.content_type.starts_with("text/plain") {
            true => {
                let said = credentials.redact(&String::from_utf8_lossy(&self.body));
                one_line(said.lines().next().unwrap_or_default(), 300)
            }
            false => String::new(),
        };
        let quoted = if text.is_empty() { String::new() } else { format!(" (\"{text}\")") };
        let (url, code, with) = (&self.url, self.status.as_u16(), &self.content_type);
        self.asked_to_wait(PortError::new(kind, format!("{url} answered HTTP {code} with {with}{quoted}{advice}")))
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
