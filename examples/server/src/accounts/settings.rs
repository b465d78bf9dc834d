//! Settings of the installation: the language model.

use rounds_core::access::{Action, Principal};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Accounts;
use crate::error::ApiError;

/// The providers whose wire format is known.
const PROVIDERS: [&str; 5] = ["anthropic", "openai", "ollama", "gemini", "openai-compatible"];
const NAME: &str = "llm";

/// The language model to use.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmDraft {
    /// `anthropic`, `openai`, `openai-compatible`, `ollama` or `gemini`; any other name with a `baseUrl`.
    pub provider: String,
    /// Its key: it goes in and never comes out. Absent keeps the one there is.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// The model's name.
    pub model: String,
    /// Where it is, when not at the provider's own address.
    #[serde(default)]
    pub base_url: Option<String>,
}

/// The language model in use, without its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Llm")]
pub struct LlmView {
    /// The provider.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Where it is.
    pub base_url: Option<String>,
    /// Whether it has a key.
    pub has_key: bool,
}

impl Accounts {
    /// Sets the language model. Everything about it is kept encrypted, its key above all.
    ///
    /// # Errors
    /// `settings:write` is missing, or a field does not hold.
    pub async fn set_llm(&self, who: &Principal, draft: LlmDraft) -> Result<LlmView, ApiError> {
        self.may(who, Action::SettingsWrite).await?;
        if draft.provider.trim().is_empty() || draft.provider.len() > 200 {
            return Err(ApiError::bad_request("provider: a name of 1 to 200 bytes is expected"));
        }
        // Whoever says where it is may call it what they like.
        if draft.base_url.is_none() && !PROVIDERS.contains(&draft.provider.as_str()) {
            let found: String = draft.provider.chars().take(80).collect();
            let known = PROVIDERS.join(", ");
            return Err(ApiError::bad_request(format!(
                "provider: unknown `{found}`; known providers: {known}; any other with \
                 its baseUrl"
            )));
        }
        if draft.model.trim().is_empty() || draft.model.len() > 200 {
            return Err(ApiError::bad_request("model: a name of 1 to 200 bytes is expected"));
        }
        if let Some(url) = &draft.base_url {
            let known = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !known {
                return Err(ApiError::bad_request("baseUrl: an http:// or https:// address is expected"));
            }
        }
        let before = self.read_llm().await?;
        let key = match draft.api_key {
            Some(key) => Some(key.expose_secret().to_owned()),
            None => before.and_then(|before| before.get("apiKey")?.as_str().map(str::to_owned)),
        };
        let view =
            LlmView { provider: draft.provider, model: draft.model, base_url: draft.base_url, has_key: key.is_some() };
        let kept = json!({
            "provider": view.provider,
            "model": view.model,
            "baseUrl": view.base_url,
            "apiKey": key,
        });
        let entry = self.entry(who, "settings.llm", ("setting", NAME.into()));
        let entry = entry.with("provider", view.provider.clone()).with("model", view.model.clone());
        self.identity.set_secret_setting(NAME, SecretString::from(kept.to_string()), &[entry]).await?;
        Ok(view)
    }

    /// The language model in use.
    ///
    /// # Errors
    /// `settings:write` is missing.
    pub async fn llm(&self, who: &Principal) -> Result<Option<LlmView>, ApiError> {
        self.may(who, Action::SettingsWrite).await?;
        let Some(kept) = self.read_llm().await? else { return Ok(None) };
        let text = |name: &str| kept.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Some(LlmView {
            provider: text("provider").unwrap_or_default(),
            model: text("model").unwrap_or_default(),
            base_url: text("baseUrl"),
            has_key: text("apiKey").is_some(),
        }))
    }

    /// Whether a language model is set.
    ///
    /// # Errors
    /// The settings cannot be read.
    pub async fn has_llm(&self) -> Result<bool, ApiError> {
        Ok(self.identity.setting(NAME).await?.is_some())
    }

    async fn read_llm(&self) -> Result<Option<Value>, ApiError> {
        let kept = self.identity.secret_setting(NAME).await?;
        let parse = |kept: SecretString| serde_json::from_str(kept.expose_secret()).map_err(ApiError::internal);
        kept.map(parse).transpose()
    }
}
