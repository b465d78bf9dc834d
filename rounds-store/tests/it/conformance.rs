//! The SQL store is a store, alone and beside others on the same file.

use std::sync::{Arc, Mutex};

use rounds_core::conformance::store::{
    AnyStore, everything_survives_a_reopen, store_suite, tampering_with_an_audit_row_is_noticed,
};
use rounds_core::ports::store::{AuditQuery, Commit, StoreError};
use rounds_core::ports::{Store as _, StoreExt as _};
use tokio::task::JoinSet;

use crate::support::{Place, entry, org, rule};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_holds_every_rule_of_a_store() {
    let places = Mutex::new(Vec::new());
    store_suite(|| async {
        let place = Place::new();
        let store = place.open().await;
        places.lock().unwrap().push(place);
        store
    })
    .await;
}

#[tokio::test]
async fn sqlite_keeps_everything_over_a_reopen() {
    let place = Place::new();
    let store: AnyStore = Arc::new(place.open().await);
    everything_survives_a_reopen(store, async || Arc::new(place.open().await) as AnyStore).await;
}

#[tokio::test]
async fn a_changed_audit_entry_is_noticed() {
    let place = Place::new();
    let store = Arc::new(place.open().await);
    tampering_with_an_audit_row_is_noticed(store, async |org, seq| {
        let changed = format!(
            "UPDATE rounds_audit SET entry = replace(entry, '\"success\"', '\"failure\"') \
             WHERE org_id = '{org}' AND seq = {seq}"
        );
        assert_eq!(place.sql(&changed).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_audit_row_that_is_relisted_removed_or_cut_off_is_noticed() {
    for (sql, at) in [
        ("UPDATE rounds_audit SET actor_id = 'nobody' WHERE seq = 2", 2),
        ("UPDATE rounds_audit SET at = at + 1 WHERE seq = 3", 3),
        ("DELETE FROM rounds_audit WHERE seq = 2", 3),
        ("DELETE FROM rounds_audit WHERE seq = 4", 4),
        ("DELETE FROM rounds_audit", 1),
        ("UPDATE rounds_org_head SET audit_hash = 'x'", 4),
    ] {
        let place = Place::new();
        let store = place.open().await;
        for action in ["a", "b", "c", "d"] {
            store.commit(Commit::new().audit(entry(action))).await.unwrap();
        }
        assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, 4);
        assert!(place.sql(sql).await > 0);
        let broken = store.verify_audit(&org()).await.unwrap().unwrap_err();
        assert_eq!(broken.seq, at, "{sql}: {broken}");
    }
}

/// Eight stores, each with connections of its own, as eight processes would have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_on_one_file_never_meet_a_locked_database() {
    const EACH: u64 = 10;
    let place = Place::new();
    let first = place.open().await;
    let counter = rule("counter");
    let id = counter.id;
    first.commit(Commit::new().insert(counter)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = place.open().await;
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let found = store.rule(id).await.unwrap().unwrap();
                    let mut next = found.value;
                    next.evaluation_interval_sec += 1;
                    match store.commit(Commit::new().update(next, found.version).audit(entry("add"))).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(first.rule(id).await.unwrap().unwrap().value.evaluation_interval_sec, 8 * EACH);
    assert_eq!(first.audit(&AuditQuery::new(org())).await.unwrap().total, 8 * EACH);
    assert!(first.verify_audit(&org()).await.unwrap().is_ok());
}
