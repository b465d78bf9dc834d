//! Everything that differs between databases: how one is opened, what its errors mean, whose clock counts, how others
//! hear of a commit. The rest of this crate does not know which one it works on.

mod postgres;
mod sqlite;
mod wire;

use rounds_core::ports::StoreError;
use rounds_core::ports::store::RecordKind;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, sqlx};
use tokio::sync::broadcast;

use crate::StoreOptions;
use crate::error::Fail;
use crate::tables::Tables;

pub(crate) use wire::Wire;

/// The pools: some connections that write (one, on SQLite), and some that read. A write never waits for a connection
/// that a read holds, nor the other way round.
pub(crate) struct Pools {
    pub(crate) writer: DatabaseConnection,
    pub(crate) reader: DatabaseConnection,
}

/// Opens whatever the address names.
pub(crate) async fn connect(options: &StoreOptions) -> Result<Pools, StoreError> {
    match options.url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "sqlite" => sqlite::connect(options).await,
        "postgres" | "postgresql" => postgres::connect(options).await,
        // Never the whole address: it may hold a password.
        scheme => Err(StoreError::Invalid(format!(
            "a database address `{scheme}:…` is not known here; `sqlite:///absolute/path/rounds.db` and \
             `postgres://user:password@host:5432/database` are accepted"
        ))),
    }
}

/// The time that leases run by, in microseconds. All processes that share a SQLite file share a machine, so its
/// clock is the store's; a database server's own clock counts otherwise.
pub(crate) async fn lease_now(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    match db.get_database_backend() {
        DbBackend::Sqlite => Ok(sqlite::lease_now()),
        DbBackend::Postgres => postgres::lease_now(db).await,
        other => Err(unknown(other)),
    }
}

/// The same inside of a statement, where the database has a clock.
pub(crate) fn lease_clock() -> Expr {
    postgres::clock()
}

/// Keeps a second process from migrating until the transaction has ended. SQLite's write lock already does.
pub(crate) async fn lock_migrations(db: &impl ConnectionTrait, tables: &Tables) -> Result<(), DbErr> {
    match db.get_database_backend() {
        DbBackend::Sqlite => Ok(()),
        DbBackend::Postgres => postgres::lock_migrations(db, tables).await,
        other => Err(unknown(other)),
    }
}

/// Starts telling and hearing of commits; `None` on SQLite, where processes that share a file hear by polling.
pub(crate) async fn wire(
    db: &DatabaseConnection,
    tables: &Tables,
    me: &str,
    wakes: &broadcast::Sender<RecordKind>,
) -> Result<Option<Wire>, StoreError> {
    match db.get_database_backend() {
        DbBackend::Postgres => Wire::open(db, tables, me, wakes).await.map(Some),
        _ => Ok(None),
    }
}

fn unknown(backend: DbBackend) -> DbErr {
    DbErr::Custom(format!("{backend:?} is not known here"))
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Whether the same work, from its start, may pass a moment later: another writer was in the way, or the connection
/// was lost before anything was committed.
pub(crate) fn is_busy(error: &DbErr) -> bool {
    sqlite::is_busy(error) || postgres::is_busy(error)
}

/// Whether a commit that answered this error has certainly not happened: the database itself said so. An answer that
/// got lost says nothing.
pub(crate) fn is_undone(error: &DbErr) -> bool {
    matches!(sqlx_error(error), Some(sqlx::Error::Database(_))) && !postgres::is_ending(error)
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
    if let Some(explained) = sqlite::explain(error).or_else(|| postgres::explain(error)) {
        return explained;
    }
    let message = error.to_string();
    match (sqlx_error(error), error) {
        (Some(sqlx::Error::PoolClosed), _) | (_, DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)) => {
            StoreError::Closed
        }
        (Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_)), _)
        | (None, DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::Json(_) | DbErr::Migration(_) | DbErr::Custom(_)) => {
            StoreError::Corrupt { what: "the database".into(), message }
        }
        _ => StoreError::Unavailable { message },
    }
}

/// An error on the way to an open database.
fn not_opened(what: &str, failed: Fail) -> StoreError {
    match StoreError::from(failed) {
        StoreError::Unavailable { message } => {
            StoreError::Unavailable { message: format!("{what} cannot be opened: {message}") }
        }
        other => other,
    }
}

/// One value that an expression of SQL answers.
async fn ask<T: sea_orm::TryGetable>(db: &impl ConnectionTrait, expression: Expr) -> Result<T, DbErr> {
    let select = Query::select().expr_as(expression, "answer").take();
    let row = db.query_one(&select).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("an expression has a value".into()))?.try_get("", "answer")
}
