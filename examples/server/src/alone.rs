//! Whether this is the only server on a SQLite file. A second one is not refused: leases in the database keep two from driving
//! one plan, and it may be there because the first hangs. But nobody should have two without knowing it: they do not hear of
//! each other's commits, and each counts its own caps.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A lock on the database's behalf, for as long as it lives. The system takes it away from a process that dies.
#[derive(Debug)]
pub(crate) struct Alone {
    _lock: File,
}

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody else.
    Alone(Alone),
    /// Another process, by its id when it can be read.
    Another(Option<u32>),
    /// Nothing can be said: this place has no locks, or cannot be written to.
    Unknown(io::Error),
}

/// Looks, and holds the lock when nobody does.
pub(crate) fn claim(database: &Path) -> Found {
    try_claim(database).unwrap_or_else(Found::Unknown)
}

fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".server");
    path.into()
}

fn try_claim(database: &Path) -> io::Result<Found> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.open(path_of(database))?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0)?;
            write!(lock, "{}", std::process::id())?;
            Ok(Found::Alone(Alone { _lock: lock }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // It may be about to write it.
            let _ = lock.take(20).read_to_string(&mut text);
            Ok(Found::Another(text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Looks, and says so in the log when there is another.
pub(crate) fn look(database: &Path) -> Option<Alone> {
    match claim(database) {
        Found::Alone(alone) => Some(alone),
        Found::Another(process) => {
            let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
            tracing::warn!(
                "another server{process} uses {}: SQLite serves one. Stop one of them, or give each a data directory of its \
                 own; several servers want PostgreSQL (DATABASE_URL)",
                database.display()
            );
            None
        }
        Found::Unknown(error) => {
            tracing::warn!(
                %error,
                "whether another server uses {} cannot be said: its place has no locks, and SQLite needs them", database.display()
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_on_a_database_is_noticed_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("rounds.db"), dir.path().join("other.db"));
        let Found::Alone(first) = claim(&ours) else { panic!("nobody else is there") };
        assert!(matches!(claim(&ours), Found::Another(Some(id)) if id == std::process::id()));
        assert!(matches!(claim(&other), Found::Alone(_)), "another database is another matter");
        drop(first);
        assert!(matches!(claim(&ours), Found::Alone(_)), "what a server leaves behind stops nobody");
        assert!(matches!(claim(&dir.path().join("no/such/place.db")), Found::Unknown(_)));
    }
}
