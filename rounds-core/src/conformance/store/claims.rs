//! Leases: who may drive a record.

use std::time::Duration;

use super::AnyStore;
use super::fixtures::{at, entry, event, insert, investigation, org, read};
use crate::investigation::{Investigation, InvestigationStatus};
use crate::ports::StoreExt;
use crate::ports::store::{ClaimQuery, Commit, Key, Lease, Record, RecordKind, StoreError, Versioned, WorkerId};

const LONG: Duration = Duration::from_secs(600);
/// Short enough to wait for, long enough that two calls in a row fit into it on a busy machine.
const SHORT: Duration = Duration::from_millis(300);

/// A claim of any unfinished investigation that is due by `ms`.
pub(super) fn query(ms: u64, ttl: Duration) -> ClaimQuery {
    ClaimQuery {
        kind: RecordKind::Investigation,
        statuses: vec!["queued".into(), "running".into()],
        due_by: at(ms),
        worker: WorkerId::unique("worker"),
        ttl,
    }
}

fn key(investigation: &Investigation) -> Key {
    Key::new(RecordKind::Investigation, investigation.id.as_uuid())
}

async fn claim(store: &AnyStore, ms: u64, ttl: Duration) -> Option<(Versioned<Record>, Lease)> {
    store.claim(&query(ms, ttl)).await.unwrap()
}

