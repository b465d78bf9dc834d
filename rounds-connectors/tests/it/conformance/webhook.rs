//! `webhook`, against a receiver that verifies what its documentation says.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use hmac::Mac as _;
use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};

use super::{Effects, first_example, linked, served};

struct Webhook;

#[rounds_core::async_trait]
impl ConnectorSubject for Webhook {
    fn registration(&self) -> Registration {
        linked("webhook")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "url": format!("{at}/in") })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/webhook.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let (key, effects) = (secret.to_owned(), Effects::default());
        let counted = effects.clone();
        let receive = move |headers: HeaderMap, body: Bytes| {
            let (key, counted) = (key.clone(), counted.clone());
            async move {
                let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
                mac.update(format!("v1:{}:", header("x-rounds-timestamp")).as_bytes());
                mac.update(&body);
                if header("x-rounds-signature") != format!("v1={}", hex::encode(mac.finalize().into_bytes())) {
                    return StatusCode::UNAUTHORIZED;
                }
                if serde_json::from_slice::<Value>(&body).is_err() {
                    return StatusCode::BAD_REQUEST;
                }
                counted.count();
                StatusCode::NO_CONTENT
            }
        };
        let app = Router::new().route("/in", axum::routing::post(receive)).layer(DefaultBodyLimit::disable());
        served(app, effects).await
    }
}

impl NotifierSubject for Webhook {}

rounds_core::notifier_conformance!(strict: Webhook);
