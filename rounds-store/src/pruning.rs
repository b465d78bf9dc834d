//! Reading the audit log on from a place, and removing its oldest rows.

use rounds_core::OrgId;
use rounds_core::audit::chain::{Broken, Verifier};
use rounds_core::audit::{AuditEntry, AuditRow, Checkpoint, Prune};
use rounds_core::ports::StoreError;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};

use crate::db::Db;
use crate::error::{Fail, signed, unsigned};
use crate::logs::{of, parse, read_audit};
use crate::tables::{AUDIT, CHECKPOINT, column_text};
use crate::tx::finish;
use rounds_core::ports::store::check_limit;

impl Db {
    pub(crate) async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, Fail> {
        check_limit(limit)?;
        let page = Query::select()
            .columns(["seq", "previous", "hash", "entry"])
            .from(self.tables.named(AUDIT))
            .and_where(of(org))
            .and_where(Expr::col("seq").gt(signed(after)))
            .order_by("seq", Order::Asc)
            .limit(limit.into())
            .take();
        self.reader.query_all(&page).await?.iter().map(read_audit).collect()
    }

    pub(crate) async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, Fail> {
        let newest = Query::select()
            .column("body")
            .from(self.tables.named(CHECKPOINT))
            .and_where(of(org))
            .order_by("seq", Order::Desc)
            .limit(1)
            .take();
        let Some(row) = self.reader.query_one(&newest).await? else { return Ok(None) };
        let body: String = row.try_get("", "body")?;
        Ok(Some(parse("an audit checkpoint", &body)?))
    }

    pub(crate) async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, Fail> {
        let org = prune.org();
        let tx = self.begin_once().await?;
        // Locked first: nobody appends meanwhile, and nobody else prunes.
        let mut head = self.lock_head(&tx, org).await?;
        let Some((seq, hash)) = self.last_to_remove(&tx, prune).await? else { return Ok(None) };
        let checkpoint = prune.checkpoint(self.audit_key.as_slice(), seq, &hash);
        let seq = signed(seq);
        let body = serde_json::to_string(&checkpoint)
            .map_err(|error| StoreError::Invalid(format!("a checkpoint cannot be encoded: {error}")))?;
        let insert = Query::insert()
            .into_table(self.tables.named(CHECKPOINT))
            .columns(["org_id", "seq", "body"])
            .values_panic([column_text(org.as_str()).into(), seq.into(), body.into()])
            .take();
        tx.execute(&insert).await?;
        let delete = Query::delete()
            .from_table(self.tables.named(AUDIT))
            .and_where(of(org))
            .and_where(Expr::col("seq").lte(seq))
            .take();
        tx.execute(&delete).await?;
        self.append_audit(&tx, &mut head, &prune.entry(&checkpoint)).await?;
        self.save_head(&tx, org, head).await?;
        finish(tx).await?;
        Ok(Some(checkpoint))
    }

    /// The last row that is old enough, and its hash. Every row up to it is verified on the way: a checkpoint must never
    /// stand for rows that somebody changed. Their age is what was hashed, not what they are listed under.
    async fn last_to_remove(&self, tx: &impl ConnectionTrait, prune: &Prune) -> Result<Option<(u64, String)>, Fail> {
        let org = prune.org();
        let broken = |broken: Broken| {
            let message =
                format!("{}: nothing is removed from a log that does not hold, it is evidence", broken.reason);
            Fail::Store(StoreError::Corrupt { what: format!("row {} of the audit log of {org}", broken.seq), message })
        };
        let mut verifier = match self.audit_checkpoint(org).await? {
            Some(checkpoint) => Verifier::after(&checkpoint, org.clone(), self.audit_key.as_slice()).map_err(broken)?,
            None => Verifier::new(org.clone(), self.audit_key.as_slice()),
        };
        let mut last = None;
        loop {
            let page = Query::select()
                .columns(["seq", "previous", "hash", "entry"])
                .from(self.tables.named(AUDIT))
                .and_where(of(org))
                .and_where(Expr::col("seq").gt(signed(verifier.head().0)))
                .order_by("seq", Order::Asc)
                .limit(500)
                .take();
            let rows = tx.query_all(&page).await?;
            if rows.is_empty() {
                return Ok(last);
            }
            for row in &rows {
                let seq = unsigned("a row's number", row.try_get("", "seq")?)?;
                let (previous, hash): (String, String) = (row.try_get("", "previous")?, row.try_get("", "hash")?);
                let text: String = row.try_get("", "entry")?;
                let entry: AuditEntry = parse("an audit row", &text)?;
                if entry.at >= prune.before() {
                    return Ok(last);
                }
                verifier.next(seq, &previous, &hash, &text).map_err(broken)?;
                last = Some((seq, hash));
            }
        }
    }
}
