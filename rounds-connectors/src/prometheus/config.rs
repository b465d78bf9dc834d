use std::collections::BTreeMap;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::source::{Auth, Setup, bounded, names_credential, timeout_of};

/// Where a Prometheus-compatible server is and how to speak with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// The server's address, with its path prefix when it has one and without `/api/v1`:
    /// `http://prometheus.monitoring:9090`, Mimir and Cortex `https://mimir.example.com/prometheus`, VictoriaMetrics in a
    /// cluster `http://vmselect:8481/select/0/prometheus` (with the account where the 0 is).
    pub url: String,
    /// How to sign in; the credential itself is the connector's secret.
    #[serde(default)]
    pub auth: Auth,
    /// The tenant of Mimir or Cortex (`X-Scope-OrgID`); several with `|` between them where the server federates
    /// tenants: `team-a|team-b`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Headers sent with every request that are not secret, such as `THANOS-TENANT`. Credentials are refused here: they
    /// belong in the secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Parameters of every query, beside those that Rounds sets: for Thanos `dedup`, `partial_response`,
    /// `max_source_resolution`; for VictoriaMetrics `extra_label`, `extra_filters[]`, `nocache`. One value or a list:
    /// `{"dedup": true, "extra_filters[]": ["{env=\"prod\"}"]}`.
    #[serde(default)]
    pub query_params: BTreeMap<String, Values>,
    /// How long one query may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
    /// Series kept of one answer, in order of their labels; the answer says when there were more.
    #[serde(default = "default_series")]
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// Numbers (or label names) kept of one answer; the answer says when there were more.
    #[serde(default = "default_samples")]
    #[schemars(range(min = 1))]
    pub max_samples: usize,
    /// Bytes read of one answer; a larger one is an error.
    #[serde(default = "default_body")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: usize,
}

/// What a parameter is set to: one value, or several when it may stand there more than once.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// Several texts.
    Several(Vec<String>),
}

impl Values {
    fn texts(&self) -> Vec<String> {
        match self {
            Self::Flag(flag) => vec![flag.to_string()],
            Self::Number(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::Several(texts) => texts.clone(),
        }
    }
}

fn default_timeout() -> u64 {
    30
}

fn default_series() -> usize {
    1_000
}

fn default_samples() -> usize {
    200_000
}

fn default_body() -> usize {
    16 * 1024 * 1024
}

/// Parameters that Rounds sets itself: a config must not ask something else than the query says.
const OWN: [&str; 8] = ["query", "time", "start", "end", "step", "match", "match[]", "timeout"];
/// The most parameters and values, and the most bytes of one.
const MOST_VALUES: usize = 50;
const LONGEST_VALUE: usize = 4_096;

impl PrometheusConfig {
    pub(super) fn setup(&self) -> Setup<'_> {
        Setup {
            url: &self.url,
            example: "http://prometheus:9090",
            root: &["api", "v1"],
            auth: &self.auth,
            headers: &self.headers,
            tenant: self.tenant.as_deref(),
            ca_certificate: self.ca_certificate.as_deref(),
            max_body: self.max_body_bytes,
            ask_for_less: "aggregate with sum by (…), a longer step, a shorter range",
        }
    }

    /// The parameters of every query, checked.
    pub(super) fn parameters(&self) -> Result<Vec<(String, String)>, BuildError> {
        let refuse = |what: String| Err(BuildError::config(format!("queryParams: {what}")));
        let mut parameters = Vec::new();
        for (name, values) in &self.query_params {
            let shown: String = name.chars().take(60).filter(|c| !c.is_control()).collect();
            if OWN.iter().any(|own| name.trim().eq_ignore_ascii_case(own)) {
                return refuse(format!("`{shown}` is set by Rounds for each query and cannot be set here"));
            }
            if names_credential(name) {
                return refuse(format!("`{shown}` cannot be set here: credentials belong in the secret (see `auth`)"));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
            if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
                return refuse(format!("found `{shown}`; a name of letters, digits and _-.[] is accepted"));
            }
            for value in values.texts() {
                if value.len() > LONGEST_VALUE {
                    return refuse(format!("a value of `{shown}` has more than {LONGEST_VALUE} bytes"));
                }
                parameters.push((name.clone(), value));
            }
        }
        if parameters.len() > MOST_VALUES {
            return refuse(format!("found {} values; at most {MOST_VALUES} are accepted", parameters.len()));
        }
        Ok(parameters)
    }

    /// Refuses bounds that nothing could pass.
    pub(super) fn check_bounds(&self) -> Result<(), BuildError> {
        bounded(&[
            timeout_of(self.timeout_sec).1,
            ("maxSeries", self.max_series, 1, 1_000_000),
            ("maxSamples", self.max_samples, 1, 50_000_000),
            ("maxBodyBytes", self.max_body_bytes, 1024, 1024 * 1024 * 1024),
        ])
    }
}
