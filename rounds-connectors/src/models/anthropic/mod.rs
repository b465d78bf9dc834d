//! Anthropic's Messages API.

mod answer;
mod request;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, Message, Model, ModelInfo, PortError, PortErrorKind,
};
use serde_json::{Map, Value};

use self::answer::Answer;
use super::call::{Api, KeyHeader};
use super::config::model_config;
use super::tools::Ids;

const DEFAULT_BASE: &str = "https://api.anthropic.com";

model_config! {
    /// A Claude model and how to reach it.
    pub struct AnthropicConfig {
        model: "The model, as Anthropic names it: `claude-sonnet-4-5`.",
        base_url: "The API's address without `/v1`, for a gateway that speaks the Messages API; \
                   `https://api.anthropic.com` when absent.",
        extra_body: "More members for every request, merged into it; `null` takes one away: \
                     `{\"thinking\": {\"type\": \"enabled\", \"budget_tokens\": 4000}}`.",
        /// Whether the conversation so far is kept in Anthropic's cache for some minutes. Reading from it costs a tenth,
        /// writing to it a quarter more; an investigation reads its conversation at every step.
        #[serde(default = "yes")]
        pub prompt_caching: bool,
    }
}

fn yes() -> bool {
    true
}

/// Members of the request that Rounds writes.
const OWNED: [&str; 6] = ["model", "messages", "system", "tools", "max_tokens", "stream"];

/// A Claude model.
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::models::{Anthropic, AnthropicConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::{Model as _, SecretHandle};
///
/// let config: AnthropicConfig = serde_json::from_value(serde_json::json!({
///     "model": "claude-sonnet-4-5",
///     "baseUrl": "http://gateway:8080/anthropic",
///     "prices": { "input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75 },
/// }))?;
/// let key = SecretHandle::inline("the key".into());
/// let model = Anthropic::new(BuildContext::new("claude", key, Arc::new(Host::default())), config)?;
/// assert_eq!(model.describe().name, "claude-sonnet-4-5");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Anthropic {
    api: Api,
    info: ModelInfo,
    max_output_tokens: Option<u32>,
    prompt_caching: bool,
    extra_body: Map<String, Value>,
}

rounds_core::register_connector! {
    kind: "anthropic",
    title: "Anthropic",
    role: Model,
    secret: Required("The API key."),
    config: AnthropicConfig,
    build: Anthropic::new,
}

impl Anthropic {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: AnthropicConfig) -> Result<Self, BuildError> {
        let shared = config.shared();
        shared.check(&OWNED)?;
        let base = shared.base(DEFAULT_BASE)?;
        if base.path().ends_with("/v1") {
            return Err(BuildError::config("baseUrl: found /v1, which is added by Rounds: leave it out"));
        }
        let api = Api {
            client: shared.client(&base, &cx)?,
            base,
            secret: cx.secret,
            key: KeyHeader { name: "x-api-key", prefix: "", required: true },
            headers: &[("anthropic-version", "2023-06-01")],
            limits: shared.limits(),
        };
        let (info, max_output_tokens) = (shared.info(), config.max_output_tokens);
        Ok(Self { api, info, max_output_tokens, prompt_caching: config.prompt_caching, extra_body: config.extra_body })
    }

    /// The names of the models that there are, as far as they can be had.
    async fn names(&self, cx: &CallContext) -> Vec<String> {
        let mut url = self.api.url(&["v1", "models"]);
        url.set_query(Some("limit=100"));
        let list = self.api.get(cx, url).await.unwrap_or_default();
        super::names(&list, "/data", "id")
    }

    async fn test(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let model = &self.info.name;
        match self.api.get(cx, self.api.url(&["v1", "models", model])).await {
            Ok(found) => {
                let title = found.get("display_name").and_then(Value::as_str).unwrap_or(model);
                Ok(super::report(&self.api, &self.info, format!("the key is accepted and {title} is there")))
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
impl Model for Anthropic {
    fn describe(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        super::within(&self.api, cx, self.test(cx)).await
    }

    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let body = request::body(self, request);
        let answer = Answer::new(Ids::of(request), &body);
        self.api.complete(cx, self.api.url(&["v1", "messages"]), &body, answer).await
    }
}

/// What an answer wants back, if it is this provider's and still belongs to the message.
fn blocks(message: &Message) -> Option<&Vec<Value>> {
    let Message::Assistant { tool_calls, opaque, .. } = message else { return None };
    let blocks = opaque.as_ref()?.get("anthropic")?.as_array()?;
    let ids = blocks.iter().filter(|block| block["type"] == "tool_use").map(|block| block["id"].as_str());
    ids.eq(tool_calls.iter().map(|call| Some(call.id.as_str()))).then_some(blocks)
}
