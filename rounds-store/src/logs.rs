//! The audit log and the event log, and the row per organisation that numbers both.

use std::collections::BTreeMap;

use rounds_core::OrgId;
use rounds_core::audit::chain::{self, Broken, Verifier};
use rounds_core::audit::{AuditEntry, AuditRow};
use rounds_core::ports::store::{AuditHead, AuditPage, AuditQuery};
use rounds_core::ports::{Event, StoreError};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, LockType, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult};

use crate::db::Db;
use crate::error::{Fail, signed, unsigned};
use crate::tables::{AUDIT, EVENT, HEAD, column_text};

/// Where an organisation's logs end.
pub(crate) struct Head {
    pub(crate) audit_seq: u64,
    pub(crate) audit_hash: String,
    pub(crate) event_seq: u64,
}

impl Db {
    /// Appends to the logs; answers the events with their numbers. Called last in a transaction, because from here
    /// on every other commit of the organisation waits.
    pub(crate) async fn append(
        &self,
        tx: &impl ConnectionTrait,
        audit: &[AuditEntry],
        events: &[Event],
    ) -> Result<Vec<Event>, Fail> {
        // In order of organisations, so that no two transactions wait for each other.
        let mut heads: BTreeMap<&OrgId, Head> = BTreeMap::new();
        for org in audit.iter().map(|entry| &entry.org_id).chain(events.iter().map(|event| &event.org_id)) {
            heads.entry(org).or_insert(Head { audit_seq: 0, audit_hash: String::new(), event_seq: 0 });
        }
        for (org, head) in &mut heads {
            *head = self.lock_head(tx, org).await?;
        }
        let mut numbered = Vec::with_capacity(events.len());
        for entry in audit {
            if let Some(head) = heads.get_mut(&entry.org_id) {
                self.append_audit(tx, head, entry).await?;
            }
        }
        for event in events {
            if let Some(head) = heads.get_mut(&event.org_id) {
                head.event_seq += 1;
                let event = Event { seq: head.event_seq, ..event.clone() };
                self.append_event(tx, &event).await?;
                numbered.push(event);
            }
        }
        for (org, head) in heads {
            self.save_head(tx, org, head).await?;
        }
        Ok(numbered)
    }

    pub(crate) async fn save_head(&self, tx: &impl ConnectionTrait, org: &OrgId, head: Head) -> Result<(), Fail> {
        let update = Query::update()
            .table(self.tables.named(HEAD))
            .value("audit_seq", signed(head.audit_seq))
            .value("audit_hash", head.audit_hash)
            .value("event_seq", signed(head.event_seq))
            .and_where(of(org))
            .take();
        tx.execute(&update).await?;
        Ok(())
    }

    pub(crate) async fn lock_head(&self, tx: &impl ConnectionTrait, org: &OrgId) -> Result<Head, Fail> {
        let mut select = self.select_head(org);
        select.lock(LockType::Update);
        if let Some(row) = tx.query_one(&select).await? {
            return read_head(&row);
        }
        let first = Query::insert()
            .into_table(self.tables.named(HEAD))
            .columns(["org_id", "audit_seq", "audit_hash", "event_seq"])
            .values_panic([column_text(org.as_str()).into(), 0_i64.into(), chain::GENESIS.into(), 0_i64.into()])
            .on_conflict(OnConflict::column("org_id").do_nothing().to_owned())
            .take();
        tx.execute(&first).await?;
        let row = tx.query_one(&select).await?;
        row.map_or_else(|| Ok(Head::empty()), |row| read_head(&row))
    }

    fn select_head(&self, org: &OrgId) -> SelectStatement {
        Query::select()
            .columns(["audit_seq", "audit_hash", "event_seq"])
            .from(self.tables.named(HEAD))
            .and_where(of(org))
            .take()
    }

