//! Where everything is kept: the [`Store`] port.
//!
//! The kernel speaks of closed enums of records, keys and queries, so that a store can be written without knowing
//! what a plan is; [`StoreExt`] is what people call. A store keeps for each record its key, its version, its
//! [`Index`] (what it is found by), its encoded body and its lease.

mod commit;
mod error;
mod ext;
mod feed;
mod query;
mod record;
mod tag;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use commit::{Change, Commit, Committed, Lease, WorkerId};
pub use error::StoreError;
pub use ext::StoreExt;
pub use feed::{EventCursor, EventLetter};
#[cfg(any(test, feature = "testing"))]
pub(crate) use query::has_status;
pub use query::{AuditHead, AuditPage, AuditQuery, ClaimQuery, Cursor, ListQuery, Lookup, Page, check_limit};
pub use record::{
    ChildIndex, Index, Key, Lasts, Member, NoticeStatus, OutboxNotice, Record, RecordKind, Versioned, Work, WorkSlot,
};
pub use tag::PlanTag;

use super::Event;
use crate::audit::chain::Broken;
use crate::audit::{AuditRow, Checkpoint, Prune};
use crate::id::OrgId;
use crate::time::Timestamp;

/// Keeps records, leases, the audit log and the event log.
///
/// **Implemented by** `rounds-store` (SQLite and PostgreSQL), by the in-memory store for tests, and by whoever
/// brings a database; the [conformance suite](crate::conformance) says whether one is right. **Called by** every
/// service; services meet nowhere else.
///
/// An implementation MUST:
/// - apply a [`Commit`] whole or not at all, and have it survive power loss once `commit` has returned;
/// - refuse a commit whose expected versions, uniqueness or leases do not hold, changing nothing and giving no lease back;
/// - own lease time: durations come in, its own clock decides, and a lease that is over can commit nothing until it is renewed;
/// - number audit rows and events per organisation from 1 without gaps, in the order of commits, and chain the
///   audit rows ([`chain`](crate::audit::chain));
/// - encrypt inline connector secrets at rest;
/// - give back times and texts exactly as they were given.
///
/// **Errors**: see [`StoreError`]; busy databases are retried inside, and what still fails says whether trying
/// again can help. **Cancel safety**: a dropped call has either happened or not; a dropped `commit` may have
/// happened.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads one record; `None` when there is none.
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError>;

    /// Reads a page of records in order of their ids, which is the order of creation. A record that cannot be decoded
    /// is left out and logged, so a page may hold fewer than `limit` and still have a next. A limit outside 1 to 1000 is
    /// [`StoreError::Invalid`], here and in [`audit`](Self::audit).
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Counts the records of a kind by status; those of kinds without one under the empty text.
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Applies changes, audit entries and events, all or nothing.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Takes the lease of the longest-due record that nobody holds; `None` when there is none. Each claim of a
    /// record raises its fence; none changes its version, and updates leave the lease as it is. A record that cannot be
    /// decoded is leased all the same, and the error names it: those behind it come next.
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError>;

    /// Lets a lease end `ttl` from now. One whose time is over is held again when nobody claimed the record since,
    /// which its unchanged worker and fence prove; otherwise, and when it was released, it is lost.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError>;

    /// Gives a lease back. Releasing one that is lost is not an error.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// When the next record of a kind becomes due, after `after`; of any status when none is named. Workers that
    /// found nothing to claim sleep until then. `None`: nothing will become due unless something changes.
    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// The time that leases run by, in UTC: one clock for all replicas. Deadlines that one process sets and another
    /// judges are of this time, so that no two machines' clocks are ever compared.
    async fn time(&self) -> Result<Timestamp, StoreError>;

    /// Reads the events of an organisation after a number, at most `limit`.
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// Reads audit rows, newest first.
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError>;

    /// Reads audit rows after a number, oldest first, at most `limit` (1 to 1000).
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError>;

    /// Removes the rows before a moment, from the oldest up to the first that is not before it, and leaves a
    /// [`Checkpoint`] signed with the chain's key in their place; the row that says so is appended in the same
    /// transaction. The numbers go on. `None`: there was nothing to remove, and nothing is appended. Each row is verified before
    /// it goes, and its age is what was hashed: from a log that does not hold nothing is removed
    /// ([`StoreError::Corrupt`]).
    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError>;

    /// The newest checkpoint of an organisation; `None`: nothing was ever removed.
    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError>;

    /// Walks an organisation's audit chain from its start, or from its newest checkpoint. The inner error says where
    /// it breaks.
    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError>;

    /// Hears of commits as they happen, by the kinds of records they changed. It may miss some: polling is the
    /// net.
    fn wakes(&self) -> broadcast::Receiver<RecordKind>;

    /// Whether the store can serve, for readiness.
    async fn ping(&self) -> Result<(), StoreError>;
}
