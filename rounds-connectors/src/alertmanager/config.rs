use std::collections::BTreeMap;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::matcher::{self, Matcher};
use crate::source::{Auth, Setup, bounded, timeout_of};

/// Where an Alertmanager is and how to speak with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// The server's address, with its path prefix when it has one and without `/api/v2`:
    /// `http://alertmanager.monitoring:9093`, Mimir `https://mimir.example.com/alertmanager`.
    pub url: String,
    /// How to sign in; the credential itself is the connector's secret. It needs to read, nothing else.
    #[serde(default)]
    pub auth: Auth,
    /// The tenant (`X-Scope-OrgID`), for the Alertmanager of Mimir or Cortex.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Headers sent with every request that are not secret. Credentials are refused here: they belong in the secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Matchers that every alert must pass to be read at all, such as `cluster="prod"` or `team=~"shop|web"`.
    #[serde(default)]
    pub matchers: Vec<String>,
    /// How long one query may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
    /// Alerts and silences kept of one answer; the answer says when there were more.
    #[serde(default = "default_alerts")]
    #[schemars(range(min = 1))]
    pub max_alerts: usize,
    /// Bytes read of one answer; a larger one is an error.
    #[serde(default = "default_body")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: usize,
}

fn default_timeout() -> u64 {
    30
}

fn default_alerts() -> usize {
    1_000
}

fn default_body() -> usize {
    16 * 1024 * 1024
}

impl AlertmanagerConfig {
    pub(super) fn setup(&self) -> Setup<'_> {
        Setup {
            url: &self.url,
            example: "http://alertmanager.monitoring:9093",
            root: &["api", "v2"],
            auth: &self.auth,
            headers: &self.headers,
            tenant: self.tenant.as_deref(),
            ca_certificate: self.ca_certificate.as_deref(),
            max_body: self.max_body_bytes,
            ask_for_less: "matchers, a namespace",
        }
    }

    /// The matchers of every read, checked.
    pub(super) fn always(&self) -> Result<Vec<Matcher>, BuildError> {
        let mut always = Vec::new();
        for text in &self.matchers {
            let parsed = matcher::selector(&format!("ALERTS{{{text}}}"));
            let parsed = parsed.map_err(|error| BuildError::config(format!("matchers: {}", error.message)))?;
            always.extend(parsed);
        }
        if let Some(odd) = always.iter().find(|matcher| matcher.is_ours()) {
            return Err(BuildError::config(format!("matchers: `{odd}` is about no label of an alert")));
        }
        Ok(always)
    }

    /// Refuses bounds that nothing could pass.
    pub(super) fn check_bounds(&self) -> Result<(), BuildError> {
        bounded(&[
            timeout_of(self.timeout_sec).1,
            ("maxAlerts", self.max_alerts, 1, 100_000),
            ("maxBodyBytes", self.max_body_bytes, 1024, 1024 * 1024 * 1024),
        ])
    }
}
