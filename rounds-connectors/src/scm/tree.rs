//! Folders and files of a commit, read as far as a question needs.

use std::collections::BTreeMap;

use rounds_core::step::StepError;

use super::changes::MAX_FILES;
use super::forge::{Commit, Failure, Forge};
use super::names::{is_object_id, quoted};
use super::paths::folded;

/// The most folders that one question reads of a commit.
const MAX_FOLDERS: usize = 400;

/// How a file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileMode {
    Regular,
    Executable,
}

impl FileMode {
    /// As git writes it.
    pub(crate) fn octal(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File(FileMode),
    Folder,
    Symlink,
    Submodule,
}

impl Kind {
    /// From the mode that git keeps; `None`: one that git has no longer, or never had.
    pub(crate) fn from_mode(mode: &str) -> Option<Self> {
        Some(match mode {
            "100644" | "100664" => Self::File(FileMode::Regular),
            "100755" => Self::File(FileMode::Executable),
            "040000" | "40000" => Self::Folder,
            "120000" => Self::Symlink,
            "160000" => Self::Submodule,
            _ => return None,
        })
    }
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Entry {
    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id == other.id
    }
}

/// A commit, of which each folder is read at most once.
pub(crate) struct Snapshot<'a> {
    forge: &'a dyn Forge,
    pub(crate) commit: Commit,
    folders: BTreeMap<String, Vec<Entry>>,
}

impl<'a> Snapshot<'a> {
    /// # Errors
    /// There is no such commit, or the forge cannot be asked.
    pub(crate) async fn of(forge: &'a dyn Forge, id: &str) -> Result<Self, StepError> {
        let odd = |why: &str| Err(StepError::not_started(format!("{}: {why}", forge.name())));
        if !is_object_id(id) {
            return odd("the id of a commit is none");
        }
        let commit = forge.commit(id).await.map_err(Failure::unchanged)?;
        if commit.id != id {
            return odd("asked for one commit, got another");
        }
        if !commit.parents.iter().chain(&commit.tree).all(|id| is_object_id(id)) {
            return odd("a commit names what is no id");
        }
        Ok(Self { forge, commit, folders: BTreeMap::new() })
    }

    async fn folder(&mut self, path: &str, tree: Option<&str>) -> Result<&[Entry], StepError> {
        if !self.folders.contains_key(path) {
            if self.folders.len() >= MAX_FOLDERS {
                return Err(StepError::not_started(format!(
                    "{}: more than {MAX_FOLDERS} folders would have to be read; a smaller change is accepted",
                    self.forge.name()
                )));
            }
            let tree = if path.is_empty() { self.commit.tree.as_deref() } else { tree };
            let entries = self.forge.list(&self.commit, path, tree).await.map_err(Failure::unchanged)?;
            // Ids become parts of addresses, and names parts of paths.
            let plain = |entry: &Entry| {
                let name = entry.name.as_str();
                is_object_id(&entry.id)
                    && !name.is_empty()
                    && !name.contains(['/', '\0'])
                    && name != "."
                    && name != ".."
            };
            if !entries.iter().all(plain) {
                let message = format!("{}: a folder has an entry that git does not have", self.forge.name());
                return Err(StepError::not_started(message));
            }
            self.folders.insert(path.to_owned(), entries);
        }
        Ok(self.folders.get(path).map(Vec::as_slice).unwrap_or_default())
    }

    /// The file at a path; `None`: there is nothing, and a file may be made there.
    ///
    /// # Errors
    /// There is something else (a folder, a link, a submodule, on the way or at its end), or something whose name differs
    /// only in case, which some file systems and forges take for the same.
    pub(crate) async fn file(&mut self, path: &str) -> Result<Option<(Entry, FileMode)>, StepError> {
        let refuse = |why: String| Err(StepError::not_started(format!("{path}: {why}")));
        let (mut folder, mut tree): (String, Option<String>) = (String::new(), None);
        let parts: Vec<&str> = path.split('/').collect();
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            let entries = self.folder(&folder, tree.as_deref()).await?;
            let Some(entry) = entries.iter().find(|entry| entry.name == *part) else {
                let alike = entries.iter().find(|entry| folded(&entry.name) == folded(part));
                return match alike {
                    Some(alike) => {
                        let alike = quoted(&alike.name, 120);
                        refuse(format!("there is {alike}, which differs only in case; its spelling is accepted"))
                    }
                    None => Ok(None),
                };
            };
            let here = if folder.is_empty() { (*part).to_owned() } else { format!("{folder}/{part}") };
            match (entry.kind, last) {
                (Kind::File(mode), true) => return Ok(Some((entry.clone(), mode))),
                (Kind::Folder, false) => (folder, tree) = (here, Some(entry.id.clone())),
                (Kind::Folder, true) => return refuse("it is a folder; a file is accepted".into()),
                (Kind::File(_), false) => return refuse(format!("`{here}` is a file, not a folder")),
                (Kind::Symlink, _) => {
                    return refuse(format!("`{here}` is a symbolic link; links are neither changed nor followed"));
                }
                (Kind::Submodule, _) => {
                    return refuse(format!("`{here}` is a submodule; another repository is not changed from here"));
                }
            }
        }
        Ok(None)
    }
}

/// What differs at one path between two commits: what is there, folders left out.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) before: Option<Entry>,
    pub(crate) after: Option<Entry>,
}

/// A folder that is there, and its id where it is known.
struct Folder {
    tree: Option<String>,
}

/// What differs between two commits. Folders that are the same are not read.
///
/// # Errors
/// There are more differences than one step may change, or the forge cannot be asked.
pub(crate) async fn differences(
    before: &mut Snapshot<'_>,
    after: &mut Snapshot<'_>,
) -> Result<Vec<Difference>, StepError> {
    let mut found = Vec::new();
    let root = |snapshot: &Snapshot<'_>| Some(Folder { tree: snapshot.commit.tree.clone() });
    let mut left = vec![(String::new(), root(before), root(after))];
    while let Some((folder, old, new)) = left.pop() {
        let old = match &old {
            Some(there) => before.folder(&folder, there.tree.as_deref()).await?.to_vec(),
            None => Vec::new(),
        };
        let new = match &new {
            Some(there) => after.folder(&folder, there.tree.as_deref()).await?.to_vec(),
            None => Vec::new(),
        };
        let mut names: BTreeMap<&str, (Option<&Entry>, Option<&Entry>)> = BTreeMap::new();
        for entry in &old {
            names.entry(&entry.name).or_default().0 = Some(entry);
        }
        for entry in &new {
            names.entry(&entry.name).or_default().1 = Some(entry);
        }
        for (name, (old, new)) in names {
            if let (Some(old), Some(new)) = (old, new)
                && old.is_same(new)
            {
                continue;
            }
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let tree = |entry: Option<&Entry>| {
                entry.filter(|entry| entry.kind == Kind::Folder).map(|entry| Folder { tree: Some(entry.id.clone()) })
            };
            let leaf = |entry: Option<&Entry>| entry.filter(|entry| entry.kind != Kind::Folder).cloned();
            let (before, after) = (leaf(old), leaf(new));
            if before.is_some() || after.is_some() {
                found.push(Difference { path: path.clone(), before, after });
            }
            if found.len() > MAX_FILES {
                return Err(StepError::not_started(format!(
                    "more than {MAX_FILES} files differ; up to {MAX_FILES} are accepted"
                )));
            }
            let (old, new) = (tree(old), tree(new));
            if old.is_some() || new.is_some() {
                left.push((path, old, new));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
