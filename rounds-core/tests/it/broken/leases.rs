//! Stores that are wrong about leases, due times and time itself.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::ports::Store;
use rounds_core::ports::store::{
    ClaimQuery, Commit, Committed, Key, Lease, Record, RecordKind, StoreError, Versioned, WorkerId,
};
use rounds_core::testing::{MemoryStore, StoreLayer};
use tokio::time::Instant;

use super::{Broken, broken, layered};
use crate::harness::lock;

pub(super) const BROKEN: &[Broken] = &[
    ("claims whatever comes first", || layered(ClaimsTheNext::default()), &["the_longest_due_record_is_claimed_first"]),
    (
        "claims what is not due",
        || layered(ClaimsTooEarly::default()),
        &["only_records_that_are_due_and_have_the_status_are_claimed"],
    ),
    (
        "claims whatever its status",
        || layered(ClaimsAnyStatus::default()),
        &["only_records_that_are_due_and_have_the_status_are_claimed"],
    ),
    (
        "hands a record out twice",
        || layered(HandsOutTwice::default()),
        &["a_record_has_one_holder", "concurrent_claims_never_hand_out_a_record_twice"],
    ),
    (
        "loses a record now and then when it is claimed",
        || layered(LosesClaims::default()),
        &["concurrent_claims_never_hand_out_a_record_twice"],
    ),
    (
        "holds leases for ever",
        || layered(HoldsForEver::default()),
        &["a_lease_ends_by_the_stores_time_and_the_fence_rises", "a_lost_lease_commits_nothing"],
    ),
    (
        "gives every claim the same fence",
        || layered(OneFence::default()),
        &[
            "a_lease_ends_by_the_stores_time_and_the_fence_rises",
            "a_released_record_can_be_claimed_at_once",
            "a_lease_is_given_back_with_the_commit_that_says_so",
        ],
    ),
    (
        "does not look at leases",
        || layered(IgnoresLeases::default()),
        &["a_lost_lease_commits_nothing", "a_refused_commit_leaves_no_trace"],
    ),
    ("does not look at fences", || layered(IgnoresFences::default()), &["a_lost_lease_commits_nothing"]),
    ("does not look at workers", || layered(IgnoresWorkers::default()), &["a_lost_lease_commits_nothing"]),
    (
        "ends a lease with the first commit under it",
        || layered(EndsWithACommit::default()),
        &["a_commit_under_a_held_lease_is_applied_and_keeps_it", "a_refused_commit_gives_no_lease_back"],
    ),
    (
        "commits under a lease that is over, as nobody else took it",
        || layered(CommitsLate::default()),
        &["a_commit_under_a_held_lease_is_applied_and_keeps_it"],
    ),
    (
        "throws away what the holder of a lease that is over has to say",
        || layered(RevivesNothing::default()),
        &["a_commit_under_a_held_lease_is_applied_and_keeps_it"],
    ),
    (
        "says of every renewal that it is done",
        || layered(RenewsForAnybody::default()),
        &["a_lease_is_renewed_by_its_holder_only", "a_lost_lease_commits_nothing"],
    ),
    (
        "does not renew",
        || layered(NeverRenews::default()),
        &["a_lease_is_renewed_by_its_holder_only", "a_commit_under_a_held_lease_is_applied_and_keeps_it"],
    ),
    (
        "takes no lease back",
        || layered(TakesNothingBack::default()),
        &["a_released_record_can_be_claimed_at_once", "a_lease_is_renewed_by_its_holder_only"],
    ),
    (
        "takes a lease from its new holder when the old one releases",
        || layered(ReleasesForAnybody::default()),
        &["a_lost_lease_commits_nothing"],
    ),
    (
        "changes the version with a claim",
        || layered(ClaimsAreChanges::default()),
        &["claiming_renewing_and_releasing_do_not_change_the_version"],
    ),
    (
        "locks people out of what a worker holds",
        || layered(LocksOut::default()),
        &["a_person_can_change_a_record_that_a_worker_holds"],
    ),
    (
        "forgets to give a lease back with a commit",
        || layered(ForgetsReleases::default()),
        &["a_lease_is_given_back_with_the_commit_that_says_so"],
    ),
    (
        "gives leases back with a commit that it refused",
        || layered(ReleasesWithTheRefused::default()),
        &["a_refused_commit_gives_no_lease_back"],
    ),
    ("counts the moment itself as later", || layered(DueAtTheMoment::default()), &["the_next_due_moment_is_told"]),
    ("says when anything is due", || layered(DueWhatever::default()), &["the_next_due_moment_is_told"]),
    ("has a clock that goes back", || layered(GoesBack::default()), &["the_stores_time_goes_forward"]),
    ("has a clock that is too fine", || layered(TooFine::default()), &["the_stores_time_goes_forward"]),
];

