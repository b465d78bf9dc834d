//! `teams`, against a workflow that takes what Microsoft's does.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{any, post};
use axum::{Json, Router};
use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Effects, first_example, linked, served};

struct Teams;

#[derive(Deserialize)]
struct Signed {
    sig: String,
}

#[rounds_core::async_trait]
impl ConnectorSubject for Teams {
    fn registration(&self) -> Registration {
        linked("teams")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "allowedHost": at })).with_secret(format!("{at}/workflows/x/invoke?sp=1&sig={secret}"))
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/teams.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let invoke = |State((signature, effects)): State<(String, Effects)>,
                      Query(signed): Query<Signed>,
                      body: Bytes| async move {
            let refused = |status, code: &str| (status, Json(json!({ "error": { "code": code, "message": "no" } })));
            if signed.sig != signature {
                return refused(StatusCode::UNAUTHORIZED, "DirectApiAuthorizationRequired");
            }
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let attachment = &message["attachments"][0];
            let is_card = attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
                && attachment["content"]["type"] == "AdaptiveCard";
            if message["type"] != "message" || !is_card || body.len() > 28 * 1024 {
                return refused(StatusCode::BAD_REQUEST, "TriggerInputSchemaMismatch");
            }
            effects.count();
            (StatusCode::ACCEPTED, Json(Value::Null))
        };
        let effects = Effects::default();
        let app = Router::new()
            .route("/workflows/x/invoke", post(invoke))
            .route("/", any(async || StatusCode::NOT_FOUND))
            .with_state((secret.to_owned(), effects.clone()));
        served(app, effects).await
    }
}

impl NotifierSubject for Teams {}

rounds_core::notifier_conformance!(strict: Teams);
