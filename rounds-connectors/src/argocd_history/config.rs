use std::collections::BTreeMap;

use rounds_core::plugin::BuildError;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::source::{Auth, Setup, bounded, timeout_of};

/// Where Argo CD is, and of which of its applications the history is read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArgoCdHistoryConfig {
    /// The API server's address, with its root path when it has one and without `/api/v1`: `https://argocd.example.com`.
    pub url: String,
    /// The projects that are read: exactly (`shop`), or all that begin alike (`team-*`); `*` is every one that the token may
    /// see. Empty: none.
    pub allowed_projects: Vec<String>,
    /// The applications that are read: exactly (`shop-web`), or all that begin alike (`shop-*`); `*` is every one in those
    /// projects. Empty: none.
    pub allowed_apps: Vec<String>,
    /// How long one query may take, in seconds.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
    /// Changes kept of one answer, the latest; the answer says when there were more.
    #[serde(default = "default_changes")]
    #[schemars(range(min = 1))]
    pub max_changes: usize,
    /// Bytes read of one answer; a larger one is an error. Argo CD answers whole applications: count on 50 KiB each.
    #[serde(default = "default_body")]
    #[schemars(range(min = 1024))]
    pub max_body_bytes: usize,
}

fn default_timeout() -> u64 {
    30
}

fn default_changes() -> usize {
    500
}

fn default_body() -> usize {
    64 * 1024 * 1024
}

/// Argo CD's API takes a token and nothing else.
static TOKEN: Auth = Auth::Bearer {};
static NO_HEADERS: BTreeMap<String, String> = BTreeMap::new();

impl ArgoCdHistoryConfig {
    pub(super) fn setup(&self) -> Setup<'_> {
        Setup {
            url: &self.url,
            example: "https://argocd.example.com",
            root: &["api", "v1"],
            auth: &TOKEN,
            headers: &NO_HEADERS,
            tenant: None,
            ca_certificate: self.ca_certificate.as_deref(),
            max_body: self.max_body_bytes,
            ask_for_less: "name fewer projects in allowedProjects",
        }
    }

    /// Refuses what nothing could pass.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (field, patterns) in [("allowedProjects", &self.allowed_projects), ("allowedApps", &self.allowed_apps)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let fits = |pattern: &&String| {
                let name = pattern.strip_suffix('*').unwrap_or(pattern);
                !pattern.is_empty() && pattern.len() <= 253 && name.chars().all(plain)
            };
            if let Some(odd) = patterns.iter().find(|pattern| !fits(pattern)) {
                let odd: String = odd.chars().take(60).filter(|c| !c.is_control()).collect();
                return Err(BuildError::config(format!(
                    "{field}: found `{odd}`; a name, or the beginning of names with `*` behind it, is accepted"
                )));
            }
        }
        bounded(&[
            timeout_of(self.timeout_sec).1,
            ("maxChanges", self.max_changes, 1, 100_000),
            ("maxBodyBytes", self.max_body_bytes, 1024, 1024 * 1024 * 1024),
        ])
    }

    /// The projects to ask for; none of them is a pattern, or all are asked for.
    pub(super) fn exact_projects(&self) -> &[String] {
        if self.allowed_projects.iter().any(|pattern| pattern.ends_with('*')) { &[] } else { &self.allowed_projects }
    }

    /// Whether an application is read.
    pub(super) fn allows(&self, project: &str, app: &str) -> bool {
        matches(&self.allowed_projects, project) && matches(&self.allowed_apps, app)
    }
}

fn matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    })
}
