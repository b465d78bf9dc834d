//! LISTEN and NOTIFY: how replicas on one PostgreSQL hear of each other's commits.
//!
//! A NOTIFY inside of a commit holds the server's one lock on its queue until that commit is on the disk, so all commits
//! of all replicas would wait for each other, and lease renewals behind them. What was committed is told right after it
//! instead, by one task a store, in one message for everything that gathered meanwhile. A process that dies in between
//! tells nobody: polling is the net under it, as for every wake-up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rounds_core::ports::StoreError;
use rounds_core::ports::store::RecordKind;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, sqlx};
use tokio::sync::{Notify, broadcast};
use tokio::task::AbortHandle;

use crate::error::Fail;
use crate::tables::Tables;

/// Tells and hears until it is dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    untold: Arc<Untold>,
    end: End,
    tasks: [AbortHandle; 2],
}

/// Our end of the wire.
#[derive(Debug, Clone)]
struct End {
    pool: sqlx::PgPool,
    channel: String,
    /// Which open store this is, so that it does not hear of its own commits twice.
    me: String,
}

#[derive(Debug, Default)]
struct Untold {
    kinds: Mutex<BTreeSet<RecordKind>>,
    some: Notify,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Wire {
    pub(super) async fn open(
        db: &DatabaseConnection,
        tables: &Tables,
        me: &str,
        wakes: &broadcast::Sender<RecordKind>,
    ) -> Result<Self, StoreError> {
        let pool = db.get_postgres_connection_pool().clone();
        let end = End { pool, channel: tables.name("wakes"), me: me.to_owned() };
        // Heard from the start: what others commit after the store is open is not missed.
        let first =
            end.listen().await.map_err(|error| Fail::from(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))))?;
        let untold = Arc::<Untold>::default();
        let hearing = tokio::spawn(end.clone().hear_always(first, wakes.clone())).abort_handle();
        let telling = tokio::spawn(end.clone().tell_always(Arc::clone(&untold))).abort_handle();
        Ok(Self { untold, end, tasks: [hearing, telling] })
    }

    /// Tells other replicas soon which kinds of records a commit changed.
    pub(crate) fn tell(&self, kinds: &BTreeSet<RecordKind>) {
        self.untold.kinds.lock().unwrap_or_else(PoisonError::into_inner).extend(kinds);
        self.untold.some.notify_one();
    }

    /// Tells what is left to tell, before the database is closed.
    pub(crate) async fn flush(&self) {
        self.end.tell(&self.untold).await;
    }
}

impl End {
    async fn tell_always(self, untold: Arc<Untold>) {
        loop {
            untold.some.notified().await;
            self.tell(&untold).await;
        }
    }

    async fn tell(&self, untold: &Untold) {
        let kinds = std::mem::take(&mut *untold.kinds.lock().unwrap_or_else(PoisonError::into_inner));
        if kinds.is_empty() {
            return;
        }
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let payload = format!("{} {}", self.me, kinds.join(","));
        let told = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.channel).bind(payload).execute(&self.pool).await;
        if let Err(error) = told {
            tracing::debug!(%error, "other replicas were not told of a commit; they find it by polling");
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&self.channel).await?;
        Ok(listener)
    }

    async fn hear_always(self, first: PgListener, wakes: broadcast::Sender<RecordKind>) {
        let mut listener = Some(first);
        loop {
            let heard = match listener.take() {
                Some(mut listener) => self.hear(&mut listener, &wakes).await,
                None => match self.listen().await {
                    Ok(again) => {
                        // Whatever was committed while nobody listened: everybody looks once.
                        wake_all(&wakes);
                        listener = Some(again);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = heard {
                if self.pool.is_closed() {
                    return;
                }
                // Polling is the net under it.
                tracing::warn!(%error, "nothing is heard of other replicas' commits; listening again");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn hear(&self, listener: &mut PgListener, wakes: &broadcast::Sender<RecordKind>) -> Result<(), sqlx::Error> {
        loop {
            match listener.try_recv().await? {
                Some(notification) => {
                    let (from, kinds) = notification.payload().split_once(' ').unwrap_or_default();
                    if from == self.me {
                        continue;
                    }
                    let named = |kind: &&RecordKind| kinds.split(',').any(|name| name == kind.as_str());
                    for kind in RecordKind::ALL.iter().filter(named) {
                        // Nobody may be waiting.
                        let _ = wakes.send(*kind);
                    }
                }
                // The connection was lost and is made anew: what was missed is unknown.
                None => wake_all(wakes),
            }
        }
    }
}

fn wake_all(wakes: &broadcast::Sender<RecordKind>) {
    for kind in RecordKind::ALL {
        let _ = wakes.send(*kind);
    }
}
