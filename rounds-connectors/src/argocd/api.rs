//! One request to the REST gateway: address, token, status, and what an error says about the effect.
//!
//! The gateway is grpc-gateway before Argo CD's gRPC services. An error's body is `{"error", "code", "message"}` with the
//! gRPC code. Which codes prove that nothing was changed is said in [`refused`].

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretHandle};
use rounds_core::redact::redact;
use rounds_core::step::{StepError, StepOutput};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::config::ArgoCdConfig;
use super::model::{Application, CanI, ManagedResources, Manifests, UserInfo, Version};
use super::steps::Place;
use crate::http::{self, ChosenBy, Client, ClientOptions};
use crate::remote::{Answer, Fault, exchange_up_to};

/// What is shown of a message of the server's.
const MAX_MESSAGE: usize = 600;

/// The API of one Argo CD.
pub(super) struct Api {
    client: Client,
    base: Url,
    secret: SecretHandle,
    limit: Duration,
    most: usize,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// Why a request did not do what it was for.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: PortErrorKind,
    pub(super) message: String,
    /// Proven: nothing was changed by it.
    pub(super) not_started: bool,
}

impl Failed {
    pub(super) fn not_started(message: impl Into<String>) -> Self {
        Self { kind: PortErrorKind::Invalid, message: message.into(), not_started: true }
    }
}

impl From<PortError> for Failed {
    /// What goes wrong before anything is sent.
    fn from(error: PortError) -> Self {
        Self { kind: error.kind, message: error.to_string(), not_started: true }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { kind: fault.error.kind, message: fault.error.to_string(), not_started: !fault.sent }
    }
}

impl From<Failed> for PortError {
    fn from(failed: Failed) -> Self {
        Self::new(failed.kind, failed.message)
    }
}

impl From<Failed> for StepError {
    fn from(failed: Failed) -> Self {
        if failed.not_started {
            Self::not_started(failed.message)
        } else {
            Self::unknown(failed.message, StepOutput::default())
        }
    }
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<i64>,
    error: String,
    message: String,
}

/// Whether an error proves that nothing was changed. Before it writes, the server looks the caller and the application up
/// and checks the request, and says so with these codes; a write that Kubernetes refuses comes back with them, too. Of a
/// proxy in front, only statuses count that mean that the request was not passed on.
fn refused(status: StatusCode, said: &Said) -> bool {
    // Old servers wrap this one into an unknown code.
    if said.message.contains("another operation is already in progress") {
        return true;
    }
    match said.code {
        // InvalidArgument, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted, FailedPrecondition, Unimplemented,
        // Unauthenticated.
        Some(3 | 5 | 6 | 7 | 8 | 9 | 12 | 16) => status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED,
        Some(_) => false,
        // 307 is how an Argo CD with TLS answers plain HTTP.
        None => matches!(status.as_u16(), 307 | 308 | 401 | 403 | 404 | 405 | 407 | 429),
    }
}

impl Api {
    pub(super) fn new(cx: &BuildContext, config: &ArgoCdConfig) -> Result<Self, BuildError> {
        let base = config.base()?;
        let client = http::client(&ClientOptions {
            url: &base,
            ca_certificate: config.ca_certificate.as_deref(),
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })?;
        Ok(Self {
            client,
            base,
            secret: cx.secret.clone(),
            limit: config.request_timeout(),
            most: config.max_body_bytes,
        })
    }

    /// The address, which holds no credential.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(super) fn is_plain_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// The application, and no other: the server is told the project, and what it answers is checked.
    pub(super) async fn app(
        &self,
        cx: &CallContext,
        place: &Place,
        refresh: Option<&str>,
    ) -> Result<Application, Failed> {
        let mut query = query(place);
        query.extend(refresh.map(|how| ("refresh", how.to_owned())));
        let app: Application =
            self.call(cx, "reading the application", Method::GET, &["applications", &place.app], &query, None).await?;
        checked(&app, place)?;
        Ok(app)
    }

