//! The gate: would this command run, and why not.
//!
//! An argv is parsed into a typed command; the argv rendered from that command is what is shown, digested and run. A
//! difference between this parser and kubectl's can then not let something else run: kubectl only ever sees words that
//! the gate wrote. See [`Gate::review`].

mod command;
mod custom;
mod deny;
mod documents;
mod flags;
mod grammar;
mod kinds;
#[cfg(test)]
mod laws;
mod losses;
mod manifest;
mod names;
mod notes;
mod output;
mod parse;
mod patch;
mod pods;
mod policy;
mod refusal;
mod render;
mod targets;
mod tier;

use rounds_core::step::{Mode, Refusal, ReviewedStep, StepSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use custom::{CustomKind, CustomKinds};
pub use policy::{OptIn, Policy};

pub(crate) use command::{Action, Apply, Command, Delete, Metadata, ObjectRef, Patch, Place, RolloutVerb};
pub(crate) use documents::read as read_documents;
#[cfg(test)]
pub(crate) use kinds::known as known_kind;
pub(crate) use names::{is_dns_label as is_namespace, is_dns_subdomain as is_object_name};
pub(crate) use refusal::Rule;
pub(crate) use render::{Form, argv as render_argv, object as render_object, stdin as render_stdin};
pub(crate) use tier::tier as tier_of;

use refusal::{quote, refuse};

/// The parameters of an `ops.run_command` step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    argv: Vec<String>,
    #[serde(default)]
    stdin: Option<String>,
}

/// Reviews kubectl commands under one policy. Pure: no I/O, no clock, the same answer for the same input.
///
/// ```
/// use rounds_connectors::kubernetes::{Gate, Policy};
/// use rounds_core::step::{Mode, StepSpec};
///
/// let gate = Gate::new(Policy::for_namespaces(["shop"]));
/// let step = StepSpec::command(["scale", "deploy", "web", "--replicas", "4", "-n", "shop"]);
/// let reviewed = gate.review(&step, Mode::Write)?;
/// assert_eq!(
///     reviewed.command_text,
///     "kubectl scale deployment.apps/web --replicas=4 --namespace=shop --request-timeout=30s"
/// );
/// let refusal = gate.review(&step, Mode::Read).unwrap_err();
/// assert_eq!(refusal.rule, "read_only");
/// # Ok::<(), rounds_core::step::Refusal>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    policy: Policy,
}

impl Gate {
    /// A gate for one connector.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// What the connector may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Parses, checks and canonicalises a step. Reviewing the canonical parameters again yields the same step.
    ///
    /// # Errors
    /// The first rule that refuses, in the order grammar, permanent denials, mode, targets, manifests.
    pub fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.written(step, mode).map(|(command, argv, stdin)| reviewed(&command, argv, stdin))
    }

    /// The typed command of a step.
    pub(crate) fn command(&self, step: &StepSpec, mode: Mode) -> Result<Command, Refusal> {
        self.written(step, mode).map(|(command, ..)| command)
    }

    /// The typed command of a step, and how it is written out.
    fn written(&self, step: &StepSpec, mode: Mode) -> Result<(Command, Vec<String>, Option<String>), Refusal> {
        if step.kind != StepSpec::RUN_COMMAND {
            return Err(refuse(
                Rule::BadParams,
                format!("the step kind {} is unknown here; accepted: {}", quote(&step.kind), StepSpec::RUN_COMMAND),
            ));
        }
        let params = Params::deserialize(&step.params).map_err(|error| {
            refuse(
                Rule::BadParams,
                format!("the step's params are {{\"argv\": [\"get\", \"pods\"], \"stdin\": \"…\"?}}: {error}"),
            )
        })?;
        let command = parse::parse(&params.argv, params.stdin.as_deref(), &self.policy, mode)?;
        // The law that everything rests on, checked on every command: the canonical form means the same command.
        let (argv, stdin) = (render::argv(&command, Form::Reviewed), render::stdin(&command));
        match parse::parse(&argv, stdin.as_deref(), &self.policy, mode) {
            Ok(again) if again == command => Ok((command, argv, stdin)),
            Ok(_) => Err(refuse(
                Rule::NotCanonical,
                "the command does not survive being written out canonically; write it more plainly",
            )),
            Err(refusal) => Err(refusal.about("written out canonically")),
        }
    }
}

fn reviewed(command: &Command, argv: Vec<String>, stdin: Option<String>) -> ReviewedStep {
    let command_text = render::text(&argv);
    let mut params = Map::from_iter([("argv".to_owned(), Value::from(argv))]);
    params.extend(stdin.map(|stdin| ("stdin".to_owned(), Value::String(stdin))));
    let spec = StepSpec::new(StepSpec::RUN_COMMAND, Value::Object(params));
    let mut step = ReviewedStep::new(spec, command.action.verb(), command_text, tier::tier(command));
    step.targets = targets::of(command);
    step.reversible = tier::reversible(command);
    step.idempotent = tier::idempotent(command);
    step.notes = notes::of(command);
    step
}
