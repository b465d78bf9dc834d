//! `gitlab`: merge requests, reverts and pipelines on gitlab.com or a GitLab of one's own, and reads for whoever proposes
//! them. REST API v4.
//!
//! **What it does.** `gitlab.open_merge_request` and `gitlab.revert_commit` make one branch with one commit (the commits
//! API, which does both in one request, at exactly the commit that was looked at: `start_sha`), and a merge request for
//! it. `gitlab.run_pipeline` starts a pipeline. `gitlab.get_merge_request`, `gitlab.list_commits` and `gitlab.get_file`
//! read. Nothing is merged, no branch that exists is pushed to, nothing is forced.
//!
//! **Exactly once.** As the `github` connector: the branch is `rounds/<plan id>-<ordinal>`, an attempt after one whose
//! answer was lost finds it, proves that it is its own and goes on; anything else of that name is left alone. The commit
//! is the first effect. A pipeline has no such proof, so one whose answer was lost is unknown, and the newest ones are listed for
//! whoever looks.
//!
//! **What it was made against.** `blobSha` of a file and `baseSha` of the step, as `gitlab.get_file` says them, are
//! verified against the commit that the branch starts at.
//!
//! **Rights.** A project, group or personal access token with the scope `api` and the role Developer: GitLab has no
//! narrower scope that may open a merge request or run a pipeline.
//!
//! **Limits.** 50 files a step, 256 KiB of proposed text, files of 1 MiB, folders of 3,000 entries. A revert is computed
//! here from the two commits, rather than by GitLab's revert, which would write before anybody had seen it, and is refused
//! where a later commit touched one of the files at all. A project whose pipeline file has another name
//! (`ci_config_path`) protects it by leaving it out of `paths`. Texts with lines that start with `/` are refused: quick
//! actions. A project that has moved is refused: redirects are not followed.

mod api;
mod config;
mod steps;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep, SecretHandle,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::config::GitlabConfig;

use self::api::Project;
use self::steps::{GetMergeRequest, Job, ListCommits, RunPipeline};
use crate::scm::edits::Work;
use crate::scm::forge::{Failure, Forge as _};
use crate::scm::names::{Repositories, quoted, short, visible};
use crate::scm::order::{Occasion, Order};
use crate::scm::reads;
use crate::scm::session::{Ask, Remote, Scheme, Span};
use crate::scm::steps::Allowed;

rounds_core::register_connector! {
    kind: "gitlab",
    title: "GitLab",
    role: Execution,
    secret: Required("A project, group or personal access token with the scope `api`."),
    config: GitlabConfig,
    build: Gitlab::new,
    check_secret: |_, secret| check_secret(secret),
}

fn check_secret(secret: &SecretString) -> Result<(), BuildError> {
    let text = secret.expose_secret().trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(BuildError::config("the secret is no access token, which is one word of printable characters"))
}

/// What an operator allows.
#[derive(Debug)]
struct Rules {
    config: GitlabConfig,
    projects: Repositories,
    allowed: Allowed,
}

impl Rules {
    fn new(config: GitlabConfig) -> Result<Self, String> {
        let projects = Repositories::new("project", "projects", &config.projects, true, false)?;
        let allowed = Allowed::new(&config.paths, config.allow_pipeline_files, &config.read_paths, &config.refs)?;
        for (at, name) in config.variables.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
                let found = quoted(name, 80);
                return Err(format!("variables[{at}]: found {found}; a name such as `SERVICE` is accepted"));
            }
        }
        Ok(Self { config, projects, allowed })
    }
}

/// An adapter of GitLab's.
pub struct Gitlab {
    remote: Remote,
    rules: Rules,
    secret: SecretHandle,
    host: Arc<Host>,
}

