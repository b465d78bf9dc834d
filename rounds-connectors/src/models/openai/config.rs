use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::models::config::model_config;

model_config! {
    /// A model behind an OpenAI-compatible API and how to reach it.
    pub struct OpenAiConfig {
        model: "The model, as the server names it: `gpt-5`, `deepseek-chat`, `qwen3:8b`. At Azure: the deployment.",
        base_url: "The API's address, up to `/v1` where the server has that: `http://127.0.0.1:11434/v1` for Ollama, \
                   `https://api.deepseek.com`, `http://vllm:8000/v1`; for Azure, the resource: \
                   `https://NAME.openai.azure.com`. `https://api.openai.com/v1` when absent.",
        extra_body: "More members for every request, merged into it; `null` takes one away: \
                     `{\"reasoning_effort\": \"low\"}`, or `{\"stream_options\": null}` for a server that refuses that one \
                     (tokens are then counted as a quarter of the bytes).",
        /// Speaks to a deployment of Azure OpenAI.
        #[serde(default)]
        pub azure: Option<AzureConfig>,
        /// How the request names the limit of the answer. When absent: `maxCompletionTokens` at OpenAI and Azure, which
        /// refuse the older name for models that think, and `maxTokens` elsewhere, where not all know the newer one.
        #[serde(default)]
        pub token_limit_field: Option<TokenLimitField>,
    }
}

/// A resource of Azure OpenAI.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureConfig {
    /// The version of the API, as Azure lists them: `2024-10-21`.
    pub api_version: String,
}

/// How a request names the limit of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TokenLimitField {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl TokenLimitField {
    /// What the server at this address most likely takes.
    pub(super) fn of(base: &Url, config: &OpenAiConfig) -> Self {
        let host = base.host_str().unwrap_or_default();
        let newer = config.azure.is_some() || host == "api.openai.com" || host.ends_with(".openai.azure.com");
        if newer { Self::MaxCompletionTokens } else { Self::MaxTokens }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

impl OpenAiConfig {
    /// The address, checked against what Rounds adds to it.
    pub(super) fn checked_base(&self, default: &str) -> Result<Url, BuildError> {
        let base = self.shared().base(default)?;
        let refuse = |what: &str| Err(BuildError::config(what));
        if base.path().ends_with("/chat/completions") {
            return refuse("baseUrl: found /chat/completions, which is added by Rounds: leave it out");
        }
        if let Some(azure) = &self.azure {
            if self.base_url.is_none() {
                return refuse("baseUrl: Azure needs the address of the resource: https://NAME.openai.azure.com");
            }
            if base.path().contains("/openai") {
                return refuse("baseUrl: found /openai, which is added by Rounds with `azure`: leave it out");
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
            if azure.api_version.is_empty() || !azure.api_version.chars().all(allowed) {
                return refuse("azure.apiVersion: a version such as 2024-10-21 is expected");
            }
        }
        Ok(base)
    }
}
