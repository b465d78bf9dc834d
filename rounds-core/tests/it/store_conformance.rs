//! The store in memory is a store: what tests see through it, they would see through a database.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::conformance::store::{store_suite, tampering_with_an_audit_row_is_noticed};
use rounds_core::ports::store::{Commit, ListQuery, RecordKind, Store, StoreError};
use rounds_core::testing::{Fault, ManualClock, MemoryStore};

mod memory {
    use rounds_core::testing::MemoryStore;

    async fn empty() -> (MemoryStore, ()) {
        (MemoryStore::new(), ())
    }

    // As the author of another store runs the kit.
    rounds_core::store_conformance!(empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_whole_suite_runs_in_one_test_too() {
    store_suite(|| async { MemoryStore::new() }).await;
}

#[tokio::test]
async fn the_memory_store_notices_tampering() {
    let store = MemoryStore::new();
    tampering_with_an_audit_row_is_noticed(Arc::new(store.clone()), async |org, seq| {
        assert!(store.tamper_audit(&org, seq, "success", "failure"));
    })
    .await;
}

#[tokio::test]
async fn injected_faults_strike_as_often_as_asked() {
    let store = MemoryStore::new();
    store.fail_next(Fault::Unavailable, 2);
    for _ in 0..2 {
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
    }
    store.ping().await.unwrap();
    store.fail_after(1, Fault::CommitFails);
    store.commit(Commit::new()).await.unwrap();
    store.list(&ListQuery::new(RecordKind::Plan)).await.unwrap();
    assert!(store.commit(Commit::new()).await.is_err());
    store.commit(Commit::new()).await.unwrap();
    assert_eq!(store.commits(), 3);
}

#[tokio::test]
async fn leases_run_by_the_clock_that_the_test_drives() {
    use rounds_core::ports::Clock;
    use rounds_core::ports::store::{ClaimQuery, WorkerId};

    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::with_clock(clock.clone());
    let notice = serde_json::json!({
        "id": uuid::Uuid::now_v7(), "channel": null, "status": "pending", "attempts": 0,
        "nextAttemptAt": clock.now(), "lastError": null,
        "notice": {
            "id": uuid::Uuid::now_v7(), "orgId": "main", "idempotencyKey": "k", "kind": "alert_firing",
            "at": clock.now(), "title": "", "body": "", "severity": "", "link": "", "labels": {},
        },
    });
    let notice: rounds_core::ports::store::OutboxNotice = serde_json::from_value(notice).unwrap();
    store.commit(Commit::new().insert(notice)).await.unwrap();
    let ttl = Duration::from_secs(30);
    let query = ClaimQuery {
        kind: RecordKind::Notice,
        statuses: Vec::new(),
        due_by: clock.now(),
        worker: WorkerId::unique("w"),
        ttl,
    };
    assert!(store.claim(&query).await.unwrap().is_some());
    clock.advance(ttl - Duration::from_millis(1));
    assert!(store.claim(&query).await.unwrap().is_none());
    clock.advance(Duration::from_millis(1));
    assert!(store.claim(&query).await.unwrap().is_some());
}
