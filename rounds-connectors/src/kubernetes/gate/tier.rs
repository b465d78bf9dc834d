//! How much harm a command can do, whether there is a way back, and whether twice is the same as once.

use rounds_core::step::Tier;

use super::command::{Action, Command, PatchType, RolloutVerb};
use super::losses;

/// The tier, computed from the command alone.
pub(crate) fn tier(command: &Command) -> Tier {
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
        Action::Scale(_)
        | Action::RolloutUndo(_)
        | Action::RolloutChange(_)
        | Action::Label(_)
        | Action::Annotate(_)
        | Action::Patch(_)
        | Action::Apply(_)
        | Action::Delete(_) => {
            if losses::any(command) {
                Tier::Destructive
            } else {
                Tier::Write
            }
        }
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
        Action::Patch(patch) => patch.object.kind.kind.rolls_out() && !losses::any(command),
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
