//! Settings of the installation: the language model. It is a connector as the others are; this is the short way to it.

use rounds_core::access::{Action, Principal};
use rounds_core::connector::{Connector, Role};
use rounds_core::ports::StoreExt as _;
use rounds_core::service::ConnectorDraft;
use rounds_core::{ConnectorId, Error, OrgId};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Accounts;
use crate::error::ApiError;

/// The connector, and the setting that keeps what its provider was called.
const NAME: &str = "llm";

/// A provider whose wire format is known.
struct Provider {
    name: &'static str,
    kind: &'static str,
    /// Where it is, when the kind's own default is another one.
    base_url: Option<&'static str>,
}

const PROVIDERS: [Provider; 6] = [
    Provider { name: "anthropic", kind: "anthropic", base_url: None },
    Provider { name: "openai", kind: "openai", base_url: None },
    Provider { name: "deepseek", kind: "openai", base_url: Some("https://api.deepseek.com") },
    Provider { name: "ollama", kind: "openai", base_url: Some("http://127.0.0.1:11434/v1") },
    Provider { name: "gemini", kind: "gemini", base_url: None },
    Provider { name: "google", kind: "gemini", base_url: None },
];

/// What says where it is and is none of these speaks as OpenAI does.
const COMPATIBLE: &str = "openai-compatible";

/// What belongs to one model, not to the way to it: another model does not inherit it.
const OF_THE_MODEL: [&str; 3] = ["prices", "contextTokens", "maxOutputTokens"];

/// The language model to use.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmDraft {
    /// `anthropic`, `openai`, `deepseek`, `ollama`, `gemini` or `google`; any other name, such as `openai-compatible` or
    /// `azure`, with a `baseUrl` that speaks as OpenAI does.
    pub provider: String,
    /// Its key: it goes in and never comes out. Absent keeps the one there is of this provider.
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
    /// The connector that it is.
    pub connector_id: ConnectorId,
}

impl Accounts {
    /// Sets the language model that investigations use: the connector `llm`, marked as the default of its role. Another
    /// provider is another connector: the key of the one before does not go there.
    ///
    /// # Errors
    /// `settings:write` or `connectors:write` is missing, a field does not hold, or `llm` is the name of something else.
    pub async fn set_llm(&self, who: &Principal, draft: LlmDraft) -> Result<LlmView, ApiError> {
        self.may(who, Action::SettingsWrite).await?;
        let (kind, base_url) = draft.check()?;
        let found = self.rounds.store().connector_named(&who.org_id, NAME).await?.map(|found| found.value);
        if let Some(other) = found.as_ref().filter(|found| found.role != Role::Model) {
            let message = format!(
                "found a connector of kind `{}` with the name `{NAME}`, which is no language model: rename it first",
                other.kind
            );
            return Err(ApiError::new(axum::http::StatusCode::CONFLICT, "name_taken", message));
        }
        let label = self.label().await?;
        let same = |found: &Connector| {
            found.kind == kind && provider_of(found, label.as_ref()).eq_ignore_ascii_case(&draft.provider)
        };
        let (kept, replaced) = match found {
            Some(found) if same(&found) => (Some(found), None),
            other => (None, other),
        };
        let wanted = ConnectorDraft {
            is_default: true,
            owner_team_id: kept.as_ref().and_then(|kept| kept.owner_team_id),
            secret: draft.api_key.clone().filter(|key| !key.expose_secret().trim().is_empty()),
            ..ConnectorDraft::new(kind, NAME).with_config(config(kept, &draft.model, base_url))
        };
        let connectors = self.rounds.connectors();
        if let Some(replaced) = replaced {
            // What would be refused must not leave the installation without the model it had.
            connectors.kinds().check(kind, &wanted.config).map_err(Error::from)?;
            connectors.delete(who, replaced.id).await?;
        }
        let made = connectors.ensure(who, wanted).await?;
        let entry = self.entry(who, "settings.llm", ("setting", NAME.into()));
        let entry = entry.with("provider", draft.provider.clone()).with("model", draft.model);
        let label = json!({ "provider": draft.provider, "connectorId": made.id });
        self.identity.set_setting(NAME, Some(&label), &[entry]).await?;
        Ok(view(made, Some(&label)))
    }

