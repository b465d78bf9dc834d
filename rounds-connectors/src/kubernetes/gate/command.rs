//! The typed command: everything the gate knows about an argv, and nothing that it does not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kinds::KindRef;
use super::output::Output;

/// A command that kubectl can run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Command {
    pub(crate) place: Place,
    /// Seconds.
    pub(crate) request_timeout: u32,
    pub(crate) verbosity: Option<u8>,
    pub(crate) action: Action,
}

/// Where a command looks or acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Namespace(String),
    AllNamespaces,
    /// Outside namespaces: cluster-scoped kinds, or no objects at all.
    Cluster,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Get(Get),
    Describe(Describe),
    Logs(Logs),
    Top(Top),
    Events(Events),
    Version(Version),
    ApiResources(ApiResources),
    Scale(Scale),
    RolloutStatus(RolloutStatus),
    RolloutHistory(RolloutHistory),
    RolloutUndo(RolloutUndo),
    RolloutChange(RolloutChange),
    Patch(Patch),
    Apply(Apply),
    Label(Metadata),
    Annotate(Metadata),
    Delete(Delete),
}

/// One named object in the command's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectRef {
    pub(crate) kind: KindRef,
    pub(crate) name: String,
}

/// What a read looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    Named(Vec<ObjectRef>),
    Listed { kinds: Vec<KindRef>, selector: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Printing {
    pub(crate) output: Output,
    pub(crate) allow_missing_template_keys: Option<bool>,
    pub(crate) show_managed_fields: bool,
}

/// A dry-run that the proposer asked for; the step then changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DryRunFlag {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subresource {
    Status,
    Scale,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Get {
    pub(crate) selection: Selection,
    pub(crate) field_selector: Option<String>,
    pub(crate) printing: Printing,
    pub(crate) chunk_size: Option<u32>,
    pub(crate) ignore_not_found: bool,
    pub(crate) label_columns: Option<String>,
    pub(crate) no_headers: bool,
    pub(crate) show_kind: bool,
    pub(crate) show_labels: bool,
    pub(crate) server_print: Option<bool>,
    pub(crate) sort_by: Option<String>,
    pub(crate) subresource: Option<Subresource>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Describe {
    pub(crate) selection: Selection,
    pub(crate) show_events: Option<bool>,
    pub(crate) chunk_size: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogSource {
    Object(ObjectRef),
    Selector(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) source: LogSource,
    pub(crate) container: Option<String>,
    pub(crate) all_containers: bool,
    pub(crate) all_pods: bool,
    /// Seconds to wait for a pod that runs.
    pub(crate) pod_running_timeout: Option<u32>,
    pub(crate) previous: bool,
    /// Seconds.
    pub(crate) since: Option<u32>,
    pub(crate) since_time: Option<String>,
    pub(crate) tail: Option<i64>,
    pub(crate) limit_bytes: Option<u32>,
    pub(crate) timestamps: bool,
    pub(crate) prefix: bool,
    pub(crate) ignore_errors: bool,
    pub(crate) max_log_requests: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Top {
    /// Pods, or else nodes.
    pub(crate) pods: bool,
    pub(crate) name: Option<String>,
    pub(crate) selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    pub(crate) containers: bool,
    pub(crate) no_headers: bool,
    pub(crate) sum: bool,
    /// By memory, or else by cpu.
    pub(crate) sort_by_memory: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) about: Option<ObjectRef>,
    pub(crate) normal: bool,
    pub(crate) warning: bool,
    pub(crate) printing: Printing,
    pub(crate) no_headers: bool,
    pub(crate) chunk_size: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) client: bool,
    pub(crate) output: Output,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiResources {
    pub(crate) namespaced: Option<bool>,
    pub(crate) api_group: Option<String>,
    pub(crate) verbs: Option<String>,
    pub(crate) categories: Option<String>,
    pub(crate) no_headers: bool,
    pub(crate) sort_by: Option<String>,
    pub(crate) output: Output,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) replicas: u32,
    pub(crate) current_replicas: Option<u32>,
    /// Seconds to wait for the replicas.
    pub(crate) timeout: Option<u32>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) printing: Printing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutStatus {
    pub(crate) object: ObjectRef,
    pub(crate) watch: bool,
    pub(crate) timeout: u32,
    pub(crate) revision: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutHistory {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) revision: Option<u32>,
    pub(crate) printing: Printing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutUndo {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) to_revision: Option<u32>,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) printing: Printing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RolloutVerb {
    Restart,
    Pause,
    Resume,
}

impl RolloutVerb {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RolloutChange {
    pub(crate) verb: RolloutVerb,
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) field_manager: Option<String>,
    pub(crate) printing: Printing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Strategic,
    Merge,
    Json,
}

impl PatchType {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Strategic => "strategic",
            Self::Merge => "merge",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch {
    pub(crate) object: ObjectRef,
    pub(crate) patch_type: PatchType,
    pub(crate) body: Value,
    pub(crate) on_scale: bool,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) field_manager: Option<String>,
    pub(crate) printing: Printing,
}

/// One object of a manifest, checked, with its namespace filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ManifestObject {
    pub(crate) object: ObjectRef,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validate {
    True,
    Strict,
    Warn,
    Ignore,
    False,
}

impl Validate {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Strict => "strict",
            Self::Warn => "warn",
            Self::Ignore => "ignore",
            Self::False => "false",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Apply {
    pub(crate) objects: Vec<ManifestObject>,
    pub(crate) server_side: bool,
    pub(crate) force_conflicts: bool,
    pub(crate) validate: Option<Validate>,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) field_manager: Option<String>,
    pub(crate) printing: Printing,
}

/// A label or annotate command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) remove: BTreeSet<String>,
    pub(crate) overwrite: bool,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) field_manager: Option<String>,
    pub(crate) printing: Printing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    Background,
    Foreground,
    Orphan,
}

