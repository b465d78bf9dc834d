//! A mail through Rounds itself, which ends in between and begins anew.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::{OrgRole, Principal};
use rounds_core::investigation::Proposal;
use rounds_core::plugin::{Host, Outbound, Registration, Registry};
use rounds_core::ports::store::{ListQuery, NoticeStatus, OutboxNotice, RecordKind, StoreExt as _, Versioned};
use rounds_core::service::{ConnectorDraft, DeadLetterFilter};
use rounds_core::step::StepSpec;
use rounds_core::testing::{FakeAdapter, ManualClock, MemoryStore, StaticIdentity};
use rounds_core::{OrgId, Rounds};
use serde_json::{Value, json};

use super::real::Server;

fn rounds(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>, admin: &Principal) -> Rounds {
    let fake = Registration::execution("fake", "Fake", Arc::new(FakeAdapter::default()));
    let registry = Registry::new(Registry::linked().unwrap().iter().cloned().chain([fake])).unwrap();
    let identity = Arc::new(StaticIdentity::new([admin.clone()]));
    Rounds::builder(Arc::clone(store) as _, identity)
        .registry(registry)
        .host(Host { outbound: Outbound::loopback(), ..Host::default() })
        .clock(Arc::clone(clock) as _)
        .build()
        .unwrap()
}

async fn on_its_way(store: &MemoryStore) -> Vec<OutboxNotice> {
    let all: Vec<Versioned<OutboxNotice>> = store.all(ListQuery::new(RecordKind::Notice)).await.unwrap();
    all.into_iter().map(|found| found.value).filter(|row| row.channel.is_some()).collect()
}

/// Waits until something has happened; a minute is never needed.
async fn in_time<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(Duration::from_secs(60), happens).await;
    happened.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn whom_the_server_lets_wait_are_told_after_a_restart_and_nobody_twice() {
    let mut server = Server::start("plain").await;
    let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::default()));
    let admin = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    let first = rounds(&store, &clock, &admin);
    let config = |to: Value| json!({ "host": "localhost", "port": server.port, "security": "none", "from": "rounds@example.com", "to": to });
    let whole = config(json!(["ada@example.com", "new@example.com", "gone@example.com"]));
    let mended = config(json!(["ada@example.com", "new@example.com"]));
    let cluster = first.connectors().create(&admin, ConnectorDraft::new("fake", "prod")).await.unwrap();
    let mail = ConnectorDraft::new("email", "mail").with_config(whole);
    let mail = first.connectors().create(&admin, mail).await.unwrap();
    let running = first.start();
    let proposal = Proposal::new("mend it").step(cluster.id, StepSpec::command(["restart", "shop/web"]));
    first.plans().propose(&admin, proposal).await.unwrap();
    let told = in_time("some are told", server.message()).await;
    assert_eq!(told["to"], json!(["ada@example.com"]));
    let noted = until(async || on_its_way(&store).await.iter().any(|row| row.attempts == 1));
    in_time("that is written down", noted).await;
    running.shutdown(Duration::from_secs(5)).await;

    // In one go, and while nothing is under way: what is, has its time.
    clock.advance(Duration::from_secs(180));
    let second = rounds(&store, &clock, &admin);
    let _running = second.start();
    let told = in_time("the others are told", server.message()).await;
    assert_eq!(told["to"], json!(["new@example.com"]));
    let given_up = until(async || on_its_way(&store).await.iter().any(|row| row.status == NoticeStatus::Dead));
    in_time("it is a dead letter", given_up).await;
    let letter = second.dead_letters().list(&admin, &DeadLetterFilter::default()).await.unwrap().items.remove(0);
    let why = letter.last_error.unwrap();
    assert!(why.contains("gone@example.com (550") && !why.contains("ada@"), "{why}");
    // Whoever looks at it takes the address off the list and tries again: there is nobody left to tell.
    let mended = ConnectorDraft::new("email", "mail").with_config(mended);
    second.connectors().update(&admin, mail.id, mended).await.unwrap();
    second.dead_letters().retry(&admin, letter.id).await.unwrap();
    in_time("it is done", until(async || on_its_way(&store).await.is_empty())).await;
}
