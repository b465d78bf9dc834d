//! Layer 4: where a command may look and act. Every kind and namespace passes here.

use rounds_core::step::{Refusal, Target};

use super::command::{Action, Command, LogSource, ObjectRef, Place, Selection};
use super::kinds::{Class, Kind, KindRef, Scope};
use super::names;
use super::policy::{OptIn, Policy};
use super::refusal::{Rule, quote, refuse};

/// Namespaces that hold the cluster together: never written to, whatever the connector allows.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// A kind that a read may show.
pub(super) fn readable(kind: &Kind) -> Result<(), Refusal> {
    match kind.class {
        Class::Secret => Err(secrets()),
        Class::Virtual => Err(refuse(
            Rule::DeniedKind,
            format!("{} is a question to the API server, not an object", kind.canonical()),
        )),
        Class::Ordinary
        | Class::Rbac
        | Class::ServiceAccount
        | Class::NetworkPolicy
        | Class::Guard
        | Class::Endpoints
        | Class::Record
        | Class::Custom => Ok(()),
    }
}

/// A kind that a change may touch.
pub(super) fn writable(kind: &Kind, policy: &Policy) -> Result<(), Refusal> {
    let (opt_in, why) = match kind.class {
        Class::Secret => return Err(secrets()),
        Class::Virtual | Class::Record => {
            return Err(refuse(
                Rule::DeniedKind,
                format!("{} is written by the cluster itself, never by a plan", kind.canonical()),
            ));
        }
        _ if kind.scope == Scope::Cluster => return Err(cluster_scoped_write(kind)),
        Class::Ordinary | Class::Custom => return Ok(()),
        Class::Rbac => (OptIn::Rbac, "it decides who may do what"),
        Class::ServiceAccount => (OptIn::ServiceAccounts, "it is an identity"),
        Class::NetworkPolicy => (OptIn::NetworkPolicies, "it decides who may talk to whom"),
        Class::Guard => (OptIn::Quotas, "it is a guard rail of the namespace"),
        Class::Endpoints => (OptIn::Endpoints, "it can route traffic to any address"),
    };
    if policy.opted_in(opt_in) {
        return Ok(());
    }
    Err(refuse(
        Rule::DeniedKind,
        format!(
            "{} is not changed: {why}. An operator can allow it with the connector's opt-in `{}`",
            kind.canonical(),
            opt_in.word()
        ),
    ))
}

fn secrets() -> Refusal {
    refuse(Rule::Secrets, "Secrets are neither read nor written; look at the objects that refer to them, or at events")
}

fn cluster_scoped_write(kind: &Kind) -> Refusal {
    refuse(
        Rule::ClusterScoped,
        format!(
            "{} belongs to the whole cluster, whatever -n says; only objects in a namespace are changed",
            kind.canonical()
        ),
    )
}

/// The namespace that a change names.
pub(super) fn write_namespace(named: Option<String>, policy: &Policy) -> Result<String, Refusal> {
    let Some(namespace) = named else {
        return Err(refuse(
            Rule::NamespaceMissing,
            format!("a change names its namespace: add -n NAMESPACE; allowed: {}", policy.shown()),
        ));
    };
    let namespace = names::namespace(&namespace)?;
    if SYSTEM_NAMESPACES.contains(&namespace.as_str()) {
        return Err(refuse(
            Rule::SystemNamespace,
            format!("the namespace `{namespace}` belongs to the cluster itself and is never changed"),
        ));
    }
    allowed(namespace, policy)
}

fn allowed(namespace: String, policy: &Policy) -> Result<String, Refusal> {
    if policy.allows(&namespace) {
        return Ok(namespace);
    }
    Err(refuse(
        Rule::NamespaceNotAllowed,
        format!("the namespace {} is not allowed for this connector; allowed: {}", quote(&namespace), policy.shown()),
    ))
}

/// Where a change acts, after its kinds were checked.
pub(super) fn write_place(kinds: &[&KindRef], named: Option<String>, policy: &Policy) -> Result<Place, Refusal> {
    for kind in kinds {
        writable(&kind.kind, policy)?;
    }
    write_namespace(named, policy).map(Place::Namespace)
}