    /// The language model that investigations use: the default, or the only one.
    ///
    /// # Errors
    /// `settings:write` is missing.
    pub async fn llm(&self, who: &Principal) -> Result<Option<LlmView>, ApiError> {
        self.may(who, Action::SettingsWrite).await?;
        let mut models = self.models(&who.org_id).await?;
        let chosen = match models.iter().position(|model| model.is_default) {
            Some(place) => Some(models.swap_remove(place)),
            None if models.len() == 1 => models.pop(),
            // None of several is the default: core uses none of them, and says so in each investigation.
            None => models.into_iter().find(|model| model.name == NAME),
        };
        let label = self.label().await?;
        Ok(chosen.map(|chosen| view(chosen, label.as_ref())))
    }

    async fn models(&self, org: &OrgId) -> Result<Vec<Connector>, ApiError> {
        let rows = self.rounds.store().connectors(org).await?.into_iter().map(|found| found.value);
        Ok(rows.filter(|row| row.role == Role::Model).collect())
    }

    /// What the provider was called when it was set, and of which connector that was said.
    async fn label(&self) -> Result<Option<Value>, ApiError> {
        Ok(self.identity.setting(NAME).await?)
    }
}

impl LlmDraft {
    /// The kind of connector that it is, and its address when that is not the kind's own.
    fn check(&self) -> Result<(&'static str, Option<String>), ApiError> {
        if self.provider.trim().is_empty() || self.provider.len() > 200 {
            return Err(ApiError::bad_request("provider: a name of 1 to 200 bytes is expected"));
        }
        if self.model.trim().is_empty() || self.model.len() > 200 {
            return Err(ApiError::bad_request("model: a name of 1 to 200 bytes is expected"));
        }
        let base_url = self.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let url = base_url.map(url::Url::parse);
        if url.as_ref().is_some_and(|url| !url.as_ref().is_ok_and(|url| matches!(url.scheme(), "http" | "https"))) {
            return Err(ApiError::bad_request("baseUrl: an http:// or https:// address is expected"));
        }
        let known = PROVIDERS.iter().find(|known| known.name.eq_ignore_ascii_case(&self.provider));
        match (known, base_url) {
            (Some(known), None) => Ok((known.kind, known.base_url.map(str::to_owned))),
            (Some(known), Some(url)) => Ok((known.kind, Some(url.to_owned()))),
            // Whoever says where it is may call it what they like.
            (None, Some(url)) => Ok(("openai", Some(url.to_owned()))),
            (None, None) => {
                let found: String = self.provider.chars().take(80).collect();
                let known = PROVIDERS.map(|known| known.name).join(", ");
                Err(ApiError::bad_request(format!(
                    "provider: found `{found}` without a baseUrl; known providers: {known}; any other with the \
                     baseUrl of something that speaks as OpenAI does"
                )))
            }
        }
    }
}

/// The connector's config: what was set on its page stays, unless it is another model's.
fn config(kept: Option<Connector>, model: &str, base_url: Option<String>) -> Value {
    let mut config = match kept.map(|kept| kept.config) {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    if config.get("model").and_then(Value::as_str) != Some(model) {
        for key in OF_THE_MODEL {
            config.remove(key);
        }
    }
    config.insert("model".into(), model.into());
    match base_url {
        Some(url) => config.insert("baseUrl".into(), url.into()),
        None => config.remove("baseUrl"),
    };
    Value::Object(config)
}

fn view(connector: Connector, label: Option<&Value>) -> LlmView {
    let text = |name: &str| connector.config.get(name).and_then(Value::as_str).map(str::to_owned);
    LlmView {
        provider: provider_of(&connector, label),
        model: text("model").unwrap_or_default(),
        base_url: text("baseUrl"),
        has_key: connector.secret.is_some(),
        connector_id: connector.id,
    }
}

/// What its provider was called, or would be.
fn provider_of(connector: &Connector, label: Option<&Value>) -> String {
    let said = label.filter(|label| label.get("connectorId") == Some(&json!(connector.id)));
    if let Some(said) = said.and_then(|label| label.get("provider")?.as_str()) {
        return said.to_owned();
    }
    let base_url = connector.config.get("baseUrl").and_then(Value::as_str);
    let known = PROVIDERS.iter().find(|known| known.kind == connector.kind && known.base_url == base_url);
    match known {
        Some(known) => known.name.to_owned(),
        None if connector.kind == "openai" => COMPATIBLE.to_owned(),
        None => connector.kind.clone(),
    }
}
