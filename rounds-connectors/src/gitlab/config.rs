use schemars::JsonSchema;
use serde::Deserialize;

/// A GitLab, and what may be done there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitlabConfig {
    /// The address of the GitLab, without `/api/v4`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The projects that steps may name: `group/project`, `group/*` for those right below a group, `group/**` for all
    /// below it. Empty: none.
    pub projects: Vec<String>,
    /// The files that a merge request may change and an investigation may read, as globs: `deploy/**`,
    /// `apps/*/values.yaml`. `*` stays within a folder. Empty: none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// More files that may be read, and not changed, as globs. Mind that a language model reads them.
    #[serde(default)]
    pub read_paths: Vec<String>,
    /// The branches that pipelines may be run on, as globs: `main`, `release/*`. Empty: none.
    #[serde(default)]
    pub refs: Vec<String>,
    /// The variables that a pipeline may be given, by name. Empty: none.
    #[serde(default)]
    pub variables: Vec<String>,
    /// Whether running a pipeline loses state or capacity, so that approvers are warned.
    #[serde(default)]
    pub destructive_pipelines: bool,
    /// Lets merge requests change files that decide what pipelines run or who reviews: `.gitlab-ci*.yml`, `.gitlab/**`,
    /// `CODEOWNERS`, `.gitmodules`, `Jenkinsfile` and the like. They must be in `paths`, too.
    #[serde(default)]
    pub allow_pipeline_files: bool,
    /// How long one request may take, in seconds. A whole step may take 100 seconds more.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_sec: u64,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_certificate: Option<String>,
}

fn default_base_url() -> String {
    "https://gitlab.com".into()
}

fn default_timeout() -> u64 {
    20
}
