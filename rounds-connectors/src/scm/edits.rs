//! What a step comes to against one commit: each file before and after.

use rounds_core::step::StepError;

use super::changes::{Change, MAX_FILE, replaced};
use super::forge::{Failure, Forge};
use super::names::short;
use super::paths::PathRules;
use super::tree::{Difference, Entry, FileMode, Kind, Snapshot, differences};

/// What a step is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work<'a> {
    /// These changes; `base_sha`: the commit that they were made up against.
    Changes { changes: &'a [Change], base_sha: Option<&'a str> },
    /// Taking back one commit, seen from its parent of this number, counted from 1.
    Revert { commit: &'a str, parent: Option<u32> },
}

/// A file on one side of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) mode: FileMode,
    pub(crate) bytes: Vec<u8>,
    /// The id of the blob, when the repository has it already.
    pub(crate) id: Option<String>,
}

/// One file, before and after; not the same on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) path: String,
    pub(crate) before: Option<Side>,
    pub(crate) after: Option<Side>,
}

/// What the work comes to against a commit.
///
/// # Errors
/// A file is not as the step expects it, may not be touched, or would not change; nothing was changed.
pub(crate) async fn work_out(
    forge: &dyn Forge,
    base: &str,
    at: &str,
    work: Work<'_>,
    rules: &PathRules,
) -> Result<Vec<Edit>, StepError> {
    let mut now = Snapshot::of(forge, at).await?;
    let mut edits = match work {
        Work::Changes { changes, base_sha } => changed(forge, &mut now, changes, base_sha).await?,
        Work::Revert { commit, parent } => reverted(forge, &mut now, base, commit, parent, rules).await?,
    };
    // A lone file that is as it would be hides a mistake; among others it is no reason to stop.
    edits.retain(|edit| match (&edit.before, &edit.after) {
        (Some(before), Some(after)) => before.mode != after.mode || before.bytes != after.bytes,
        _ => true,
    });
    if edits.is_empty() {
        return Err(StepError::not_started(format!("nothing would change: {base} is that way already")));
    }
    edits.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(edits)
}

async fn changed(
    forge: &dyn Forge,
    now: &mut Snapshot<'_>,
    changes: &[Change],
    base_sha: Option<&str>,
) -> Result<Vec<Edit>, StepError> {
    let mut then = match base_sha {
        Some(id) if id != now.commit.id => Some(Snapshot::of(forge, id).await?),
        _ => None,
    };
    let mut edits = Vec::new();
    for change in changes {
        let path = &change.path;
        let refuse = |why: String| Err(StepError::not_started(format!("{path}: {why}")));
        let found = now.file(path).await?;
        if let Some(then) = &mut then {
            let expected = then.file(path).await?;
            if expected != found {
                return refuse(format!(
                    "it is not as it was in {}, which the change was made against (found {}, expected {}); propose again",
                    short(&then.commit.id),
                    described(found.as_ref()),
                    described(expected.as_ref())
                ));
            }
        }
        match (&change.blob_sha, &found) {
            (Some(expected), Some((entry, _))) if entry.id != *expected => {
                return refuse(format!(
                    "it has changed since the change was made up (found blob {}, expected {expected}); propose again",
                    entry.id
                ));
            }
            (Some(expected), None) => {
                return refuse(format!("it is not there (expected blob {expected}); propose again"));
            }
            // Whole files, over something that the proposer has not shown to know.
            (None, Some((entry, _))) if change.content.is_some() && base_sha.is_none() => {
                return refuse(format!(
                    "it is there already; a change of it that names `blobSha` {} (or the step's `baseSha`) is accepted",
                    entry.id
                ));
            }
            _ => {}
        }
        let before = match &found {
            Some((entry, mode)) => Some(side(forge, path, entry, *mode).await?),
            None => None,
        };
        let mode = before.as_ref().map_or(FileMode::Regular, |side| side.mode);
        let written = |bytes: Vec<u8>| Some(Side { mode, bytes, id: None });
        let after = match (&change.content, &change.replace, &before) {
            (Some(content), _, _) => written(content.clone().into_bytes()),
            (None, Some(list), Some(before)) => {
                written(replaced(path, &before.bytes, list).map_err(StepError::not_started)?)
            }
            (None, _, None) => return refuse("it is not there".into()),
            (None, None, Some(_)) => None,
        };
        edits.push(Edit { path: path.clone(), before, after });
    }
    Ok(edits)
}

