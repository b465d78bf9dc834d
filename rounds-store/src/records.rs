//! Reading and writing records.

use std::collections::BTreeMap;

use rounds_core::OrgId;
use rounds_core::ports::StoreError;
use rounds_core::ports::store::{Change, Cursor, Index, Key, ListQuery, Lookup, Page, Record, RecordKind, Versioned};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, LockType, Order, Query, SelectStatement, UnionType, Value};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

use crate::db::Db;
use crate::dialect;
use crate::error::{Fail, signed, unsigned};
use crate::tables::{column_text, has_parts, has_secret, has_tags};

/// The same select, for records with one of these statuses: a branch for each, which reads its index in order and stops.
/// Asked for several at once, both databases sort everything that has one of them. One statement all the same: a record
/// that goes from one status to another meanwhile is not missed.
fn by_status(select: SelectStatement, statuses: &[String], limit: u64, newest_first: bool) -> SelectStatement {
    let of = |status: &String| select.clone().and_where(Expr::col("status").eq(column_text(status))).take();
    let mut named: Vec<&String> = statuses.iter().collect();
    named.sort();
    named.dedup();
    match named.as_slice() {
        [] => select,
        [one] => of(one),
        several => {
            // SQLite takes an order and a limit in a branch only when it stands in parentheses of its own.
            let branch =
                |status: &&String| Query::select().expr(Expr::cust("*")).from_subquery(of(status), "one").take();
            let mut branches = several.iter().map(branch);
            let mut union = branches.next().unwrap_or_default();
            for other in branches {
                union.union(UnionType::All, other);
            }
            union.order_by("id", if newest_first { Order::Desc } else { Order::Asc }).limit(limit).take()
        }
    }
}

/// The columns of a record beside its id, in the order in which [`Db::header`] gives their values.
const HEADER: [&str; 6] = ["org_id", "status", "parent", "unique_key", "due_at", "body"];

impl Db {
    pub(crate) fn select(&self, kind: RecordKind) -> SelectStatement {
        let mut select = Query::select().columns(["id", "version", "body"]).from(self.tables.record(kind)).take();
        if has_secret(kind) {
            select.column("secret");
        }
        select
    }

    pub(crate) fn read(&self, kind: RecordKind, row: &QueryResult) -> Result<Versioned<Record>, Fail> {
        let version: i64 = row.try_get("", "version")?;
        let body: String = row.try_get("", "body")?;
        let id: Uuid = row.try_get("", "id")?;
        let key = Key::new(kind, id);
        let mut record = Record::decode(kind, &body).map_err(|error| StoreError::Corrupt {
            what: key.to_string(),
            message: format!("{error}; it was written by another version of Rounds, or damaged"),
        })?;
        if has_secret(kind) {
            let sealed: Option<String> = row.try_get("", "secret")?;
            let open = |sealed: String| self.sealer.open(&record.index().org, key, &sealed);
            let secret = sealed.map(open).transpose()?;
            record.set_secret(secret);
        }
        Ok(Versioned { value: record, version: unsigned("a version", version)? })
    }

    pub(crate) async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, Fail> {
        let (kind, condition) = match lookup {
            Lookup::Key(key) => (key.kind, Expr::col("id").eq(key.id)),
            Lookup::Unique(kind, text) => (*kind, Expr::col("unique_key").eq(column_text(text))),
            Lookup::Child(kind, part) => match self.tables.parts(*kind) {
                Some(parts) => {
                    let owner = Query::select().column("owner").from(parts).and_where(Expr::col("id").eq(*part)).take();
                    (*kind, Expr::col("id").in_subquery(owner))
                }
                None => return Ok(None),
            },
            other => return Err(StoreError::Invalid(format!("a lookup by {other:?} is not known here")).into()),
        };
        let row = self.reader.query_one(self.select(kind).and_where(condition)).await?;
        row.map(|row| self.read(kind, &row)).transpose()
    }

