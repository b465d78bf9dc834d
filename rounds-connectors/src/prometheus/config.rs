use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Where a Prometheus-compatible server is and how to speak with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// The server's address, with its path prefix when it has one and without `/api/v1`:
    /// `http://prometheus.monitoring:9090`, `https://mimir.example.com/prometheus`.
    pub url: String,
    /// How to sign in; the credential itself is the connector's secret.
    #[serde(default)]
    pub auth: Auth,
    /// Headers sent with every request that are not secret, such as `X-Scope-OrgID` for a tenant.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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

/// How to sign in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
pub enum Auth {
    /// Nothing is sent.
    #[default]
    None,
    /// HTTP basic authentication; the secret is the password.
    Basic {
        /// The user name.
        username: String,
    },
    /// A bearer token; the secret is the token.
    Bearer {},
    /// Secret headers; the secret is a JSON object of header names and values: `{"X-Api-Key": "…"}`.
    Headers {},
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

/// Header names that would carry a credential (which belongs in the secret) or that the HTTP library owns.
const RESERVED: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
];

impl PrometheusConfig {
    /// The address, checked: what is wrong with it is said without repeating what may be a password.
    pub(super) fn base(&self) -> Result<Url, BuildError> {
        let refuse = |what: &str| {
            Err(BuildError::config(format!("url: {what}; an address such as http://prometheus:9090 is expected")))
        };
        let Ok(mut url) = Url::parse(self.url.trim()) else { return refuse("not an address") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("found neither http:// nor https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "found a user name or password in the address: choose `auth` and put the credential into the secret",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("found `?` or `#`");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.ends_with("/api/v1") || path.ends_with("/api/v1/query") {
            return refuse("found /api/v1, which is added by Rounds: leave it out");
        }
        url.set_path(&path);
        Ok(url)
    }

    /// The plain headers, checked.
    pub(super) fn plain_headers(&self) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            if RESERVED.contains(&name.to_lowercase().as_str()) {
                return Err(BuildError::config(format!(
                    "headers: `{name}` cannot be set here: credentials belong in the secret (see `auth`), and the \
                     others are set by the HTTP library"
                )));
            }
            let (name, value) = header(name, value).map_err(|what| BuildError::config(format!("headers: {what}")))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Refuses bounds that nothing could pass.
    pub(super) fn check_bounds(&self) -> Result<(), BuildError> {
        let bounds = [
            ("timeoutSec", usize::try_from(self.timeout_sec).unwrap_or(usize::MAX), 1, 600),
            ("maxSeries", self.max_series, 1, 1_000_000),
            ("maxSamples", self.max_samples, 1, 50_000_000),
            ("maxBodyBytes", self.max_body_bytes, 1024, 1024 * 1024 * 1024),
        ];
        match bounds.into_iter().find(|(_, found, min, max)| !(min..=max).contains(&found)) {
            None => Ok(()),
            Some((field, found, min, max)) => {
                Err(BuildError::config(format!("{field}: found {found}; {min} to {max} is accepted")))
            }
        }
    }
}

/// One header; the error names the header and never the value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let shown: String = name.chars().take(60).collect();
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{shown}` is not a header name"))?;
    let value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of `{shown}` holds characters that a header cannot"))?;
    Ok((name, value))
}
