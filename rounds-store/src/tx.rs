//! The one file where write transactions begin.
//!
//! On SQLite a transaction that begins as a reader and then writes fails at once when another writer came between,
//! whatever the busy timeout. So every write begins as one (`BEGIN IMMEDIATE`), on the one connection that writes.

use std::future::Future;
use std::time::Duration;

use rand::Rng as _;
use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait as _};

use rounds_core::ports::StoreError;

use crate::db::Db;
use crate::dialect;
use crate::error::Fail;

/// How often work is tried while the database is busy. Each try has already waited for the busy timeout.
const TRIES: u32 = 6;

impl Db {
    /// Begins a write, for work that is not tried again as a whole.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, Fail> {
        retrying(|| self.begin_once()).await
    }

    /// Begins a write inside of [`retrying`]. Dropping the transaction undoes it.
    #[allow(clippy::disallowed_methods, reason = "the one place where write transactions begin")]
    pub(crate) async fn begin_once(&self) -> Result<DatabaseTransaction, Fail> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.writer.begin_with_options(immediate).await?)
    }
}

/// Ends a write. An error of the database undid it, and the work may be tried again; when the answer was lost, nobody
/// knows whether it is there, and it must not be done twice: that is the caller's to find out.
pub(crate) async fn finish(tx: DatabaseTransaction) -> Result<(), Fail> {
    tx.commit().await.map_err(|error| {
        if dialect::is_undone(&error) {
            return Fail::Db(error);
        }
        let message = format!("{error}; whether the commit happened is unknown");
        Fail::Store(StoreError::Unavailable { message })
    })
}

/// Tries work again, after a growing and uneven pause, while the database is only busy.
pub(crate) async fn retrying<T, F, Fut>(mut work: F) -> Result<T, Fail>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Fail>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(fail) if fail.is_busy() && attempt < TRIES => {
                let most = 10 << attempt;
                let pause = rand::rng().random_range(most / 2..=most);
                tracing::debug!(attempt, pause_ms = pause, "the database is busy; trying again");
                tokio::time::sleep(Duration::from_millis(pause)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}
