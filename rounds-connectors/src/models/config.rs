//! The config that all kinds share.

use std::time::Duration;

use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{ModelInfo, Prices};
use serde_json::{Map, Value};
use url::Url;

use super::call::Limits;
use crate::http::{self, ChosenBy, Client, ClientOptions};

/// A config struct with what all kinds share. The text before `baseUrl` and the fields after the shared ones are the
/// kind's own; field docs are the form's help.
macro_rules! model_config {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            model: $model_help:literal,
            base_url: $base_help:literal,
            extra_body: $extra_help:literal,
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            #[doc = $model_help]
            pub model: String,
            #[doc = $base_help]
            #[serde(default)]
            pub base_url: Option<String>,
            $($(#[$field_meta])* pub $field: $type,)*
            /// What the tokens cost, in US dollars a million tokens; without it, no money is counted and no money budget
            /// holds.
            #[serde(default)]
            pub prices: Option<rounds_core::ports::Prices>,
            /// How many tokens a conversation with this model may have, answer included.
            #[serde(default)]
            #[schemars(range(min = 1))]
            pub context_tokens: Option<u32>,
            /// The most tokens of one answer that this model allows; an agent that asks for more gets this many.
            #[serde(default)]
            #[schemars(range(min = 1))]
            pub max_output_tokens: Option<u32>,
            /// How long one answer may take, in seconds.
            #[serde(default = "crate::models::config::default_timeout")]
            #[schemars(range(min = 1, max = 3600))]
            pub timeout_sec: u64,
            /// How long a stream that has begun may be silent, in seconds. Models that think at length before they write
            /// may need more.
            #[serde(default = "crate::models::config::default_idle")]
            #[schemars(range(min = 1, max = 3600))]
            pub idle_timeout_sec: u64,
            /// Bytes read of one answer; a larger one is an error. A streamed answer takes about three hundred bytes a token.
            #[serde(default = "crate::models::config::default_body")]
            #[schemars(range(min = 1024))]
            pub max_body_bytes: usize,
            #[doc = $extra_help]
            #[serde(default)]
            pub extra_body: serde_json::Map<String, serde_json::Value>,
            /// PEM certificates of the authorities to trust instead of the system's.
            #[serde(default)]
            pub ca_certificate: Option<String>,
        }

        impl $name {
            pub(super) fn shared(&self) -> crate::models::config::Shared<'_> {
                crate::models::config::Shared {
                    model: &self.model,
                    base_url: self.base_url.as_deref(),
                    prices: self.prices,
                    context_tokens: self.context_tokens,
                    max_output_tokens: self.max_output_tokens,
                    timeout_sec: self.timeout_sec,
                    idle_timeout_sec: self.idle_timeout_sec,
                    max_body_bytes: self.max_body_bytes,
                    extra_body: &self.extra_body,
                    ca_certificate: self.ca_certificate.as_deref(),
                }
            }
        }
    };
}
pub(super) use model_config;

pub(super) fn default_timeout() -> u64 {
    300
}

pub(super) fn default_idle() -> u64 {
    120
}

pub(super) fn default_body() -> usize {
    64 * 1024 * 1024
}

/// The shared part of a config.
pub(super) struct Shared<'a> {
    pub(super) model: &'a str,
    pub(super) base_url: Option<&'a str>,
    pub(super) prices: Option<Prices>,
    pub(super) context_tokens: Option<u32>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) timeout_sec: u64,
    pub(super) idle_timeout_sec: u64,
    pub(super) max_body_bytes: usize,
    pub(super) extra_body: &'a Map<String, Value>,
    pub(super) ca_certificate: Option<&'a str>,
}

impl Shared<'_> {
    /// Checks everything but the address. `owned` are the members of the request that Rounds writes.
    pub(super) fn check(&self, owned: &[&str]) -> Result<(), BuildError> {
        let refuse = |what: String| Err(BuildError::config(what));
        // A path segment of dots would be another path, and one with spaces is a typing error.
        if self.model.is_empty()
            || self.model.len() > 200
            || matches!(self.model, "." | "..")
            || self.model.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return refuse("model: a name as the provider writes it is expected, without spaces".into());
        }
        let max_body = u64::try_from(self.max_body_bytes).unwrap_or(u64::MAX);
        let bounds = [
            ("timeoutSec", self.timeout_sec, 1, 3_600),
            ("idleTimeoutSec", self.idle_timeout_sec, 1, 3_600),
            ("maxBodyBytes", max_body, 1_024, 1024 * 1024 * 1024),
            ("contextTokens", self.context_tokens.unwrap_or(1).into(), 1, u32::MAX.into()),
            ("maxOutputTokens", self.max_output_tokens.unwrap_or(1).into(), 1, u32::MAX.into()),
        ];
        if let Some((field, found, min, max)) =
            bounds.into_iter().find(|(_, found, min, max)| !(min..=max).contains(&found))
        {
            return refuse(format!("{field}: found {found}; {min} to {max} is accepted"));
        }
        if let Some(prices) = self.prices {
            let all = [Some(prices.input), Some(prices.output), prices.cache_read, prices.cache_write];
            if let Some(found) = all.into_iter().flatten().find(|price| !price.is_finite() || *price < 0.0) {
                return refuse(format!("prices: found {found}; dollars a million tokens are expected, 0 or more"));
            }
        }
        match owned.iter().find(|name| self.extra_body.contains_key(**name)) {
            Some(name) => refuse(format!("extraBody: `{name}` is written by Rounds and cannot be set here")),
            None => Ok(()),
        }
    }

    /// The address, checked: what is wrong with it is said without repeating what may be a password.
    pub(super) fn base(&self, default: &str) -> Result<Url, BuildError> {
        let refuse =
            |what: &str| Err(BuildError::config(format!("baseUrl: {what}; an address such as {default} is expected")));
        let Ok(mut url) = Url::parse(self.base_url.unwrap_or(default).trim()) else { return refuse("not an address") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("found neither http:// nor https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("found a user name or password in the address: the key belongs into the secret");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("found `?` or `#`");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(url)
    }

    pub(super) fn client(&self, base: &Url, cx: &BuildContext) -> Result<Client, BuildError> {
        http::client(&ClientOptions {
            url: base,
            ca_certificate: self.ca_certificate,
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            timeout: Duration::from_secs(self.timeout_sec),
            idle: Duration::from_secs(self.idle_timeout_sec),
            max_body: self.max_body_bytes,
        }
    }

    pub(super) fn info(&self) -> ModelInfo {
        ModelInfo::new(self.model).with_context_tokens(self.context_tokens).with_prices(self.prices)
    }
}

/// Adds an operator's own members to a request, as a JSON merge patch (RFC 7396): objects are merged, `null` takes away,
/// everything else replaces.
pub(super) fn merge(body: &mut Value, extra: &Map<String, Value>) {
    if !body.is_object() {
        *body = Value::Object(Map::new());
    }
    let Value::Object(members) = body else { return };
    for (name, value) in extra {
        match value {
            Value::Null => drop(members.remove(name)),
            Value::Object(inner) => merge(members.entry(name.clone()).or_insert(Value::Null), inner),
            _ => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn extra_members_are_merged_replaced_and_taken_away() {
        let mut body = json!({ "a": { "b": 1, "c": 2 }, "d": 3, "e": 4 });
        let extra = json!({ "a": { "c": { "x": null, "y": 1 } }, "d": null, "f": [5] });
        merge(&mut body, extra.as_object().unwrap());
        assert_eq!(body, json!({ "a": { "b": 1, "c": { "y": 1 } }, "e": 4, "f": [5] }));
    }
}
