//! The steps: their parameters, what is checked of them, and how they are shown.

use std::collections::BTreeMap;

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rules;
use crate::scm::Change;
use crate::scm::changes::{checked, in_a_line, notes};
use crate::scm::names::{self, quoted, revision, saying, short, with_whole};

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
    20
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
                job.changes = checked(job.changes, &rules.paths, job.base_sha.is_some())?;
                Self::Open(job)
            }
            REVERT => {
                let mut job: RevertCommit = step.parse()?;
                job.project = project(&job.project)?;
                job.target_branch = names::branch("targetBranch", &job.target_branch)?;
                job.commit = names::object_id("commit", &job.commit)?;
                if job.parent == Some(0) {
                    return Err(Refusal::new("parent", "parent: found 0; parents are counted from 1"));
                }
                job.title = job.title.map(|title| names::title("title", &title)).transpose()?;
                job.description = description(&job.description)?;
                Self::Revert(job)
            }
            PIPELINE => {
                let mut job: RunPipeline = step.parse()?;
                job.project = project(&job.project)?;
                job.name = rules.refs.permit(&job.name)?;
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
                    rules.readable(path)?;
                }
                if !(1..=50).contains(&job.limit) {
                    return Err(Refusal::new("limit", format!("limit: found {}; 1 to 50 is accepted", job.limit)));
                }
                Self::Commits(job)
            }
            FILE => {
                let mut job: GetFile = step.parse()?;
                job.project = project(&job.project)?;
                rules.readable(&job.path)?;
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
        let on = |step: ReviewedStep, project: &str| step.on(Target::new("project", project));
        Ok(match self {
            Self::Open(job) => {
                let text = format!(
                    "open a merge request in {} into {}{}, titled {}{}: {}",
                    job.project,
                    job.target_branch,
                    job.base_sha.as_ref().map(|id| format!(" (made against {id})")).unwrap_or_default(),
                    quoted(&job.title, names::MAX_TITLE),
                    saying(&job.description),
                    in_a_line(&job.changes)
                );
                let spec = StepSpec::typed(OPEN, job)?;
                let step = on(ReviewedStep::new(spec, "open merge request", text, Tier::Write), &job.project);
                let step = job.changes.iter().fold(step, |step, change| {
                    step.on(Target::new("path", format!("{}:{}", job.project, change.path)))
                });
                let step = notes(&job.changes).into_iter().fold(step, ReviewedStep::note);
                with_whole(step, &job.description).note(NOTHING_YET).idempotent()
            }
            Self::Revert(job) => {
                let parent = job.parent.map(|number| format!(" (its parent {number} stays)")).unwrap_or_default();
                let text = format!(
                    "open a merge request in {} into {} that reverts the commit {}{parent}, titled {}{}",
                    job.project,
                    job.target_branch,
                    job.commit,
                    quoted(&job.title(), names::MAX_TITLE),
                    saying(&job.description)
                );
                let spec = StepSpec::typed(REVERT, job)?;
                let step = on(ReviewedStep::new(spec, "revert commit", text, Tier::Write), &job.project)
                    .on(Target::new("commit", format!("{}@{}", job.project, job.commit)));
                with_whole(step, &job.description).note(NOTHING_YET).idempotent()
            }
            Self::Pipeline(job) => {
                let variables: Vec<String> =
                    job.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value, 300))).collect();
                let with = if variables.is_empty() {
                    "without variables".into()
                } else {
                    format!("with {}", variables.join(" "))
                };
                let at = job.ref_sha.as_ref().map(|id| format!(" (at {id})")).unwrap_or_default();
                let text = format!("run a pipeline of {} on {}{at} {with}", job.project, job.name);
                let tier = if rules.config.destructive_pipelines { Tier::Destructive } else { Tier::Write };
                let spec = StepSpec::typed(PIPELINE, job)?;
                let mut step = on(ReviewedStep::new(spec, "run pipeline", text, tier), &job.project)
                    .on(Target::new("pipeline", format!("{}:{}", job.project, job.name)));
                for (name, value) in job.variables.iter().filter(|(_, value)| value.chars().count() > 300) {
                    step = step.note(format!("the variable {name}, whole: {}", quoted(value, MAX_VALUE)));
                }
                step.note("what the pipeline does is its own; it runs twice if it is started twice")
            }
            Self::Merge(job) => {
                let text = format!("get the merge request {} of {}", job.iid, job.project);
                let spec = StepSpec::typed(MERGE, job)?;
                on(ReviewedStep::new(spec, "get merge request", text, Tier::Read), &job.project).idempotent()
            }
            Self::Commits(job) => {
                let path = job.path.as_ref().map(|path| format!(" that touch {path}")).unwrap_or_default();
                let text = format!("list up to {} commits of {} on {}{path}", job.limit, job.project, job.name);
                let spec = StepSpec::typed(COMMITS, job)?;
                on(ReviewedStep::new(spec, "list commits", text, Tier::Read), &job.project).idempotent()
            }
            Self::File(job) => {
                let text = format!("get the file {} of {} at {}", job.path, job.project, job.name);
                let spec = StepSpec::typed(FILE, job)?;
                on(ReviewedStep::new(spec, "get file", text, Tier::Read), &job.project)
                    .on(Target::new("path", format!("{}:{}", job.project, job.path)))
                    .idempotent()
            }
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

const NOTHING_YET: &str = "nothing is merged: people of the project decide about it there";

impl RevertCommit {
    /// The title, given or made of the commit's id.
    pub(super) fn title(&self) -> String {
        self.title.clone().unwrap_or_else(|| format!("Revert commit {}", short(&self.commit)))
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
