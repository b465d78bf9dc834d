//! A store of one's own: everything Rounds keeps, in one [redb](https://docs.rs/redb) file, for one process.
//!
//! redb is an ordered map on disk with transactions: one writer at a time, readers that see the last commit, and a commit
//! that is on the disk when it returns. That is all a store needs. The rules live in three files: what a record is and
//! who holds it in `rows.rs`, what a commit does in `commit.rs`, the numbered and chained logs in `logs.rs`.
//!
//! It looks at every record of a kind to find the ones that are wanted, which is plain and right, and slow beyond some ten
//! thousand of a kind; a table by due time would be the next step.
//!
//! ```
//! use std::sync::Arc;
//! use rounds_core::access::Principal;
//! use rounds_core::ports::SoleAgent;
//! use rounds_core::{OrgId, Rounds};
//! use rounds_redb_store::RedbStore;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("rounds.redb");
//! let store = RedbStore::open(&path, &[7; 32])?; // a key of your own, kept elsewhere
//! let agent = SoleAgent::new(Principal::agent(OrgId::default(), "@platform/rounds"));
//! let rounds = Rounds::builder(Arc::new(store), Arc::new(agent)).build()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod commit;
mod error;
mod logs;
mod rows;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redb::Database;
use rounds_core::audit::chain::Broken;
use rounds_core::audit::{AuditRow, Checkpoint, Prune};
use rounds_core::ports::store::{
    AuditHead, AuditPage, AuditQuery, ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, Versioned,
};
use rounds_core::ports::{Event, Store, StoreError};
use rounds_core::{OrgId, Timestamp};
use tokio::sync::broadcast;

use crate::error::Fail;
use crate::seal::Sealer;

/// The store. Clones share one file.
#[derive(Clone)]
pub struct RedbStore(Arc<File>);

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

/// An open file.
struct File {
    db: Database,
    sealer: Sealer,
    audit_key: [u8; 32],
    wakes: broadcast::Sender<RecordKind>,
    /// The last time that was told, in microseconds since 1970.
    last: Mutex<i64>,
}

impl RedbStore {
    /// Opens a file, or makes it. The key encrypts connector secrets and keys the audit chain.
    ///
    /// # Errors
    /// The file cannot be opened, another process has it, or it was begun with another key.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<Self, StoreError> {
        let db = Database::create(path).map_err(Fail::from)?;
        let file = File {
            db,
            sealer: Sealer::new(key),
            audit_key: seal::derived(key, "audit-chain"),
            wakes: broadcast::Sender::new(1024),
            last: Mutex::new(i64::MIN),
        };
        file.begin(&hex::encode(seal::derived(key, "fingerprint")))?;
        Ok(Self(Arc::new(file)))
    }

    /// Does something with the file on a thread that may wait for the disk. Dropped, it has happened or has not.
    async fn with<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&File) -> Result<T, Fail> + Send + 'static,
    {
        let file = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        match done {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(StoreError::Unavailable { message: error.to_string() }),
        }
    }
}

impl File {
    /// The time that leases run by: this machine's, since one process has the file, and never one that was told before.
    #[allow(clippy::disallowed_methods, reason = "a store owns lease time")]
    fn now(&self) -> i64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = chrono::Utc::now().timestamp_micros().max(*last);
        *last
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        let lookup = lookup.clone();
        self.with(move |file| file.load(&lookup)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        query.check()?;
        let query = query.clone();
        self.with(move |file| file.list(&query)).await
    }

    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        let org = org.cloned();
        self.with(move |file| file.count(kind, org.as_ref())).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        commit.check()?;
        self.with(move |file| file.commit(commit)).await
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        let query = query.clone();
        self.with(move |file| file.claim(&query)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.with(move |file| file.renew(&lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.with(move |file| file.release(&lease)).await
    }

    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let wanted = ListQuery { statuses: statuses.to_vec(), ..ListQuery::new(kind) };
        self.with(move |file| file.next_due(&wanted, after)).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(chrono::DateTime::from_timestamp_micros(self.0.now()).unwrap_or_default())
    }

    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let org = org.clone();
        self.with(move |file| file.events(&org, after, limit)).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        query.check()?;
        let query = query.clone();
        self.with(move |file| file.audit(&query)).await
    }

    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        rounds_core::ports::store::check_limit(limit)?;
        let org = org.clone();
        self.with(move |file| file.audit_after(&org, after, limit)).await
    }

    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        let prune = prune.clone();
        self.with(move |file| file.prune_audit(&prune)).await
    }

    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        let org = org.clone();
        self.with(move |file| logs::checkpoint(&file.read()?, &org)).await
    }

    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        let org = org.clone();
        self.with(move |file| logs::verify(&file.read()?, &org, &file.audit_key)).await
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.0.wakes.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(|file| file.read().map(drop)).await
    }
}
