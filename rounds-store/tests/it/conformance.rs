//! The SQL store is a store.

use std::sync::Arc;

use rounds_core::conformance::store::{AnyStore, everything_survives_a_reopen, store_suite};

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_holds_every_rule_of_a_store() {
    let places = std::sync::Mutex::new(Vec::new());
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
