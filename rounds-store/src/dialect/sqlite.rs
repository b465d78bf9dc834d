//! SQLite: one file on this machine, one connection that writes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rounds_core::ports::StoreError;
use sea_orm::sqlx::error::DatabaseError as _;
use sea_orm::sqlx::sqlite::{SqliteError, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, sqlx};

use super::{Pools, not_opened, sqlx_error};
use crate::StoreOptions;
use crate::error::Fail;
use crate::key::owners_only;
use crate::tx::retrying;

pub(super) async fn connect(options: &StoreOptions) -> Result<Pools, StoreError> {
    let path = sqlite_path(&options.url)?;
    create_private(&path)?;
    let url = "sqlite:placeholder";
    let open = |connections: u32, query_only: bool| {
        let mut connect = ConnectOptions::new(url);
        let (path, busy_timeout) = (path.clone(), options.busy_timeout);
        connect
            .max_connections(connections)
            .min_connections(1)
            // Statements hold secrets as parameters; neither logs nor spans may record them.
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            // A file on this machine does not go away while it is idle.
            .test_before_acquire(false)
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
            .map_sqlx_sqlite_opts(move |sqlite| {
                sqlite
                    .filename(&path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A committed intent must survive power loss (rule 4).
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(busy_timeout)
                    .pragma("query_only", if query_only { "ON" } else { "OFF" })
            });
        connect
    };
    let told = |failed: Fail| not_opened(&path.display().to_string(), failed);
    let writer = opened(&open(1, false)).await.map_err(told)?;
    let reader = opened(&open(options.readers.max(1), true)).await.map_err(told)?;
    Ok(Pools { writer, reader })
}

/// Switching a new file to WAL answers "locked" at once, whatever the busy timeout, while another start does it.
async fn opened(options: &ConnectOptions) -> Result<DatabaseConnection, Fail> {
    retrying(|| async { Database::connect(options.clone()).await.map_err(Fail::from) }).await
}

fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (path, parameters) = path.split_once('?').unwrap_or((path, ""));
    if !matches!(parameters, "" | "mode=rw" | "mode=rwc") {
        return Err(StoreError::Invalid(format!(
            "`?{parameters}` after a database path means nothing here; leave it out"
        )));
    }
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Invalid(
            "the database must be a file, so that what was approved survives a restart; \
             for tests, rounds_core::testing::MemoryStore needs none"
                .into(),
        ));
    }
    Ok(path.into())
}

/// Makes the file before SQLite does, for its owner's eyes only; SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    match owners_only().open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            warn_if_exposed(path);
            Ok(())
        }
        Err(error) => Err(StoreError::Unavailable {
            message: format!("{} cannot be made: {error}; its folder must exist and be writable", path.display()),
        }),
    }
}

#[cfg(unix)]
fn warn_if_exposed(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        // Whoever widened it may have a reason, such as backups by a group; the secrets in it are sealed.
        tracing::warn!(path = %path.display(), "the database can be read by others than its owner; consider chmod 600");
    }
}

#[cfg(not(unix))]
fn warn_if_exposed(_path: &Path) {}

/// Microseconds since 1970 by this machine's clock.
#[allow(clippy::disallowed_methods, reason = "the one place that reads lease time")]
pub(super) fn lease_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// SQLite's primary result code; extended codes hold it in their low byte.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    match sqlx_error(error)? {
        sqlx::Error::Database(error) => {
            let error = error.try_downcast_ref::<SqliteError>()?;
            error.code()?.parse::<u32>().ok().map(|code| code & 0xff)
        }
        _ => None,
    }
}

const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const NOT_A_DATABASE: u32 = 26;
const ERROR: u32 = 1;

/// Whether another writer was in the way.
pub(super) fn is_busy(error: &DbErr) -> bool {
    matches!(sqlite_code(error), Some(BUSY | LOCKED))
}

/// What only SQLite's codes say.
pub(super) fn explain(error: &DbErr) -> Option<StoreError> {
    let message = error.to_string();
    let corrupt = |message: String| Some(StoreError::Corrupt { what: "the database".into(), message });
    match sqlite_code(error)? {
        CORRUPT | NOT_A_DATABASE => {
            corrupt(format!("{message}: it is damaged or no SQLite database; restore a backup"))
        }
        ERROR if message.contains("no such") => {
            corrupt(format!("{message}: its tables are not those of this version; run the migrations"))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_accepted() {
        for (url, path) in [
            ("sqlite:///var/lib/rounds.db", "/var/lib/rounds.db"),
            ("sqlite://rounds.db?mode=rwc", "rounds.db"),
            ("sqlite:rounds.db", "rounds.db"),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), Path::new(path));
        }
        for url in ["sqlite::memory:", "sqlite:", "sqlite://x.db?cache=shared", ""] {
            assert!(matches!(sqlite_path(url), Err(StoreError::Invalid(_))), "{url}");
        }
    }
}
