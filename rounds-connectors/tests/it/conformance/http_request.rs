//! `http`, against a receiver that wants its token, and JSON where it said so.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use rounds_core::conformance::connector::{AdapterSubject, ConnectorSubject, Sample, Served, Setup};
use rounds_core::plugin::Registration;
use rounds_core::step::StepSpec;
use serde_json::{Value, json};

use super::{Effects, linked, served};

struct Http;

#[rounds_core::async_trait]
impl ConnectorSubject for Http {
    fn registration(&self) -> Registration {
        linked("http")
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        let app = json!({ "type": "string", "pattern": "[a-z]+", "maxLength": 20 });
        let done = json!({ "jsonPointer": "/state", "equals": "done" });
        let config = json!({
            "auth": { "type": "bearer" }, "checkRequest": "health",
            "requests": [
                { "name": "scale", "description": "Sets the number of workers.", "method": "POST", "url": format!("{at}/apps/{{app}}/scale"),
                  "body": { "workers": "{workers}", "note": "{note}" }, "expect": done, "nameParam": "app",
                  "params": { "app": app, "workers": { "type": "integer", "minimum": 0, "maximum": 9 }, "note": { "type": "string" } },
                  "dryRun": { "how": "query", "name": "dryRun", "value": "true", "expect": { "jsonPointer": "/dryRun", "equals": true } },
                  "inverse": { "request": "remove", "params": { "app": "{app}", "why": "{note}" } } },
                { "name": "remove", "description": "Removes it.", "method": "DELETE", "url": format!("{at}/apps/{{app}}/scale"),
                  "query": { "why": "{why}" }, "params": { "app": app, "why": { "type": "string" } }, "expect": done },
                { "name": "health", "description": "Is it there?", "method": "GET", "url": format!("{at}/health"), "expect": done },
            ],
        });
        Setup::new(config).with_secret(secret)
    }

    fn documented(&self) -> Value {
        crate::documented(include_str!("../../../../docs/connectors/http.md"))
    }

    async fn serve(&self, secret: &str) -> Served {
        let (bearer, effects) = (format!("Bearer {secret}"), Effects::default());
        let counted = effects.clone();
        let change = move |uri: axum::http::Uri, headers: HeaderMap| {
            let (bearer, counted) = (bearer.clone(), counted.clone());
            async move {
                if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&*bearer) {
                    return refused();
                }
                if uri.query().unwrap_or_default().contains("dryRun=true") {
                    return axum::Json(json!({ "state": "done", "dryRun": true })).into_response();
                }
                counted.count();
                axum::Json(json!({ "state": "done" })).into_response()
            }
        };
        let app = Router::new()
            .route("/apps/{app}/scale", post(change.clone()).delete(change))
            .route("/health", get(async || axum::Json(json!({ "state": "done" }))));
        served(app, effects).await
    }
}

fn refused() -> Response {
    StatusCode::UNAUTHORIZED.into_response()
}

fn step(request: &str, params: Value) -> StepSpec {
    StepSpec::new("http.request", json!({ "request": request, "params": params }))
}

impl AdapterSubject for Http {
    fn reads(&self) -> Vec<StepSpec> {
        vec![step("health", json!({}))]
    }

    fn writes(&self) -> Vec<Sample> {
        vec![
            Sample::new(step("scale", json!({ "app": "web", "workers": 3, "note": "busy" }))),
            Sample::new(step("remove", json!({ "app": "web", "why": "idle" }))),
        ]
    }

    fn refused(&self) -> Vec<StepSpec> {
        vec![
            step("reboot", json!({})),
            step("scale", json!({ "app": "web", "workers": 3 })),
            step("scale", json!({ "app": "web", "workers": 10, "note": "busy" })),
            step("scale", json!({ "app": "../x", "workers": 3, "note": "busy" })),
            step("health", json!({ "app": "web" })),
        ]
    }
}

rounds_core::adapter_conformance!(strict: Http);
