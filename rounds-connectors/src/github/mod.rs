//! `github`: pull requests, reverts and workflow dispatches on GitHub and GitHub Enterprise Server, and reads for whoever
//! proposes them. REST API version 2022-11-28.
//!
//! **What it does.** `github.open_pull_request` and `github.revert_commit` make one branch with one commit, and a pull
//! request for it. `github.dispatch_workflow` starts a workflow. `github.get_pull_request`, `github.list_commits` and
//! `github.get_file` read. Nothing is merged, no branch that exists is pushed to, nothing is forced.
//!
//! **Exactly once.** The branch is `rounds/<plan id>-<ordinal>`. An attempt after one whose answer was lost finds it, proves
//! that it is its own (one commit on the base branch, with the step's message and exactly its changes) and goes on
//! from there; a branch of that name with anything else is left alone. Blobs, trees and commits that nothing points to are
//! seen by nobody: the ref is the first effect. A dispatch has no such proof: its run holds neither the inputs nor anything of
//! ours (a workflow may put an input into its `run-name`, and no workflow has to), and its answer says which run it is only to who
//! gets it (`return_run_details`). So one whose answer was lost is unknown, and the newest runs are listed for whoever looks.
//!
//! **What it was made against.** `review` is pure and cannot look, so what the proposer saw is part of the parameters
//! (`blobSha` of a file, `baseSha` of the step), as `github.get_file` says it. The dry-run says what is there now, and
//! `execute` refuses what is not as the parameters say. A whole file is never written over one that they do not name; an exact
//! replacement is its own proof, as its text must be there exactly once.
//!
//! **Rights.** A fine-grained token, or an App's installation: contents and pull requests (read and write) for pull
//! requests; actions (write) for dispatches; workflows (write) only with `allowPipelineFiles`. An App's token is asked
//! for at each call, for one repository and for what the step needs.
//!
//! **Limits.** 50 files a step, 256 KiB of proposed text, files of 1 MiB; folders as large as GitHub lists in one answer of
//! 4 MiB; 25 inputs (GitHub's). A revert is refused where a later commit touched one of the files at all. Symbolic links and
//! submodules are neither followed nor changed. A repository that has moved is refused: redirects are not followed.
//! A reusable script that a workflow runs is a file like any other: keep such folders out of `paths`.

mod api;
mod auth;
mod config;
mod steps;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::StatusCode;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep, SecretHandle,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::config::{GithubApp, GithubConfig};

use self::api::Repository;
use self::auth::Need;
use self::steps::{DispatchWorkflow, GetPullRequest, Job, ListCommits};
use crate::scm::edits::Work;
use crate::scm::forge::{Failure, Forge as _};
use crate::scm::names::{Repositories, quoted, short, visible};
use crate::scm::order::{Occasion, Order};
use crate::scm::reads;
use crate::scm::session::{Ask, Remote, Span};
use crate::scm::steps::Allowed;

rounds_core::register_connector! {
    kind: "github",
    title: "GitHub",
    role: Execution,
    secret: Required("A fine-grained personal access token; with `app`, the App's private key as a PEM file."),
    config: GithubConfig,
    build: Github::new,
    check_secret: |_, secret| auth::check_secret(secret),
}

/// How many runs are listed for whoever has to look.
const MAX_RUNS: usize = 5;

/// What an operator allows.
#[derive(Debug)]
struct Rules {
    config: GithubConfig,
    repositories: Repositories,
    allowed: Allowed,
}

impl Rules {
    fn new(config: GithubConfig) -> Result<Self, String> {
        let repositories = Repositories::new("repository", "repositories", &config.repositories, false, true)?;
        let allowed = Allowed::new(&config.paths, config.allow_pipeline_files, &config.read_paths, &config.refs)?;
        for (field, list) in [("workflows", &config.workflows), ("destructiveWorkflows", &config.destructive_workflows)]
        {
            for (at, name) in list.iter().enumerate() {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
                if !yaml || !name.bytes().all(plain) {
                    let found = quoted(name, 80);
                    return Err(format!(
                        "{field}[{at}]: found {found}; a workflow's file name such as `restart.yml` is accepted"
                    ));
                }
            }
        }
        if let Some(stray) = config.destructive_workflows.iter().find(|name| !config.workflows.contains(name)) {
            return Err(format!("destructiveWorkflows: found `{stray}`; one of `workflows` is accepted"));
        }
        if let Some(app) = &config.app {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
            if app.app_id.is_empty() || app.app_id.len() > 100 || !app.app_id.bytes().all(plain) {
                return Err(format!(
                    "app.appId: found {}; an id such as `123456` is accepted",
                    quoted(&app.app_id, 80)
                ));
            }
            if app.installation_id == 0 {
                return Err("app.installationId: found 0; the number of the installation is accepted".into());
            }
        }
        Ok(Self { config, repositories, allowed })
    }
}

