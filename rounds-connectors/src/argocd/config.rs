use std::time::Duration;

use rounds_core::plugin::BuildError;
use rounds_core::step::Refusal;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Where Argo CD is, and which of its applications may be touched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArgoCdConfig {
    /// The API server's address, with its root path when it has one and without `/api/v1`: `https://argocd.example.com`.
    pub url: String,
    /// The projects that steps may name: exactly (`shop`), or all that begin alike (`team-*`). Empty: none.
    pub allowed_projects: Vec<String>,
    /// The applications that steps may name: exactly (`shop-web`), or all that begin alike (`shop-*`). Empty: none.
    pub allowed_apps: Vec<String>,
    /// The namespaces outside Argo CD's own whose Application objects steps may name as `appNamespace`, exactly or by
    /// `prefix*`. Empty: only those in Argo CD's own namespace.
    #[serde(default)]
    pub allowed_app_namespaces: Vec<String>,
    /// How the preview of a sync or a rollback is made: `diff` only reads and compares; `server` also runs Argo CD's own
    /// dry-run, which takes the application's place for one operation and replaces what it says of its last one.
    #[serde(default)]
    pub dry_run: DryRunBy,
    /// Refuses a sync that does not name a whole commit as its `revision`, so that nothing newer than what was approved is
    /// ever synced. Charts have versions and no commits: their applications cannot be synced then.
    #[serde(default)]
    pub pinned_syncs_only: bool,
    /// How long a sync or a rollback may take, in seconds; one that runs longer has an unknown outcome.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_sec: u64,
    /// How long one request may take, in seconds.
    #[serde(default = "default_request_timeout")]
    #[schemars(range(min = 1, max = 300))]
    pub request_timeout_sec: u64,
    /// How large one answer may be, in bytes: an application of many objects has long ones.
    #[serde(default = "default_max_body")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_body_bytes: usize,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
}

/// Who previews a sync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DryRunBy {
    /// What Argo CD says differs, read and nothing else.
    #[default]
    Diff,
    /// Beside the difference, an operation with `dryRun: true`.
    Server,
}

fn default_timeout() -> u64 {
    300
}

fn default_request_timeout() -> u64 {
    30
}

fn default_max_body() -> usize {
    32 * 1024 * 1024
}

impl ArgoCdConfig {
    /// The address, checked; what is wrong with it is said without repeating what may be a password.
    pub(super) fn base(&self) -> Result<Url, BuildError> {
        let refuse = |what: &str| {
            Err(BuildError::config(format!("url: {what}; an address such as https://argocd.example.com is accepted")))
        };
        let Ok(mut url) = Url::parse(self.url.trim()) else { return refuse("this is not an address") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return refuse("found neither http:// nor https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("found a user name or password in the address, and the token is the connector's secret");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("found `?` or `#`");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.ends_with("/api") || path.ends_with("/api/v1") {
            return refuse("found /api, which Rounds adds by itself");
        }
        url.set_path(&path);
        Ok(url)
    }

    /// Refuses bounds that nothing could pass, and patterns that do not mean what they seem to.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (field, found, most) in
            [("timeoutSec", self.timeout_sec, 3600), ("requestTimeoutSec", self.request_timeout_sec, 300)]
        {
            if !(1..=most).contains(&found) {
                return Err(BuildError::config(format!("{field}: found {found}; 1 to {most} is accepted")));
            }
        }
        if !(1024..=256 * 1024 * 1024).contains(&self.max_body_bytes) {
            let found = self.max_body_bytes;
            return Err(BuildError::config(format!("maxBodyBytes: found {found}; 1024 to 268435456 is accepted")));
        }
        for (field, patterns) in [
            ("allowedProjects", &self.allowed_projects),
            ("allowedApps", &self.allowed_apps),
            ("allowedAppNamespaces", &self.allowed_app_namespaces),
        ] {
            for pattern in patterns {
                let stem = pattern.strip_suffix('*').unwrap_or(pattern);
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
                if !stem.chars().all(plain) || (stem.is_empty() && pattern != "*") {
                    let shown: String = pattern.chars().take(80).collect();
                    return Err(BuildError::config(format!(
                        "{field}: found {shown:?}; a name (lower-case letters, digits, `-`, `.`), or its beginning \
                         followed by one `*` at the end, is accepted"
                    )));
                }
            }
        }
        Ok(())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_sec)
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_sec)
    }
}

/// Refuses a name that no pattern of a list takes in. An empty list takes in none.
pub(super) fn permitted(what: &str, name: &str, patterns: &[String]) -> Result<(), Refusal> {
    let fits = |pattern: &String| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    };
    if patterns.iter().any(fits) { Ok(()) } else { Refusal::unless_one_of(what, name, patterns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_permits_nothing_and_a_pattern_only_what_begins_alike() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(permitted("app", "shop", &[]).is_err());
        for (name, fits) in
            [("shop", true), ("shop-web", false), ("team-a", true), ("team", false), ("a-team-a", false)]
        {
            assert_eq!(permitted("app", name, &list(&["shop", "team-*"])).is_ok(), fits, "{name}");
        }
        // A star that came in with the name is no pattern.
        assert!(permitted("app", "team*", &list(&["team-*"])).is_err());
        let refused = permitted("app", "x", &list(&["shop", "team-*"])).unwrap_err();
        assert_eq!(refused.message, "the app `x` is not accepted; accepted: shop, team-*");
    }

    #[test]
    fn a_config_that_cannot_be_meant_is_refused_by_its_field() {
        let config = |change: serde_json::Value| {
            let mut config =
                serde_json::json!({ "url": "https://argocd.example", "allowedProjects": [], "allowedApps": [] });
            for (key, value) in change.as_object().unwrap() {
                config[key] = value.clone();
            }
            serde_json::from_value::<ArgoCdConfig>(config).unwrap()
        };
        for (change, field) in [
            (serde_json::json!({ "timeoutSec": 0 }), "timeoutSec"),
            (serde_json::json!({ "requestTimeoutSec": 301 }), "requestTimeoutSec"),
            (serde_json::json!({ "maxBodyBytes": 1023 }), "maxBodyBytes"),
            (serde_json::json!({ "allowedApps": ["a*b"] }), "allowedApps"),
            (serde_json::json!({ "allowedProjects": [""] }), "allowedProjects"),
            (serde_json::json!({ "allowedAppNamespaces": ["A"] }), "allowedAppNamespaces"),
            (serde_json::json!({ "url": "ftp://argocd.example" }), "url"),
            (serde_json::json!({ "url": "https://me:hunter2@argocd.example" }), "url"),
            (serde_json::json!({ "url": "https://argocd.example/api/v1" }), "url"),
            (serde_json::json!({ "url": "argocd" }), "url"),
        ] {
            let config = config(change);
            let error = config.check().and_then(|()| config.base().map(|_| ())).unwrap_err().to_string();
            assert!(error.contains(&format!("{field}: ")) && !error.contains("hunter2"), "{error}");
        }
        let rooted = config(serde_json::json!({ "url": "https://argocd.example/argo-cd/", "allowedApps": ["*"] }));
        rooted.check().unwrap();
        assert_eq!(rooted.base().unwrap().as_str(), "https://argocd.example/argo-cd");
    }
}
