use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
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
#[non_exhaustive]
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

impl Target {
    /// One object that is in no namespace: `Target::new("unit", "nginx.service")`.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: None, kind: kind.into(), name: Some(name.into()) }
    }

    /// Every object of a kind: what a list reads.
    pub fn every(kind: impl Into<String>) -> Self {
        Self { namespace: None, kind: kind.into(), name: None }
    }

    /// The same in a namespace. Access to auto-edit is granted by namespace; a target in none needs the widest grant.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
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
///
/// ```
/// use rounds_core::step::{ReviewedStep, Target, Tier};
///
/// let step = ReviewedStep::command("units", ["restart", "nginx.service"], Tier::Write)
///     .on(Target::new("unit", "nginx.service"))
///     .idempotent();
/// assert_eq!(step.command_text, "units restart nginx.service");
/// assert_eq!(step.argv(), ["restart", "nginx.service"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
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
    /// A command line: kind `ops.run_command`, its first word as the verb, and text and parameters rendered from the same
    /// words, so that what is shown is what runs. It names no target, and counts as neither reversible nor idempotent,
    /// until the adapter says otherwise.
    pub fn command<S: Into<String>>(program: &str, argv: impl IntoIterator<Item = S>, tier: Tier) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        let verb = argv.first().cloned().unwrap_or_default();
        let text = std::iter::once(program).chain(argv.iter().map(String::as_str)).map(quoted).collect::<Vec<_>>();
        Self::new(StepSpec::command(argv), verb, text.join(" "), tier)
    }

    /// A step of the adapter's own kind. `spec` holds the canonical parameters, and `command_text` must be rendered from
    /// the very same values.
    pub fn new(spec: StepSpec, verb: impl Into<String>, command_text: impl Into<String>, tier: Tier) -> Self {
        Self {
            kind: spec.kind,
            verb: verb.into(),
            command_text: command_text.into(),
            params: spec.params,
            targets: Vec::new(),
            tier,
            reversible: false,
            idempotent: false,
            notes: Vec::new(),
        }
    }

    /// The same step, touching one more object.
    #[must_use]
    pub fn on(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// The same step, for which there is a known way back.
    #[must_use]
    pub fn reversible(mut self) -> Self {
        self.reversible = true;
        self
    }

    /// The same step, which run twice ends where run once does.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The same step with one more thing that a reader should know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The arguments of a command line; empty for a step of another kind.
    #[must_use]
    pub fn argv(&self) -> Vec<&str> {
        self.params["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The canonical parameters as a type of the adapter's own.
    ///
    /// # Errors
    /// They are not of that type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.spec().parse()
    }

    /// The step as it is handed to a review again: the canonical parameters, and nothing else of the proposal.
    #[must_use]
    pub fn spec(&self) -> StepSpec {
        StepSpec { kind: self.kind.clone(), params: self.params.clone() }
    }
}

/// A word as a shell would have to be given it, so that two arguments never look like one. Nothing runs in a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%_+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Why an adapter will not run a step, and what it would run instead.
///
/// ```
/// use rounds_core::step::Refusal;
///
/// let refused = Refusal::unless_one_of("verb", "reboot", ["status", "restart"]).unwrap_err();
/// assert_eq!(refused.rule, "verb_not_accepted");
/// assert_eq!(refused.message, "the verb `reboot` is not accepted; accepted: status, restart");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
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

    /// Refuses what is not in a list, and says what is in it. An empty list accepts nothing.
    ///
    /// # Errors
    /// `found` is not in `accepted`; the rule is `<what>_not_accepted`.
    pub fn unless_one_of<S: AsRef<str>>(
        what: &str,
        found: &str,
        accepted: impl IntoIterator<Item = S>,
    ) -> Result<(), Self> {
        let accepted: Vec<S> = accepted.into_iter().collect();
        if accepted.iter().any(|one| one.as_ref() == found) {
            return Ok(());
        }
        Err(Self::not_one_of(what, found, accepted))
    }

    fn not_one_of<S: AsRef<str>>(what: &str, found: &str, accepted: impl IntoIterator<Item = S>) -> Self {
        let list = match accepted.into_iter().map(|one| one.as_ref().to_owned()).collect::<Vec<_>>() {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        };
        let found: String = found.chars().take(80).collect();
        let message = format!("the {what} `{found}` is not accepted; accepted: {list}");
        Self::new(format!("{}_not_accepted", what.replace(' ', "_")), message)
    }

    /// The same refusal, saying which part of the step it is about: `object 2: …`.
    #[must_use]
    pub fn about(mut self, part: impl fmt::Display) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }
}

/// The value behind a word of a table: `let tier = lookup("verb", verb, &VERBS)?;`.
///
/// ```
/// use rounds_core::step::{Tier, lookup};
/// const VERBS: [(&str, Tier); 2] = [("status", Tier::Read), ("restart", Tier::Write)];
///
/// assert_eq!(lookup("verb", "restart", &VERBS).unwrap(), Tier::Write);
/// assert!(lookup("verb", "reboot", &VERBS).is_err());
/// ```
///
/// # Errors
/// The word is not in the table: as [`Refusal::unless_one_of`].
pub fn lookup<T: Copy>(what: &str, found: &str, table: &[(&str, T)]) -> Result<T, Refusal> {
    match table.iter().find(|(word, _)| *word == found) {
        Some((_, value)) => Ok(*value),
        None => Err(Refusal::not_one_of(what, found, table.iter().map(|(word, _)| word))),
    }
}
