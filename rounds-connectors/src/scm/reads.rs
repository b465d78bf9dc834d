//! Reads that both forges have: a file as it is, for whoever makes up a change of it; commits; where a branch is.

use rounds_core::step::{StepError, StepOutput};

use super::edits::side;
use super::forge::{Failure, Forge};
use super::names::{is_object_id, quoted, visible};
use super::tree::Snapshot;

/// The most of a file that is shown, in bytes.
const MAX_SHOWN: usize = 48 * 1024;

/// The commit behind a branch's name or a full id.
///
/// # Errors
/// There is no such branch, or the forge cannot be asked.
pub(crate) async fn resolved(forge: &dyn Forge, name: &str) -> Result<String, StepError> {
    if is_object_id(name) {
        return Ok(name.to_owned());
    }
    match forge.branch(name).await.map_err(Failure::unchanged)? {
        Some(id) => Ok(id),
        None => Err(StepError::not_started(format!(
            "{}: there is no branch {name} in {}, or this credential may not see it",
            forge.name(),
            forge.repository()
        ))),
    }
}

/// The commit that a branch is at, which is the expected one where one is expected.
///
/// # Errors
/// It is at another one, there is no such branch, or the forge cannot be asked.
pub(crate) async fn expected(forge: &dyn Forge, name: &str, expected: Option<&str>) -> Result<String, StepError> {
    let found = resolved(forge, name).await?;
    match expected {
        Some(expected) if expected != found => Err(StepError::not_started(format!(
            "{}: {name} has moved on since the step was made up (found {found}, expected {expected}); propose again",
            forge.name()
        ))),
        _ => Ok(found),
    }
}

/// A commit in a list, in the words of its people.
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) author: String,
    pub(crate) title: String,
}

/// Commits, a line each.
pub(crate) fn commits(found: impl Iterator<Item = Listed>, limit: u32) -> StepOutput {
    let lines: Vec<String> = found
        .take(limit as usize)
        .map(|one| {
            let (id, at) = (visible(&one.id), visible(&one.at));
            format!("{id} {at} {} {}", quoted(&one.author, 80), quoted(&one.title, 200))
        })
        .collect();
    StepOutput::text(if lines.is_empty() { "no commits".into() } else { lines.join("\n") })
}

/// A file with what a change of it has to name.
///
/// # Errors
/// It is not there, is no file, or is too large.
pub(crate) async fn file(forge: &dyn Forge, path: &str, name: &str) -> Result<StepOutput, StepError> {
    let at = resolved(forge, name).await?;
    let mut snapshot = Snapshot::of(forge, &at).await?;
    let Some((entry, mode)) = snapshot.file(path).await? else {
        return Err(StepError::not_started(format!("{path}: there is no such file in {name} ({at})")));
    };
    let file = side(forge, path, &entry, mode).await?;
    let head = format!("{path} at {name}\nbaseSha: {at}\nblobSha: {}\nmode: {}\n", entry.id, mode.octal());
    let size = file.bytes.len();
    let text = match std::str::from_utf8(&file.bytes) {
        Ok(text) if !text.contains('\0') => {
            let cut = text.floor_char_boundary(MAX_SHOWN);
            let end = if cut < text.len() {
                format!("\n[… {} of {size} bytes not shown …]", size - cut)
            } else {
                String::new()
            };
            format!("{head}size: {size} bytes\n\n{}{end}", visible(&text[..cut]))
        }
        _ => format!("{head}size: {size} bytes, not text"),
    };
    Ok(StepOutput::text(text))
}
