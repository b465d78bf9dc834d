//! The outbox: every channel is told, at least once, and what cannot be delivered is kept.

use rounds_core::Settings;
use rounds_core::ports::store::{ListQuery, NoticeStatus, OutboxNotice, RecordKind, StoreExt, Versioned};
use rounds_core::ports::{NoticeKind, PortErrorKind};
use rounds_core::testing::Fault;

use crate::harness::{Channel, World, draft, lock, pass, secs, until};

async fn with_channels(settings: Settings, names: &[&str]) -> World {
    let world = World::with(settings).await;
    for name in names {
        let mut channel = draft("channel");
        channel.name = (*name).into();
        world.rounds.connectors().create(&world.admin, channel).await.unwrap();
    }
    world
}

async fn waiting(world: &World) -> Vec<OutboxNotice> {
    let all: Vec<Versioned<OutboxNotice>> = world.store.all(ListQuery::new(RecordKind::Notice)).await.unwrap();
    all.into_iter().map(|found| found.value).collect()
}

fn keys(channel: &Channel) -> Vec<String> {
    lock(&channel.told).iter().map(|notice| notice.idempotency_key.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_channel_is_told_once_of_each_thing_that_happened() {
    let world = with_channels(Settings::default(), &["chat", "pager"]).await;
    let _running = world.start();
    let plan = world.propose(&["restart app/web"]).await;
    world.approve(&plan).await;
    world.paused(plan.id).await;
    world.walk(plan.id).await;
    until("everybody is told", async || waiting(&world).await.is_empty() && lock(&world.channel.told).len() == 6).await;
    pass(secs(60)).await;
    let told: Vec<NoticeKind> = lock(&world.channel.told).iter().map(|notice| notice.kind).collect();
    for kind in [NoticeKind::PlanProposed, NoticeKind::StepAwaitingApproval, NoticeKind::PlanEnded] {
        assert_eq!(told.iter().filter(|found| **found == kind).count(), 2, "{kind:?} to both channels");
    }
    let mut keys = keys(&world.channel);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "the same key to each channel");
    let links: Vec<String> = lock(&world.channel.told).iter().map(|notice| notice.link.clone()).collect();
    assert!(links.iter().all(|link| *link == format!("/plans/{}", plan.id)));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_down_is_tried_again_with_growing_pauses_and_the_same_key() {
    let world = with_channels(Settings::default(), &["chat"]).await;
    lock(&world.channel.fails).extend([PortErrorKind::Unavailable, PortErrorKind::Timeout, PortErrorKind::Unavailable]);
    let _running = world.start();
    let began = world.now();
    world.propose(&["restart app/web"]).await;
    until("it is told in the end", async || lock(&world.channel.told).len() == 1).await;
    let tried = lock(&world.channel.tried).clone();
    assert_eq!(tried.len(), 4);
    assert!(tried.iter().all(|(_, notice)| notice.idempotency_key == tried[0].1.idempotency_key));
    let took = rounds_core::time::elapsed(began, world.now());
    assert!(took >= secs(1 + 2 + 4) && took < secs(20), "1 s, 2 s, 4 s: {took:?}");
    until("nothing is left", async || waiting(&world).await.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_is_a_dead_letter_and_stops_nothing_else() {
    let world = with_channels(Settings { notice_attempts: 3, ..Settings::default() }, &["chat"]).await;
    lock(&world.channel.fails).extend([PortErrorKind::Unavailable; 3]);
    let _running = world.start();
    world.propose(&["restart app/web"]).await;
    until("it is given up", async || waiting(&world).await.iter().any(|n| n.status == NoticeStatus::Dead)).await;
    let dead = waiting(&world).await.remove(0);
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (3, Some("the channel is down")));
    // What trying again cannot mend is not tried again.
    lock(&world.channel.fails).push_back(PortErrorKind::Unauthorized);
    world.propose(&["scale app/web"]).await;
    until("it is given up", async || waiting(&world).await.len() == 2).await;
    until("at once", async || waiting(&world).await.iter().any(|n| n.attempts == 1)).await;
    world.propose(&["get app/web"]).await;
    until("the next is told", async || lock(&world.channel.told).len() == 1).await;
    pass(secs(3600)).await;
    assert_eq!(lock(&world.channel.tried).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_delays_the_others_and_stops_nothing() {
    let world = with_channels(Settings { query_timeout: secs(5), ..Settings::default() }, &["chat"]).await;
    *lock(&world.channel.hangs) = true;
    let _running = world.start();
    world.propose(&["restart app/web"]).await;
    until("it was tried twice", async || lock(&world.channel.tried).len() >= 2).await;
    *lock(&world.channel.hangs) = false;
    until("it is told", async || lock(&world.channel.told).len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_commit_tells_at_least_once_with_the_same_key() {
    for fault in [Fault::CommitFails, Fault::AnswerLost, Fault::LeaseLost] {
        for number in 0..4 {
            let world = with_channels(Settings::default(), &["chat", "pager"]).await;
            world.propose(&["restart app/web"]).await;
            world.store.fail_after(number, fault);
            let _running = world.start();
            until("everybody is told", async || waiting(&world).await.is_empty()).await;
            let keys = keys(&world.channel);
            assert!((2..=3).contains(&keys.len()), "{fault:?} at {number}: {keys:?}");
            assert!(keys.iter().all(|key| *key == keys[0]));
        }
    }
}
