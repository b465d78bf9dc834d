//! The running services: what their handle says of them.

use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::ports::store::StoreError;
use rounds_core::ports::{Event, Store};
use rounds_core::service::{ServiceHealth, ServiceName};
use rounds_core::testing::{Layered, MemoryStore, StoreLayer};
use rounds_core::{OrgId, Settings};

use crate::harness::{World, secs};

/// A store that panics when the events of a plan are read.
struct Fragile(MemoryStore);

#[async_trait]
impl StoreLayer for Fragile {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let events = self.0.events(org, after, limit).await?;
        assert!(events.iter().all(|event| event.name != "proposed"), "a fault in the store");
        Ok(events)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_service_surfaces_through_the_handle_with_what_it_said() {
    let world = World::new().await;
    let running = world.replica(Arc::new(Layered(Fragile(world.store.clone())))).build().unwrap().start();
    tokio::time::sleep(secs(1)).await;
    assert!(running.health().values().all(|state| *state == ServiceHealth::Running));
    world.propose(&["restart app/web"]).await;
    let health = running.join().await;
    let ServiceHealth::Panicked(said) = &health[&ServiceName::Feed] else { panic!("{health:?}") };
    assert!(said.contains("a fault in the store"), "{said}");
    assert_eq!(running.health(), health, "and it stays said");
    assert_eq!(health[&ServiceName::Executor], ServiceHealth::Running, "the others go on");
    let ended = running.shutdown(secs(5)).await;
    assert!(matches!(&ended[&ServiceName::Feed], ServiceHealth::Panicked(said) if said.contains("a fault")));
    assert_eq!(ended[&ServiceName::Executor], ServiceHealth::Stopped);
}

#[tokio::test(start_paused = true)]
async fn join_returns_when_somebody_shuts_down_and_a_second_shutdown_says_the_same() {
    let world = World::built(Settings::default(), |builder| builder.without(ServiceName::Verifier)).await;
    let running = world.start();
    let other = running.clone();
    let joined = tokio::spawn(async move { other.join().await });
    tokio::time::sleep(secs(1)).await;
    assert!(!joined.is_finished());
    let first = running.shutdown(secs(5)).await;
    joined.await.unwrap();
    assert_eq!(running.shutdown(secs(5)).await, first);
    assert!(first.values().all(|state| *state == ServiceHealth::Stopped));
    assert!(!first.contains_key(&ServiceName::Verifier), "what was left out is not there");
}