type Claimed = Option<(Versioned<Record>, Lease)>;

broken! { ClaimsTheNext;
    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let Some(first) = self.0.claim(query).await? else { return Ok(None) };
        let Some(second) = self.0.claim(query).await? else { return Ok(Some(first)) };
        self.0.release(&first.1).await?;
        Ok(Some(second))
    }
}

broken! { ClaimsTooEarly;
    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        self.0.claim(&ClaimQuery { due_by: Timestamp::MAX_UTC, ..query.clone() }).await
    }
}

broken! { ClaimsAnyStatus;
    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        self.0.claim(&ClaimQuery { statuses: Vec::new(), ..query.clone() }).await
    }
}

#[derive(Default)]
struct HandsOutTwice(MemoryStore, Mutex<Claimed>);

#[async_trait]
impl StoreLayer for HandsOutTwice {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        if let Some((record, lease)) = lock(&self.1).take() {
            return Ok(Some((record, Lease { worker: query.worker.clone(), ..lease })));
        }
        let claimed = self.0.claim(query).await?;
        lock(&self.1).clone_from(&claimed);
        Ok(claimed)
    }
}

#[derive(Default)]
struct LosesClaims(MemoryStore, AtomicU32);

#[async_trait]
impl StoreLayer for LosesClaims {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        if self.1.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
            self.0.claim(query).await?;
        }
        self.0.claim(query).await
    }
}

broken! { HoldsForEver;
    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        self.0.claim(&ClaimQuery { ttl: Duration::from_secs(1 << 30), ..query.clone() }).await
    }
}

/// The lease of a record as the store below knows it.
#[derive(Default)]
struct Known(Mutex<HashMap<Key, Lease>>);

impl Known {
    fn keep(&self, claimed: &Claimed) {
        if let Some((_, lease)) = claimed {
            lock(&self.0).insert(lease.key, lease.clone());
        }
    }

    fn of(&self, lease: &Lease) -> Lease {
        lock(&self.0).get(&lease.key).cloned().unwrap_or_else(|| lease.clone())
    }

    fn worker(&self, lease: &Lease) -> WorkerId {
        self.of(lease).worker
    }

    fn fence(&self, lease: &Lease) -> u64 {
        self.of(lease).fence
    }
}

#[derive(Default)]
struct OneFence(MemoryStore, Known);

impl OneFence {
    fn real(&self, lease: &Lease) -> Lease {
        Lease { fence: self.1.fence(lease), ..lease.clone() }
    }
}

#[async_trait]
impl StoreLayer for OneFence {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        self.1.keep(&claimed);
        Ok(claimed.map(|(record, lease)| (record, Lease { fence: 1, ..lease })))
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        for lease in commit.leases.iter_mut().chain(&mut commit.released) {
            *lease = self.real(lease);
        }
        self.0.commit(commit).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        self.0.renew(&self.real(lease), ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(&self.real(lease)).await
    }
}

broken! { IgnoresLeases;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        commit.leases.clear();
        self.0.commit(commit).await
    }
}

#[derive(Default)]
struct IgnoresFences(MemoryStore, Known);

#[async_trait]
impl StoreLayer for IgnoresFences {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        self.1.keep(&claimed);
        Ok(claimed)
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        for lease in &mut commit.leases {
            lease.fence = self.1.fence(lease);
        }
        self.0.commit(commit).await
    }
}

