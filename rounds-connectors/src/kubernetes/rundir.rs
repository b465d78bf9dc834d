//! Short-lived files: a directory per connector, held by a lock for as long as the process lives, so that what a
//! crash left behind is known to be nobody's and is removed at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const PREFIX: &str = "rounds-run-";
const LOCK: &str = "lock";

/// A private directory, removed when dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes one in `parent`, and removes those that dead processes left there.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        sweep(parent);
        // Locked before it gets the name that `sweep` looks for: a directory with that name and a free lock is dead.
        let private = fs::Permissions::from_mode(0o700);
        let staging = tempfile::Builder::new().prefix("rounds-new-").permissions(private).tempdir_in(parent)?;
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(staging.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        for part in ["home", "cache"] {
            DirBuilder::new().mode(0o700).create(staging.path().join(part))?;
        }
        let name =
            staging.path().file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("rounds-new-"));
        let path = parent.join(format!("{PREFIX}{}", name.unwrap_or("0")));
        fs::rename(staging.path(), &path)?;
        let _moved = staging.keep();
        Ok(Self { path, _lock: lock })
    }

    /// An empty home directory for child processes.
    pub(crate) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// kubectl's cache of what the server offers.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// A file that only this user can read, removed when the value is dropped.
    pub(crate) fn file(&self, contents: &str) -> io::Result<NamedTempFile> {
        let mut file = tempfile::Builder::new().prefix("file-").tempfile_in(&self.path)?;
        file.write_all(contents.as_bytes())?;
        file.flush()?;
        Ok(file)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a run directory could not be removed; the next start tries again");
        }
    }
}

/// Removes the directories whose process is gone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // `file_type` does not follow links.
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() && fs::remove_dir_all(entry.path()).is_ok() {
            tracing::info!(path = %entry.path().display(), "removed the run directory of a process that is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_12_files_are_private_and_gone_with_their_value() {
        let parent = tempfile::tempdir().unwrap();
        let dir = RunDir::create(parent.path()).unwrap();
        let file = dir.file("secret").unwrap();
        let path = file.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir.path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(file);
        assert!(!path.exists());
        drop(dir);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn rule_12_the_next_start_sweeps_what_a_dead_process_left_and_nothing_that_is_held() {
        let parent = tempfile::tempdir().unwrap();
        let held = RunDir::create(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("kubeconfig"), "secret").unwrap();
        let _next = RunDir::create(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(held.path.exists());
    }
}