impl Cascade {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Foreground => "foreground",
            Self::Orphan => "orphan",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) ignore_not_found: bool,
    pub(crate) wait: bool,
    /// Seconds; only while it waits.
    pub(crate) timeout: Option<u32>,
    pub(crate) grace_period: Option<u32>,
    pub(crate) now: bool,
    pub(crate) cascade: Option<Cascade>,
    pub(crate) dry_run: Option<DryRunFlag>,
    pub(crate) name_only: bool,
}

impl Command {
    /// Whether Kubernetes itself serves every kind that the command names.
    pub(crate) fn is_built_in(&self) -> bool {
        let known = |objects: &[ObjectRef]| objects.iter().all(|object| !object.kind.kind.is_custom());
        let selected = |selection: &Selection| match selection {
            Selection::Named(objects) => known(objects),
            Selection::Listed { kinds, .. } => kinds.iter().all(|kind| !kind.kind.is_custom()),
        };
        match &self.action {
            Action::Get(get) => selected(&get.selection),
            Action::Describe(describe) => selected(&describe.selection),
            Action::Events(events) => events.about.as_ref().is_none_or(|object| known(std::slice::from_ref(object))),
            Action::Scale(scale) => known(&scale.objects),
            Action::Patch(patch) => known(std::slice::from_ref(&patch.object)),
            Action::Apply(apply) => apply.objects.iter().all(|object| !object.object.kind.kind.is_custom()),
            Action::Label(metadata) | Action::Annotate(metadata) => known(&metadata.objects),
            Action::Delete(delete) => known(&delete.objects),
            // These work on built-in kinds only.
            Action::Logs(_)
            | Action::Top(_)
            | Action::Version(_)
            | Action::ApiResources(_)
            | Action::RolloutStatus(_)
            | Action::RolloutHistory(_)
            | Action::RolloutUndo(_)
            | Action::RolloutChange(_) => true,
        }
    }
}

impl Action {
    /// Whether the proposer asked for a dry-run: the command changes nothing.
    pub(crate) fn is_dry_run(&self) -> bool {
        let asked = match self {
            Self::Scale(scale) => scale.dry_run,
            Self::RolloutUndo(undo) => undo.dry_run,
            Self::Patch(patch) => patch.dry_run,
            Self::Apply(apply) => apply.dry_run,
            Self::Label(metadata) | Self::Annotate(metadata) => metadata.dry_run,
            Self::Delete(delete) => delete.dry_run,
            _ => None,
        };
        asked.is_some()
    }

    /// The action in a word or two, for audit rows.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::Describe(_) => "describe",
            Self::Logs(_) => "logs",
            Self::Top(_) => "top",
            Self::Events(_) => "events",
            Self::Version(_) => "version",
            Self::ApiResources(_) => "api-resources",
            Self::Scale(_) => "scale",
            Self::RolloutStatus(_) => "rollout status",
            Self::RolloutHistory(_) => "rollout history",
            Self::RolloutUndo(_) => "rollout undo",
            Self::RolloutChange(change) => match change.verb {
                RolloutVerb::Restart => "rollout restart",
                RolloutVerb::Pause => "rollout pause",
                RolloutVerb::Resume => "rollout resume",
            },
            Self::Patch(_) => "patch",
            Self::Apply(_) => "apply",
            Self::Label(_) => "label",
            Self::Annotate(_) => "annotate",
            Self::Delete(_) => "delete",
        }
    }
}
