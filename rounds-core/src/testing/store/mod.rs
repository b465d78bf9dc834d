//! A store in memory, for tests: it keeps what an SQL store keeps and refuses what an SQL store refuses.

mod state;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use self::state::State;
use crate::audit::chain::Broken;
use crate::audit::{AuditRow, Checkpoint, Prune};
use crate::id::OrgId;
use crate::ports::store::{
    AuditHead, AuditPage, AuditQuery, ClaimQuery, Commit, Committed, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, Store, StoreError, Versioned,
};
use crate::ports::{Clock, Event, SystemClock};
use crate::time::{Timestamp, after_ms, elapsed};

/// What a [`MemoryStore`] does wrong when a test asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Any call answers [`StoreError::Unavailable`] and does nothing.
    Unavailable,
    /// A commit answers [`StoreError::Unavailable`] and does nothing; reads go on.
    CommitFails,
    /// A commit is applied and answers [`StoreError::Unavailable`]: the answer got lost on its way.
    AnswerLost,
    /// A commit finds that somebody else changed its first record.
    Conflict,
    /// A commit or a renewal finds its lease lost.
    LeaseLost,
}

/// A [`Store`] in memory.
///
/// ```
/// use rounds_core::ports::store::{ListQuery, RecordKind, Store};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = rounds_core::testing::MemoryStore::new();
/// assert!(store.list(&ListQuery::new(RecordKind::Plan)).await.unwrap().records.is_empty());
/// # });
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    wakes: broadcast::Sender<RecordKind>,
    time: LeaseTime,
}

#[derive(Default)]
struct Faults {
    queue: VecDeque<Fault>,
    /// After this many more commits, this fault.
    later: Option<(u64, Fault)>,
    commits: u64,
}

enum LeaseTime {
    /// When it was made, by the machine's clock and by tokio's.
    Tokio(Timestamp, Instant),
    Clock(Timestamp, Arc<dyn Clock>),
}

/// Tests need a chain, not a secret.
const AUDIT_KEY: &[u8] = b"the memory store's audit key";

impl MemoryStore {
    /// An empty store; leases run by tokio's time, which a test may pause.
    #[must_use]
    pub fn new() -> Self {
        Self::with_time(LeaseTime::Tokio(SystemClock.now(), Instant::now()))
    }

