use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::audit::chain::Broken;
use crate::audit::{AuditRow, Checkpoint, Prune};
use crate::id::OrgId;
use crate::ports::Event;
use crate::ports::store::{
    AuditHead, AuditPage, AuditQuery, ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, Store, StoreError, Versioned,
};
use crate::time::Timestamp;

/// A store over another one, for tests: it overrides what it wants to see or to spoil, and [`Layered`] makes a
/// [`Store`] of it. The port itself has no default methods, so that no real store inherits a wrong one.
#[async_trait]
pub trait StoreLayer: Send + Sync {
    /// The store below.
    fn inner(&self) -> &dyn Store;

    /// See [`Store::load`].
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        self.inner().load(lookup).await
    }
    /// See [`Store::list`].
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner().list(query).await
    }
    /// See [`Store::count`].
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        self.inner().count(kind, org).await
    }
    /// See [`Store::commit`].
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.inner().commit(commit).await
    }
    /// See [`Store::claim`].
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.inner().claim(query).await
    }
    /// See [`Store::renew`].
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        self.inner().renew(lease, ttl).await
    }
    /// See [`Store::release`].
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner().release(lease).await
    }
    /// See [`Store::next_due`].
    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.inner().next_due(kind, statuses, after).await
    }
    /// See [`Store::time`].
    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner().time().await
    }
    /// See [`Store::events`].
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.inner().events(org, after, limit).await
    }
    /// See [`Store::audit`].
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.inner().audit(query).await
    }
    /// See [`Store::audit_after`].
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.inner().audit_after(org, after, limit).await
    }
    /// See [`Store::prune_audit`].
    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        self.inner().prune_audit(prune).await
    }
    /// See [`Store::audit_checkpoint`].
    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        self.inner().audit_checkpoint(org).await
    }
    /// See [`Store::verify_audit`].
    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        self.inner().verify_audit(org).await
    }
    /// See [`Store::wakes`].
    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.inner().wakes()
    }
    /// See [`Store::ping`].
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner().ping().await
    }
}

/// A [`StoreLayer`] as a [`Store`].
///
/// ```
/// use rounds_core::ports::Store;
/// use rounds_core::testing::{Layered, MemoryStore, StoreLayer};
///
/// /// Nobody is woken: everything must go on by polling.
/// struct Silent(MemoryStore);
///
/// impl StoreLayer for Silent {
///     fn inner(&self) -> &dyn Store {
///         &self.0
///     }
///     fn wakes(&self) -> tokio::sync::broadcast::Receiver<rounds_core::ports::store::RecordKind> {
///         tokio::sync::broadcast::Sender::new(1).subscribe()
///     }
/// }
///
/// let store: std::sync::Arc<dyn Store> = std::sync::Arc::new(Layered(Silent(MemoryStore::new())));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Layered<L>(pub L);

#[async_trait]
impl<L: StoreLayer> Store for Layered<L> {
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        self.0.load(lookup).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.0.list(query).await
    }
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        self.0.count(kind, org).await
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.0.commit(commit).await
    }
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.0.claim(query).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        self.0.renew(lease, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(lease).await
    }
    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.0.next_due(kind, statuses, after).await
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.0.time().await
    }
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.0.events(org, after, limit).await
    }
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.0.audit(query).await
    }
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.0.audit_after(org, after, limit).await
    }
    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        self.0.prune_audit(prune).await
    }
    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        self.0.audit_checkpoint(org).await
    }
    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        self.0.verify_audit(org).await
    }
    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.0.wakes()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }
}
