//! Every store, measured: how long its calls take, and how often they end in a conflict, a lost lease or an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::audit::chain::Broken;
use crate::audit::{AuditRow, Checkpoint, Prune};
use crate::id::OrgId;
use crate::ports::Event;
use crate::ports::store::{
    AuditHead, AuditPage, AuditQuery, ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, Store, StoreError, Versioned,
};
use crate::time::Timestamp;

/// A store as the services and facades use it. The calls of whoever holds the store itself are not counted.
pub(crate) struct Metered(pub(crate) Arc<dyn Store>);

async fn measured<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let answer = call.await;
    metrics::histogram!("rounds_store_operation_duration_seconds", "operation" => operation)
        .record(began.elapsed().as_secs_f64());
    if let Err(error) = &answer {
        let kind = match error {
            StoreError::Conflict { .. } => "conflict",
            StoreError::Duplicate { .. } => "duplicate",
            StoreError::LeaseLost { .. } => "lease_lost",
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::Closed => "closed",
            StoreError::Corrupt { .. } => "corrupt",
            StoreError::Invalid(_) => "invalid",
        };
        metrics::counter!("rounds_store_errors_total", "operation" => operation, "kind" => kind).increment(1);
    }
    answer
}

#[async_trait]
impl Store for Metered {
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        measured("load", self.0.load(lookup)).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        measured("list", self.0.list(query)).await
    }
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        measured("count", self.0.count(kind, org)).await
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        measured("commit", self.0.commit(commit)).await
    }
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        measured("claim", self.0.claim(query)).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        measured("renew", self.0.renew(lease, ttl)).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        measured("release", self.0.release(lease)).await
    }
    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        measured("next_due", self.0.next_due(kind, statuses, after)).await
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        measured("time", self.0.time()).await
    }
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        measured("events", self.0.events(org, after, limit)).await
    }
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        measured("audit", self.0.audit(query)).await
    }
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        measured("audit_after", self.0.audit_after(org, after, limit)).await
    }
    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        measured("prune_audit", self.0.prune_audit(prune)).await
    }
    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        measured("audit_checkpoint", self.0.audit_checkpoint(org)).await
    }
    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        measured("verify_audit", self.0.verify_audit(org)).await
    }
    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.0.wakes()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        measured("ping", self.0.ping()).await
    }
}