    pub(crate) async fn append_audit(
        &self,
        tx: &impl ConnectionTrait,
        head: &mut Head,
        entry: &AuditEntry,
    ) -> Result<(), Fail> {
        let (row, text) = AuditRow::after(head.audit_seq, &head.audit_hash, entry.clone(), self.audit_key.as_slice());
        head.audit_seq = row.seq;
        head.audit_hash.clone_from(&row.hash);
        let insert = Query::insert()
            .into_table(self.tables.named(AUDIT))
            .columns([
                "org_id",
                "seq",
                "previous",
                "hash",
                "at",
                "action",
                "actor_id",
                "target_type",
                "target_id",
                "outcome",
                "entry",
            ])
            .values_panic([
                column_text(entry.org_id.as_str()).into(),
                signed(row.seq).into(),
                row.previous.into(),
                row.hash.into(),
                entry.at.timestamp_micros().into(),
                column_text(&entry.action).into(),
                column_text(&entry.actor_id).into(),
                column_text(&entry.target_type).into(),
                column_text(&entry.target_id).into(),
                entry.outcome.as_str().into(),
                text.into(),
            ])
            .take();
        tx.execute(&insert).await?;
        Ok(())
    }

    async fn append_event(&self, tx: &impl ConnectionTrait, event: &Event) -> Result<(), Fail> {
        let body = serde_json::to_string(event)
            .map_err(|error| StoreError::Invalid(format!("an event cannot be encoded: {error}")))?;
        let insert = Query::insert()
            .into_table(self.tables.named(EVENT))
            .columns(["org_id", "seq", "body"])
            .values_panic([column_text(event.org_id.as_str()).into(), signed(event.seq).into(), body.into()])
            .take();
        tx.execute(&insert).await?;
        Ok(())
    }

    pub(crate) async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, Fail> {
        let select = Query::select()
            .column("body")
            .from(self.tables.named(EVENT))
            .and_where(of(org))
            .and_where(Expr::col("seq").gt(signed(after)))
            .order_by("seq", Order::Asc)
            .limit(limit.into())
            .take();
        let rows = self.reader.query_all(&select).await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get("", "body")?;
                Ok(parse("an event", &body)?)
            })
            .collect()
    }

    pub(crate) async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, Fail> {
        query.check()?;
        let mut matching = Query::select().from(self.tables.named(AUDIT)).and_where(of(&query.org)).take();
        for (column, wanted) in [
            ("action", &query.action),
            ("actor_id", &query.actor_id),
            ("target_type", &query.target_type),
            ("target_id", &query.target_id),
        ] {
            if let Some(wanted) = wanted {
                matching.and_where(Expr::col(column).eq(column_text(wanted)));
            }
        }
        if let Some(outcome) = query.outcome {
            matching.and_where(Expr::col("outcome").eq(outcome.as_str()));
        }
        if let Some(from) = query.from {
            matching.and_where(Expr::col("at").gte(from.timestamp_micros()));
        }
        if let Some(to) = query.to {
            matching.and_where(Expr::col("at").lt(to.timestamp_micros()));
        }
        let mut count = matching.clone();
        count.expr_as(Func::count(Expr::col("seq")), "count");
        let total = match self.reader.query_one(&count).await? {
            Some(row) => unsigned("a count", row.try_get("", "count")?)?,
            None => 0,
        };
        if let Some(before) = query.before {
            matching.and_where(Expr::col("seq").lt(signed(before)));
        }
        matching
            .columns(["seq", "previous", "hash", "entry"])
            .order_by("seq", Order::Desc)
            .limit(query.limit.into())
            .offset(signed(query.offset).unsigned_abs());
        let rows = self.reader.query_all(&matching).await?;
        Ok(AuditPage { rows: rows.iter().map(read_audit).collect::<Result<_, _>>()?, total })
    }

    /// Walks the chain. A pruning that came in between moved its beginning, and is no break: then it is walked anew.
    pub(crate) async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, Fail> {
        let mut before = self.audit_checkpoint(org).await?;
        loop {
            let verdict = self.walk_audit(org).await?;
            let after = self.audit_checkpoint(org).await?;
            if verdict.is_ok() || after == before {
                return Ok(verdict);
            }
            before = after;
        }
    }

    /// Walks the chain up to where the organisation's head says it ends.
    async fn walk_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, Fail> {
        let head = match self.reader.query_one(&self.select_head(org)).await? {
            Some(row) => read_head(&row)?,
            None => Head::empty(),
        };
        let broken = |seq, reason: &str| Ok(Err(Broken { org: org.clone(), seq, reason: reason.into() }));
        let started = match self.audit_checkpoint(org).await? {
            Some(checkpoint) => Verifier::after(&checkpoint, org.clone(), self.audit_key.as_slice()),
            None => Ok(Verifier::new(org.clone(), self.audit_key.as_slice())),
        };
        let mut verifier = match started {
            Ok(verifier) => verifier,
            Err(broken) => return Ok(Err(broken)),
        };
        loop {
            let (done, _) = verifier.head();
            let page = Query::select()
                .columns(["seq", "previous", "hash", "entry"])
                .columns(["at", "action", "actor_id", "target_type", "target_id", "outcome"])
                .from(self.tables.named(AUDIT))
                .and_where(of(org))
                .and_where(Expr::col("seq").gt(signed(done)))
                // What is appended from now on is the next walk's.
                .and_where(Expr::col("seq").lte(signed(head.audit_seq)))
                .order_by("seq", Order::Asc)
                .limit(500)
                .take();
            let rows = self.reader.query_all(&page).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let seq = unsigned("a row's number", row.try_get("", "seq")?)?;
                let (previous, hash): (String, String) = (row.try_get("", "previous")?, row.try_get("", "hash")?);
                let text: String = row.try_get("", "entry")?;
                if let Err(broken) = verifier.next(seq, &previous, &hash, &text) {
                    return Ok(Err(broken));
                }
                if !columns_match(row, &parse("an audit row", &text)?)? {
                    return broken(seq, "what it is listed under is not what was hashed");
                }
            }
        }
        match verifier.head() {
            (seq, hash) if seq == head.audit_seq && hash == head.audit_hash => {
                Ok(Ok(AuditHead { seq, hash: hash.into() }))
            }
            (seq, _) if seq < head.audit_seq => broken(seq + 1, "it and what followed are missing"),
            (seq, _) => broken(seq, "the organisation's head does not follow it"),
        }
    }
}

