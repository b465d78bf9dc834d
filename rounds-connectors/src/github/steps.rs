//! The steps: their parameters, what is checked of them, and how they are shown.

use std::collections::BTreeMap;

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Rules;
use crate::scm::Change;
use crate::scm::changes::checked;
use crate::scm::names::{self, quoted, revision};
use crate::scm::steps::{self, Proposal, Words};

pub(super) const OPEN: &str = "github.open_pull_request";
pub(super) const REVERT: &str = "github.revert_commit";
pub(super) const DISPATCH: &str = "github.dispatch_workflow";
pub(super) const PULL: &str = "github.get_pull_request";
pub(super) const COMMITS: &str = "github.list_commits";
pub(super) const FILE: &str = "github.get_file";
pub(super) const KINDS: [&str; 6] = [OPEN, REVERT, DISPATCH, PULL, COMMITS, FILE];

/// What GitHub takes of inputs: so many, so much in all.
const MAX_INPUTS: usize = 25;
const MAX_INPUT_BYTES: usize = 60_000;

/// `github.open_pull_request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OpenPullRequest {
    /// `owner/name`.
    pub(super) repository: String,
    /// The branch that it goes into.
    pub(super) base: String,
    /// One line; also the first of the commit's message.
    pub(super) title: String,
    /// Why, for whoever reviews it there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) body: String,
    pub(super) changes: Vec<Change>,
    /// The commit that the changes were made up against: each file must still be as it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_sha: Option<String>,
}

/// `github.revert_commit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevertCommit {
    pub(super) repository: String,
    pub(super) base: String,
    /// The full id of the commit.
    pub(super) commit: String,
    /// Of a merge: the number of the parent that stays, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<u32>,
    /// One line; `Revert commit <id>` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) body: String,
}

/// `github.dispatch_workflow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DispatchWorkflow {
    pub(super) repository: String,
    /// The file's name: `restart.yml`.
    pub(super) workflow: String,
    /// The branch that it runs on.
    #[serde(rename = "ref")]
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) inputs: BTreeMap<String, Value>,
    /// The commit that the branch must be at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ref_sha: Option<String>,
}

/// `github.get_pull_request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GetPullRequest {
    pub(super) repository: String,
    pub(super) number: u64,
}

/// `github.list_commits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListCommits {
    pub(super) repository: String,
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

/// `github.get_file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GetFile {
    pub(super) repository: String,
    pub(super) path: String,
    /// The branch, or the full id of a commit.
    #[serde(rename = "ref")]
    pub(super) name: String,
}

/// A step, checked and in its one form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Job {
    Open(OpenPullRequest),
    Revert(RevertCommit),
    Dispatch(DispatchWorkflow),
    Pull(GetPullRequest),
    Commits(ListCommits),
    File(GetFile),
}

