//! `pagerduty`, against an Events API that takes what PagerDuty's does.

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};

use super::{Effects, first_example, linked, served};

struct Pagerduty;

/// An integration key has 32 characters, and the secret of the kit has more.
fn key(secret: &str) -> String {
    secret.chars().skip(secret.chars().count().saturating_sub(32)).collect()
}

/// What PagerDuty refuses an event for.
fn faults(event: &Value, key: &str) -> Vec<&'static str> {
    let length = |value: &Value| value.as_str().unwrap_or_default().encode_utf16().count();
    let mut faults = Vec::new();
    if event["routing_key"] != key {
        faults.push("Invalid routing key");
    }
    if !(1..=255).contains(&length(&event["dedup_key"])) {
        faults.push("'dedup_key' is missing or too long");
    }
    if event["event_action"] == "resolve" {
        return faults;
    }
    let payload = &event["payload"];
    if event["event_action"] != "trigger" {
        faults.push("'event_action' is invalid");
    }
    if !(1..=1_024).contains(&length(&payload["summary"])) || length(&payload["source"]) == 0 {
        faults.push("'payload.summary' or 'payload.source' is missing or too long");
    }
    if !["critical", "error", "warning", "info"].map(Value::from).contains(&payload["severity"]) {
        faults.push("'payload.severity' is invalid");
    }
    faults
}

#[rounds_core::async_trait]
impl ConnectorSubject for Pagerduty {
    fn registration(&self) -> Registration {
        linked("pagerduty")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "apiUrl": at })).with_secret(key(secret))
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/pagerduty.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let (key, effects) = (key(secret), Effects::default());
        let counted = effects.clone();
        let enqueue = move |body: Bytes| {
            let (key, counted) = (key.clone(), counted.clone());
            async move {
                let event: Value = serde_json::from_slice(&body).unwrap_or_default();
                let faults = faults(&event, &key);
                if !faults.is_empty() || body.len() > 512 * 1024 {
                    let said =
                        json!({ "status": "invalid event", "message": "Event object is invalid", "errors": faults });
                    return (StatusCode::BAD_REQUEST, Json(said));
                }
                let dedup_key = event["dedup_key"].as_str().unwrap_or_default().to_owned();
                // What resolves an alert that was never there is dropped, and disturbs nobody.
                if dedup_key != "rounds/check" {
                    counted.count();
                }
                let said = json!({ "status": "success", "message": "Event processed", "dedup_key": dedup_key });
                (StatusCode::ACCEPTED, Json(said))
            }
        };
        let app = Router::new().route("/v2/enqueue", post(enqueue)).layer(DefaultBodyLimit::disable());
        served(app, effects).await
    }
}

impl NotifierSubject for Pagerduty {}

rounds_core::notifier_conformance!(strict: Pagerduty);
