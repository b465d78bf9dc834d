//! PostgreSQL: many replicas on one database.
//!
//! Transactions are READ COMMITTED, whatever the server's default: every write names the version that it read or
//! holds the row's lock, so a stronger level would only turn waits into failures. A commit waits for the disk
//! (`synchronous_commit`), whatever the server's default: a committed intent must survive power loss (rule 4).

use std::str::FromStr as _;
use std::time::Duration;

use rounds_core::ports::StoreError;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, sqlx};

use super::{Pools, ask, not_opened, sqlx_error};
use crate::StoreOptions;
use crate::error::Fail;
use crate::tables::{MIGRATIONS, Tables};
use crate::tx::retrying;

/// What every session is told. A statement that runs for longer than this is stuck; a transaction that idles belongs
/// to a process that hangs, and its locks are worth more than it.
const SESSION: [(&str, &str); 7] = [
    ("application_name", "rounds"),
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("timezone", "UTC"),
];

/// How long a call waits for a connection of the pool, or for the server, before it is tried again.
const ACQUIRE: Duration = Duration::from_secs(2);
/// A connection that idled for longer is asked whether it still lives.
const UNTRUSTED: Duration = Duration::from_secs(10);

pub(super) async fn connect(options: &StoreOptions) -> Result<Pools, StoreError> {
    let target = target(&options.url)?;
    let what = format!("the database{} at {}", named(&target), place(&target));
    let told = |failed: Fail| not_opened(&what, failed);
    let writer = opened(&target, options.writers).await.map_err(told)?;
    let reader = opened(&target, options.readers).await.map_err(told)?;
    Ok(Pools { writer, reader })
}

/// Its name, where it is plainly one: a password with an unescaped `/` is read as one, too.
fn named(target: &PgConnectOptions) -> String {
    let plain = |name: &&str| name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    target.get_database().filter(plain).map(|name| format!(" {name}")).unwrap_or_default()
}

/// What an address may say beside where and who. Others would be passed over in silence, and with a misspelt `sslmode`
/// the verification of the server.
const PARAMETERS: [&str; 8] = ["host", "hostaddr", "port", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"];

fn check_parameters(url: &str) -> Result<(), StoreError> {
    let (_, parameters) = url.split_once('?').unwrap_or((url, ""));
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split('=').next().unwrap_or_default();
        if !PARAMETERS.contains(&name) {
            // Not what was found: an unescaped `?` of a password begins here, too.
            return Err(StoreError::Invalid(format!(
                "the database address has a parameter that is not known here; accepted: {}; a `?` in a password is \
                 written %3F",
                PARAMETERS.join(", ")
            )));
        }
    }
    Ok(())
}

fn place(target: &PgConnectOptions) -> String {
    match target.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", target.get_host(), target.get_port()),
    }
}

/// The address, read. Its parser's own words are not repeated: they could hold a piece of a password.
fn target(url: &str) -> Result<PgConnectOptions, StoreError> {
    check_parameters(url)?;
    let target = PgConnectOptions::from_str(url).map_err(|_| {
        StoreError::Invalid(
            "the database address is not understood; `postgres://user:password@host:5432/database?sslmode=require` is \
             the form, with odd characters of the password percent-encoded"
                .into(),
        )
    })?;
    // Statements hold secrets as parameters; neither logs nor spans may record them.
    Ok(target
        .options(SESSION.iter().filter(|(name, _)| *name != "application_name").copied())
        .application_name(SESSION[0].1)
        .disable_statement_logging())
}

async fn opened(target: &PgConnectOptions, connections: u32) -> Result<DatabaseConnection, Fail> {
    // The real address is put in its place below, where no span can record it.
    let mut connect = ConnectOptions::new("postgres://placeholder");
    let target = target.clone();
    connect
        .max_connections(connections.max(1))
        .min_connections(1)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire_if_idle_for(UNTRUSTED)
        .map_sqlx_postgres_opts(move |_| target.clone());
    retrying(|| async { Database::connect(connect.clone()).await.map_err(Fail::from) }).await
}