    /// Its objects as they are and as they should be.
    pub(super) async fn managed(&self, cx: &CallContext, place: &Place) -> Result<ManagedResources, Failed> {
        let path = ["applications", &place.app, "managed-resources"];
        self.call(cx, "comparing the objects", Method::GET, &path, &query(place), None).await
    }

    /// Its objects as a revision says they should be.
    pub(super) async fn manifests(&self, cx: &CallContext, place: &Place, revision: &str) -> Result<Manifests, Failed> {
        let mut query = query(place);
        query.push(("revision", revision.to_owned()));
        let path = ["applications", &place.app, "manifests"];
        self.call(cx, "rendering the revision", Method::GET, &path, &query, None).await
    }

    /// Starts an operation (`sync`, `rollback`); the answer is the application with it.
    pub(super) async fn start(
        &self,
        cx: &CallContext,
        place: &Place,
        verb: &str,
        body: Value,
    ) -> Result<Application, Failed> {
        let path = ["applications", &place.app, verb];
        self.call(cx, &format!("starting the {verb}"), Method::POST, &path, &[], Some(&with_place(body, place))).await
    }

    /// Changes the application's definition.
    pub(super) async fn patch(&self, cx: &CallContext, place: &Place, patch: &Value) -> Result<Application, Failed> {
        let body = serde_json::json!({ "patch": patch.to_string(), "patchType": "merge" });
        let path = ["applications", &place.app];
        self.call(cx, "changing the application", Method::PATCH, &path, &[], Some(&with_place(body, place))).await
    }

    /// Asked of anybody.
    pub(super) async fn version(&self, cx: &CallContext) -> Result<Version, Failed> {
        let url = self.endpoint(&["api", "version"]);
        self.send(cx, "asking for the version", Method::GET, url, None).await
    }

    /// Who the token is.
    pub(super) async fn user(&self, cx: &CallContext) -> Result<UserInfo, Failed> {
        self.call(cx, "asking who the token is", Method::GET, &["session", "userinfo"], &[], None).await
    }

    /// Whether the token may do this.
    pub(super) async fn can(&self, cx: &CallContext, action: &str, object: &str) -> Result<bool, Failed> {
        let mut path = vec!["account", "can-i", "applications", action];
        path.extend(object.split('/'));
        let said: CanI = self.call(cx, "asking what the token may do", Method::GET, &path, &[], None).await?;
        Ok(said.value == "yes")
    }

    fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn call<T: DeserializeOwned>(
        &self,
        cx: &CallContext,
        act: &str,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<T, Failed> {
        let mut url = self.endpoint(&[&["api", "v1"], path].concat());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(cx, act, method, url, body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        cx: &CallContext,
        act: &str,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<T, Failed> {
        let what = format!("Argo CD at {}: {act}", self.base());
        let token = self.token().await?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
            unusable("the token holds characters that a header cannot; the token as Argo CD gave it is accepted")
        })?;
        bearer.set_sensitive(true);
        let request = self.client.request(method, url).header(AUTHORIZATION, bearer).header(ACCEPT, "application/json");
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = exchange_up_to(self.most, &self.client, cx, self.limit, &what, request).await?;
        if answer.status == StatusCode::OK {
            // A change that was answered with something else may have been made.
            return answer.json(&what).map_err(|error| Failed {
                kind: error.kind,
                // What does not fit is quoted by the error, and a server may answer with what it was sent.
                message: format!(
                    "{}; is `url` the address of Argo CD's API server, with its root path?",
                    one_line(&redact(&error.to_string(), &[token.expose_secret()]), MAX_MESSAGE)
                ),
                not_started: false,
            });
        }
        Err(failed(&what, &answer, &token))
    }

    /// The token of this moment. Files and pasted values often end with a line break, which no token does.
    async fn token(&self) -> Result<SecretString, PortError> {
        let token = self.secret.required().await?;
        let token = token.expose_secret().trim();
        if token.is_empty() {
            return Err(unusable("the token is empty; set the token of a local account or a project role"));
        }
        Ok(token.into())
    }
}

fn unusable(why: &str) -> PortError {
    PortError::new(PortErrorKind::Unauthorized, why)
}

fn query(place: &Place) -> Vec<(&'static str, String)> {
    let mut query = vec![("project", place.project.clone())];
    query.extend(place.app_namespace.iter().map(|namespace| ("appNamespace", namespace.clone())));
    query
}

fn with_place(mut body: Value, place: &Place) -> Value {
    body["name"] = place.app.clone().into();
    body["project"] = place.project.clone().into();
    if let Some(namespace) = &place.app_namespace {
        body["appNamespace"] = namespace.clone().into();
    }
    body
}

/// Whether what was answered is what was asked for: allow-lists speak of names that the step gave.
fn checked(app: &Application, place: &Place) -> Result<(), Failed> {
    let other = |what: &str, named: &str, found: &str| {
        let found: String = found.chars().filter(|c| !c.is_control()).take(100).collect();
        Err(Failed::not_started(format!(
            "{}: the step says that {what} is `{named}`, and Argo CD says `{found}`",
            place.app
        )))
    };
    if app.metadata.name != place.app {
        return other("the application", &place.app, &app.metadata.name);
    }
    if app.project() != place.project {
        return other("its project", &place.project, app.project());
    }
    if let Some(namespace) = &place.app_namespace
        && app.metadata.namespace != *namespace
    {
        return other("its own namespace", namespace, &app.metadata.namespace);
    }
    if let Some(namespace) = &place.destination_namespace {
        if app.spec.destination.namespace != *namespace {
            return other("its destination namespace", namespace, &app.spec.destination.namespace);
        }
        // Access is granted by namespace, and manifests may name namespaces of their own.
        if let Some(elsewhere) = app.status.resources.iter().find(|resource| resource.namespace != *namespace) {
            let at = if elsewhere.namespace.is_empty() { "in no namespace" } else { &elsewhere.namespace };
            return Err(Failed::not_started(format!(
                "{}: the step says that all of it is in `{namespace}`, and its {} {} is {at}: leave `destinationNamespace` out",
                place.app, elsewhere.kind, elsewhere.name
            )));
        }
    }
    Ok(())
}

/// What an error means, in words for whoever must act.
fn failed(what: &str, answer: &Answer, token: &SecretString) -> Failed {
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status;
    let message = if said.message.is_empty() { &said.error } else { &said.message };
    let message = one_line(&redact(message, &[token.expose_secret()]), MAX_MESSAGE);
    let quoted = if message.is_empty() { String::new() } else { format!(": {message}") };
    let advice = match status.as_u16() {
        401 => "; the token is not accepted: it was revoked or has expired, so set a new one",
        403 if message.contains("sync window") => "; wait for the window, or have it changed in the project",
        403 => {
            "; there is no such application, or the token's role lacks the right (Argo CD does not say which): see \
             `argocd account can-i` and the project's roles"
        }
        404 if said.code.is_some() => "; in that project, there is no such application",
        404 => "; `url` is the address before /api/v1, with the root path when there is one",
        300..400 => "; redirects are not followed: set `url` to the final address (https, as a rule)",
        412 | 400 if message.contains("auto-sync is enabled") => {
            "; put argocd.set_auto_sync with `enabled: false` before the rollback"
        }
        _ => "",
    };
    Failed {
        kind: http::status_kind(status),
        message: format!("{what}: HTTP {}{quoted}{advice}", status.as_u16()),
        not_started: refused(status, &said),
    }
}

/// A text of somebody else's, in one line that looks like what it is.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let words: String = text.chars().map(|c| if odd(c) { ' ' } else { c }).take(most + 1).collect();
    match words.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.trim().to_owned(),
    }
}