impl fmt::Debug for Gitlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gitlab").field("remote", &self.remote).field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Gitlab {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called.
    pub fn new(cx: BuildContext, config: GitlabConfig) -> Result<Self, BuildError> {
        let (url, timeout) = (&config.base_url, config.timeout_sec);
        if url.trim_end_matches('/').ends_with("/api/v4") {
            return Err(BuildError::config("baseUrl: found /api/v4 at its end; the address without it is accepted"));
        }
        let remote = Remote::new("GitLab", url, timeout, config.ca_certificate.as_deref(), &cx.host, &[], api::judge)?;
        let rules = Rules::new(config).map_err(BuildError::config)?;
        Ok(Self { remote, rules, secret: cx.secret, host: cx.host })
    }

    async fn project(&self, span: &Span, full: &str) -> Result<Project<'_>, Failure> {
        let secret = self.secret.required().await.map_err(|error| Failure::Lost { error, sent: false })?;
        Ok(Project::new(self.remote.session(span, Scheme::PrivateToken, &secret)?, full))
    }

    /// The step again, from its own parameters: what runs is made of nothing else.
    fn job(&self, step: &ReviewedStep) -> Result<Job, Refusal> {
        Job::of(&step.spec(), &self.rules)
    }

    async fn look(&self, span: &Span, job: &Job) -> Result<StepOutput, StepError> {
        let project = self.project(span, job.project()).await.map_err(Failure::unchanged)?;
        match job {
            Job::Merge(job) => merge(&project, job).await.map_err(Failure::unchanged),
            Job::Commits(job) => commits(&project, job).await.map_err(Failure::unchanged),
            Job::File(job) => reads::file(&project, &job.path, &job.name).await,
            Job::Open(_) | Job::Revert(_) | Job::Pipeline(_) => Err(StepError::not_started("this step is not a read")),
        }
    }

    async fn run(&self, project: &Project<'_>, job: &RunPipeline) -> Result<StepOutput, StepError> {
        reads::expected(project, &job.name, job.ref_sha.as_deref()).await?;
        #[derive(Deserialize)]
        struct Started {
            id: u64,
            #[serde(default)]
            web_url: String,
        }
        let variables: Vec<Value> =
            job.variables.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let body = json!({ "ref": job.name, "variables": variables });
        let ask = Ask::post("starting the pipeline", project.at(&["pipeline"]), body);
        let started: Started = match project.session.json(ask).await {
            Ok(started) => started,
            // Variables and who asked do not tell one pipeline from another, so none of these is known to be this one.
            Err(failure) if failure.may_have_happened() => {
                return Err(failure.at_effect_with(pipelines(project, job).await));
            }
            Err(failure) => return Err(failure.at_effect()),
        };
        let (id, url) = (started.id, visible(&started.web_url));
        Ok(StepOutput::text(format!("started the pipeline {id} of {} on {}: {url}", job.project, job.name)))
    }
}

/// How many pipelines are listed for whoever has to look.
const MAX_PIPELINES: usize = 5;

/// The newest pipelines that a step could have started.
async fn pipelines(project: &Project<'_>, job: &RunPipeline) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Found {
        id: u64,
        #[serde(default)]
        created_at: String,
        #[serde(default)]
        status: String,
        #[serde(default)]
        web_url: String,
    }
    let ask = Ask::get("listing the pipelines", project.at(&["pipelines"]))
        .query("source", "api")
        .query("ref", &job.name)
        .query("per_page", MAX_PIPELINES);
    let found: Vec<Found> = project.session.json(ask).await?;
    let mut text = format!("The newest pipelines of {} that were started by the API on {}:\n", job.project, job.name);
    for one in found.iter().take(MAX_PIPELINES) {
        let (at, url) = (visible(&one.created_at), visible(&one.web_url));
        text.push_str(&format!("pipeline {} at {at}, {}: {url}\n", one.id, quoted(&one.status, 40)));
    }
    text.push_str("None of them is known to be this step's, and its own may come later.\n");
    Ok(StepOutput::text(text))
}

impl Job {
    /// The order for a merge request, of steps that open one.
    fn order<'a>(&'a self, rules: &'a Rules, title: &'a str) -> Option<Order<'a>> {
        let (proposal, work) = match self {
            Self::Open(job) => {
                (job.proposal(), Work::Changes { changes: &job.changes, base_sha: job.base_sha.as_deref() })
            }
            Self::Revert(job) => (job.proposal(title), Work::Revert { commit: &job.commit, parent: job.parent }),
            Self::Pipeline(_) | Self::Merge(_) | Self::Commits(_) | Self::File(_) => return None,
        };
        Some(Order::of(proposal, work, &rules.allowed.paths))
    }

    fn title(&self) -> String {
        match self {
            Self::Revert(job) => job.title(),
            _ => String::new(),
        }
    }
}