/// An adapter of GitHub's.
pub struct Github {
    remote: Remote,
    rules: Rules,
    secret: SecretHandle,
    host: Arc<Host>,
}

impl fmt::Debug for Github {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Github").field("remote", &self.remote).field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Github {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called.
    pub fn new(cx: BuildContext, config: GithubConfig) -> Result<Self, BuildError> {
        let remote = Remote::new(
            "GitHub",
            &config.base_url,
            config.timeout_sec,
            config.ca_certificate.as_deref(),
            &cx.host,
            api::HEADERS,
            api::judge,
        )?;
        let rules = Rules::new(config).map_err(BuildError::config)?;
        Ok(Self { remote, rules, secret: cx.secret, host: cx.host })
    }

    async fn repository(&self, span: &Span, full: &str, need: Need) -> Result<Repository<'_>, Failure> {
        let app = self.rules.config.app.as_ref();
        let session = auth::session(&self.remote, span, &self.secret, app, Some(full), need).await?;
        Ok(Repository::new(session, full).by_app(app.is_some()))
    }

    /// The step again, from its own parameters: what runs is made of nothing else.
    fn job(&self, step: &ReviewedStep) -> Result<Job, Refusal> {
        Job::of(&step.spec(), &self.rules)
    }

    fn propose(&self) -> Need {
        Need::Propose { workflows: self.rules.config.allow_pipeline_files }
    }

    async fn look(&self, span: &Span, job: &Job) -> Result<StepOutput, StepError> {
        let repository = self.repository(span, job.repository(), Need::Read).await.map_err(Failure::unchanged)?;
        match job {
            Job::Pull(job) => pull(&repository, job).await.map_err(Failure::unchanged),
            Job::Commits(job) => commits(&repository, job).await.map_err(Failure::unchanged),
            Job::File(job) => reads::file(&repository, &job.path, &job.name).await,
            Job::Open(_) | Job::Revert(_) | Job::Dispatch(_) => Err(StepError::not_started("this step is not a read")),
        }
    }

    async fn dispatch(&self, repository: &Repository<'_>, job: &DispatchWorkflow) -> Result<StepOutput, StepError> {
        let at = reads::expected(repository, &job.name, job.ref_sha.as_deref()).await?;
        let dispatches = ["actions", "workflows", &job.workflow, "dispatches"];
        let ask =
            |body| Ask::post(format!("dispatching the workflow {}", job.workflow), repository.at(&dispatches), body);
        let mut body = json!({ "ref": job.name, "inputs": job.inputs, "return_run_details": true });
        let mut answer = repository.session.send(ask(body.clone())).await;
        // A server that does not know the word refuses the whole, so nothing has happened yet.
        if answer.as_ref().err().is_some_and(|failure| failure.is_about(StatusCode::UNPROCESSABLE_ENTITY, RUN_DETAILS))
        {
            body.as_object_mut().map(|body| body.remove(RUN_DETAILS));
            answer = repository.session.send(ask(body)).await;
        }
        let answer = match answer {
            Ok(answer) => answer,
            // Neither the inputs nor who asked tell one run from another, so none of these is known to be this one.
            Err(failure) if failure.may_have_happened() => {
                return Err(failure.at_effect_with(runs(repository, job).await));
            }
            Err(failure) => return Err(failure.at_effect()),
        };
        #[derive(Deserialize)]
        struct Started {
            workflow_run_id: u64,
            html_url: String,
        }
        let run = match serde_json::from_slice::<Started>(&answer.body) {
            Ok(run) => format!("run {}: {}", run.workflow_run_id, visible(&run.html_url)),
            Err(_) => "its run is on the repository's Actions page".to_owned(),
        };
        let (workflow, name, at) = (&job.workflow, &job.name, short(&at));
        Ok(StepOutput::text(format!("dispatched {workflow} of {} on {name} (at {at}); {run}", job.repository)))
    }
}

/// What the answer to a dispatch is asked to hold (since February 2026).
const RUN_DETAILS: &str = "return_run_details";

