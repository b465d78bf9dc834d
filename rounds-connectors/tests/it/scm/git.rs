//! Git's objects in memory, with the ids that git gives them, and branches.

use std::collections::BTreeMap;

use sha1::{Digest as _, Sha1};

/// A folder's entries: mode and id by name.
pub(crate) type Tree = BTreeMap<String, (String, String)>;
/// All files below a folder: mode and id by path.
pub(crate) type Files = BTreeMap<String, (String, String)>;

#[derive(Clone)]
pub(crate) enum Object {
    Blob(Vec<u8>),
    Tree(Tree),
    Commit { tree: String, parents: Vec<String>, message: String },
}

#[derive(Default)]
pub(crate) struct Git {
    pub(crate) objects: BTreeMap<String, Object>,
    /// Commits by the names of branches.
    pub(crate) branches: BTreeMap<String, String>,
    made: u64,
}

fn hashed(kind: &str, bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    hash.update(bytes);
    hex::encode(hash.finalize())
}

impl Git {
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> String {
        let id = hashed("blob", bytes);
        self.objects.insert(id.clone(), Object::Blob(bytes.to_vec()));
        id
    }

    pub(crate) fn tree(&mut self, tree: Tree) -> String {
        // Git sorts folders as if their names ended with a slash.
        let mut entries: Vec<_> = tree.iter().collect();
        entries.sort_by_key(|(name, (mode, _))| if mode == "040000" { format!("{name}/") } else { (*name).clone() });
        let mut bytes = Vec::new();
        for (name, (mode, id)) in entries {
            bytes.extend_from_slice(mode.trim_start_matches('0').as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&hex::decode(id).unwrap());
        }
        let id = hashed("tree", &bytes);
        self.objects.insert(id.clone(), Object::Tree(tree));
        id
    }

    pub(crate) fn commit(&mut self, tree: &str, parents: &[String], message: &str) -> String {
        self.made += 1;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        let who = format!("A Person <person@example.com> {} +0000", 1_700_000_000 + self.made);
        text.push_str(&format!("author {who}\ncommitter {who}\n\n{message}"));
        let id = hashed("commit", text.as_bytes());
        let commit = Object::Commit { tree: tree.into(), parents: parents.to_vec(), message: message.into() };
        self.objects.insert(id.clone(), commit);
        id
    }

    /// A folder of these files.
    pub(crate) fn tree_of(&mut self, files: &Files) -> String {
        let mut here = Tree::new();
        let mut below: BTreeMap<String, Files> = BTreeMap::new();
        for (path, entry) in files {
            match path.split_once('/') {
                Some((folder, rest)) => {
                    below.entry(folder.to_owned()).or_default().insert(rest.to_owned(), entry.clone());
                }
                None => {
                    here.insert(path.clone(), entry.clone());
                }
            }
        }
        for (folder, files) in below {
            let id = self.tree_of(&files);
            here.insert(folder, ("040000".into(), id));
        }
        self.tree(here)
    }

    /// All files below a folder.
    pub(crate) fn files(&self, tree: &str) -> Files {
        let Some(Object::Tree(entries)) = self.objects.get(tree) else { return Files::new() };
        let mut files = Files::new();
        for (name, (mode, id)) in entries {
            if mode == "040000" {
                files.extend(self.files(id).into_iter().map(|(path, entry)| (format!("{name}/{path}"), entry)));
            } else {
                files.insert(name.clone(), (mode.clone(), id.clone()));
            }
        }
        files
    }

    pub(crate) fn parts(&self, commit: &str) -> Option<(String, Vec<String>, String)> {
        match self.objects.get(commit)? {
            Object::Commit { tree, parents, message } => Some((tree.clone(), parents.clone(), message.clone())),
            Object::Blob(_) | Object::Tree(_) => None,
        }
    }

    pub(crate) fn files_of(&self, commit: &str) -> Files {
        self.parts(commit).map(|(tree, ..)| self.files(&tree)).unwrap_or_default()
    }

    /// The text of a file of a commit.
    pub(crate) fn text(&self, commit: &str, path: &str) -> Option<String> {
        let (_, id) = self.files_of(commit).get(path)?.clone();
        match self.objects.get(&id)? {
            Object::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Object::Tree(_) | Object::Commit { .. } => None,
        }
    }

    /// One more commit on a branch: files by path; `None` deletes; a mode may stand before the path, as in `100755:run.sh`.
    pub(crate) fn push(&mut self, branch: &str, message: &str, changes: &[(&str, Option<&str>)]) -> String {
        let parent = self.branches.get(branch).cloned();
        let mut files = parent.as_ref().map(|id| self.files_of(id)).unwrap_or_default();
        for (path, content) in changes {
            let (mode, path) = path.split_once(':').unwrap_or(("100644", path));
            match content {
                Some(content) => {
                    let id = self.blob(content.as_bytes());
                    files.insert((*path).to_owned(), (mode.to_owned(), id));
                }
                None => {
                    files.remove(path);
                }
            }
        }
        let tree = self.tree_of(&files);
        let parents: Vec<String> = parent.into_iter().collect();
        let id = self.commit(&tree, &parents, message);
        self.branches.insert(branch.into(), id.clone());
        id
    }

    /// A commit and all before it.
    pub(crate) fn history(&self, commit: &str) -> Vec<String> {
        let (mut seen, mut left) = (Vec::new(), vec![commit.to_owned()]);
        while let Some(id) = left.pop() {
            if !seen.contains(&id) {
                left.extend(self.parts(&id).map(|(_, parents, _)| parents).unwrap_or_default());
                seen.push(id);
            }
        }
        seen
    }
}

#[test]
fn ids_are_those_of_git() {
    let mut git = Git::default();
    assert_eq!(git.blob(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!(git.tree(Tree::new()), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
}
