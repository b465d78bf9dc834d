//! `slack`, as an app and as an incoming webhook, against a server that answers as Slack does: refusals come with status 200.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};

use super::{Effects, first_example, linked, served};

fn answer(body: Value) -> Response {
    (StatusCode::OK, [("x-oauth-scopes", "chat:write")], axum::Json(body)).into_response()
}

/// What is wrong with a message, by Slack's documented limits.
fn refusal(message: &Value) -> Option<&'static str> {
    let blocks = message["blocks"].as_array().map_or(&[][..], Vec::as_slice);
    let too_long = |value: &Value, most: usize| value.as_str().is_some_and(|text| text.chars().count() > most);
    let wrong = blocks.len() > 50
        || blocks.iter().any(|block| {
            too_long(&block["text"]["text"], if block["type"] == "header" { 150 } else { 3000 })
                || block["text"]["text"].as_str().is_some_and(str::is_empty)
        });
    match message["text"].as_str() {
        _ if wrong => Some("invalid_blocks"),
        Some(text) if text.chars().count() > 40_000 => Some("msg_too_long"),
        None | Some("") if blocks.is_empty() => Some("no_text"),
        _ => None,
    }
}

struct App;

#[rounds_core::async_trait]
impl ConnectorSubject for App {
    fn registration(&self) -> Registration {
        linked("slack")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let secret = json!({ "botToken": format!("xoxb-{secret}"), "signingSecret": format!("signing-{secret}") });
        Setup::new(json!({ "channel": "C024BE91L", "apiUrl": format!("{at}/api"), "users": { "U024BE7LH": "ada" } }))
            .with_secret(secret.to_string())
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/slack.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let (bearer, effects) = (format!("Bearer xoxb-{secret}"), Effects::default());
        let (expected, counted) = (bearer.clone(), effects.clone());
        let authorized = move |headers: &HeaderMap, bearer: &str| {
            headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == bearer.as_bytes())
        };
        let test = move |headers: HeaderMap| async move {
            match authorized(&headers, &bearer) {
                true => answer(json!({ "ok": true, "team": "Ops", "user": "rounds" })),
                false => answer(json!({ "ok": false, "error": "invalid_auth" })),
            }
        };
        let message = move |headers: HeaderMap, body: Bytes| async move {
            if !authorized(&headers, &expected) {
                return answer(json!({ "ok": false, "error": "invalid_auth" }));
            }
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(error) = refusal(&message) {
                return answer(json!({ "ok": false, "error": error }));
            }
            counted.count();
            answer(json!({ "ok": true, "channel": message["channel"], "ts": "1503435956.000247" }))
        };
        let app = Router::new().route("/api/auth.test", post(test)).route("/api/chat.postMessage", post(message));
        served(app.layer(DefaultBodyLimit::disable()), effects).await
    }
}

impl NotifierSubject for App {}

mod app {
    use super::App;

    rounds_core::notifier_conformance!(strict: App);
}

struct Webhook;

#[rounds_core::async_trait]
impl ConnectorSubject for Webhook {
    fn registration(&self) -> Registration {
        linked("slack")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "apiUrl": format!("{at}/api") })).with_secret(format!("{at}/services/T1/B1/{secret}"))
    }

    fn documented(&self) -> Value {
        json!({ "timeoutSec": 5 })
    }

    fn content_type(&self) -> &'static str {
        "text/html"
    }

    async fn serve(&self, secret: &str) -> Served {
        let effects = Effects::default();
        let counted = effects.clone();
        let message = move |body: Bytes| async move {
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            match refusal(&message) {
                Some(error) => (StatusCode::BAD_REQUEST, error),
                None => {
                    counted.count();
                    (StatusCode::OK, "ok")
                }
            }
        };
        let app = Router::new().route(&format!("/services/T1/B1/{secret}"), post(message));
        served(app.layer(DefaultBodyLimit::disable()), effects).await
    }
}

impl NotifierSubject for Webhook {
    fn has_no_idempotency_key(&self) -> Option<&'static str> {
        Some("an incoming webhook takes no metadata, and drops no repeats")
    }
}

mod webhook {
    use super::Webhook;

    rounds_core::notifier_conformance!(strict: Webhook);
}