/// The newest runs that a dispatch could have started.
async fn runs(repository: &Repository<'_>, job: &DispatchWorkflow) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Found {
        workflow_runs: Vec<Run>,
    }
    #[derive(Deserialize)]
    struct Run {
        id: u64,
        #[serde(default)]
        created_at: String,
        status: Option<String>,
        actor: Option<Actor>,
        #[serde(default)]
        html_url: String,
    }
    #[derive(Deserialize)]
    struct Actor {
        login: String,
    }
    let path = repository.at(&["actions", "workflows", &job.workflow, "runs"]);
    let ask = Ask::get("listing the runs of the workflow", path)
        .query("event", "workflow_dispatch")
        .query("branch", &job.name)
        .query("per_page", MAX_RUNS);
    let found: Found = repository.session.json(ask).await?;
    let mut text = format!("The newest runs of {} that were dispatched on {}:\n", job.workflow, job.name);
    for run in found.workflow_runs.iter().take(MAX_RUNS) {
        let by = run.actor.as_ref().map_or("?", |actor| &actor.login);
        let status = run.status.as_deref().unwrap_or("?");
        let (id, at, url) = (run.id, visible(&run.created_at), visible(&run.html_url));
        text.push_str(&format!("run {id} at {at} by {}, {}: {url}\n", quoted(by, 80), quoted(status, 40)));
    }
    text.push_str("None of them is known to be this step's, and its own may come later.\n");
    Ok(StepOutput::text(text))
}

