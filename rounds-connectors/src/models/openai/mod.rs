//! Chat completions as OpenAI speaks them, and Azure, DeepSeek, vLLM, Ollama and many others after it.

mod answer;
mod config;
mod request;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, Model, ModelInfo, PortError, PortErrorKind,
};
use serde_json::{Map, Value};
use url::Url;

use self::answer::Answer;
pub use self::config::{AzureConfig, OpenAiConfig, TokenLimitField};
use super::call::{Api, KeyHeader};
use super::tools::Ids;

const DEFAULT_BASE: &str = "https://api.openai.com/v1";

/// Members of the request that Rounds writes.
const OWNED: [&str; 6] = ["model", "messages", "tools", "max_tokens", "max_completion_tokens", "stream"];

/// A model behind an OpenAI-compatible API.
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::models::{OpenAi, OpenAiConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::{Model as _, SecretHandle};
///
/// // Ollama on this host wants no key; that connectors may call this host is its operator's to say.
/// let host = Host { outbound: "loopback".parse()?, ..Host::default() };
/// let config = serde_json::json!({ "model": "qwen3:8b", "baseUrl": "http://127.0.0.1:11434/v1" });
/// let config: OpenAiConfig = serde_json::from_value(config)?;
/// let model = OpenAi::new(BuildContext::new("local", SecretHandle::none(), Arc::new(host)), config)?;
/// assert_eq!(model.describe().name, "qwen3:8b");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OpenAi {
    api: Api,
    info: ModelInfo,
    azure: Option<AzureConfig>,
    token_limit_field: TokenLimitField,
    max_output_tokens: Option<u32>,
    extra_body: Map<String, Value>,
}

rounds_core::register_connector! {
    kind: "openai",
    title: "OpenAI and compatible",
    role: Model,
    secret: Optional("The API key; servers such as Ollama need none."),
    config: OpenAiConfig,
    build: OpenAi::new,
}

impl OpenAi {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: OpenAiConfig) -> Result<Self, BuildError> {
        let shared = config.shared();
        shared.check(&OWNED)?;
        let base = config.checked_base(DEFAULT_BASE)?;
        let key = match config.azure {
            Some(_) => KeyHeader { name: "api-key", prefix: "", required: true },
            None => KeyHeader { name: "authorization", prefix: "Bearer ", required: base.as_str() == DEFAULT_BASE },
        };
        let token_limit_field = config.token_limit_field.unwrap_or_else(|| TokenLimitField::of(&base, &config));
        let api = Api {
            client: shared.client(&base, &cx)?,
            base,
            secret: cx.secret,
            key,
            headers: &[],
            limits: shared.limits(),
        };
        Ok(Self {
            api,
            info: shared.info(),
            azure: config.azure,
            token_limit_field,
            max_output_tokens: config.max_output_tokens,
            extra_body: config.extra_body,
        })
    }

    fn completions(&self) -> Url {
        let Some(azure) = &self.azure else { return self.api.url(&["chat", "completions"]) };
        let mut url = self.api.url(&["openai", "deployments", &self.info.name, "chat", "completions"]);
        url.query_pairs_mut().append_pair("api-version", &azure.api_version);
        url
    }

    /// The names of the models that there are; none when the server has no such list.
    async fn names(&self, cx: &CallContext) -> Result<Vec<String>, PortError> {
        if self.azure.is_some() {
            // Azure lists what could be deployed and not what is.
            return Ok(Vec::new());
        }
        match self.api.get(cx, self.api.url(&["models"])).await {
            Ok(list) => Ok(super::names(&list, "/data", "id")),
            Err(error) if matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn test(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let model = &self.info.name;
        let names = self.names(cx).await?;
        // OpenAI's own list wants the key; others may show theirs to everybody, and then it says nothing about the key.
        let key_is_proven = !self.api.secret.is_present() || self.api.base.host_str() == Some("api.openai.com");
        if key_is_proven && names.contains(model) {
            return Ok(super::report(&self.api, &self.info, format!("{model} is there")));
        }
        // Not every model that works is listed: aliases, deployments, names without their tag.
        match self.complete(cx, &super::smallest_request()).await {
            Ok(_) => Ok(super::report(&self.api, &self.info, format!("{model} answers"))),
            Err(error) if error.kind == PortErrorKind::Invalid && !names.is_empty() && !names.contains(model) => {
                Err(super::unknown_model(&self.api, model, &names).with_source(error))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Model for OpenAi {
    fn describe(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        super::within(&self.api, cx, self.test(cx)).await
    }

    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let body = request::body(self, request);
        let answer = Answer::new(Ids::of(request), &body);
        self.api.complete(cx, self.completions(), &body, answer).await
    }
}