#[derive(Default)]
struct IgnoresWorkers(MemoryStore, Known);

#[async_trait]
impl StoreLayer for IgnoresWorkers {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        self.1.keep(&claimed);
        Ok(claimed)
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        for lease in &mut commit.leases {
            lease.worker = self.1.worker(lease);
        }
        self.0.commit(commit).await
    }
}

broken! { EndsWithACommit;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let leases = commit.leases.clone();
        let answer = self.0.commit(commit).await;
        for lease in leases {
            self.0.release(&lease).await?;
        }
        answer
    }
}

broken! { CommitsLate;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        for lease in &commit.leases {
            self.0.renew(lease, Duration::from_secs(60)).await?;
        }
        self.0.commit(commit).await
    }
}

#[derive(Default)]
struct RevivesNothing(MemoryStore, Mutex<HashMap<Key, Instant>>);

#[async_trait]
impl StoreLayer for RevivesNothing {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        if let Some((_, lease)) = &claimed {
            lock(&self.1).insert(lease.key, Instant::now() + query.ttl);
        }
        Ok(claimed)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        let over = lock(&self.1).get(&lease.key).is_some_and(|until| *until <= Instant::now());
        if over {
            return Err(StoreError::LeaseLost { key: lease.key });
        }
        lock(&self.1).insert(lease.key, Instant::now() + ttl);
        self.0.renew(lease, ttl).await
    }
}

broken! { RenewsForAnybody;
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        match self.0.renew(lease, ttl).await {
            Err(StoreError::LeaseLost { .. }) => Ok(()),
            answer => answer,
        }
    }
}

broken! { NeverRenews;
    async fn renew(&self, _lease: &Lease, _ttl: Duration) -> Result<(), StoreError> {
        Ok(())
    }
}

broken! { TakesNothingBack;
    async fn release(&self, _lease: &Lease) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Default)]
struct ReleasesForAnybody(MemoryStore, Known);

#[async_trait]
impl StoreLayer for ReleasesForAnybody {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        self.1.keep(&claimed);
        Ok(claimed)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(&self.1.of(lease)).await
    }
}

broken! { ClaimsAreChanges;
    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        if let Some((record, _)) = &claimed {
            self.0.commit(Commit::new().update(record.value.clone(), record.version)).await?;
        }
        Ok(claimed)
    }
}

#[derive(Default)]
struct LocksOut(MemoryStore, Mutex<HashSet<Key>>);

#[async_trait]
impl StoreLayer for LocksOut {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Claimed, StoreError> {
        let claimed = self.0.claim(query).await?;
        lock(&self.1).extend(claimed.as_ref().map(|(_, lease)| lease.key));
        Ok(claimed)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let held = |key: &Key| lock(&self.1).contains(key);
        if commit.leases.is_empty()
            && let Some(key) = commit.changes.iter().map(|change| change.key()).find(held)
        {
            return Err(StoreError::LeaseLost { key });
        }
        self.0.commit(commit).await
    }
}

broken! { ForgetsReleases;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        commit.released.clear();
        self.0.commit(commit).await
    }
}

broken! { ReleasesWithTheRefused;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let released = commit.released.clone();
        let answer = self.0.commit(commit).await;
        for lease in released {
            self.0.release(&lease).await?;
        }
        answer
    }
}

broken! { DueAtTheMoment;
    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.0.next_due(kind, statuses, after - Duration::from_micros(1)).await
    }
}

broken! { DueWhatever;
    async fn next_due(
        &self,
        kind: RecordKind,
        _statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.0.next_due(kind, &[], after).await
    }
}

#[derive(Default)]
struct GoesBack(MemoryStore, AtomicU32);

#[async_trait]
impl StoreLayer for GoesBack {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        // As when a call is answered by another machine.
        let off = Duration::from_secs(u64::from(self.1.fetch_add(1, Ordering::Relaxed) % 2));
        Ok(self.0.time().await? - off)
    }
}

broken! { TooFine;
    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(self.0.time().await? + Duration::from_nanos(1))
    }
}
