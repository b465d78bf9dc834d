//! The steps: their parameters, what is checked of them, and how they are shown.

use std::collections::BTreeMap;

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rules;
use crate::scm::Change;
use crate::scm::changes::checked;
use crate::scm::names::{self, quoted, revision};
use crate::scm::steps::{self, Proposal, Words};

pub(super) const OPEN: &str = "gitlab.open_merge_request";
pub(super) const REVERT: &str = "gitlab.revert_commit";
pub(super) const PIPELINE: &str = "gitlab.run_pipeline";
pub(super) const MERGE: &str = "gitlab.get_merge_request";
pub(super) const COMMITS: &str = "gitlab.list_commits";
pub(super) const FILE: &str = "gitlab.get_file";
pub(super) const KINDS: [&str; 6] = [OPEN, REVERT, PIPELINE, MERGE, COMMITS, FILE];

/// The largest value of a variable.
const MAX_VALUE: usize = 8_000;

/// `gitlab.open_merge_request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OpenMergeRequest {
    /// `group/project`.
    pub(super) project: String,
    /// The branch that it goes into.
    pub(super) target_branch: String,
    /// One line; also the first of the commit's message.
    pub(super) title: String,
    /// Why, for whoever reviews it there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    pub(super) changes: Vec<Change>,
    /// The commit that the changes were made up against: each file must still be as it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_sha: Option<String>,
}

/// `gitlab.revert_commit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevertCommit {
    pub(super) project: String,
    pub(super) target_branch: String,
    /// The full id of the commit.
    pub(super) commit: String,
    /// Of a merge: the number of the parent that stays, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<u32>,
    /// One line; `Revert commit <id>` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
}

/// `gitlab.run_pipeline`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RunPipeline {
    pub(super) project: String,
    /// The branch that it runs on.
    #[serde(rename = "ref")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) variables: BTreeMap<String, String>,
    /// The commit that the branch must be at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ref_sha: Option<String>,
}

/// `gitlab.get_merge_request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GetMergeRequest {
    pub(super) project: String,
    /// The number that people see.
    pub(super) iid: u64,
}

/// `gitlab.list_commits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListCommits {
    pub(super) project: String,
    /// The branch, or the full id of a commit.
    #[serde(rename = "ref")]
    pub(super) name: String,
    /// Only those that touch this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(default = "default_limit")]
    pub(super) limit: u32,
}

fn default_limit() -> u32 {
    steps::DEFAULT_LIMIT
}

/// `gitlab.get_file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GetFile {
    pub(super) project: String,
    pub(super) path: String,
    /// The branch, or the full id of a commit.
    #[serde(rename = "ref")]
    pub(super) name: String,
}

/// A step, checked and in its one form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    Open(OpenMergeRequest),
    Revert(RevertCommit),
    Pipeline(RunPipeline),
    Merge(GetMergeRequest),
    Commits(ListCommits),
    File(GetFile),
}

impl Job {
    /// Reads a step.
    ///
    /// # Errors
    /// What was found, and what is accepted.
    pub(super) fn of(step: &StepSpec, rules: &Rules) -> Result<Self, Refusal> {
        let project = |name: &str| rules.projects.permit(name);
        Ok(match step.kind.as_str() {
            OPEN => {
                let mut job: OpenMergeRequest = step.parse()?;
                job.project = project(&job.project)?;
                job.target_branch = names::branch("targetBranch", &job.target_branch)?;
                job.title = names::title("title", &job.title)?;
                job.description = description(&job.description)?;
                job.base_sha = job.base_sha.map(|id| names::object_id("baseSha", &id)).transpose()?;
                job.changes = checked(job.changes, &rules.allowed.paths, job.base_sha.is_some())?;
                Self::Open(job)
            }
            REVERT => {
                let mut job: RevertCommit = step.parse()?;
                job.project = project(&job.project)?;
                job.target_branch = names::branch("targetBranch", &job.target_branch)?;
                job.commit = names::object_id("commit", &job.commit)?;
                steps::parent(job.parent)?;
                job.title = job.title.map(|title| names::title("title", &title)).transpose()?;
                job.description = description(&job.description)?;
                Self::Revert(job)
            }
            PIPELINE => {
                let mut job: RunPipeline = step.parse()?;
                job.project = project(&job.project)?;
                job.name = rules.allowed.refs.permit(&job.name)?;
                job.ref_sha = job.ref_sha.map(|id| names::object_id("refSha", &id)).transpose()?;
                for (name, value) in &job.variables {
                    Refusal::unless_one_of("variable", name, &rules.config.variables)?;
                    if value.len() > MAX_VALUE {
                        let found = value.len();
                        let message = format!("variables.{name}: found {found} bytes; up to {MAX_VALUE} are accepted");
                        return Err(Refusal::new("variables", message));
                    }
                }
                Self::Pipeline(job)
            }
            MERGE => {
                let mut job: GetMergeRequest = step.parse()?;
                job.project = project(&job.project)?;
                Self::Merge(job)
            }
            COMMITS => {
                let mut job: ListCommits = step.parse()?;
                job.project = project(&job.project)?;
                job.name = revision(&job.name)?;
                if let Some(path) = &job.path {
                    rules.allowed.readable(path)?;
                }
                steps::limit(job.limit)?;
                Self::Commits(job)
            }
            FILE => {
                let mut job: GetFile = step.parse()?;
                job.project = project(&job.project)?;
                rules.allowed.readable(&job.path)?;
                job.name = revision(&job.name)?;
                Self::File(job)
            }
            other => {
                Refusal::unless_one_of("step kind", other, KINDS)?;
                return Err(Refusal::new("step_kind", format!("the step kind `{other}` is not known")));
            }
        })
    }