    /// An empty store whose leases run by a clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self::with_time(LeaseTime::Clock(clock.now(), clock))
    }

    /// The same store, that keeps what it is given as it is. Only what reads back as it was written stays the same.
    #[cfg(test)]
    pub(crate) fn plain(self) -> Self {
        self.state().plain = true;
        self
    }

    fn with_time(time: LeaseTime) -> Self {
        let wakes = broadcast::Sender::new(1024);
        Self { inner: Arc::new(Inner { state: Mutex::default(), faults: Mutex::default(), wakes, time }) }
    }

    /// Lets the next `times` calls that the fault concerns fail.
    pub fn fail_next(&self, fault: Fault, times: usize) {
        lock(&self.inner.faults).queue.extend(std::iter::repeat_n(fault, times));
    }

    /// Lets one commit fail, after this many that do not: a test that counts up meets every one.
    pub fn fail_after(&self, commits: u64, fault: Fault) {
        lock(&self.inner.faults).later = Some((commits, fault));
    }

    /// How many commits were asked for so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        lock(&self.inner.faults).commits
    }

    /// Replaces text in a stored audit row behind the chain's back; `false`: there was nothing to replace.
    #[must_use]
    pub fn tamper_audit(&self, org: &OrgId, seq: u64, from: &str, to: &str) -> bool {
        self.state().tamper(org, seq, from, to)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }

    /// Lease time: how long this store has lived.
    fn now(&self) -> Duration {
        match &self.inner.time {
            LeaseTime::Tokio(_, start) => start.elapsed(),
            LeaseTime::Clock(start, clock) => elapsed(*start, clock.now()),
        }
    }

    /// Every call starts here: other tasks get their turn, as at a database, and an injected fault strikes.
    async fn enter(&self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        match self.fault(|fault| fault == Fault::Unavailable) {
            Some(_) => Err(unavailable()),
            None => Ok(()),
        }
    }

    fn fault(&self, concerns: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut faults = lock(&self.inner.faults);
        let at = faults.queue.iter().position(|fault| concerns(*fault))?;
        faults.queue.remove(at)
    }

    fn commit_fault(&self, commit: &Commit) -> Option<Fault> {
        let leased = !commit.leases.is_empty();
        let has_changes = !commit.changes.is_empty();
        let concerns = |fault| match fault {
            Fault::Unavailable => false,
            Fault::CommitFails | Fault::AnswerLost => true,
            Fault::Conflict => has_changes,
            Fault::LeaseLost => leased,
        };
        {
            let mut faults = lock(&self.inner.faults);
            faults.commits += 1;
            match faults.later {
                Some((0, fault)) => {
                    faults.later = None;
                    return Some(fault);
                }
                Some((left, fault)) => faults.later = Some((left - 1, fault)),
                None => {}
            }
        }
        self.fault(concerns)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        self.enter().await?;
        self.state().load(lookup)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.enter().await?;
        self.state().list(query)
    }

    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        self.enter().await?;
        Ok(self.state().count(kind, org))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.enter().await?;
        commit.check()?;
        let fault = self.commit_fault(&commit);
        match fault {
            None | Some(Fault::AnswerLost) => {}
            Some(Fault::Unavailable | Fault::CommitFails) => return Err(unavailable()),
            Some(Fault::Conflict) => {
                if let Some(change) = commit.changes.first() {
                    return Err(StoreError::Conflict { key: change.key(), expected: 0 });
                }
            }
            Some(Fault::LeaseLost) => {
                if let Some(lease) = commit.leases.first() {
                    return Err(StoreError::LeaseLost { key: lease.key });
                }
            }
        }
        let kinds = commit.kinds();
        let committed = {
            let mut state = self.state();
            state.check_leases(&commit.leases, self.now())?;
            let versions = state.apply(&commit.changes)?;
            // Nothing can be refused from here on.
            commit.released.iter().for_each(|lease| state.release(lease));
            for entry in commit.audit {
                state.append_audit(AUDIT_KEY, entry);
            }
            let events = commit.events.into_iter().map(|event| state.append_event(event)).collect();
            Committed { versions, events }
        };
        for kind in kinds {
            // Nobody may be listening.
            let _ = self.inner.wakes.send(kind);
        }
        if fault == Some(Fault::AnswerLost) { Err(unavailable()) } else { Ok(committed) }
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.enter().await?;
        let now = self.now();
        self.state().claim(query, now)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        self.enter().await?;
        if self.fault(|fault| fault == Fault::LeaseLost).is_some() {
            return Err(StoreError::LeaseLost { key: lease.key });
        }
        let now = self.now();
        self.state().renew(lease, now.saturating_add(ttl))
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.enter().await?;
        self.state().release(lease);
        Ok(())
    }

    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.enter().await?;
        Ok(self.state().next_due(kind, statuses, after))
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.enter().await?;
        Ok(match &self.inner.time {
            LeaseTime::Tokio(begun, start) => after_ms(*begun, millis(start.elapsed())),
            LeaseTime::Clock(_, clock) => clock.now(),
        })
    }

    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.enter().await?;
        Ok(self.state().events(org, after, limit))
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.enter().await?;
        query.check()?;
        let state = self.state();
        let matching: Vec<_> = state.audit(&query.org).filter(|row| query.matches(&row.entry)).collect();
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let before = matching.iter().filter(|row| query.before.is_none_or(|before| row.seq < before));
        let rows = before.skip(offset).take(query.limit as usize).map(|row| (*row).clone()).collect();
        Ok(AuditPage { rows, total: matching.len() as u64 })
    }

    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.enter().await?;
        crate::ports::store::check_limit(limit)?;
        let state = self.state();
        let mut rows: Vec<AuditRow> = state.audit(org).take_while(|row| row.seq > after).cloned().collect();
        rows.reverse();
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        self.enter().await?;
        let mut state = self.state();
        if let Err(broken) = state.verify_audit(prune.org(), AUDIT_KEY) {
            return Err(StoreError::Corrupt { what: "the audit log".into(), message: broken.to_string() });
        }
        Ok(state.prune_audit(prune, AUDIT_KEY))
    }

    async fn audit_checkpoint(&self, org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        self.enter().await?;
        Ok(self.state().checkpoint(org).cloned())
    }

    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        self.enter().await?;
        Ok(self.state().verify_audit(org, AUDIT_KEY))
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.inner.wakes.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.enter().await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { message: "a test asked for this".into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
