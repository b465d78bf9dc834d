use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StepSpec;

/// How much harm a step can do, computed by the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
    /// Changes something in a way that loses state or capacity.
    Destructive,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        })
    }
}

/// One object that a step touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its namespace; `None`: the object is in none (cluster-scoped, or the adapter has no namespaces).
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its kind, in the singular and canonical: `deployment.apps`.
    pub kind: String,
    /// Its name; `None`: every object of that kind in that place (lists).
    #[serde(default)]
    pub name: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}/{}", self.kind, self.name.as_deref().unwrap_or("*"))
    }
}

/// A step that an adapter has parsed, checked and rendered canonically. What runs, what is shown and what is
/// digested all come from here, never from the proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewedStep {
    /// The kind of step.
    pub kind: String,
    /// The action in a word, such as `rollout undo`; audit rows carry it.
    pub verb: String,
    /// The canonical command, for people: what is shown is what runs (rule 2).
    pub command_text: String,
    /// The canonical parameters. Reviewing them again MUST yield this same value.
    pub params: Value,
    /// Every object the step touches.
    pub targets: Vec<Target>,
    /// How much harm it can do.
    pub tier: Tier,
    /// Whether there is a known way back.
    pub reversible: bool,
    /// Whether running it twice ends where running it once does.
    pub idempotent: bool,
    /// What a reader should know: "kubectl has no dry-run for rollout restart".
    #[serde(default)]
    pub notes: Vec<String>,
}

impl ReviewedStep {
    /// The step as it is handed to a review again: the canonical parameters, and nothing else of the proposal.
    #[must_use]
    pub fn spec(&self) -> StepSpec {
        StepSpec { kind: self.kind.clone(), params: self.params.clone() }
    }
}

/// Why an adapter will not run a step, and what it would run instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which rule refused, as a stable word: `unknown_verb`, `namespace_not_allowed`.
    pub rule: String,
    /// What was found and what would be accepted.
    pub message: String,
}

impl Refusal {
    /// A refusal by a rule.
    pub fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into() }
    }
}