    /// As it is shown and kept.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(super) fn reviewed(&self, rules: &Rules) -> Result<ReviewedStep, Refusal> {
        Ok(match self {
            Self::Open(job) => {
                WORDS.open(StepSpec::typed(OPEN, job)?, job.proposal(), &job.changes, job.base_sha.as_deref())
            }
            Self::Revert(job) => {
                let title = job.title();
                WORDS.revert(StepSpec::typed(REVERT, job)?, job.proposal(&title), &job.commit, job.parent)
            }
            Self::Pipeline(job) => {
                let with = steps::with_values("variables", job.variables());
                let at = job.ref_sha.as_ref().map(|id| format!(" (at {id})")).unwrap_or_default();
                let text = format!("run a pipeline of {} on {}{at} {with}", job.project, job.name);
                let tier = if rules.config.destructive_pipelines { Tier::Destructive } else { Tier::Write };
                let spec = StepSpec::typed(PIPELINE, job)?;
                let step = WORDS
                    .about(&job.project, ReviewedStep::new(spec, "run pipeline", text, tier))
                    .on(Target::new("pipeline", format!("{}:{}", job.project, job.name)));
                steps::with_whole_values(step, "variable", job.variables())
                    .note("what the pipeline does is its own; it runs twice if it is started twice")
            }
            Self::Merge(job) => WORDS.get_request(StepSpec::typed(MERGE, job)?, &job.project, job.iid),
            Self::Commits(job) => {
                let spec = StepSpec::typed(COMMITS, job)?;
                WORDS.list_commits(spec, &job.project, &job.name, job.path.as_deref(), job.limit)
            }
            Self::File(job) => WORDS.get_file(StepSpec::typed(FILE, job)?, &job.project, &job.path, &job.name),
        })
    }

    /// The project that it is about.
    pub(super) fn project(&self) -> &str {
        match self {
            Self::Open(job) => &job.project,
            Self::Revert(job) => &job.project,
            Self::Pipeline(job) => &job.project,
            Self::Merge(job) => &job.project,
            Self::Commits(job) => &job.project,
            Self::File(job) => &job.project,
        }
    }
}

const WORDS: Words = Words { request: "merge request", place: "project" };

impl OpenMergeRequest {
    pub(super) fn proposal(&self) -> Proposal<'_> {
        Proposal { place: &self.project, base: &self.target_branch, title: &self.title, body: &self.description }
    }
}

impl RevertCommit {
    /// The title, given or made of the commit's id.
    pub(super) fn title(&self) -> String {
        steps::revert_title(self.title.as_deref(), &self.commit)
    }

    pub(super) fn proposal<'a>(&'a self, title: &'a str) -> Proposal<'a> {
        Proposal { place: &self.project, base: &self.target_branch, title, body: &self.description }
    }
}

impl RunPipeline {
    fn variables(&self) -> impl Iterator<Item = (&String, &str)> {
        self.variables.iter().map(|(name, value)| (name, value.as_str()))
    }
}

/// A text without quick actions: a line that starts with `/` can merge, assign or close (GitLab's "quick actions").
fn description(text: &str) -> Result<String, Refusal> {
    let text = names::body("description", text)?;
    match text.lines().find(|line| line.trim_start().starts_with('/')) {
        Some(line) => Err(Refusal::new(
            "description",
            format!(
                "description: found the line {}, which GitLab may take for a command; lines that do not start with `/` are \
                 accepted",
                quoted(line, 80)
            ),
        )),
        None => Ok(text),
    }
}
