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
        prune: bool,
    },
    Suspend(Object),
    Resume {
        object: Object,
        prune: bool,
    },
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
    #[serde(default, skip_serializing_if = "is_not")]
    prune: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResumeParams {
    kind: Kind,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "is_not")]
    prune: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_not(said: &bool) -> bool {
    !said
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
            let ReconcileParams { kind, namespace, name, with_source, prune } = step.parse()?;
            let object = checked(Object { kind, namespace, name }, "", config)?;
            let source = with_source.map(|source| source_of(&object, source, config)).transpose()?;
            Ok(Command::Reconcile { prune: pruning(&object, prune)?, object, source })
        }
        SUSPEND => Ok(Command::Suspend(checked(step.parse()?, "", config)?)),
        RESUME => {
            let ResumeParams { kind, namespace, name, prune } = step.parse()?;
            let object = checked(Object { kind, namespace, name }, "", config)?;
            Ok(Command::Resume { prune: pruning(&object, prune)?, object })
        }
        other => {
            Refusal::unless_one_of("step kind", other, STEPS)?;
            Err(Refusal::new("step_kind_not_accepted", "this step kind is not accepted"))
        }
    }
}

/// Only a Kustomization has `spec.prune`.
fn pruning(object: &Object, prune: bool) -> Result<bool, Refusal> {
    if prune && object.kind != Kind::Kustomization {
        let message = format!("prune: a {} has no spec.prune; leave prune out", object.kind.word());
        return Err(Refusal::new("prune_not_accepted", message));
    }
    Ok(prune)
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

/// A step that resumes an object.
pub(super) fn resume(object: &Object, prune: bool) -> Result<StepSpec, Refusal> {
    let Object { kind, namespace, name } = object.clone();
    StepSpec::typed(RESUME, &ResumeParams { kind, namespace, name, prune })
}

/// What people read and approve, made of the typed command alone.
pub(super) fn reviewed(command: &Command) -> Result<ReviewedStep, Refusal> {
    let target = |object: &Object| Target::new(object.kind.canonical(), &object.name).in_namespace(&object.namespace);
    // What these apply may be objects in any namespace or in none, whatever namespace they are in themselves: it is a matter of
    // the whole cluster.
    let applied = |object: &Object| match object.kind {
        Kind::Kustomization | Kind::HelmRelease => Target::new(object.kind.canonical(), &object.name),
        Kind::GitRepository | Kind::OciRepository | Kind::HelmRepository | Kind::Bucket => target(object),
    };
    let tier = |prune: bool| if prune { Tier::Destructive } else { Tier::Write };
    let pruned = |prune: bool| if prune { " with prune" } else { "" };
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
        Command::Reconcile { object, source, prune } => {
            let params = ReconcileParams {
                kind: object.kind,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                with_source: source.as_ref().map(|source| SourceParams {
                    kind: source.kind,
                    namespace: Some(source.namespace.clone()),
                    name: source.name.clone(),
                }),
                prune: *prune,
            };
            let after = source.as_ref().map(|source| format!(" after {source}")).unwrap_or_default();
            let text = format!("flux reconcile {object}{}{after}", pruned(*prune));
            let mut step = ReviewedStep::new(StepSpec::typed(RECONCILE, &params)?, "reconcile", text, tier(*prune))
                .on(applied(object))
                .idempotent();
            if let Some(source) = source {
                step = step.on(target(source));
            }
            match object.kind {
                Kind::Kustomization if *prune => {
                    step.note("applies what its source holds now, and deletes the objects that are no longer in it")
                }
                Kind::Kustomization => {
                    step.note("applies what its source holds now; if spec.prune is on, nothing is sent: that needs `prune`")
                }
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
        Command::Resume { object, prune } => ReviewedStep::new(
            resume(object, *prune)?,
            "resume",
            format!("flux resume {object}{}", pruned(*prune)),
            tier(*prune),
        )
        .on(applied(object))
        .reversible()
        .idempotent()
        .note(
            if *prune {
                "Flux reconciles it at once: changes made by hand meanwhile are reverted, commits since then applied, and objects deleted that are no longer in its source"
            } else {
                "Flux reconciles it at once: changes made by hand meanwhile are reverted, and commits since then applied"
            },
        ),
    })
}