#[async_trait]
impl ExecutionAdapter for Gitlab {
    fn describe(&self) -> AdapterInfo {
        let rules = &self.rules;
        let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let usage = format!(
            r#"GitLab. Steps, with their params:
gitlab.open_merge_request {{"project": "group/project", "targetBranch": "main", "title": "…", "description": "why", "changes": [{{"path": "deploy/web.yaml", "replace": [{{"old": "replicas: 2", "new": "replicas: 4"}}], "blobSha": "<as get_file says>"}}, {{"path": "new.yaml", "content": "whole file"}}, {{"path": "old.yaml", "delete": true, "blobSha": "…"}}], "baseSha": "<optional: as get_file says>"}}: a branch and a merge request; nothing is merged. Each `old` text must be in the file exactly once. A file that exists is only rewritten or deleted with its `blobSha` (or the step's `baseSha`). Titles and texts with commands for a forge are refused, such as `[skip ci]` or `fixes #1`.
gitlab.revert_commit {{"project": "group/project", "targetBranch": "main", "commit": "<40 digits>", "parent": 1, "title": "…", "description": "…"}}: a merge request that takes one commit back; `parent` only for merges.
gitlab.run_pipeline {{"project": "group/project", "ref": "main", "variables": {{"NAME": "text"}}, "refSha": "<optional>"}}
Reads: gitlab.get_file {{"project", "path", "ref": "main or 40 digits"}}; gitlab.list_commits {{"project", "ref", "path": "optional", "limit": 20}}; gitlab.get_merge_request {{"project", "iid"}}.
Projects: {}. Paths: {}. Also readable: {}. Pipelines on: {}, with the variables: {}. Files of pipelines (.github/, .gitlab-ci*.yml, CODEOWNERS …): {}."#,
            rules.projects.listed(),
            rules.allowed.paths.listed(),
            rules.allowed.reads.listed(),
            rules.allowed.refs.listed(),
            list(&rules.config.variables),
            if rules.config.allow_pipeline_files { "allowed within the paths" } else { "refused" },
        );
        AdapterInfo::new(steps::KINDS, usage).with_step_timeout(self.remote.step_timeout())
    }

    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        Job::of(step, &self.rules)?.reviewed(&self.rules)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let span = Span::of(cx);
        let job = self.job(step)?;
        let title = job.title();
        let project = self.project(&span, job.project()).await.map_err(Failure::unchanged)?;
        if let Some(order) = job.order(&self.rules, &title) {
            return Ok(DryRun::not_by_server(order.preview(&project).await?));
        }
        let Job::Pipeline(job) = &job else {
            return Ok(DryRun::not_by_server("a read: it changes nothing"));
        };
        let at = reads::expected(&project, &job.name, job.ref_sha.as_deref()).await?;
        let rights = project.rights().await.map_err(Failure::unchanged)?;
        let said = visible(&rights.said);
        let wrong = if rights.may_push == Some(false) {
            "\nthe step would fail: Developer is needed to run a pipeline"
        } else {
            ""
        };
        Ok(DryRun::not_by_server(format!(
            "GitLab has no dry-run of a pipeline.\nbranch: {} at {at}\nrights: {said}{wrong}",
            job.name
        )))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let job = self.job(step.step())?;
        self.look(&Span::of(cx), &job).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        let span = Span::of_effect(cx);
        let job = self.job(step.step())?;
        let title = job.title();
        if let Some(order) = job.order(&self.rules, &title) {
            let project = self.project(&span, job.project()).await.map_err(Failure::unchanged)?;
            let link = self.host.link(&format!("/plans/{}", step.plan_id()));
            let occasion = Occasion { plan: step.plan_id(), ordinal: step.ordinal(), link };
            return order.place(&project, &occasion).await;
        }
        match &job {
            Job::Pipeline(job) => {
                let project = self.project(&span, &job.project).await.map_err(Failure::unchanged)?;
                self.run(&project, job).await
            }
            job => self.look(&span, job).await,
        }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let span = Span::of(cx);
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let project = self.project(&span, "").await?;
        let found: Version = project.session.json(Ask::get("reading the version", ["api", "v4", "version"])).await?;
        let mut said = vec![format!("reached GitLab {}", visible(&found.version))];
        let mut lacks = Vec::new();
        if self.rules.config.projects.is_empty() {
            lacks.push("`projects` is empty, so that no step is accepted".to_owned());
        }
        for full in self.rules.projects.exact().take(5) {
            let rights = self.project(&span, full).await?.rights().await?;
            let line = format!("{full}: {}", rights.said);
            if rights.may_push == Some(false) {
                lacks.push(line.clone());
            }
            said.push(line);
        }
        let report = CheckReport::new(said.join("; "));
        Ok(self.remote.tested(report, (!lacks.is_empty()).then(|| lacks.join("; "))))
    }
}

async fn merge(project: &Project<'_>, job: &GetMergeRequest) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Found {
        title: String,
        state: String,
        web_url: String,
        description: Option<String>,
        detailed_merge_status: Option<String>,
        source_branch: String,
        target_branch: String,
        sha: Option<String>,
    }
    let iid = job.iid.to_string();
    let what = format!("reading the merge request {iid}");
    let found: Found = project.session.json(Ask::get(what, project.at(&["merge_requests", &iid]))).await?;
    Ok(StepOutput::text(format!(
        "merge request {iid} of {}: {}\nstate: {}, mergeable: {}\nfrom {} ({}) into {}\n{}\ntext: {}",
        project.full,
        quoted(&found.title, 300),
        visible(&found.state),
        quoted(found.detailed_merge_status.as_deref().unwrap_or("unknown"), 40),
        quoted(&found.source_branch, 200),
        visible(short(found.sha.as_deref().unwrap_or("?"))),
        quoted(&found.target_branch, 200),
        visible(&found.web_url),
        quoted(found.description.as_deref().unwrap_or_default(), 4_000)
    )))
}

async fn commits(project: &Project<'_>, job: &ListCommits) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Listed {
        id: String,
        title: String,
        #[serde(default)]
        author_name: String,
        #[serde(default)]
        created_at: String,
    }
    let mut ask = Ask::get("listing commits", project.at(&["repository", "commits"]))
        .query("ref_name", &job.name)
        .query("per_page", job.limit);
    if let Some(path) = &job.path {
        ask = ask.query("path", path);
    }
    let found: Vec<Listed> = project.session.json(ask).await?;
    let listed = found.into_iter().map(|one| reads::Listed {
        id: one.id,
        at: one.created_at,
        author: one.author_name,
        title: one.title,
    });
    Ok(reads::commits(listed, job.limit))
}