impl Job {
    /// Reads a step.
    ///
    /// # Errors
    /// What was found, and what is accepted.
    pub(super) fn of(step: &StepSpec, rules: &Rules) -> Result<Self, Refusal> {
        let repository = |name: &str| rules.repositories.permit(name);
        Ok(match step.kind.as_str() {
            OPEN => {
                let mut job: OpenPullRequest = step.parse()?;
                job.repository = repository(&job.repository)?;
                job.base = names::branch("base", &job.base)?;
                job.title = names::title("title", &job.title)?;
                job.body = names::body("body", &job.body)?;
                job.base_sha = job.base_sha.map(|id| names::object_id("baseSha", &id)).transpose()?;
                job.changes = checked(job.changes, &rules.allowed.paths, job.base_sha.is_some())?;
                Self::Open(job)
            }
            REVERT => {
                let mut job: RevertCommit = step.parse()?;
                job.repository = repository(&job.repository)?;
                job.base = names::branch("base", &job.base)?;
                job.commit = names::object_id("commit", &job.commit)?;
                steps::parent(job.parent)?;
                job.title = job.title.map(|title| names::title("title", &title)).transpose()?;
                job.body = names::body("body", &job.body)?;
                Self::Revert(job)
            }
            DISPATCH => {
                let mut job: DispatchWorkflow = step.parse()?;
                job.repository = repository(&job.repository)?;
                Refusal::unless_one_of("workflow", &job.workflow, &rules.config.workflows)?;
                job.name = rules.allowed.refs.permit(&job.name)?;
                job.ref_sha = job.ref_sha.map(|id| names::object_id("refSha", &id)).transpose()?;
                job.inputs = inputs(job.inputs)?;
                Self::Dispatch(job)
            }
            PULL => {
                let mut job: GetPullRequest = step.parse()?;
                job.repository = repository(&job.repository)?;
                Self::Pull(job)
            }
            COMMITS => {
                let mut job: ListCommits = step.parse()?;
                job.repository = repository(&job.repository)?;
                job.name = revision(&job.name)?;
                if let Some(path) = &job.path {
                    rules.allowed.readable(path)?;
                }
                steps::limit(job.limit)?;
                Self::Commits(job)
            }
            FILE => {
                let mut job: GetFile = step.parse()?;
                job.repository = repository(&job.repository)?;
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
            Self::Dispatch(job) => {
                let with = steps::with_values("inputs", job.inputs());
                let at = job.ref_sha.as_ref().map(|id| format!(" (at {id})")).unwrap_or_default();
                let text =
                    format!("dispatch the workflow {} of {} on {}{at} {with}", job.workflow, job.repository, job.name);
                let destructive = rules.config.destructive_workflows.contains(&job.workflow);
                let tier = if destructive { Tier::Destructive } else { Tier::Write };
                let spec = StepSpec::typed(DISPATCH, job)?;
                let step = WORDS
                    .about(&job.repository, ReviewedStep::new(spec, "dispatch workflow", text, tier))
                    .on(Target::new("workflow", format!("{}:{}", job.repository, job.workflow)));
                steps::with_whole_values(step, "input", job.inputs())
                    .note("what the workflow does is its own; it runs twice if it is dispatched twice")
            }
            Self::Pull(job) => WORDS.get_request(StepSpec::typed(PULL, job)?, &job.repository, job.number),
            Self::Commits(job) => {
                let spec = StepSpec::typed(COMMITS, job)?;
                WORDS.list_commits(spec, &job.repository, &job.name, job.path.as_deref(), job.limit)
            }
            Self::File(job) => WORDS.get_file(StepSpec::typed(FILE, job)?, &job.repository, &job.path, &job.name),
        })
    }

    /// The repository that it is about.
    pub(super) fn repository(&self) -> &str {
        match self {
            Self::Open(job) => &job.repository,
            Self::Revert(job) => &job.repository,
            Self::Dispatch(job) => &job.repository,
            Self::Pull(job) => &job.repository,
            Self::Commits(job) => &job.repository,
            Self::File(job) => &job.repository,
        }
    }
}

const WORDS: Words = Words { request: "pull request", place: "repository" };

impl OpenPullRequest {
    pub(super) fn proposal(&self) -> Proposal<'_> {
        Proposal { place: &self.repository, base: &self.base, title: &self.title, body: &self.body }
    }
}

impl RevertCommit {
    /// The title, given or made of the commit's id.
    pub(super) fn title(&self) -> String {
        steps::revert_title(self.title.as_deref(), &self.commit)
    }

    pub(super) fn proposal<'a>(&'a self, title: &'a str) -> Proposal<'a> {
        Proposal { place: &self.repository, base: &self.base, title, body: &self.body }
    }
}

impl DispatchWorkflow {
    /// The inputs, which are texts once they are checked.
    fn inputs(&self) -> impl Iterator<Item = (&String, &str)> {
        self.inputs.iter().map(|(name, value)| (name, value.as_str().unwrap_or_default()))
    }
}

/// Inputs as GitHub takes them: texts under plain names.
fn inputs(given: BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Refusal> {
    if given.len() > MAX_INPUTS {
        let found = given.len();
        return Err(Refusal::new("inputs", format!("inputs: found {found}; up to {MAX_INPUTS} are accepted")));
    }
    let mut inputs = BTreeMap::new();
    let mut size = 0;
    for (name, value) in given {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
            let found = quoted(&name, 80);
            return Err(Refusal::new(
                "inputs",
                format!("inputs: found the name {found}; letters, digits, - and _ are accepted"),
            ));
        }
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(Refusal::new(
                    "inputs",
                    format!("inputs.{name}: a text, a number or true/false is accepted"),
                ));
            }
        };
        size += name.len() + text.len();
        inputs.insert(name, Value::String(text));
    }
    if size > MAX_INPUT_BYTES {
        return Err(Refusal::new(
            "inputs",
            format!("inputs: found {size} bytes; up to {MAX_INPUT_BYTES} are accepted"),
        ));
    }
    Ok(inputs)
}