fn described(found: Option<&(Entry, FileMode)>) -> String {
    found.map_or_else(|| "no file".into(), |(entry, _)| format!("blob {}", short(&entry.id)))
}

async fn reverted(
    forge: &dyn Forge,
    now: &mut Snapshot<'_>,
    base: &str,
    commit: &str,
    parent: Option<u32>,
    rules: &PathRules,
) -> Result<Vec<Edit>, StepError> {
    let refuse = |why: String| Err(StepError::not_started(format!("commit {}: {why}", short(commit))));
    let mut theirs = Snapshot::of(forge, commit).await?;
    let parents = theirs.commit.parents.clone();
    let parent = match (parents.as_slice(), parent) {
        ([], _) => return refuse("it is the first of its history, so there is nothing to go back to".into()),
        ([only], None | Some(1)) => only.clone(),
        (many, Some(number)) => match (number as usize).checked_sub(1).and_then(|at| many.get(at)) {
            Some(one) => one.clone(),
            None => return refuse(format!("parent: found {number}; 1 to {} is accepted", many.len())),
        },
        (many, None) => {
            let listed: Vec<String> =
                many.iter().enumerate().map(|(at, id)| format!("{} ({})", at + 1, short(id))).collect();
            return refuse(format!(
                "it is a merge; `parent`, the number of the side that stays, is accepted: {} (1 is the branch merged into)",
                listed.join(", ")
            ));
        }
    };
    if !forge.contains(base, commit).await.map_err(Failure::unchanged)? {
        return refuse(format!("{base} does not hold it; a commit of that branch is accepted"));
    }
    let mut before = Snapshot::of(forge, &parent).await?;
    let mut edits = Vec::new();
    let mut touched = Vec::new();
    for Difference { path, before: old, after: new } in differences(&mut before, &mut theirs).await? {
        rules.permit(&path).map_err(|refused| StepError::from(refused.about(format!("commit {}", short(commit)))))?;
        let (old, new) = (file(&path, old)?, file(&path, new)?);
        let found = now.file(&path).await?;
        if found == old {
            continue;
        }
        if found != new {
            touched.push(path);
            continue;
        }
        edits.push(Edit { before: sided(forge, &path, new).await?, after: sided(forge, &path, old).await?, path });
    }
    if !touched.is_empty() {
        return refuse(format!(
            "later commits touched the same files, so taking it back would undo those, too: {}; a revert by hand, or a \
             change of these files, is accepted",
            touched.join(", ")
        ));
    }
    Ok(edits)
}

fn file(path: &str, entry: Option<Entry>) -> Result<Option<(Entry, FileMode)>, StepError> {
    let Some(entry) = entry else { return Ok(None) };
    match entry.kind {
        Kind::File(mode) => Ok(Some((entry, mode))),
        Kind::Symlink | Kind::Submodule | Kind::Folder => Err(StepError::not_started(format!(
            "{path}: the commit changes a symbolic link or a submodule; only files are taken back"
        ))),
    }
}

async fn sided(forge: &dyn Forge, path: &str, found: Option<(Entry, FileMode)>) -> Result<Option<Side>, StepError> {
    match found {
        Some((entry, mode)) => side(forge, path, &entry, mode).await.map(Some),
        None => Ok(None),
    }
}

/// A file as it is in the repository.
pub(crate) async fn side(forge: &dyn Forge, path: &str, entry: &Entry, mode: FileMode) -> Result<Side, StepError> {
    let bytes = forge.blob(&entry.id).await.map_err(Failure::unchanged)?;
    if bytes.len() > MAX_FILE {
        let found = bytes.len();
        return Err(StepError::not_started(format!("{path}: found {found} bytes; up to {MAX_FILE} are accepted")));
    }
    Ok(Side { mode, bytes, id: Some(entry.id.clone()) })
}