impl Head {
    fn empty() -> Self {
        Self { audit_seq: 0, audit_hash: chain::GENESIS.into(), event_seq: 0 }
    }
}

fn read_head(row: &QueryResult) -> Result<Head, Fail> {
    Ok(Head {
        audit_seq: unsigned("an audit number", row.try_get("", "audit_seq")?)?,
        audit_hash: row.try_get("", "audit_hash")?,
        event_seq: unsigned("an event number", row.try_get("", "event_seq")?)?,
    })
}

pub(crate) fn read_audit(row: &QueryResult) -> Result<AuditRow, Fail> {
    let text: String = row.try_get("", "entry")?;
    Ok(AuditRow {
        seq: unsigned("a row's number", row.try_get("", "seq")?)?,
        previous: row.try_get("", "previous")?,
        hash: row.try_get("", "hash")?,
        entry: parse("an audit row", &text)?,
    })
}

/// Filters read the columns, so a row that is listed under something else than it says is tampered with too.
fn columns_match(row: &QueryResult, entry: &AuditEntry) -> Result<bool, Fail> {
    let mut same = row.try_get::<i64>("", "at")? == entry.at.timestamp_micros();
    for (column, text) in [
        ("action", entry.action.as_str()),
        ("actor_id", &entry.actor_id),
        ("target_type", &entry.target_type),
        ("target_id", &entry.target_id),
        ("outcome", entry.outcome.as_str()),
    ] {
        same &= row.try_get::<String>("", column)? == column_text(text);
    }
    Ok(same)
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt { what: what.into(), message: error.to_string() })
}

pub(crate) fn of(org: &OrgId) -> Expr {
    Expr::col("org_id").eq(column_text(org.as_str()))
}
