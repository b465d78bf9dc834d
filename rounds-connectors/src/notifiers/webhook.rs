//! `webhook`: each notice as a signed POST of JSON, for programs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hmac::Mac as _;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    CallContext, CheckReport, Clock as _, Folded, Notice, Notifier, PortError, PortErrorKind, SecretHandle, SystemClock,
};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::ERROR_BODY;
use crate::http::{self, ChosenBy, Client, ClientOptions};

/// Shorter keys can be guessed.
const SHORTEST_KEY: usize = 16;

/// Where each notice is posted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// The address that gets each notice as a POST of JSON, such as `https://hooks.example.com/rounds`.
    pub url: String,
    /// How long it may take to answer, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
}

fn default_timeout() -> u64 {
    10
}

rounds_core::register_connector! {
    kind: "webhook",
    title: "Webhook",
    role: Notifier,
    secret: Required("The key that each message is signed with, at least 16 characters; the receiver has the same one."),
    config: WebhookConfig,
    build: Webhook::new,
    check_secret: |_, secret| check_key(secret),
}

fn check_key(key: &SecretString) -> Result<(), BuildError> {
    match key.expose_secret().trim().len() {
        SHORTEST_KEY.. => Ok(()),
        found => Err(BuildError::config(format!(
            "found a key of {found} characters; at least {SHORTEST_KEY} are expected, such as `openssl rand -hex 32` prints"
        ))),
    }
}

/// A channel to programs: posts each notice as JSON, signed with HMAC-SHA256.
///
/// The headers of a message: `X-Rounds-Timestamp` (seconds since 1970), `X-Rounds-Signature: v1=<hex>`, the HMAC-SHA256
/// with the key over `v1:<timestamp>:<body>`, and `Idempotency-Key`, the same for every delivery of one notice. A receiver
/// computes the signature over the body as it came, compares in constant time, refuses old timestamps, answers with
/// 2xx, and forgets what it has seen before.
///
/// The body: `{version: 1, id, orgId, idempotencyKey, kind, at, title, body, severity, path, url, about, labels, links,
/// asked, repeat, folded}`. `url` is the page, when the server knows where people reach it, else null; `about` is the same in
/// everything about one plan or one episode of an alert; `links` are `{name, url}` of the alert's annotations that are
/// addresses, `http` or `https`; `asked` is null or
/// `{requestId, digest, stepOrdinal, tier, places: [{connectorId, connector, namespace}], commands, expiresAt}`; `repeat`
/// counts reminders, from 0; `folded` lists what a message of several things tells of, each with its
/// `{kind, at, title, severity, path, url, link, about, links}`, where `link` is an older name of `path`; the `path` and
/// `url` of the whole are then those of the page that lists them.
pub struct Webhook {
    client: Client,
    url: Url,
    secret: SecretHandle,
    timeout: Duration,
    host: Arc<Host>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &shown(&self.url)).field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called.
    pub fn new(cx: BuildContext, config: WebhookConfig) -> Result<Self, BuildError> {
        let url = super::address("url", &config.url, "https://hooks.example.com/rounds")?;
        let timeout = super::seconds("timeoutSec", config.timeout_sec)?;
        let client = http::client(&ClientOptions {
            url: &url,
            ca_certificate: config.ca_certificate.as_deref(),
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })?;
        Ok(Self { client, url, secret: cx.secret, timeout, host: cx.host })
    }

    fn body(&self, notice: &Notice) -> Value {
        json!({
            "version": 1,
            "id": notice.id,
            "orgId": notice.org_id,
            "idempotencyKey": notice.idempotency_key,
            "kind": notice.kind,
            "at": notice.at,
            "title": notice.title,
            "body": notice.body,
            "severity": notice.severity,
            "path": notice.link,
            "url": self.host.link(&notice.link),
            "about": notice.about,
            "labels": notice.labels,
            "links": notice.links,
            "asked": notice.asked,
            "repeat": notice.repeat,
            "folded": notice.folded.iter().map(|one| self.folded(one)).collect::<Vec<_>>(),
        })
    }

    /// One of several things, with where its page is.
    fn folded(&self, one: &Folded) -> Value {
        json!({
            "kind": one.kind,
            "at": one.at,
            "title": one.title,
            "severity": one.severity,
            "path": one.link,
            "url": self.host.link(&one.link),
            "link": one.link,
            "about": one.about,
            "links": one.links,
        })
    }

    async fn key(&self) -> Result<SecretString, PortError> {
        let key = self.secret.required().await?;
        // Files and pasted values often end with a line break.
        let key = SecretString::from(key.expose_secret().trim());
        check_key(&key).map_err(|error| PortError::new(PortErrorKind::Unauthorized, error.to_string()))?;
        Ok(key)
    }

    async fn post(&self, notice: &Notice) -> Result<(), PortError> {
        let key = self.key().await?;
        let body = self.body(notice).to_string();
        let timestamp = SystemClock.now().timestamp().to_string();
        let mac = super::mac(&key, &[b"v1:", timestamp.as_bytes(), b":", body.as_bytes()])?;
        let signature = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        let what = shown(&self.url);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-Rounds-Timestamp", timestamp)
            .header("X-Rounds-Signature", signature)
            .header("Idempotency-Key", &notice.idempotency_key)
            .body(body);
        let response = self.client.send(&what, request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = http::retry_after(response.headers());
        if status.is_redirection() {
            let message = format!(
                "{what} redirects (HTTP {}), which is not followed: set `url` to the final address",
                status.as_u16()
            );
            return Err(PortError::new(PortErrorKind::Protocol, message));
        }
        let kind = match status {
            StatusCode::CONFLICT | StatusCode::TOO_EARLY => PortErrorKind::Unavailable,
            status => http::status_kind(status),
        };
        // What it says may be anything, our own message included; the first line helps whoever looks after it.
        let said = http::read_body(response, ERROR_BODY).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said).replace(key.expose_secret(), "[redacted]");
        let line: String =
            said.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        let said = if line.is_empty() { String::new() } else { format!(": \"{line}\"") };
        Err(PortError::new(kind, format!("{what} answered HTTP {}{said}", status.as_u16()))
            .with_retry_after(retry_after))
    }
}

/// An address as it is shown: the query of a webhook may hold a token.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

#[async_trait]
impl Notifier for Webhook {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let what = shown(&self.url);
        http::within(cx, self.timeout, &what, async {
            self.key().await?;
            // Any answer shows that somebody is there; what a HEAD of it means is the receiver's to say.
            let status =
                self.client.send(&what, self.client.request(reqwest::Method::HEAD, self.url.clone())).await?.status();
            let report = CheckReport::new(format!(
                "{what} can be reached; whether it takes a notice shows only when one is posted, and none was"
            ));
            Ok(report.with_facts([("answer to HEAD".to_owned(), format!("HTTP {}", status.as_u16()))]))
        })
        .await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        http::within(cx, self.timeout, &shown(&self.url), self.post(notice)).await
    }
}
