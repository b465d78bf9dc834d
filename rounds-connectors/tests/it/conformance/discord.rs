//! `discord`, against a webhook that takes what Discord's does.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};

use super::{Effects, first_example, linked, served};

struct Discord;

/// What Discord refuses a message for.
fn fault(message: &Value) -> Option<&'static str> {
    let units = |value: &Value| value.as_str().unwrap_or_default().encode_utf16().count();
    let embed = &message["embeds"][0];
    let fields = embed["fields"].as_array().cloned().unwrap_or_default();
    let of_fields: usize = fields.iter().map(|field| units(&field["name"]) + units(&field["value"])).sum();
    let whole = of_fields + units(&embed["title"]) + units(&embed["description"]);
    if units(&message["content"]) > 2_000 || message["content"].as_str().is_none_or(str::is_empty) {
        return Some("content");
    }
    if units(&embed["description"]) > 4_096 || units(&embed["title"]) > 256 || whole > 6_000 || fields.len() > 25 {
        return Some("embed");
    }
    let fits =
        |field: &Value| (1..=256).contains(&units(&field["name"])) && (1..=1_024).contains(&units(&field["value"]));
    if !fields.iter().all(fits) {
        return Some("fields");
    }
    (message["allowed_mentions"]["parse"] != json!([])).then_some("somebody may be mentioned")
}

#[rounds_core::async_trait]
impl ConnectorSubject for Discord {
    fn registration(&self) -> Registration {
        linked("discord")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "allowedHost": at })).with_secret(format!("{at}/api/webhooks/42/{secret}"))
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/discord.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        type Known = State<(String, Effects)>;
        let unknown = || (StatusCode::NOT_FOUND, Json(json!({ "message": "Unknown Webhook", "code": 10_015 })));
        let webhook = move |State((token, _)): Known, Path(given): Path<String>| async move {
            if given != token {
                return unknown();
            }
            (StatusCode::OK, Json(json!({ "id": "42", "name": "rounds", "channel_id": "7", "token": token })))
        };
        let execute = move |State((token, effects)): Known,
                            Path(given): Path<String>,
                            Query(query): Query<Vec<(String, String)>>,
                            Json(message): Json<Value>| async move {
            if given != token {
                return unknown();
            }
            if let Some(what) = fault(&message) {
                let said = json!({ "code": 50_035, "message": "Invalid Form Body", "errors": { what: {} } });
                return (StatusCode::BAD_REQUEST, Json(said));
            }
            effects.count();
            assert_eq!(query, [("wait".to_owned(), "true".to_owned())]);
            (StatusCode::OK, Json(json!({ "id": "1", "type": 0, "channel_id": "7" })))
        };
        let effects = Effects::default();
        let app = Router::new()
            .route("/api/webhooks/42/{token}", get(webhook).post(execute))
            .with_state((secret.to_owned(), effects.clone()));
        served(app, effects).await
    }
}

impl NotifierSubject for Discord {}

rounds_core::notifier_conformance!(strict: Discord);
