//! Many tasks at once. A store may make them wait or refuse them with a conflict; it may not lose their work, and
//! may not pass on that its database was busy.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;

use super::AnyStore;
use super::claims::query;
use super::fixtures::{at, entry, event, insert, investigation, org, rule};
use crate::ports::StoreExt;
use crate::ports::store::{AuditQuery, Commit, RecordKind, StoreError};

const TASKS: usize = 16;

/// Each of many records is claimed by exactly one of many workers.
pub async fn concurrent_claims_never_hand_out_a_record_twice(store: AnyStore) {
    let all: Vec<_> = (0..40).map(|ms| investigation(at(ms))).collect();
    insert(&*store, all.clone()).await;
    let mut workers = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        workers.spawn(async move {
            let mut claimed = Vec::new();
            let query = query(1000, Duration::from_secs(600));
            while let Some((_, lease)) = store.claim(&query).await.unwrap() {
                claimed.push(lease.key.id);
            }
            claimed
        });
    }
    let claimed: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(claimed.len(), distinct.len(), "no record was handed out twice");
    assert_eq!(distinct, all.iter().map(|work| work.id.as_uuid()).collect(), "every record was handed out");
}

/// N tasks that read, add one and write, trying again on a conflict, end at N; nothing but conflicts stops them.
pub async fn concurrent_read_modify_write_loses_nothing(store: AnyStore) {
    const EACH: u64 = 5;
    let mut counter = rule("counter");
    counter.evaluation_interval_sec = 0;
    let id = counter.id;
    insert(&*store, [counter]).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let found = store.rule(id).await.unwrap().unwrap();
                    let mut next = found.value;
                    next.evaluation_interval_sec += 1;
                    let commit = Commit::new().update(next, found.version).audit(entry(&org(), "add"));
                    match store.commit(commit.event(event(&org(), "added"))).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => panic!("only conflicts are the caller's to solve: {other}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let end = store.rule(id).await.unwrap().unwrap();
    let total = TASKS as u64 * EACH;
    assert_eq!((end.value.evaluation_interval_sec, end.version), (total, total + 1));
    assert_eq!(store.audit(&AuditQuery::new(org())).await.unwrap().total, total, "one audit row per commit");
}

/// Two evaluators see the same episode: one investigation.
pub async fn concurrent_inserts_of_one_unique_key_let_one_pass(store: AnyStore) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            match store.commit(Commit::new().insert(rule("the only one"))).await {
                Ok(_) => true,
                Err(StoreError::Duplicate { .. }) => false,
                Err(other) => panic!("a duplicate was expected: {other}"),
            }
        });
    }
    let passed = tasks.join_all().await.into_iter().filter(|passed| *passed).count();
    assert_eq!(passed, 1);
    assert_eq!(store.count(RecordKind::AlertRule, None).await.unwrap().values().sum::<u64>(), 1);
}

/// Work on different records does not conflict, even though it shares the organisation's logs.
pub async fn concurrent_commits_on_different_records_all_pass(store: AnyStore) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut work = investigation(at(0));
            store.commit(Commit::new().insert(work.clone()).event(event(&org(), "new"))).await.unwrap();
            for version in 1..=5 {
                work.attempt += 1;
                let commit = Commit::new().update(work.clone(), version).audit(entry(&org(), "run"));
                store.commit(commit).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let all = store
        .all::<crate::investigation::Investigation>(crate::ports::store::ListQuery::new(RecordKind::Investigation));
    let all = all.await.unwrap();
    assert_eq!(all.len(), TASKS);
    assert!(all.iter().all(|work| work.version == 6 && work.value.attempt == 5));
}

/// A commit whose caller went away half way has happened or has not, and stands in nobody's way.
pub async fn a_dropped_commit_is_whole_or_nothing_and_blocks_nobody(store: AnyStore) {
    let mut counter = rule("counter");
    counter.evaluation_interval_sec = 0;
    let id = counter.id;
    insert(&*store, [counter]).await;
    let add = async |polls: usize| {
        let found = store.rule(id).await.unwrap().unwrap();
        let mut next = found.value;
        next.evaluation_interval_sec += 1;
        let commit = Commit::new().update(next, found.version).audit(entry(&org(), "add"));
        polled(polls, store.commit(commit.event(event(&org(), "added")))).await
    };
    for polls in 0..60 {
        // A dropped commit may still be under way when the next one has read: a conflict.
        if let Some(Err(error)) = add(polls).await {
            assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        }
    }
    let last = async { while add(usize::MAX).await.is_none_or(|outcome| outcome.is_err()) {} };
    tokio::time::timeout(Duration::from_secs(60), last).await.expect("commits go on");
    let end = store.rule(id).await.unwrap().unwrap();
    let count = end.value.evaluation_interval_sec;
    assert_eq!(end.version, count + 1);
    assert_eq!(store.audit(&AuditQuery::new(org())).await.unwrap().total, count);
    assert_eq!(store.events(&org(), 0, 1000).await.unwrap().len() as u64, count);
    assert!(store.verify_audit(&org()).await.unwrap().is_ok());
}

/// Polls a future so many times and then drops it; `None` when it had not ended by then.
async fn polled<F: Future>(most: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    std::future::poll_fn(move |cx| {
        if polls == most {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
