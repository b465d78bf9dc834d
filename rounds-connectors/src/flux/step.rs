//! Steps: from parameters to a typed command, and to what people read. Pure.

use std::fmt;

use rounds_core::step::{Refusal, ReviewedStep, StepSpec, Target, Tier};
use serde::{Deserialize, Serialize};

use super::config::FluxConfig;
use super::kinds::Kind;
use crate::kubernetes::gate::{is_namespace, is_object_name};

pub(super) const GET: &str = "flux.get";
pub(super) const RECONCILE: &str = "flux.reconcile";
pub(super) const SUSPEND: &str = "flux.suspend";
pub(super) const RESUME: &str = "flux.resume";

pub(super) const STEPS: [&str; 4] = [RECONCILE, SUSPEND, RESUME, GET];

/// One object of Flux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.word(), self.namespace, self.name)
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// One object, or all of a kind in a namespace.
    Get {
        kind: Kind,
        namespace: String,
        name: Option<String>,
    },
    Reconcile {
        object: Object,
        source: Option<Object>,
    },
    Suspend(Object),
    Resume(Object),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GetParams {
    kind: Kind,
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReconcileParams {
    kind: Kind,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    with_source: Option<SourceParams>,
}

/// A source is named, and not left to what the object says when the step runs: it is one of the things that are changed, so
/// it is one of the things that are approved.
#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "the source that is reconciled first, as {\"kind\": \"GitRepository\", \"namespace\": …, \"name\": …}"
)]
struct SourceParams {
    kind: Kind,
    /// Left out: that of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
}

/// Reads a step.
pub(super) fn parse(step: &StepSpec, config: &FluxConfig) -> Result<Command, Refusal> {
    match step.kind.as_str() {
        GET => {
            let GetParams { kind, namespace, name } = step.parse()?;
            allowed("namespace", &namespace, config)?;
            name.as_deref().map_or(Ok(()), |name| named("name", name))?;
            Ok(Command::Get { kind, namespace, name })
        }
        RECONCILE => {
            let ReconcileParams { kind, namespace, name, with_source } = step.parse()?;
            let object = checked(Object { kind, namespace, name }, "", config)?;
            let source = with_source.map(|source| source_of(&object, source, config)).transpose()?;
            Ok(Command::Reconcile { object, source })
        }
        SUSPEND => Ok(Command::Suspend(checked(step.parse()?, "", config)?)),
        RESUME => Ok(Command::Resume(checked(step.parse()?, "", config)?)),
        other => {
            Refusal::unless_one_of("step kind", other, STEPS)?;
            Err(Refusal::new("step_kind_not_accepted", "this step kind is not accepted"))
        }
    }
}

fn source_of(object: &Object, source: SourceParams, config: &FluxConfig) -> Result<Object, Refusal> {
    let accepted = object.kind.sources();
    if accepted.is_empty() {
        let message = format!("withSource: a {} is a source itself; leave withSource out", object.kind.word());
        return Err(Refusal::new("source_not_accepted", message));
    }
    if !accepted.contains(&source.kind) {
        let accepted: Vec<_> = accepted.iter().map(|kind| kind.word()).collect();
        return Err(Refusal::new(
            "source_not_accepted",
            format!(
                "withSource.kind: a {} is not made from a {}; accepted: {}",
                object.kind.word(),
                source.kind.word(),
                accepted.join(", ")
            ),
        ));
    }
    let namespace = source.namespace.unwrap_or_else(|| object.namespace.clone());
    checked(Object { kind: source.kind, namespace, name: source.name }, "withSource.", config)
}

fn checked(object: Object, at: &str, config: &FluxConfig) -> Result<Object, Refusal> {
    allowed(&format!("{at}namespace"), &object.namespace, config)?;
    named(&format!("{at}name"), &object.name)?;
    Ok(object)
}

fn allowed(field: &str, namespace: &str, config: &FluxConfig) -> Result<(), Refusal> {
    if is_namespace(namespace) && config.allowed_namespaces.contains(namespace) {
        return Ok(());
    }
    let found: String = namespace.chars().take(80).collect();
    let message = format!("{field}: {found:?} is not a namespace of this connector; accepted: {}", config.shown());
    Err(Refusal::new("namespace_not_allowed", message))
}

fn named(field: &str, name: &str) -> Result<(), Refusal> {
    if is_object_name(name) {
        return Ok(());
    }
    let found: String = name.chars().take(80).collect();
    let message = format!(
        "{field}: {found:?} is not an object name; lower-case letters, digits, dashes and dots are accepted, starting and ending with a letter or digit"
    );
    Err(Refusal::new("bad_name", message))
}

/// A step of one object.
pub(super) fn spec(kind: &str, object: &Object) -> Result<StepSpec, Refusal> {
    StepSpec::typed(kind, object)
}

/// What people read and approve, made of the typed command alone.
pub(super) fn reviewed(command: &Command) -> Result<ReviewedStep, Refusal> {
    let target = |object: &Object| Target::new(object.kind.canonical(), &object.name).in_namespace(&object.namespace);
    Ok(match command {
        Command::Get { kind, namespace, name } => {
            let params = GetParams { kind: *kind, namespace: namespace.clone(), name: name.clone() };
            let text = format!("flux get {} {namespace}/{}", kind.word(), name.as_deref().unwrap_or("*"));
            let target = match name {
                Some(name) => Target::new(kind.canonical(), name),
                None => Target::every(kind.canonical()),
            };
            ReviewedStep::new(StepSpec::typed(GET, &params)?, "get", text, Tier::Read)
                .on(target.in_namespace(namespace))
                .idempotent()
        }
        Command::Reconcile { object, source } => {
            let params = ReconcileParams {
                kind: object.kind,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                with_source: source.as_ref().map(|source| SourceParams {
                    kind: source.kind,
                    namespace: Some(source.namespace.clone()),
                    name: source.name.clone(),
                }),
            };
            let after = source.as_ref().map(|source| format!(" after {source}")).unwrap_or_default();
            let text = format!("flux reconcile {object}{after}");
            let mut step = ReviewedStep::new(StepSpec::typed(RECONCILE, &params)?, "reconcile", text, Tier::Write)
                .on(target(object))
                .idempotent();
            if let Some(source) = source {
                step = step.on(target(source));
            }
            match object.kind {
                Kind::Kustomization => step.note(
                    "applies what its source holds now; where spec.prune is on, objects that are no longer in it are deleted",
                ),
                Kind::HelmRelease => step.note(
                    "installs or upgrades the release to what its chart and values say now; what Flux does when that fails (retry, roll back, uninstall) is in its spec",
                ),
                Kind::GitRepository | Kind::OciRepository | Kind::HelmRepository | Kind::Bucket => step.note(
                    "fetches the source now; a new revision is applied at once by every Kustomization and HelmRelease made from it",
                ),
            }
        }
        Command::Suspend(object) => {
            ReviewedStep::new(spec(SUSPEND, object)?, "suspend", format!("flux suspend {object}"), Tier::Write)
                .on(target(object))
                .reversible()
                .idempotent()
                .note("until it is resumed, Flux neither applies new commits to it nor corrects changes made by hand")
        }
        Command::Resume(object) => ReviewedStep::new(
            spec(RESUME, object)?,
            "resume",
            format!("flux resume {object}"),
            Tier::Write,
        )
        .on(target(object))
        .reversible()
        .idempotent()
        .note(
            "Flux reconciles it at once: changes made by hand meanwhile are reverted, and commits since then applied",
        ),
    })
}
