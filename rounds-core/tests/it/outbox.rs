//! The outbox: every channel is told, at least once, and what cannot be delivered is kept.

use std::sync::Arc;

use async_trait::async_trait;
use rounds_core::alert::{AlertState, Notified, Severity};
use rounds_core::ports::store::{
    Commit, ListQuery, Lookup, NoticeStatus, OutboxNotice, Record, RecordKind, Store, StoreError, StoreExt, Versioned,
};
use rounds_core::ports::{Notice, NoticeKind, PortErrorKind};
use rounds_core::service::ExternalAlert;
use rounds_core::testing::{Fault, Layered, MemoryStore, StoreLayer};
use rounds_core::time::after_ms;
use rounds_core::{ConnectorId, DeadLetterId, NoticeId, OrgId, Settings};
use uuid::Uuid;

use crate::harness::{Channel, Detective, Does, World, draft, lock, pass, secs, until};

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
    let about = Some(format!("plan/{}", plan.id));
    assert!(lock(&world.channel.told).iter().all(|notice| notice.about == about));
    let links: Vec<String> = lock(&world.channel.told).iter().map(|notice| notice.link.clone()).collect();
    assert!(links.iter().all(|link| *link == format!("/plans/{}", plan.id)));
}

#[tokio::test(start_paused = true)]
async fn what_begins_and_what_ends_an_episode_is_about_the_same_and_the_next_episode_is_another() {
    let world = with_channels(Settings::default(), &["chat"]).await;
    let _running = world.start();
    let rule = world.rule("errors", serde_json::json!({})).await;
    for _ in 0..2 {
        world.errors.set(0.9);
        world.in_state(rule.id, AlertState::Firing).await;
        world.errors.set(0.1);
        world.in_state(rule.id, AlertState::Resolved).await;
    }
    let told = || -> Vec<(NoticeKind, String)> {
        let told = lock(&world.channel.told);
        told.iter().filter_map(|notice| Some((notice.kind, notice.about.clone()?))).collect()
    };
    let is_alert = |kind| matches!(kind, NoticeKind::AlertFiring | NoticeKind::AlertResolved);
    let of_alerts = || told().into_iter().filter(|(kind, _)| is_alert(*kind)).collect::<Vec<_>>();
    until("all is told", async || of_alerts().len() == 4).await;
    let (kinds, about): (Vec<_>, Vec<_>) = of_alerts().into_iter().unzip();
    assert_eq!(kinds, [NoticeKind::AlertFiring, NoticeKind::AlertResolved].repeat(2));
    assert!(about[0] == about[1] && about[2] == about[3] && about[0] != about[2], "{about:?}");
    assert!(about[0].starts_with(&format!("alert/{}/", rule.id)), "{about:?}");
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
async fn a_channel_that_asks_to_be_left_alone_is_and_not_for_ever() {
    for (asked, least) in [(60, 60), (1_000_000, 15 * 60)] {
        let world = with_channels(Settings::default(), &["chat"]).await;
        lock(&world.channel.fails).push_back(PortErrorKind::RateLimited);
        *lock(&world.channel.retry_after) = Some(secs(asked));
        let _running = world.start();
        let began = world.now();
        world.propose(&["restart app/web"]).await;
        until("it is told in the end", async || lock(&world.channel.told).len() == 1).await;
        let took = rounds_core::time::elapsed(began, world.now());
        assert!(took >= secs(least) && took < secs(least + 10), "{asked} s were asked for: {took:?}");
    }
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
async fn whom_a_channel_reached_is_not_told_again_neither_after_a_restart_nor_when_a_person_tries_again() {
    let world = with_channels(Settings { notice_attempts: 3, ..Settings::default() }, &["list"]).await;
    lock(&world.channel.fails).extend([PortErrorKind::Unavailable, PortErrorKind::Unavailable, PortErrorKind::Invalid]);
    lock(&world.channel.reached).extend(["ada@example.com".to_owned(), "bob@example.com".to_owned()]);
    *lock(&world.channel.retry_after) = Some(secs(60));
    let running = world.start();
    world.propose(&["restart app/web"]).await;
    until("it was tried once", async || {
        waiting(&world).await.iter().any(|notice| notice.channel.is_some() && notice.attempts == 1)
    })
    .await;
    running.shutdown(secs(5)).await;
    let _running = world.replica(Arc::new(world.store.clone())).build().unwrap().start();
    until("it is given up", async || waiting(&world).await.iter().any(|n| n.status == NoticeStatus::Dead)).await;
    let dead = waiting(&world).await.remove(0);
    world.rounds.dead_letters().retry(&world.admin, DeadLetterId::from(dead.id.as_uuid())).await.unwrap();
    until("it is told", async || lock(&world.channel.told).len() == 1).await;
    let had: Vec<Vec<String>> =
        lock(&world.channel.tried).iter().map(|(_, notice)| notice.delivered.iter().cloned().collect()).collect();
    let (ada, bob) = ("ada@example.com".to_owned(), "bob@example.com".to_owned());
    let both = vec![ada.clone(), bob];
    assert_eq!(had, [vec![], vec![ada], both.clone(), both]);
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

/// A notice about something, in its place, for a channel or for whatever channels there are; its key is its name.
fn told_of(world: &World, about: Uuid, place: u64, channel: Option<ConnectorId>, name: &str) -> OutboxNotice {
    let at = world.now();
    OutboxNotice {
        id: NoticeId::new(),
        notice: Notice::new(NoticeKind::PlanEnded, name, at, name),
        channel,
        about: Some(about),
        place,
        status: NoticeStatus::Pending,
        attempts: 0,
        next_attempt_at: at,
        last_error: None,
        lasts: None,
        group: None,
        members: Vec::new(),
    }
}

async fn channels(world: &World) -> Vec<ConnectorId> {
    let all = world.store.connectors(&OrgId::default()).await.unwrap();
    all.into_iter().map(|found| found.value).filter(|c| c.kind == "channel").map(|c| c.id).collect()
}

async fn put(world: &World, notices: impl IntoIterator<Item = OutboxNotice>) {
    world.store.commit(notices.into_iter().fold(Commit::new(), Commit::insert)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_told_of_each_plan_in_order_by_two_replicas_and_with_retries_between() {
    let world = with_channels(Settings::default(), &["chat"]).await;
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    // The order of insertion, and so of claims, is not the order in which things happened.
    for place in [4, 2, 8, 1, 6, 3, 7, 5] {
        put(&world, [told_of(&world, a, place, None, &format!("a{place}"))]).await;
        put(&world, [told_of(&world, b, place, None, &format!("b{place}"))]).await;
    }
    for _ in 0..2 {
        lock(&world.channel.fails).extend([PortErrorKind::Unavailable; 5]);
    }
    let _first = world.start();
    let _second = world.replica(Arc::new(world.store.clone())).build().unwrap().start();
    until("everything is told", async || waiting(&world).await.is_empty()).await;
    let told = keys(&world.channel);
    for plan in ["a", "b"] {
        let of_plan: Vec<&String> = told.iter().filter(|key| key.starts_with(plan)).collect();
        let expected: Vec<String> = (1..=8).map(|place| format!("{plan}{place}")).collect();
        assert_eq!(of_plan, expected.iter().collect::<Vec<_>>(), "{told:?}");
    }
    assert_eq!(lock(&world.channel.tried).len(), 16 + 10, "nothing was tried before its turn");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_routed_yet_comes_before_what_happened_later() {
    let world = with_channels(Settings::default(), &["chat"]).await;
    let (about, channel) = (Uuid::now_v7(), channels(&world).await[0]);
    let mut earlier = told_of(&world, about, 1, None, "earlier");
    earlier.next_attempt_at = after_ms(world.now(), 60_000);
    put(&world, [told_of(&world, about, 2, Some(channel), "later"), earlier]).await;
    put(&world, [told_of(&world, Uuid::now_v7(), 2, Some(channel), "of another plan")]).await;
    let _running = world.start();
    until("another plan is told of", async || keys(&world.channel) == ["of another plan"]).await;
    pass(secs(55)).await;
    assert_eq!(keys(&world.channel), ["of another plan"]);
    until("both are told", async || keys(&world.channel) == ["of another plan", "earlier", "later"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_not_told_yet_holds_up_no_other_channel() {
    let world = with_channels(Settings::default(), &["chat", "pager"]).await;
    let (about, channels) = (Uuid::now_v7(), channels(&world).await);
    let mut slow = told_of(&world, about, 1, Some(channels[0]), "first, to the chat");
    slow.next_attempt_at = after_ms(world.now(), 60_000);
    put(&world, [slow, told_of(&world, about, 2, Some(channels[1]), "second, to the pager")]).await;
    let _running = world.start();
    until("the pager is told", async || keys(&world.channel) == ["second, to the pager"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_holds_nothing_up_and_once_retried_it_has_its_old_place() {
    let world = with_channels(Settings { notice_attempts: 2, ..Settings::default() }, &["chat"]).await;
    let about = Uuid::now_v7();
    put(&world, [told_of(&world, about, 1, None, "1")]).await;
    let _running = world.start();
    until("the first is told", async || keys(&world.channel) == ["1"]).await;
    // The second cannot be delivered.
    lock(&world.channel.fails).push_back(PortErrorKind::Unauthorized);
    put(&world, [2, 3].map(|place| told_of(&world, about, place, None, &format!("{place}")))).await;
    until("the third is told", async || keys(&world.channel) == ["1", "3"]).await;
    let dead = waiting(&world).await.remove(0);
    assert_eq!((dead.status, dead.notice.idempotency_key.as_str()), (NoticeStatus::Dead, "2"));
    // A person has it tried again, which fails at first; what comes now waits for it.
    lock(&world.channel.fails).push_back(PortErrorKind::Unavailable);
    let id = DeadLetterId::from(dead.id.as_uuid());
    world.rounds.dead_letters().retry(&world.admin, id).await.unwrap();
    until("it failed", async || lock(&world.channel.fails).is_empty()).await;
    put(&world, [told_of(&world, about, 4, None, "4")]).await;
    until("everything is told", async || waiting(&world).await.is_empty()).await;
    assert_eq!(keys(&world.channel), ["1", "3", "2", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_takes_nothing_for_now_keeps_nobody_else_from_what_comes_next() {
    let world = with_channels(Settings::default(), &["list"]).await;
    let about = Uuid::now_v7();
    lock(&world.channel.fails).push_back(PortErrorKind::Unavailable);
    lock(&world.channel.reached).push_back("ada@example.com".to_owned());
    *lock(&world.channel.retry_after) = Some(secs(600));
    put(&world, [told_of(&world, about, 1, None, "1")]).await;
    let _running = world.start();
    until("some are told", async || lock(&world.channel.fails).is_empty()).await;
    put(&world, [told_of(&world, about, 2, None, "2")]).await;
    until("everybody is told", async || waiting(&world).await.is_empty()).await;
    assert_eq!(keys(&world.channel), ["2", "1"], "what the rest waits for holds up nothing");
}

/// A store whose connectors cannot be read, as with another key; the outbox sees them listed all the same.
struct Sealed(MemoryStore);

#[async_trait]
impl StoreLayer for Sealed {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        match lookup {
            Lookup::Key(key) if key.kind == RecordKind::Connector => {
                Err(StoreError::Corrupt { what: key.to_string(), message: "it was sealed with another key".into() })
            }
            _ => self.0.load(lookup).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_whose_row_cannot_be_read_is_tried_as_often_as_any_and_then_shown() {
    let world = with_channels(Settings { notice_attempts: 3, ..Settings::default() }, &["chat"]).await;
    let _running = world.replica(Arc::new(Layered(Sealed(world.store.clone())))).build().unwrap().start();
    world.propose(&["restart app/web"]).await;
    until("it is given up", async || waiting(&world).await.iter().any(|n| n.status == NoticeStatus::Dead)).await;
    let dead = waiting(&world).await.remove(0);
    assert_eq!(dead.attempts, 3);
    assert!(dead.last_error.as_deref().unwrap().contains("another key"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn the_runbook_of_an_alert_of_others_is_a_link_in_its_notices_and_in_those_of_the_plan_that_is_to_end_it() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(Arc::new(Detective::new([Does::Proposes(vec!["restart app/web"])])))
    })
    .await;
    world.mint();
    world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    let _running = world.start();
    let texts = |pairs: [(&str, &str); 2]| pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let alert = |resolved: bool| ExternalAlert {
        name: "HighErrorRate".into(),
        fingerprint: "a".into(),
        notified: Notified {
            starts_at: world.now(),
            resolved,
            labels: texts([("alertname", "HighErrorRate"), ("pod", "web-1")]),
            annotations: texts([
                ("runbook_url", "https://wiki.example/errors"),
                ("summary", "x <https://evil.example>"),
            ]),
            value: None,
            severity: Severity::Critical,
        },
        query: "errors > 1".into(),
    };
    let firing = alert(false);
    world.rounds.alerts().receive(&world.editor, "alertmanager", std::slice::from_ref(&firing)).await.unwrap();
    let plan = world.investigated().await.plan_id.unwrap();
    world.rounds.plans().reject(&world.editor, plan, None).await.unwrap();
    let over = ExternalAlert { notified: Notified { resolved: true, ..firing.notified.clone() }, ..alert(true) };
    world.rounds.alerts().receive(&world.editor, "alertmanager", &[over]).await.unwrap();
    until("all four are told", async || lock(&world.channel.told).len() == 4).await;
    for notice in lock(&world.channel.told).iter() {
        let links: Vec<_> = notice.links.iter().map(|link| (link.name.as_str(), link.url.as_str())).collect();
        assert_eq!(links, [("runbook_url", "https://wiki.example/errors")], "{:?}", notice.kind);
    }
}