/// Microseconds since 1970 by the server's clock, now and not at the transaction's start.
pub(super) fn clock() -> Expr {
    Expr::cust("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
}

pub(super) async fn lease_now(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    ask(db, clock()).await
}

/// An advisory lock that ends with the transaction. Its number is made of the prefix, so that two installations in one
/// database do not wait for each other.
pub(super) async fn lock_migrations(db: &impl ConnectionTrait, tables: &Tables) -> Result<(), DbErr> {
    // Whoever migrates a large database takes its time, and the others wait for it.
    db.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").await?;
    let name = tables.name(MIGRATIONS);
    let lock = Expr::cust_with_values("pg_advisory_xact_lock(hashtextextended($1, 0))::text", [name]);
    db.query_one(&Query::select().expr(lock).take()).await?;
    Ok(())
}

/// The SQLSTATE of an error that the server answered.
fn state(error: &DbErr) -> Option<String> {
    match sqlx_error(error)? {
        sqlx::Error::Database(error) => {
            error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().map(|error| error.code().to_owned())
        }
        _ => None,
    }
}

/// The server is going away, and may have carried out what it was asked before it did (class 57P).
pub(super) fn is_ending(error: &DbErr) -> bool {
    state(error).is_some_and(|state| state.starts_with("57P"))
}

/// Serialization failure, deadlock, lock timeout, too many connections, a server that starts or stops, a connection
/// that was lost, a pool whose connections are all taken.
pub(super) fn is_busy(error: &DbErr) -> bool {
    if let Some(state) = state(error) {
        return matches!(state.as_str(), "40001" | "40P01" | "55P03" | "53300" | "57P01" | "57P02" | "57P03");
    }
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => true,
        _ => matches!(sqlx_error(error), Some(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut)),
    }
}

/// What only PostgreSQL's codes say, with what would help.
pub(super) fn explain(error: &DbErr) -> Option<StoreError> {
    let message = error.to_string();
    let unavailable = |help: &str| Some(StoreError::Unavailable { message: format!("{message}: {help}") });
    let corrupt =
        |help: &str| Some(StoreError::Corrupt { what: "the database".into(), message: format!("{message}: {help}") });
    match state(error)?.as_str() {
        "28P01" | "28000" => {
            unavailable("check user and password in the database address, and the server's pg_hba.conf")
        }
        "3D000" => unavailable("create the database first: `createdb`"),
        "42501" => unavailable("the user must own the tables, or the schema when they are to be made"),
        "53300" => unavailable("raise the server's max_connections, or let each replica hold fewer"),
        "57P03" => unavailable("the server is starting or stopping"),
        "42P01" | "42703" => corrupt("its tables are not those of this version; run the migrations"),
        "XX001" | "XX002" => corrupt("it is damaged; restore a backup"),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn rule_12_a_password_is_in_no_error() {
        for url in ["postgres://ada:hunter2@db:nine/rounds", "postgresql://ada:hunter2@[db/rounds"] {
            let refused = target(url).unwrap_err().to_string();
            assert!(refused.contains("percent-encoded") && !refused.contains("hunter2"), "{refused}");
        }
        for url in ["postgres://ada:x?hunter2@db/rounds", "postgres://db/rounds?sslmod=verify-full"] {
            let refused = target(url).unwrap_err().to_string();
            assert!(refused.contains("sslmode") && !refused.contains("hunter2"), "{refused}");
        }
        let split = target("postgres://ada:1/hunter2@db/rounds").unwrap();
        assert_eq!(named(&split), "", "what may be a password is no name");
        let target = target("postgres://ada:hunter2@db.example:5433/rounds").unwrap();
        assert_eq!((named(&target).as_str(), place(&target).as_str()), (" rounds", "db.example:5433"));
    }
}