/// Where a read looks, after its kinds were checked.
pub(super) fn read_place(
    kinds: &[&KindRef],
    named: Option<String>,
    everywhere: bool,
    policy: &Policy,
) -> Result<Place, Refusal> {
    for kind in kinds {
        readable(&kind.kind)?;
    }
    let mut outside = kinds.iter().filter(|kind| kind.kind.scope == Scope::Cluster);
    if let Some(first) = outside.next() {
        let canonical = first.kind.canonical();
        if !policy.cluster_reads {
            return Err(refuse(
                Rule::ClusterScoped,
                format!(
                    "{canonical} belongs to the whole cluster, whatever -n says; this connector reads only inside: {}. An operator can allow it with `allowClusterReads`",
                    policy.shown()
                ),
            ));
        }
        if outside.count() + 1 != kinds.len() {
            return Err(refuse(
                Rule::ClusterScoped,
                format!(
                    "{canonical} belongs to the whole cluster and the other kinds to a namespace; read them with two commands"
                ),
            ));
        }
        if named.is_some() || everywhere {
            return Err(refuse(
                Rule::NamespaceConflict,
                format!("{canonical} is in no namespace; leave -n and -A out"),
            ));
        }
        return Ok(Place::Cluster);
    }
    if everywhere {
        if !policy.all_namespaces_reads {
            return Err(refuse(
                Rule::AllNamespaces,
                format!(
                    "this connector reads one namespace at a time: use -n with one of {}. An operator can allow it with `allowAllNamespacesReads`",
                    policy.shown()
                ),
            ));
        }
        if named.is_some() {
            return Err(refuse(Rule::NamespaceConflict, "-A and -n contradict each other; give one of them"));
        }
        return Ok(Place::AllNamespaces);
    }
    match named {
        Some(namespace) => allowed(names::namespace(&namespace)?, policy).map(Place::Namespace),
        None => match policy.only_namespace() {
            Some(only) => Ok(Place::Namespace(only.to_owned())),
            None => {
                Err(refuse(Rule::NamespaceMissing, format!("name a namespace with -n; allowed: {}", policy.shown())))
            }
        },
    }
}

/// Every object that a command touches.
pub(crate) fn of(command: &Command) -> Vec<Target> {
    let namespace = match &command.place {
        Place::Namespace(namespace) => Some(namespace.clone()),
        Place::AllNamespaces | Place::Cluster => None,
    };
    let target = |kind: String, name: Option<&str>| {
        let target = match name {
            Some(name) => Target::new(kind, name),
            None => Target::every(kind),
        };
        match &namespace {
            Some(namespace) => target.in_namespace(namespace),
            None => target,
        }
    };
    let named = |objects: &[ObjectRef]| {
        objects.iter().map(|object| target(object.kind.kind.canonical(), Some(&object.name))).collect::<Vec<_>>()
    };
    let selected = |selection: &Selection| match selection {
        Selection::Named(objects) => named(objects),
        Selection::Listed { kinds, .. } => kinds.iter().map(|kind| target(kind.kind.canonical(), None)).collect(),
    };
    let bare = |kind: &str, name: Option<&str>| vec![target(kind.into(), name)];
    match &command.action {
        Action::Get(get) => selected(&get.selection),
        Action::Describe(describe) => selected(&describe.selection),
        Action::Logs(logs) => match &logs.source {
            LogSource::Object(object) => named(std::slice::from_ref(object)),
            LogSource::Selector(_) => bare("pod", None),
        },
        Action::Top(top) => bare(if top.pods { "pod" } else { "node" }, top.name.as_deref()),
        Action::Events(events) => match &events.about {
            Some(object) => named(std::slice::from_ref(object)),
            None => bare("event", None),
        },
        Action::Version(_) | Action::ApiResources(_) => Vec::new(),
        Action::Scale(scale) => named(&scale.objects),
        Action::RolloutStatus(status) => named(std::slice::from_ref(&status.object)),
        Action::RolloutHistory(history) => named(&history.objects),
        Action::RolloutUndo(undo) => named(&undo.objects),
        Action::RolloutChange(change) => named(&change.objects),
        Action::Patch(patch) => named(std::slice::from_ref(&patch.object)),
        Action::Apply(apply) => apply
            .objects
            .iter()
            .map(|object| target(object.object.kind.kind.canonical(), Some(&object.object.name)))
            .collect(),
        Action::Label(metadata) | Action::Annotate(metadata) => named(&metadata.objects),
        Action::Delete(delete) => named(&delete.objects),
    }
}