impl Job {
    /// The order for a pull request, of steps that open one.
    fn order<'a>(&'a self, rules: &'a Rules, title: &'a str) -> Option<Order<'a>> {
        let (proposal, work) = match self {
            Self::Open(job) => {
                (job.proposal(), Work::Changes { changes: &job.changes, base_sha: job.base_sha.as_deref() })
            }
            Self::Revert(job) => (job.proposal(title), Work::Revert { commit: &job.commit, parent: job.parent }),
            Self::Dispatch(_) | Self::Pull(_) | Self::Commits(_) | Self::File(_) => return None,
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
impl ExecutionAdapter for Github {
    fn describe(&self) -> AdapterInfo {
        let rules = &self.rules;
        let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let usage = format!(
            r#"GitHub. Steps, with their params:
github.open_pull_request {{"repository": "owner/name", "base": "main", "title": "…", "body": "why", "changes": [{{"path": "deploy/web.yaml", "replace": [{{"old": "replicas: 2", "new": "replicas: 4"}}], "blobSha": "<as get_file says>"}}, {{"path": "new.yaml", "content": "whole file"}}, {{"path": "old.yaml", "delete": true, "blobSha": "…"}}], "baseSha": "<optional: as get_file says>"}}: a branch and a pull request; nothing is merged. Each `old` text must be in the file exactly once. A file that exists is only rewritten or deleted with its `blobSha` (or the step's `baseSha`). Titles and texts with commands for a forge are refused, such as `[skip ci]` or `fixes #1`.
github.revert_commit {{"repository": "owner/name", "base": "main", "commit": "<40 digits>", "parent": 1, "title": "…", "body": "…"}}: a pull request that takes one commit back; `parent` only for merges.
github.dispatch_workflow {{"repository": "owner/name", "workflow": "restart.yml", "ref": "main", "inputs": {{"name": "text"}}, "refSha": "<optional>"}}
Reads: github.get_file {{"repository", "path", "ref": "main or 40 digits"}}; github.list_commits {{"repository", "ref", "path": "optional", "limit": 20}}; github.get_pull_request {{"repository", "number"}}.
Repositories: {}. Paths: {}. Also readable: {}. Workflows: {} on {}. Files of pipelines (.github/, .gitlab-ci*.yml, CODEOWNERS …): {}."#,
            rules.repositories.listed(),
            rules.allowed.paths.listed(),
            rules.allowed.reads.listed(),
            list(&rules.config.workflows),
            rules.allowed.refs.listed(),
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
        if let Some(order) = job.order(&self.rules, &title) {
            // Nobody has approved anything yet, so the token can write nothing.
            let repository = self.repository(&span, job.repository(), Need::Read).await.map_err(Failure::unchanged)?;
            return Ok(DryRun::not_by_server(order.preview(&repository).await?));
        }
        let Job::Dispatch(job) = &job else {
            return Ok(DryRun::not_by_server("a read: it changes nothing"));
        };
        let repository =
            self.repository(&span, &job.repository, Need::ReadWorkflow).await.map_err(Failure::unchanged)?;
        let at = reads::expected(&repository, &job.name, job.ref_sha.as_deref()).await?;
        #[derive(Deserialize)]
        struct Found {
            name: String,
            path: String,
            state: String,
        }
        let what = format!("reading the workflow {}", job.workflow);
        let path = repository.at(&["actions", "workflows", &job.workflow]);
        let found: Found = repository.session.json(Ask::get(what, path)).await.map_err(Failure::unchanged)?;
        let wrong = if found.state == "active" {
            ""
        } else {
            "\nthe step would fail: only an active workflow can be dispatched"
        };
        Ok(DryRun::not_by_server(format!(
            "GitHub has no dry-run of a workflow.\nworkflow: {} ({}), {}\nbranch: {} at {at}{wrong}",
            quoted(&found.name, 120),
            visible(&found.path),
            visible(&found.state),
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
            let repository =
                self.repository(&span, job.repository(), self.propose()).await.map_err(Failure::unchanged)?;
            let link = self.host.link(&format!("/plans/{}", step.plan_id()));
            let occasion = Occasion { plan: step.plan_id(), ordinal: step.ordinal(), link };
            return order.place(&repository, &occasion).await;
        }
        match &job {
            Job::Dispatch(job) => {
                let repository =
                    self.repository(&span, &job.repository, Need::Dispatch).await.map_err(Failure::unchanged)?;
                self.dispatch(&repository, job).await
            }
            job => self.look(&span, job).await,
        }
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let span = Span::of(cx);
        let app = self.rules.config.app.as_ref();
        let exact: Vec<&str> = self.rules.repositories.exact().take(5).collect();
        if exact.is_empty() {
            let session = auth::session(&self.remote, &span, &self.secret, app, None, Need::Read).await?;
            session.json::<Value>(Ask::get("testing the credential", ["rate_limit"])).await?;
            let report = CheckReport::new(
                "reached GitHub, and the credential is accepted; name a repository in full to have its rights tested",
            );
            return Ok(self.remote.tested(
                report,
                self.rules
                    .config
                    .repositories
                    .is_empty()
                    .then(|| "`repositories` is empty, so that no step is accepted".to_owned()),
            ));
        }
        let (mut said, mut lacks) = (Vec::new(), Vec::new());
        for full in exact {
            let rights = self.repository(&span, full, Need::Read).await?.rights().await?;
            let line = match rights.may_push {
                None if app.is_some() => format!("{full}: the App is installed there"),
                _ => format!("{full}: {}", rights.said),
            };
            if rights.may_push == Some(false) {
                lacks.push(line.clone());
            }
            said.push(line);
        }
        let report = CheckReport::new(format!("reached GitHub. {}", said.join("; ")));
        Ok(self.remote.tested(report, (!lacks.is_empty()).then(|| lacks.join("; "))))
    }
}

async fn pull(repository: &Repository<'_>, job: &GetPullRequest) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Found {
        title: String,
        state: String,
        #[serde(default)]
        merged: bool,
        html_url: String,
        body: Option<String>,
        mergeable_state: Option<String>,
        changed_files: Option<u64>,
        head: End,
        base: End,
    }
    #[derive(Deserialize)]
    struct End {
        #[serde(rename = "ref")]
        name: String,
        sha: String,
    }
    let number = job.number.to_string();
    let what = format!("reading the pull request {number}");
    let found: Found = repository.session.json(Ask::get(what, repository.at(&["pulls", &number]))).await?;
    let state = if found.merged { "merged".to_owned() } else { visible(&found.state) };
    Ok(StepOutput::text(format!(
        "pull request {number} of {}: {}\nstate: {state}, mergeable: {}, files: {}\nfrom {} ({}) into {} ({})\n{}\ntext: {}",
        repository.full,
        quoted(&found.title, 300),
        quoted(found.mergeable_state.as_deref().unwrap_or("unknown"), 40),
        found.changed_files.map_or_else(|| "?".into(), |count| count.to_string()),
        quoted(&found.head.name, 200),
        short(&found.head.sha),
        quoted(&found.base.name, 200),
        short(&found.base.sha),
        visible(&found.html_url),
        quoted(found.body.as_deref().unwrap_or_default(), 4_000)
    )))
}

async fn commits(repository: &Repository<'_>, job: &ListCommits) -> Result<StepOutput, Failure> {
    #[derive(Deserialize)]
    struct Listed {
        sha: String,
        commit: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        message: String,
        author: Option<Author>,
    }
    #[derive(Deserialize)]
    struct Author {
        name: Option<String>,
        date: Option<String>,
    }
    let mut ask =
        Ask::get("listing commits", repository.at(&["commits"])).query("sha", &job.name).query("per_page", job.limit);
    if let Some(path) = &job.path {
        ask = ask.query("path", path);
    }
    let found: Vec<Listed> = repository.session.json(ask).await?;
    let listed = found.into_iter().map(|listed| {
        let (name, date) = listed.commit.author.map(|author| (author.name, author.date)).unwrap_or_default();
        reads::Listed {
            id: listed.sha,
            at: date.unwrap_or_default(),
            author: name.unwrap_or_default(),
            title: listed.commit.message.lines().next().unwrap_or_default().to_owned(),
        }
    });
    Ok(reads::commits(listed, job.limit))
}
