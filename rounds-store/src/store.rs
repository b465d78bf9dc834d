use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::audit::chain::Broken;
use rounds_core::audit::{AuditRow, Checkpoint, Prune};
use rounds_core::ports::store::{
    AuditHead, AuditPage, AuditQuery, ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, Versioned,
};
use rounds_core::ports::{Event, Store, StoreError};
use rounds_core::{OrgId, Timestamp};
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, Query};
use tokio::sync::broadcast;

use crate::db::Db;
use crate::error::Fail;
use crate::tx::{finish, retrying};
use crate::{SqlIdentity, StoreOptions, migration};

/// The store on SQL. Clones share one database.
#[derive(Clone)]
pub struct SqlStore {
    db: Arc<Db>,
}

impl SqlStore {
    /// Connects, brings the tables up to date unless the options say otherwise, and checks that the master key is
    /// the one the data belongs to.
    ///
    /// # Errors
    /// The database cannot be opened, its tables cannot be brought up to date, or the key is another one.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        Ok(Self { db: Arc::new(Db::open(&options).await?) })
    }

    /// Brings the tables up to date and does nothing else, for embedders who do that as a step of its own. Doing
    /// it again changes nothing.
    ///
    /// # Errors
    /// The database cannot be opened, or a step failed: then nothing of any step remains.
    pub async fn migrate(options: &StoreOptions) -> Result<(), StoreError> {
        let db = Db::connect(options).await?;
        let migrated = migration::migrate(&db).await;
        db.close().await;
        migrated
    }

    /// Accounts, tokens, teams and settings, in the same database.
    #[must_use]
    pub fn identity(&self) -> SqlIdentity {
        SqlIdentity::new(Arc::clone(&self.db))
    }

    /// Waits for what is under way and closes the database; every later call on a clone is
    /// [`StoreError::Closed`]. Shut down the services first. Dropping the last clone closes it too, without waiting.
    pub async fn close(&self) {
        self.db.close().await;
    }

    async fn try_commit(&self, commit: &Commit) -> Result<Committed, Fail> {
        let tx = self.db.begin_once().await?;
        for lease in &commit.leases {
            self.db.check_lease(&tx, lease).await?;
        }
        let mut versions = Vec::with_capacity(commit.changes.len());
        for change in &commit.changes {
            versions.push(self.db.apply(&tx, change).await?);
        }
        for lease in &commit.released {
            self.db.give_back(&tx, lease).await?;
        }
        let events = self.db.append(&tx, &commit.audit, &commit.events).await?;
        finish(tx).await?;
        Ok(Committed { versions, events })
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        Ok(retrying(|| self.db.load(lookup)).await?)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Ok(retrying(|| self.db.list(query)).await?)
    }

    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        Ok(retrying(|| self.db.count(kind, org)).await?)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        commit.check()?;
        let committed = retrying(|| self.try_commit(&commit)).await?;
        self.db.wake(&commit.kinds());
        Ok(committed)
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        Ok(retrying(|| self.db.claim(query)).await?)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        Ok(retrying(|| self.db.renew(lease, ttl)).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        Ok(retrying(|| self.db.release(lease)).await?)
    }

    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(retrying(|| self.db.next_due(kind, statuses, after)).await?)
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(retrying(|| self.db.time()).await?)
    }

    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        Ok(retrying(|| self.db.events(org, after, limit)).await?)
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        Ok(retrying(|| self.db.audit(query)).await?)
    }

    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        Ok(retrying(|| self.db.audit_after(org, after, limit)).await?)
    }

    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        Ok(retrying(|| self.db.prune_audit(prune)).await?)
    }

    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(retrying(|| self.db.audit_checkpoint(org)).await?)
    }

    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        Ok(retrying(|| self.db.verify_audit(org)).await?)
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.db.wakes.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let one = Query::select().expr(Expr::val(1)).take();
        self.db.reader.query_one(&one).await.map_err(Fail::from)?;
        Ok(())
    }
}
