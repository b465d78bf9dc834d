//! Everything that differs between databases: how one is opened, what its errors mean, whose clock counts.
//! PostgreSQL joins here (row locks are already asked for everywhere; SQLite, with one writer, ignores them).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rounds_core::ports::StoreError;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr, sqlx};

use crate::StoreOptions;
use crate::error::Fail;
use crate::key::owners_only;
use crate::tx::retrying;

/// The pools: one connection that writes, some that read.
pub(crate) struct Pools {
    pub(crate) writer: DatabaseConnection,
    pub(crate) reader: DatabaseConnection,
}

pub(crate) async fn connect(options: &StoreOptions) -> Result<Pools, StoreError> {
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
    let fail = |error: DbErr| match explain(&error) {
        StoreError::Unavailable { message } => {
            StoreError::Unavailable { message: format!("{} cannot be opened: {message}", path.display()) }
        }
        other => other,
    };
    let told = |failed: Fail| match failed {
        Fail::Db(error) => fail(error),
        other => other.into(),
    };
    let writer = opened(&open(1, false)).await.map_err(told)?;
    let reader = opened(&open(options.readers.max(1), true)).await.map_err(told)?;
    Ok(Pools { writer, reader })
}

/// Switching a new file to WAL answers "locked" at once, whatever the busy timeout, while another start does it.
async fn opened(options: &ConnectOptions) -> Result<DatabaseConnection, Fail> {
    retrying(|| async { Database::connect(options.clone()).await.map_err(Fail::from) }).await
}

fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let Some(rest) = url.strip_prefix("sqlite:") else {
        // Never the whole address: it may hold a password.
        return Err(StoreError::Invalid(format!(
            "a database address `{scheme}:…` is not known here; `sqlite:///absolute/path/rounds.db` is accepted"
        )));
    };
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

/// The time that leases run by, in microseconds. All processes that share a SQLite file share a machine, so its
/// clock is the store's; a database server's own clock counts otherwise.
#[allow(clippy::disallowed_methods, reason = "the one place that reads lease time")]
pub(crate) async fn lease_now(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    match db.get_database_backend() {
        DbBackend::Sqlite => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Ok(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        }
        other => Err(DbErr::Custom(format!("{other:?} is not supported yet"))),
    }
}

/// Takes what keeps a second process from migrating at the same time. SQLite's write lock already does.
pub(crate) async fn lock_migrations(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    match db.get_database_backend() {
        DbBackend::Sqlite => Ok(()),
        other => Err(DbErr::Custom(format!("{other:?} is not supported yet"))),
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// SQLite's primary result code; extended codes hold it in their low byte.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    match sqlx_error(error)? {
        sqlx::Error::Database(error) => error.code()?.parse::<u32>().ok().map(|code| code & 0xff),
        _ => None,
    }
}

const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const NOT_A_DATABASE: u32 = 26;
const ERROR: u32 = 1;

/// Whether another writer was in the way.
pub(crate) fn is_busy(error: &DbErr) -> bool {
    matches!(sqlite_code(error), Some(BUSY | LOCKED))
}

/// What a unique constraint refused, as the database says it; `None` for any other error.
pub(crate) fn unique_violation(error: &DbErr) -> Option<String> {
    match error.sql_err() {
        Some(sea_orm::SqlErr::UniqueConstraintViolation(message)) => Some(message),
        _ => None,
    }
}

/// An error of the database, for the person who must act.
pub(crate) fn explain(error: &DbErr) -> StoreError {
    let message = error.to_string();
    let corrupt = |message: String| StoreError::Corrupt { what: "the database".into(), message };
    match (sqlite_code(error), sqlx_error(error), error) {
        (Some(CORRUPT | NOT_A_DATABASE), ..) => {
            corrupt(format!("{message}: it is damaged or no SQLite database; restore a backup"))
        }
        (Some(ERROR), ..) if message.contains("no such") => {
            corrupt(format!("{message}: its tables are not those of this version; run the migrations"))
        }
        (_, Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_)), _)
        | (_, None, DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::Json(_)) => corrupt(message),
        (_, None, DbErr::Migration(_) | DbErr::Custom(_)) => corrupt(message),
        _ => StoreError::Unavailable { message },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_accepted_and_passwords_are_not_repeated() {
        for (url, path) in [
            ("sqlite:///var/lib/rounds.db", "/var/lib/rounds.db"),
            ("sqlite://rounds.db?mode=rwc", "rounds.db"),
            ("sqlite:rounds.db", "rounds.db"),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), Path::new(path));
        }
        for url in ["sqlite::memory:", "sqlite:", "sqlite://x.db?cache=shared", "rounds.db", ""] {
            assert!(matches!(sqlite_path(url), Err(StoreError::Invalid(_))), "{url}");
        }
        let refused = sqlite_path("postgres://ada:hunter2@db/rounds").unwrap_err().to_string();
        assert!(refused.contains("`postgres:…`") && !refused.contains("hunter2"), "{refused}");
    }
}