    pub(crate) async fn list(&self, query: &ListQuery) -> Result<Page, Fail> {
        query.check()?;
        let mut select = self.select(query.kind);
        if let Some(org) = &query.org {
            select.and_where(Expr::col("org_id").eq(column_text(org.as_str())));
        }
        if let Some(parent) = query.parent {
            select.and_where(Expr::col("parent").eq(parent));
        }
        if let Some(status) = &query.child_status {
            let Some(parts) = self.tables.parts(query.kind) else {
                return Ok(Page { records: Vec::new(), next: None });
            };
            let status = Expr::col("status").eq(column_text(status));
            let owners = Query::select().column("owner").from(parts).and_where(status).take();
            select.and_where(Expr::col("id").in_subquery(owners));
        }
        if !query.tags.is_empty() && !has_tags(query.kind) {
            return Ok(Page { records: Vec::new(), next: None });
        }
        for tag in &query.tags {
            let tagged = Expr::col("tag").eq(column_text(tag));
            let owners = Query::select().column("owner").from(self.tables.tags(query.kind)).and_where(tagged).take();
            select.and_where(Expr::col("id").in_subquery(owners));
        }
        if let Some(due_by) = query.due_by {
            select.and_where(Expr::col("due_at").lte(due_by.timestamp_micros()));
        }
        if let Some(Cursor(after)) = query.after {
            let id = Expr::col("id");
            select.and_where(if query.newest_first { id.lt(after) } else { id.gt(after) });
        }
        select.order_by("id", if query.newest_first { Order::Desc } else { Order::Asc });
        // One more than asked for says whether there is a next page.
        let limit = query.limit as usize;
        select.limit(limit as u64 + 1);
        let select = by_status(select, &query.statuses, limit as u64 + 1, query.newest_first);
        let mut rows = self.reader.query_all(&select).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        // By the row, not by the record: the last row may be one that cannot be read.
        let next = match rows.last().filter(|_| more) {
            Some(last) => Some(Cursor(last.try_get("", "id")?)),
            None => None,
        };
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            match self.read(query.kind, row) {
                Ok(record) => records.push(record),
                Err(fail) => match StoreError::from(fail) {
                    // One damaged row, or one of a newer version, must not hide all others.
                    StoreError::Corrupt { what, message } => {
                        tracing::error!(record = %what, %message, "a record cannot be read; it is left out of the list");
                    }
                    other => return Err(other.into()),
                },
            }
        }
        Ok(Page { records, next })
    }

    pub(crate) async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, Fail> {
        let mut select = Query::select()
            .column("status")
            .expr_as(Func::count(Expr::col("id")), "count")
            .from(self.tables.record(kind))
            .group_by_col("status")
            .take();
        if let Some(org) = org {
            select.and_where(Expr::col("org_id").eq(column_text(org.as_str())));
        }
        let mut counts = BTreeMap::new();
        for row in self.reader.query_all(&select).await? {
            let status: Option<String> = row.try_get("", "status")?;
            let count: i64 = row.try_get("", "count")?;
            counts.insert(status.unwrap_or_default(), unsigned("a count", count)?);
        }
        Ok(counts)
    }

    /// Applies one change; answers the new version.
    pub(crate) async fn apply(&self, tx: &impl ConnectionTrait, change: &Change) -> Result<u64, Fail> {
        match change {
            Change::Insert(record) => self.insert(tx, record).await.map(|()| 1),
            Change::Update(record, version) => self.update(tx, record, *version).await.map(|()| version + 1),
            Change::Delete(key, version) => self.delete(tx, *key, *version).await.map(|()| 0),
            Change::Expect(key, version) => self.expect(tx, *key, *version).await.map(|()| *version),
        }
    }

    async fn insert(&self, tx: &impl ConnectionTrait, record: &Record) -> Result<(), Fail> {
        let (key, index) = (record.key(), record.index());
        let mut columns = vec!["id", "version"];
        let mut values: Vec<Value> = vec![key.id.into(), 1_i64.into()];
        for (column, value) in self.header(record, &index)? {
            columns.push(column);
            values.push(value);
        }
        let insert = Query::insert()
            .into_table(self.tables.record(key.kind))
            .columns(columns)
            .values(values.into_iter().map(Expr::from))
            .map_err(|error| Fail::Store(StoreError::Invalid(error.to_string())))?
            .take();
        tx.execute(&insert).await.map_err(|error| taken(error, key, &index))?;
        self.insert_tags(tx, key, &index).await?;
        self.insert_parts(tx, key, &index).await
    }

    async fn update(&self, tx: &impl ConnectionTrait, record: &Record, version: u64) -> Result<(), Fail> {
        let (key, index) = (record.key(), record.index());
        let update = Query::update()
            .table(self.tables.record(key.kind))
            .value("version", signed(version) + 1)
            .values(self.header(record, &index)?.into_iter().map(|(column, value)| (column, Expr::from(value))))
            .and_where(at_version(key, version))
            .take();
        let done = tx.execute(&update).await.map_err(|error| taken(error, key, &index))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict { key, expected: version }.into());
        }
        if let Some(parts) = self.tables.parts(key.kind) {
            tx.execute(Query::delete().from_table(parts).and_where(Expr::col("owner").eq(key.id))).await?;
        }
        if has_tags(key.kind) {
            let tags = self.tables.tags(key.kind);
            tx.execute(Query::delete().from_table(tags).and_where(Expr::col("owner").eq(key.id))).await?;
        }
        self.insert_tags(tx, key, &index).await?;
        self.insert_parts(tx, key, &index).await
    }

    async fn delete(&self, tx: &impl ConnectionTrait, key: Key, version: u64) -> Result<(), Fail> {
        // Its parts go with it, by the foreign key.
        let delete =
            Query::delete().from_table(self.tables.record(key.kind)).and_where(at_version(key, version)).take();
        match tx.execute(&delete).await?.rows_affected() {
            0 => Err(StoreError::Conflict { key, expected: version }.into()),
            _ => Ok(()),
        }
    }

    async fn expect(&self, tx: &impl ConnectionTrait, key: Key, version: u64) -> Result<(), Fail> {
        // Locked, so that it still holds when the transaction ends.
        let select = Query::select()
            .column("version")
            .from(self.tables.record(key.kind))
            .and_where(at_version(key, version))
            .lock(LockType::Share)
            .take();
        match tx.query_one(&select).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Conflict { key, expected: version }.into()),
        }
    }

    async fn insert_tags(&self, tx: &impl ConnectionTrait, key: Key, index: &Index) -> Result<(), Fail> {
        if index.tags.is_empty() {
            return Ok(());
        }
        if !has_tags(key.kind) {
            return Err(StoreError::Invalid(format!("a {} has no tags here", key.kind)).into());
        }
        let mut insert = Query::insert().into_table(self.tables.tags(key.kind)).columns(["owner", "tag"]).take();
        for tag in &index.tags {
            insert
                .values([key.id.into(), column_text(tag).into()])
                .map_err(|error| Fail::Store(StoreError::Invalid(error.to_string())))?;
        }
        tx.execute(&insert).await?;
        Ok(())
    }

    async fn insert_parts(&self, tx: &impl ConnectionTrait, key: Key, index: &Index) -> Result<(), Fail> {
        if index.children.is_empty() {
            return Ok(());
        }
        if !has_parts(key.kind) {
            return Err(StoreError::Invalid(format!("a {} has no parts here", key.kind)).into());
        }
        for part in &index.children {
            let insert = Query::insert()
                .into_table(self.tables.name_of_parts(key.kind))
                .columns(["id", "owner", "status"])
                .values([part.id.into(), key.id.into(), part.status.as_ref().into()])
                .map_err(|error| Fail::Store(StoreError::Invalid(error.to_string())))?
                .take();
            tx.execute(&insert).await.map_err(|error| match dialect::unique_violation(&error) {
                Some(_) => StoreError::Duplicate { kind: key.kind, unique: format!("part {}", part.id) }.into(),
                None => Fail::from(error),
            })?;
        }
        Ok(())
    }

    /// What a record is found by, and its body: everything but id and version.
    fn header(&self, record: &Record, index: &Index) -> Result<Vec<(&'static str, Value)>, StoreError> {
        let key = record.key();
        let values: [Value; HEADER.len()] = [
            column_text(index.org.as_str()).into(),
            index.status.as_deref().into(),
            index.parent.into(),
            index.unique.as_deref().map(column_text).into(),
            index.due_at.map(|due| due.timestamp_micros()).into(),
            record.encode()?.into(),
        ];
        let mut header: Vec<_> = HEADER.into_iter().zip(values).collect();
        match record.secret() {
            secret if has_secret(key.kind) => {
                let sealed = secret.map(|secret| self.sealer.seal(&index.org, key, secret)).transpose()?;
                header.push(("secret", sealed.into()));
            }
            Some(_) => return Err(StoreError::Invalid(format!("a {} has no secret here", key.kind))),
            None => {}
        }
        Ok(header)
    }
}

fn at_version(key: Key, version: u64) -> Expr {
    Expr::col("id").eq(key.id).and(Expr::col("version").eq(signed(version)))
}

fn taken(error: DbErr, key: Key, index: &Index) -> Fail {
    match (dialect::unique_violation(&error), &index.unique) {
        (Some(message), Some(unique)) if message.contains("unique_key") => {
            StoreError::Duplicate { kind: key.kind, unique: unique.clone() }.into()
        }
        (Some(_), _) => StoreError::Duplicate { kind: key.kind, unique: format!("id {}", key.id) }.into(),
        (None, _) => error.into(),
    }
}
