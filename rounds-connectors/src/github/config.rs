use schemars::JsonSchema;
use serde::Deserialize;

/// A repository host that speaks GitHub's REST API, and what may be done there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GithubConfig {
    /// The address of the REST API. GitHub Enterprise Server's is `https://HOST/api/v3`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The repositories that steps may name: `owner/name`, or `owner/*` for all of an owner's. Empty: none.
    pub repositories: Vec<String>,
    /// The files that a pull request may change and an investigation may read, as globs: `deploy/**`,
    /// `apps/*/values.yaml`. `*` stays within a folder. Empty: none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// More files that may be read, and not changed, as globs. Mind that a language model reads them.
    #[serde(default)]
    pub read_paths: Vec<String>,
    /// The workflows that may be dispatched, by file name: `restart.yml`. Empty: none.
    #[serde(default)]
    pub workflows: Vec<String>,
    /// Those of them that lose state or capacity, so that approvers are warned: `failover.yml`.
    #[serde(default)]
    pub destructive_workflows: Vec<String>,
    /// The branches that workflows may be dispatched on, as globs: `main`, `release/*`. Empty: none.
    #[serde(default)]
    pub refs: Vec<String>,
    /// Lets pull requests change files that decide what pipelines run or who reviews: `.github/**`,
    /// `CODEOWNERS`, `.gitmodules`, `action.yml`, `Jenkinsfile` and the like. They must be in `paths`, too.
    #[serde(default)]
    pub allow_pipeline_files: bool,
    /// A GitHub App to act as. The secret is then the App's private key. Without it, the secret is a token.
    #[serde(default)]
    pub app: Option<GithubApp>,
    /// How long one request may take, in seconds. A whole step may take 100 seconds more.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
}

/// A GitHub App, installed where the repositories are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GithubApp {
    /// The App's id or client id, from its settings page: `123456`, `Iv23li…`.
    pub app_id: String,
    /// The id of the installation: the number at the end of its page's address.
    #[schemars(range(min = 1))]
    pub installation_id: u64,
}

fn default_base_url() -> String {
    "https://api.github.com".into()
}

fn default_timeout() -> u64 {
    20
}
