use std::collections::BTreeMap;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::source::{Auth, Setup, bounded, timeout_of};

/// Where a Loki is and how to speak with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LokiConfig {
    /// The server's address, with its path prefix when it has one and without `/loki/api/v1`:
    /// `http://loki-gateway.logging`, `https://logs.example.com`.
    pub url: String,
    /// How to sign in; the credential itself is the connector's secret. It needs to read logs, nothing else.
    #[serde(default)]
    pub auth: Auth,
    /// The tenant (`X-Scope-OrgID`); needed where Loki runs with `auth_enabled: true`. Several with `|` between them where
    /// it queries several tenants at once: `team-a|team-b`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Headers sent with every request that are not secret. Credentials are refused here: they belong in the secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one query may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
    /// Lines asked for at most, whatever a query wants. Loki refuses more than its own `max_entries_limit_per_query`, which
    /// is 5000 unless its operator changed it.
    #[serde(default = "default_lines")]
    #[schemars(range(min = 1, max = 50000))]
    pub max_lines: usize,
    /// Bytes kept of one line; the rest is cut, and the answer says so.
    #[serde(default = "default_line")]
    #[schemars(range(min = 64))]
    pub max_line_bytes: usize,
    /// Bytes read of one answer; a larger one is an error.
    #[serde(default = "default_body")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: usize,
}

fn default_timeout() -> u64 {
    30
}

fn default_lines() -> usize {
    5_000
}

fn default_line() -> usize {
    16 * 1024
}

fn default_body() -> usize {
    16 * 1024 * 1024
}

impl LokiConfig {
    pub(super) fn setup(&self) -> Setup<'_> {
        Setup {
            url: &self.url,
            example: "http://loki-gateway.logging",
            root: &["loki", "api", "v1"],
            auth: &self.auth,
            headers: &self.headers,
            tenant: self.tenant.as_deref(),
            ca_certificate: self.ca_certificate.as_deref(),
            max_body: self.max_body_bytes,
            ask_for_less: "a narrower selector, a filter such as |= \"error\", a shorter range, fewer lines",
        }
    }

    /// Refuses bounds that nothing could pass.
    pub(super) fn check_bounds(&self) -> Result<(), BuildError> {
        bounded(&[
            timeout_of(self.timeout_sec).1,
            ("maxLines", self.max_lines, 1, 50_000),
            ("maxLineBytes", self.max_line_bytes, 64, 1024 * 1024),
            ("maxBodyBytes", self.max_body_bytes, 1024, 1024 * 1024 * 1024),
        ])
    }
}
