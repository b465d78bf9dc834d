//! Short-lived files: a directory per connector, held by a lock for as long as the process lives, so that what a
//! crash left behind is known to be nobody's and is removed at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

const PREFIX: &str = "rounds-run-";
/// Before it has its lock.
const STAGING: &str = "rounds-new-";
const LOCK: &str = "lock";
/// Nobody takes this long from making a directory to naming it.
const STALE: Duration = Duration::from_secs(3600);

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
        sweep_run_dirs(parent);
        // Locked before it gets the name that `sweep` looks for: a directory with that name and a free lock is dead.
        let private = fs::Permissions::from_mode(0o700);
        let staging = tempfile::Builder::new().prefix(STAGING).permissions(private).tempdir_in(parent)?;
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(staging.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        for part in ["home", "cache"] {
            DirBuilder::new().mode(0o700).create(staging.path().join(part))?;
        }
        let name =
            staging.path().file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(STAGING));
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

/// Removes from `parent` the private directories of connectors whose process is gone, with the credentials that may
/// be in them. To be called when a server starts, since the first call of a connector, which does it too, may be days
/// away. Directories that are held, and everything else in `parent`, stay.
pub fn sweep_run_dirs(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        // `file_type` does not follow links.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        // Held until it is removed.
        let lock = File::open(path.join(LOCK));
        let dead = match &lock {
            _ if name.starts_with(STAGING) => is_stale(&entry),
            _ if !name.starts_with(PREFIX) => false,
            Ok(lock) => lock.try_lock().is_ok(),
            // It got its name with the lock in it: who lost the lock died while removing the rest.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !dead {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed the run directory of a process that is gone"),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the run directory of a process that is gone could not be removed");
            }
        }
    }
}

fn is_stale(entry: &fs::DirEntry) -> bool {
    let made = entry.metadata().and_then(|data| data.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > STALE))
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

    #[test]
    fn rule_12_a_start_sweeps_what_lost_its_lock_or_never_got_one_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let held = RunDir::create(parent.path()).unwrap();
        let make = |name: &str| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("kubeconfig"), "secret").unwrap();
            dir
        };
        let halfway = make("rounds-run-halfway");
        let (old, young) = (make("rounds-new-old"), make("rounds-new-young"));
        let foreign = make("somebodys");
        let then = std::time::SystemTime::UNIX_EPOCH;
        File::open(&old).unwrap().set_modified(then).unwrap();
        sweep_run_dirs(parent.path());
        assert!(!halfway.exists() && !old.exists());
        assert!(young.exists() && foreign.exists() && held.path.exists());
        sweep_run_dirs(&parent.path().join("not there"));
    }
}
