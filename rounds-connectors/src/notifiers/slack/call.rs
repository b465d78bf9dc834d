//! One call to Slack, and what its answers mean. No error holds a token or an address that is one.

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use rounds_core::plugin::{BuildError, Host};
use rounds_core::ports::{PortError, PortErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::super::ERROR_BODY;
use super::super::post::failed;
use crate::http::{self, ChosenBy, Client, ClientOptions};

/// Slack, or what speaks like it.
pub(super) struct Api {
    client: Client,
    base: Url,
}

/// An answer of the API that says `ok`.
pub(super) struct Said {
    body: Value,
    /// What the token may do, when Slack said.
    pub(super) scopes: Option<String>,
}

impl Said {
    /// A member that is text, as it is shown.
    pub(super) fn text(&self, name: &str) -> String {
        let text = self.body[name].as_str().unwrap_or("?");
        text.chars().filter(|c| !c.is_control()).take(100).collect()
    }
}

impl Api {
    pub(super) fn new(base: Url, host: &Host) -> Result<Self, BuildError> {
        let options = ClientOptions { url: &base, ca_certificate: None, host, chosen_by: ChosenBy::Connector };
        Ok(Self { client: http::client(&options)?, base })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Calls a method with a bot token.
    pub(super) async fn call(&self, method: &str, token: &SecretString, body: &Value) -> Result<Said, PortError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(method);
        }
        let what = format!("Slack's {method}");
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
            PortError::new(PortErrorKind::Unauthorized, "the bot token holds characters that a header cannot")
        })?;
        bearer.set_sensitive(true);
        let request = self.client.post(url).header(AUTHORIZATION, bearer).json(body);
        let response = self.client.send(&what, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let scopes = headers.get("x-oauth-scopes").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after = http::retry_after(&headers);
        let body = http::read_body(response, ERROR_BODY.max(256 * 1024)).await.unwrap_or_default();
        if status == StatusCode::OK {
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            return match (answer["ok"].as_bool(), answer["error"].as_str()) {
                (Some(true), _) => Ok(Said { body: answer, scopes }),
                (Some(false), error) => Err(refused(&what, error.unwrap_or_default()).with_retry_after(retry_after)),
                (None, _) => {
                    let message =
                        format!("{what} did not answer as Slack does: is `apiUrl` right, is a proxy in between?");
                    Err(PortError::new(PortErrorKind::Protocol, message))
                }
            };
        }
        Err(failed(&what, status, &headers))
    }

    /// Posts to an address that is itself the permission to do so.
    pub(super) async fn post_to(&self, url: &Url, body: &Value) -> Result<(), PortError> {
        let what = "Slack's webhook";
        let response = self.client.send(what, self.client.post(url.clone()).json(body)).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(());
        }
        let said = http::read_body(response, ERROR_BODY).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let error = match word(said.trim()) {
            // 429 and 5xx say what they are by their status.
            Some(word) if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS => refused(what, &word),
            _ => failed(what, status, &headers),
        };
        Err(error.with_retry_after(http::retry_after(&headers)))
    }
}

/// A word of Slack's, if it is one: anything else in its place may be anything.
fn word(text: &str) -> Option<String> {
    let is_word = !text.is_empty()
        && text.len() <= 60
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_word.then(|| text.to_owned())
}

/// What an error of Slack's means, and what to do about it.
fn refused(what: &str, error: &str) -> PortError {
    let Some(error) = word(error) else {
        return PortError::new(PortErrorKind::Protocol, format!("{what} refused and did not say why in a word"));
    };
    let (kind, advice) = match error.as_str() {
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            (PortErrorKind::Unauthorized, "the bot token does not work (any more): set the secret anew")
        }
        "missing_scope" => (PortErrorKind::Unauthorized, "the app lacks a scope: add chat:write and install it again"),
        "no_permission"
        | "access_denied"
        | "not_allowed_token_type"
        | "ekm_access_denied"
        | "org_login_required"
        | "team_access_not_granted"
        | "invalid_token"
        | "action_prohibited" => {
            (PortErrorKind::Unauthorized, "the workspace does not let it: ask an administrator of Slack")
        }
        "no_service" | "no_service_id" | "no_team" | "no_active_hooks" | "user_not_found" => {
            (PortErrorKind::Unauthorized, "the webhook is switched off or gone: make a new one and set the secret anew")
        }
        "channel_not_found" => (
            PortErrorKind::Invalid,
            "there is no such channel, or it is private and the app is not in it: check `channel`, /invite the app",
        ),
        "not_in_channel" => (PortErrorKind::Invalid, "the app is not in the channel: /invite it there"),
        "is_archived" | "channel_is_archived" => {
            (PortErrorKind::Invalid, "the channel is archived: choose another one")
        }
        "restricted_action" | "posting_to_general_channel_denied" => {
            (PortErrorKind::Invalid, "the workspace does not let apps post there: choose another channel")
        }
        "rate_limited" | "ratelimited" | "message_limit_exceeded" => {
            (PortErrorKind::RateLimited, "Slack takes no more just now")
        }
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org"
        | "rollup_error" => (PortErrorKind::Unavailable, "Slack cannot do it right now"),
        _ => (PortErrorKind::Invalid, "see Slack's documentation of the word"),
    };
    PortError::new(kind, format!("{what} refused with {error}: {advice}"))
}