/// Claims again and again until the lease that stands in the way is over.
async fn claim_once_free(store: &AnyStore, ms: u64, ttl: Duration) -> Lease {
    let poll = async {
        loop {
            if let Some((_, lease)) = claim(store, ms, ttl).await {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("a lease of 300 ms ends")
}

fn is_lost<T>(result: Result<T, StoreError>, key: Key) -> bool {
    matches!(result, Err(StoreError::LeaseLost { key: lost }) if lost == key)
}

/// Whoever has waited longest is next, whatever the order of insertion or of ids.
pub async fn the_longest_due_record_is_claimed_first(store: AnyStore) {
    let all: Vec<_> = [30, 10, 20].into_iter().map(|ms| investigation(at(ms))).collect();
    insert(&*store, all.clone()).await;
    let mut order = Vec::new();
    while let Some((record, lease)) = claim(&store, 100, LONG).await {
        assert_eq!(record.value.key(), lease.key);
        order.push(lease.key);
    }
    assert_eq!(order, [key(&all[1]), key(&all[2]), key(&all[0])]);
}

/// A record that is not due, or has another status or kind, is nobody's to take.
pub async fn only_records_that_are_due_and_have_the_status_are_claimed(store: AnyStore) {
    let running = Investigation { status: InvestigationStatus::Running, ..investigation(at(5)) };
    let done = Investigation { status: InvestigationStatus::Completed, ..investigation(at(1)) };
    insert(&*store, [running.clone(), done]).await;
    assert!(claim(&store, 4, LONG).await.is_none());
    let only = |status: &str, kind| ClaimQuery { statuses: vec![status.into()], kind, ..query(100, LONG) };
    assert!(store.claim(&only("queued", RecordKind::Investigation)).await.unwrap().is_none());
    assert!(store.claim(&only("completed", RecordKind::Investigation)).await.unwrap().is_none());
    assert!(store.claim(&only("running", RecordKind::Plan)).await.unwrap().is_none());
    let (record, lease) = claim(&store, 5, LONG).await.expect("due at the very moment is due");
    assert_eq!((lease.key, record.version), (key(&running), 1));
}

/// While a lease is held nobody else gets the record, the holder included.
pub async fn a_record_has_one_holder(store: AnyStore) {
    insert(&*store, [investigation(at(0))]).await;
    let query = query(1, LONG);
    let (_, lease) = store.claim(&query).await.unwrap().unwrap();
    assert_eq!(lease.worker, query.worker);
    assert!(claim(&store, 1, LONG).await.is_none());
    assert!(store.claim(&query).await.unwrap().is_none());
}

/// A lease ends by itself, and the next holder's fence is higher.
pub async fn a_lease_ends_by_the_stores_time_and_the_fence_rises(store: AnyStore) {
    insert(&*store, [investigation(at(0))]).await;
    let mut fence = 0;
    for _ in 0..3 {
        let lease = claim_once_free(&store, 1, SHORT).await;
        assert!(lease.fence > fence, "{} after {fence}", lease.fence);
        fence = lease.fence;
    }
}

/// Rule 5: a worker that overslept can commit nothing, renew nothing, and takes nothing from the next holder.
pub async fn a_lost_lease_commits_nothing(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let key = key(&work);
    let (_, old) = claim(&store, 1, SHORT).await.unwrap();
    let new = claim_once_free(&store, 1, LONG).await;
    let commit = |lease: &Lease| {
        let changed = Investigation { question: "changed".into(), ..work.clone() };
        Commit::new().update(changed, 1).audit(entry(&org(), "a")).event(event(&org(), "e")).under(lease)
    };
    assert!(is_lost(store.commit(commit(&old)).await, key));
    assert!(is_lost(store.renew(&old, LONG).await, key));
    let same_worker = Lease { fence: new.fence, ..old.clone() };
    assert!(is_lost(store.commit(commit(&same_worker)).await, key), "the fence alone is not the lease");
    let same_fence = Lease { fence: old.fence, ..new.clone() };
    assert!(is_lost(store.commit(commit(&same_fence)).await, key), "the worker alone is not the lease");
    store.release(&old).await.expect("releasing a lost lease is not an error");
    assert!(claim(&store, 1, LONG).await.is_none(), "releasing a lost lease takes nothing from its new holder");
    assert_eq!(read(&*store, key).await.version, 1);
    assert!(store.events(&org(), 0, 10).await.unwrap().is_empty());
    store.commit(commit(&new)).await.unwrap();
}

/// A lease that is over commits nothing even when nobody else took the record, until it is renewed; while it is held,
/// commits pass and it stays held.
pub async fn a_commit_under_a_held_lease_is_applied_and_keeps_it(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let (record, lease) = claim(&store, 1, LONG).await.unwrap();
    let first = store.commit(Commit::new().update(work.clone(), record.version).under(&lease)).await.unwrap();
    assert_eq!(first.versions, [2]);
    assert!(claim(&store, 1, LONG).await.is_none(), "an update does not end the lease");
    store.commit(Commit::new().update(work.clone(), 2).under(&lease)).await.unwrap();

    store.renew(&lease, Duration::ZERO).await.unwrap();
    let poll = async {
        while store.commit(Commit::new().expect(lease.key, 3).under(&lease)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("a lease of no time is over");
    let late = store.commit(Commit::new().update(work.clone(), 3).under(&lease)).await;
    assert!(is_lost(late, lease.key));
    // Nobody claimed it in between, as the fence proves: what the holder has to say is not thrown away.
    store.renew(&lease, LONG).await.expect("a lease that is over and was not taken is revived");
    assert!(claim(&store, 1, LONG).await.is_none(), "a revived lease keeps others away");
    store.commit(Commit::new().update(work, 3).under(&lease)).await.unwrap();
}

/// Renewing holds a lease beyond its first end; nobody can renew for another.
pub async fn a_lease_is_renewed_by_its_holder_only(store: AnyStore) {
    insert(&*store, [investigation(at(0))]).await;
    let (_, lease) = claim(&store, 1, LONG).await.unwrap();
    store.renew(&lease, LONG).await.unwrap();
    let stranger = Lease { worker: WorkerId::unique("stranger"), ..lease.clone() };
    assert!(is_lost(store.renew(&stranger, LONG).await, lease.key));
    // Renewing sets the end, so a shorter time ends the lease sooner.
    store.renew(&lease, SHORT).await.unwrap();
    let next = claim_once_free(&store, 1, LONG).await;
    assert!(is_lost(store.renew(&lease, LONG).await, next.key));
    store.commit(Commit::new().delete(next.key, 1).under(&next)).await.unwrap();
    assert!(is_lost(store.renew(&next, LONG).await, next.key), "a deleted record has no lease");
    store.release(&next).await.expect("releasing a lost lease is not an error");

    insert(&*store, [investigation(at(0))]).await;
    let (_, given_back) = claim(&store, 1, LONG).await.unwrap();
    store.release(&given_back).await.unwrap();
    assert!(is_lost(store.renew(&given_back, LONG).await, given_back.key), "what was given back is not revived");
}

/// Giving back is immediate, and does not bring the fence down.
pub async fn a_released_record_can_be_claimed_at_once(store: AnyStore) {
    insert(&*store, [investigation(at(0))]).await;
    let (_, first) = claim(&store, 1, LONG).await.unwrap();
    store.release(&first).await.unwrap();
    assert!(is_lost(store.renew(&first, LONG).await, first.key));
    let (_, second) = claim(&store, 1, LONG).await.expect("it was given back");
    assert!(second.fence > first.fence);
}

/// Leases are not content: whoever read the record before can still write it.
pub async fn claiming_renewing_and_releasing_do_not_change_the_version(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let (claimed, lease) = claim(&store, 1, LONG).await.unwrap();
    store.renew(&lease, LONG).await.unwrap();
    store.release(&lease).await.unwrap();
    assert_eq!(claimed.version, 1);
    assert_eq!(store.investigation(work.id).await.unwrap().unwrap().version, 1);
}

/// A lease keeps other workers away, not decisions: a person cancels while a worker drives.
pub async fn a_person_can_change_a_record_that_a_worker_holds(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let (record, lease) = claim(&store, 1, LONG).await.unwrap();
    store.commit(Commit::new().update(work.clone(), 1)).await.unwrap();
    let stale = store.commit(Commit::new().update(work, record.version).under(&lease)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    store.renew(&lease, LONG).await.expect("the lease outlives the change");
}

/// The work is done and the lease given back in one moment: nobody has to wait, and nobody can come in between.
pub async fn a_lease_is_given_back_with_the_commit_that_says_so(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let (record, first) = claim(&store, 1, LONG).await.unwrap();
    store.commit(Commit::new().update(work.clone(), record.version).releasing(&first)).await.unwrap();
    assert!(is_lost(store.renew(&first, LONG).await, first.key), "it was given back");
    let (record, second) = claim(&store, 1, LONG).await.expect("it can be claimed at once");
    assert!(second.fence > first.fence);
    let late = store.commit(Commit::new().update(work.clone(), record.version).releasing(&first)).await;
    assert!(is_lost(late, first.key), "to give back one must hold");
    assert!(claim(&store, 1, LONG).await.is_none(), "and the holder is not disturbed");
    store.commit(Commit::new().delete(second.key, record.version).releasing(&second)).await.unwrap();
}

/// A refused commit changes nothing, and a lease is something.
pub async fn a_refused_commit_gives_no_lease_back(store: AnyStore) {
    let work = investigation(at(0));
    insert(&*store, [work.clone()]).await;
    let (_, lease) = claim(&store, 1, LONG).await.unwrap();
    let refused = store.commit(Commit::new().update(work.clone(), 7).releasing(&lease)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert!(claim(&store, 1, LONG).await.is_none(), "it is still held");
    store.commit(Commit::new().update(work, 1).under(&lease)).await.expect("by the one who held it");
}

/// Whoever found nothing to claim knows how long to sleep.
pub async fn the_next_due_moment_is_told(store: AnyStore) {
    let running = Investigation { status: InvestigationStatus::Running, ..investigation(at(7)) };
    let done = Investigation { status: InvestigationStatus::Completed, ..investigation(at(3)) };
    insert(&*store, [investigation(at(5)), running, done]).await;
    let next = async |after: u64, statuses: &[&str]| {
        let statuses: Vec<String> = statuses.iter().map(|status| (*status).to_owned()).collect();
        store.next_due(RecordKind::Investigation, &statuses, at(after)).await.unwrap()
    };
    assert_eq!(next(0, &[]).await, Some(at(5)), "what is ended is never due");
    assert_eq!(next(5, &[]).await, Some(at(7)), "later than the moment asked for, and not at it");
    assert_eq!(next(0, &["running"]).await, Some(at(7)));
    assert_eq!(next(7, &[]).await, None);
    assert_eq!(store.next_due(RecordKind::Plan, &[], at(0)).await.unwrap(), None);
}

/// Deadlines are of the store's time, which only goes forward.
pub async fn the_stores_time_goes_forward(store: AnyStore) {
    let mut before = store.time().await.unwrap();
    for _ in 0..50 {
        let now = store.time().await.unwrap();
        assert!(now >= before, "{now} after {before}");
        assert_eq!(now, crate::time::truncate(now), "whole microseconds");
        before = now;
    }
}
