//! Reading the audit log on from a place, and removing its oldest rows.

use rounds_core::OrgId;
use rounds_core::audit::{AuditRow, Checkpoint, Prune};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};

use crate::db::Db;
use crate::error::{Fail, signed, unsigned};
use crate::logs::{of, parse, read_audit};
use crate::records::check_limit;
use crate::tables::{AUDIT, CHECKPOINT, column_text};
use crate::tx::finish;

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
        let first_kept = Query::select()
            .column("seq")
            .from(self.tables.named(AUDIT))
            .and_where(of(org))
            .and_where(Expr::col("at").gte(prune.before().timestamp_micros()))
            .order_by("seq", Order::Asc)
            .limit(1)
            .take();
        let end = match tx.query_one(&first_kept).await? {
            Some(row) => unsigned("a row's number", row.try_get("", "seq")?)?,
            None => head.audit_seq + 1,
        };
        let last_removed = Query::select()
            .columns(["seq", "hash"])
            .from(self.tables.named(AUDIT))
            .and_where(of(org))
            .and_where(Expr::col("seq").lt(signed(end)))
            .order_by("seq", Order::Desc)
            .limit(1)
            .take();
        let Some(row) = tx.query_one(&last_removed).await? else { return Ok(None) };
        let (seq, hash): (i64, String) = (row.try_get("", "seq")?, row.try_get("", "hash")?);
        let checkpoint = prune.checkpoint(self.audit_key.as_slice(), unsigned("a row's number", seq)?, &hash);
        let body = serde_json::to_string(&checkpoint).map_err(|error| {
            rounds_core::ports::StoreError::Invalid(format!("a checkpoint cannot be encoded: {error}"))
        })?;
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
}
