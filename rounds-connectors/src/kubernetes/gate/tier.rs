//! How much harm a command can do, whether there is a way back, and whether twice is the same as once.

use rounds_core::ports::Tier;
use serde_json::Value;

use super::command::{Action, Command, Patch, PatchType, RolloutVerb};

/// Scale to nothing loses capacity.
fn to_zero(spec_holder: &Value) -> bool {
    spec_holder.pointer("/spec/replicas").is_some_and(|replicas| replicas.as_f64() == Some(0.0))
}

/// The tier, computed from the command alone.
pub(crate) fn tier(command: &Command) -> Tier {
    let destructive = |yes: bool| if yes { Tier::Destructive } else { Tier::Write };
    match &command.action {
        Action::Get(_)
        | Action::Describe(_)
        | Action::Logs(_)
        | Action::Top(_)
        | Action::Events(_)
        | Action::Version(_)
        | Action::ApiResources(_)
        | Action::RolloutStatus(_)
        | Action::RolloutHistory(_) => Tier::Read,
        Action::Scale(scale) => destructive(scale.replicas == 0),
        Action::RolloutUndo(_) | Action::RolloutChange(_) | Action::Label(_) | Action::Annotate(_) => Tier::Write,
        Action::Patch(patch) => destructive(patch_loses(patch)),
        Action::Apply(apply) => destructive(apply.objects.iter().any(|object| to_zero(&object.value))),
        Action::Delete(_) => Tier::Destructive,
    }
}

/// Whether a patch takes something away: replicas to zero, a field removed, finalizers touched. Labels and
/// annotations that go are not counted: nothing runs on them alone.
fn patch_loses(patch: &Patch) -> bool {
    match (&patch.body, patch.patch_type) {
        (Value::Array(operations), PatchType::Json) => operations.iter().any(|operation| {
            let path = operation["path"].as_str().unwrap_or_default();
            if path.starts_with("/metadata/labels") || path.starts_with("/metadata/annotations") {
                return false;
            }
            operation["op"] == "remove"
                || path.starts_with("/metadata/finalizers")
                || (path == "/spec/replicas" && operation["value"].as_f64() == Some(0.0))
                || (path == "/spec" && to_zero(&serde_json::json!({ "spec": operation["value"] })))
        }),
        (body, _) => {
            to_zero(body)
                || body.pointer("/metadata/finalizers").is_some()
                || body
                    .as_object()
                    .is_some_and(|top| top.iter().any(|(key, value)| key != "metadata" && removes(value)))
                || body.get("$patch").is_some()
        }
    }
}

fn removes(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.iter().any(|(key, value)| {
            (key == "$patch" && value != "merge")
                || key.starts_with("$deleteFromPrimitiveList")
                || key == "$retainKeys"
                || removes(value)
        }),
        Value::Array(items) => items.iter().any(removes),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether there is a known way back.
pub(crate) fn reversible(command: &Command) -> bool {
    match &command.action {
        Action::Get(_)
        | Action::Describe(_)
        | Action::Logs(_)
        | Action::Top(_)
        | Action::Events(_)
        | Action::Version(_)
        | Action::ApiResources(_)
        | Action::RolloutStatus(_)
        | Action::RolloutHistory(_)
        // Back by scaling, undoing or resuming again.
        | Action::Scale(_)
        | Action::RolloutUndo(_)
        | Action::RolloutChange(_) => true,
        // A template that a controller keeps revisions of can be rolled back; what else a patch overwrote is gone.
        Action::Patch(patch) => patch.object.kind.kind.rolls_out() && !patch_loses(patch),
        Action::Label(metadata) | Action::Annotate(metadata) => !metadata.overwrite && metadata.remove.is_empty(),
        Action::Apply(_) | Action::Delete(_) => false,
    }
}

/// Whether running it twice ends where running it once does.
pub(crate) fn idempotent(command: &Command) -> bool {
    match &command.action {
        Action::RolloutUndo(undo) => undo.to_revision.is_some_and(|revision| revision > 0),
        Action::RolloutChange(change) => change.verb != RolloutVerb::Restart,
        Action::Patch(patch) => match patch.patch_type {
            PatchType::Strategic | PatchType::Merge => true,
            PatchType::Json => patch
                .body
                .as_array()
                .is_some_and(|operations| operations.iter().all(|operation| operation["op"] == "replace")),
        },
        // A controller may have made another pod or job of the same name meanwhile.
        Action::Delete(delete) => delete.objects.iter().all(|object| !object.kind.kind.has_pods()),
        Action::Get(_)
        | Action::Describe(_)
        | Action::Logs(_)
        | Action::Top(_)
        | Action::Events(_)
        | Action::Version(_)
        | Action::ApiResources(_)
        | Action::RolloutStatus(_)
        | Action::RolloutHistory(_)
        | Action::Scale(_)
        | Action::Apply(_)
        | Action::Label(_)
        | Action::Annotate(_) => true,
    }
}
