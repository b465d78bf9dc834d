//! The language models, against servers that stream what each provider's documentation shows.

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rounds_core::conformance::connector::{ConnectorSubject, ModelSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};

use super::{Effects, linked, served};

/// A provider: its kind and an answer of its own.
#[derive(Clone, Copy)]
struct Provider {
    kind: &'static str,
    recording: &'static str,
}

const ANTHROPIC: Provider =
    Provider { kind: "anthropic", recording: include_str!("../models/recorded/anthropic_tools.sse") };
const OPENAI: Provider = Provider { kind: "openai", recording: include_str!("../models/recorded/openai_tools.sse") };
const GEMINI: Provider = Provider { kind: "gemini", recording: include_str!("../models/recorded/gemini_tools.sse") };

impl Provider {
    /// What it says of itself where a model or a list of them is asked for.
    fn described(&self, path: &str) -> Value {
        let one = json!({ "id": "m", "name": "models/m", "displayName": "M", "type": "model", "object": "model" });
        match path.rsplit('/').next() {
            Some("models") => json!({ "data": [one], "models": [one], "has_more": false, "object": "list" }),
            _ => one,
        }
    }
}

#[rounds_core::async_trait]
impl ConnectorSubject for Provider {
    fn registration(&self) -> Registration {
        linked(self.kind)
    }

    fn connector(&self, at: &str, secret: &str) -> Setup {
        Setup::new(json!({ "model": "m", "baseUrl": at })).with_secret(secret)
    }

    fn documented(&self) -> Value {
        json!({ "model": "m", "maxOutputTokens": 4096, "prices": { "input": 3, "output": 15 } })
    }

    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    async fn serve(&self, secret: &str) -> Served {
        let (this, secret, effects) = (*self, secret.to_owned(), Effects::default());
        let counted = effects.clone();
        let answer = move |request: Request| async move {
            let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
            let given = ["x-api-key", "x-goog-api-key"].into_iter().find_map(header);
            let given = given.or_else(|| header("authorization")?.strip_prefix("Bearer "));
            let said: Response = if given != Some(secret.as_str()) {
                let error = json!({ "error": { "message": "no such key", "type": "authentication_error" } });
                (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response()
            } else if request.method() == "GET" {
                axum::Json(this.described(request.uri().path())).into_response()
            } else {
                counted.count();
                ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], this.recording).into_response()
            };
            said
        };
        served(Router::new().fallback(answer), effects).await
    }
}

impl ModelSubject for Provider {}

mod anthropic {
    rounds_core::model_conformance!(strict: super::ANTHROPIC);
}

mod openai {
    rounds_core::model_conformance!(strict: super::OPENAI);
}

mod gemini {
    rounds_core::model_conformance!(strict: super::GEMINI);
}
