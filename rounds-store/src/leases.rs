//! Row leases: who may drive a record, by the store's own time.

use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::ports::StoreError;
use rounds_core::ports::store::{ClaimQuery, Key, Lease, Record, RecordKind, Versioned};
use sea_orm::sea_query::{Expr, ExprTrait as _, LockBehavior, LockType, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend};

use crate::db::Db;
use crate::dialect::{self, lease_now};
use crate::error::{Fail, signed, unsigned};
use crate::tables::{column_text, has_secret};
use crate::tx::finish;

impl Db {
    pub(crate) async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, Fail> {
        if self.writer.get_database_backend() == DbBackend::Postgres {
            return self.claim_at_once(query).await;
        }
        // Idle workers ask often: they look before they take the write lock.
        let now = lease_now(&self.reader).await?;
        if self.reader.query_one(&self.claimable(query, &Expr::val(now))).await?.is_none() {
            return Ok(None);
        }
        let tx = self.begin_once().await?;
        let now = lease_now(&tx).await?;
        let select = self.claimable(query, &Expr::val(now));
        let Some(row) = tx.query_one(&select).await? else { return Ok(None) };
        let fence: i64 = row.try_get("", "lease_fence")?;
        let key = Key::new(query.kind, row.try_get("", "id")?);
        let lease = Lease { key, worker: query.worker.clone(), fence: unsigned("a fence", fence)? + 1 };
        let update = Query::update()
            .table(self.tables.record(query.kind))
            .value("lease_fence", signed(lease.fence))
            .value("lease_worker", lease.worker.as_str())
            .value("lease_until", until(now, query.ttl))
            .and_where(Expr::col("id").eq(lease.key.id))
            .take();
        tx.execute(&update).await?;
        finish(tx).await?;
        // Decoded only now: a row that cannot be read stays leased for its time, so that those behind it get their
        // turn. Were it read first, it would be picked for ever.
        Ok(Some((self.read(query.kind, &row)?, lease)))
    }

    /// A claim in one statement: others pass over a row that is being claimed instead of waiting for it, and an idle
    /// worker locks nothing.
    async fn claim_at_once(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, Fail> {
        let now = dialect::lease_clock();
        let mut due = self.claimable(query, &now);
        due.clear_selects().column("id").lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let ttl = i64::try_from(query.ttl.as_micros()).unwrap_or(i64::MAX / 2);
        let mut returning = vec!["id", "version", "body", "lease_fence"];
        returning.extend(has_secret(query.kind).then_some("secret"));
        let update = Query::update()
            .table(self.tables.record(query.kind))
            .value("lease_fence", Expr::col("lease_fence").add(1_i64))
            .value("lease_worker", query.worker.as_str())
            .value("lease_until", now.add(ttl))
            .and_where(Expr::col("id").in_subquery(due))
            .returning(Query::returning().columns(returning))
            .take();
        let Some(row) = self.writer.query_one(&update).await? else { return Ok(None) };
        let fence: i64 = row.try_get("", "lease_fence")?;
        let key = Key::new(query.kind, row.try_get("", "id")?);
        let lease = Lease { key, worker: query.worker.clone(), fence: unsigned("a fence", fence)? };
        // A row that cannot be read stays leased for its time, as below.
        Ok(Some((self.read(query.kind, &row)?, lease)))
    }

    fn claimable(&self, query: &ClaimQuery, now: &Expr) -> SelectStatement {
        let free = Expr::col("lease_until").is_null().or(Expr::col("lease_until").lte(now.clone()));
        let mut select = self.select(query.kind);
        select
            .column("lease_fence")
            .and_where(Expr::col("due_at").lte(query.due_by.timestamp_micros()))
            .and_where(free)
            .order_by("due_at", Order::Asc)
            .order_by("id", Order::Asc)
            .limit(1);
        if !query.statuses.is_empty() {
            select.and_where(Expr::col("status").is_in(query.statuses.iter().map(|status| column_text(status))));
        }
        select
    }

    pub(crate) async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), Fail> {
        let tx = self.begin_once().await?;
        let now = lease_now(&tx).await?;
        let update = Query::update()
            .table(self.tables.record(lease.key.kind))
            .value("lease_until", until(now, ttl))
            .and_where(of(lease))
            .take();
        // Its time may be over: while worker and fence are unchanged, nobody has claimed the record since.
        if tx.execute(&update).await?.rows_affected() == 0 {
            return Err(StoreError::LeaseLost { key: lease.key }.into());
        }
        finish(tx).await
    }

    pub(crate) async fn release(&self, lease: &Lease) -> Result<(), Fail> {
        let tx = self.begin_once().await?;
        self.give_back(&tx, lease).await?;
        finish(tx).await
    }

    /// Gives a lease back when the transaction ends; one that is lost, or whose record is gone, stays as it is.
    pub(crate) async fn give_back(&self, tx: &impl ConnectionTrait, lease: &Lease) -> Result<(), Fail> {
        let update = Query::update()
            .table(self.tables.record(lease.key.kind))
            .value("lease_worker", None::<String>)
            .value("lease_until", None::<i64>)
            .and_where(of(lease))
            .take();
        tx.execute(&update).await?;
        Ok(())
    }

    pub(crate) async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, Fail> {
        let mut select = Query::select()
            .column("due_at")
            .from(self.tables.record(kind))
            .and_where(Expr::col("due_at").gt(after.timestamp_micros()))
            .order_by("due_at", Order::Asc)
            .limit(1)
            .take();
        if !statuses.is_empty() {
            select.and_where(Expr::col("status").is_in(statuses.iter().map(|status| column_text(status))));
        }
        let Some(row) = self.reader.query_one(&select).await? else { return Ok(None) };
        Ok(Some(moment(row.try_get("", "due_at")?)?))
    }

    pub(crate) async fn time(&self) -> Result<Timestamp, Fail> {
        Ok(moment(lease_now(&self.reader).await?)?)
    }

    /// Holds a lease until the transaction ends, or refuses.
    pub(crate) async fn check_lease(&self, tx: &impl ConnectionTrait, lease: &Lease) -> Result<(), Fail> {
        let select = Query::select()
            .column("lease_until")
            .from(self.tables.record(lease.key.kind))
            .and_where(of(lease))
            .lock(LockType::Update)
            .take();
        let until: Option<i64> = match tx.query_one(&select).await? {
            Some(row) => row.try_get("", "lease_until")?,
            None => None,
        };
        // Asked once the row is locked: waiting for it may have taken the rest of the lease's time.
        match until {
            Some(until) if until > lease_now(tx).await? => Ok(()),
            _ => Err(StoreError::LeaseLost { key: lease.key }.into()),
        }
    }
}

/// The row of a lease, when it is still this one: the worker and the fence both say so.
fn of(lease: &Lease) -> Expr {
    let is_holder =
        Expr::col("lease_worker").eq(lease.worker.as_str()).and(Expr::col("lease_fence").eq(signed(lease.fence)));
    Expr::col("id").eq(lease.key.id).and(is_holder)
}

fn moment(micros: i64) -> Result<Timestamp, StoreError> {
    chrono::DateTime::from_timestamp_micros(micros).ok_or_else(|| StoreError::Corrupt {
        what: "a time".into(),
        message: format!("{micros} µs after 1970 is none"),
    })
}

fn until(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}
