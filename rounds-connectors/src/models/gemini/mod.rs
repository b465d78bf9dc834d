//! Google's Gemini API.

mod answer;
mod request;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, Model, ModelInfo, PortError, PortErrorKind,
};
use serde_json::{Map, Value};

use self::answer::Answer;
use super::call::{Api, KeyHeader};
use super::config::model_config;
use super::tools::Ids;

const DEFAULT_BASE: &str = "https://generativelanguage.googleapis.com";

model_config! {
    /// A Gemini model and how to reach it.
    pub struct GeminiConfig {
        model: "The model, as Google names it, without `models/`: `gemini-2.5-flash`.",
        base_url: "The API's address without `/v1beta`, for a gateway that speaks the Gemini API; \
                   `https://generativelanguage.googleapis.com` when absent.",
        extra_body: "More members for every request, merged into it; `null` takes one away: \
                     `{\"generationConfig\": {\"thinkingConfig\": {\"thinkingBudget\": 1024}}}`.",
    }
}

/// Members of the request that Rounds writes.
const OWNED: [&str; 3] = ["contents", "systemInstruction", "tools"];

/// A Gemini model.
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::models::{Gemini, GeminiConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::{Model as _, SecretHandle};
///
/// let config: GeminiConfig = serde_json::from_value(serde_json::json!({ "model": "gemini-2.5-flash" }))?;
/// let key = SecretHandle::inline("the key".into());
/// # let config = GeminiConfig { base_url: Some("http://gateway:8080".into()), ..config };
/// let model = Gemini::new(BuildContext::new("gemini", key, Arc::new(Host::default())), config)?;
/// assert_eq!(model.describe().name, "gemini-2.5-flash");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Gemini {
    api: Api,
    info: ModelInfo,
    max_output_tokens: Option<u32>,
    extra_body: Map<String, Value>,
}

rounds_core::register_connector! {
    kind: "gemini",
    title: "Google Gemini",
    role: Model,
    secret: Required("The API key."),
    config: GeminiConfig,
    build: Gemini::new,
}

impl Gemini {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: GeminiConfig) -> Result<Self, BuildError> {
        let shared = config.shared();
        shared.check(&OWNED)?;
        if config.model.contains(['/', ':']) {
            return Err(BuildError::config("model: a name such as gemini-2.5-flash is expected, without `models/`"));
        }
        let limit = config.extra_body.get("generationConfig").and_then(|config| config.get("maxOutputTokens"));
        if limit.is_some() {
            let message = "extraBody: `generationConfig.maxOutputTokens` is written by Rounds: set `maxOutputTokens`";
            return Err(BuildError::config(message));
        }
        let base = shared.base(DEFAULT_BASE)?;
        if base.path().ends_with("/v1beta") {
            return Err(BuildError::config("baseUrl: found /v1beta, which is added by Rounds: leave it out"));
        }
        let api = Api {
            client: shared.client(&base, &cx)?,
            base,
            secret: cx.secret,
            // The API takes the key in the address, too; addresses end up in logs.
            key: KeyHeader { name: "x-goog-api-key", prefix: "", required: true },
            headers: &[],
            limits: shared.limits(),
        };
        let (info, max_output_tokens) = (shared.info(), config.max_output_tokens);
        Ok(Self { api, info, max_output_tokens, extra_body: config.extra_body })
    }

    /// The names of the models that there are, as far as they can be had.
    async fn names(&self, cx: &CallContext) -> Vec<String> {
        let mut url = self.api.url(&["v1beta", "models"]);
        url.set_query(Some("pageSize=200"));
        let list = self.api.get(cx, url).await.unwrap_or_default();
        let names = super::names(&list, "/models", "name");
        names.into_iter().map(|name| name.trim_start_matches("models/").to_owned()).collect()
    }

    async fn test(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let model = &self.info.name;
        match self.api.get(cx, self.api.url(&["v1beta", "models", model])).await {
            Ok(found) => {
                let methods = found.get("supportedGenerationMethods").and_then(Value::as_array);
                if methods.is_some_and(|methods| !methods.iter().any(|method| method == "generateContent")) {
                    let message = format!("{}: `{model}` writes no text: configure another model", self.api.base());
                    return Err(PortError::new(PortErrorKind::Invalid, message));
                }
                let title = found.get("displayName").and_then(Value::as_str).unwrap_or(model);
                let report = super::report(&self.api, &self.info, format!("the key is accepted and {title} is there"));
                let facts = [("inputTokenLimit", "input tokens"), ("outputTokenLimit", "output tokens")];
                Ok(report.with_facts(
                    facts.iter().filter_map(|(field, name)| {
                        Some(((*name).to_owned(), found.get(field)?.as_u64()?.to_string()))
                    }),
                ))
            }
            // Unknown to the list of models, or a gateway without one.
            Err(error) if matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol) => {
                let names = self.names(cx).await;
                if !names.is_empty() {
                    return Err(super::unknown_model(&self.api, model, &names));
                }
                self.complete(cx, &super::smallest_request()).await?;
                Ok(super::report(&self.api, &self.info, format!("{model} answers")))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Model for Gemini {
    fn describe(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        super::within(&self.api, cx, self.test(cx)).await
    }

    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let body = request::body(self, request);
        let answer = Answer::new(Ids::of(request), &body);
        let mut url = self.api.url(&["v1beta", "models", &format!("{}:streamGenerateContent", self.info.name)]);
        url.set_query(Some("alt=sse"));
        self.api.complete(cx, url, &body, answer).await
    }
}
