//! Dead letters: shown to who may see them, decided on by people who may, each time with an audit row and an event.

use rounds_core::access::{Denied, OrgRole, Principal};
use rounds_core::ports::store::{ListQuery, NoticeStatus, OutboxNotice, RecordKind, StoreExt, Versioned};
use rounds_core::ports::{EventSubject, PortErrorKind, Store};
use rounds_core::service::{DeadLetter, DeadLetterFilter, Listed, Recipient};
use rounds_core::{ConnectorId, DeadLetterId, Error, OrgId, Settings};
use serde_json::json;

use crate::harness::{World, draft, lock, secs, until};

/// A world with dead letters, one for each plan that was proposed; nothing runs.
async fn with_dead(count: usize) -> (World, ConnectorId) {
    let world = World::with(Settings { notice_attempts: 1, ..Settings::default() }).await;
    let channel = world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    lock(&world.channel.fails).extend(std::iter::repeat_n(PortErrorKind::Unavailable, count));
    let running = world.start();
    for dead in 1..=count {
        world.propose(&["get app/web"]).await;
        until("it is given up", async || notices(&world, NoticeStatus::Dead).await.len() == dead).await;
    }
    running.shutdown(secs(60)).await;
    (world, channel.id)
}

async fn notices(world: &World, status: NoticeStatus) -> Vec<OutboxNotice> {
    let query = ListQuery { statuses: vec![status.as_str().into()], ..ListQuery::new(RecordKind::Notice) };
    let all: Vec<Versioned<OutboxNotice>> = world.store.all(query).await.unwrap();
    all.into_iter().map(|found| found.value).collect()
}

async fn list(world: &World, filter: DeadLetterFilter) -> (Vec<DeadLetter>, Option<DeadLetterId>) {
    let Listed { items, next, .. } = world.rounds.dead_letters().list(&world.viewer, &filter).await.unwrap();
    (items, next)
}

fn some(limit: u32) -> DeadLetterFilter {
    DeadLetterFilter { limit, ..DeadLetterFilter::default() }
}

/// The events of an organisation about dead letters, as name and id.
async fn events(world: &World) -> Vec<(String, String)> {
    let events = world.store.events(&OrgId::default(), 0, 1000).await.unwrap();
    let of_letters = events.into_iter().filter(|event| event.subject == EventSubject::DeadLetter);
    of_letters.map(|event| (event.name, event.subject_id)).collect()
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_newest_first_page_by_page_with_what_an_operator_needs() {
    let (world, channel) = with_dead(7).await;
    let (all, next) = list(&world, some(100)).await;
    assert_eq!((all.len(), next), (7, None));
    assert!(all.windows(2).all(|two| two[0].id > two[1].id && two[0].happened_at >= two[1].happened_at));
    let first = &all[0];
    assert_eq!((first.what.as_str(), first.attempts, &first.to), ("plan_proposed", 1, &Recipient::Channel(channel)));
    assert_eq!(first.last_error.as_deref(), Some("the channel is down"));
    assert!(first.link.as_deref().unwrap().starts_with("/plans/") && first.tried_at >= first.happened_at);

    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = list(&world, DeadLetterFilter { after, ..some(3) }).await;
        assert!(page.len() <= 3);
        paged.extend(page);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    assert_eq!(world.rounds.dead_letters().count(&world.viewer).await.unwrap(), 7);
    let (none, _) =
        list(&world, DeadLetterFilter { to: Some(Recipient::Channel(ConnectorId::new())), ..some(9) }).await;
    assert!(none.is_empty());
    let backlog = world.rounds.backlog(&OrgId::default()).await.unwrap();
    assert_eq!(backlog[&Some(Recipient::Channel(channel))].dead, 7);
    assert_eq!(events(&world).await.len(), 7, "each death is an event: pages show it without being asked");
}

#[tokio::test(start_paused = true)]
async fn a_retried_letter_is_delivered_and_a_discarded_one_is_gone_with_who_decided() {
    let (world, _) = with_dead(2).await;
    let letters = world.rounds.dead_letters();
    let (all, _) = list(&world, some(9)).await;
    let retried = letters.retry(&world.admin, all[1].id).await.unwrap();
    assert_eq!((retried.status, retried.attempts), (NoticeStatus::Pending, 0));
    letters.discard(&world.admin, all[0].id).await.unwrap();
    assert!(list(&world, some(9)).await.0.is_empty());

    // Somebody else was a moment later.
    let late = letters.retry(&world.admin, all[1].id).await.unwrap_err();
    assert!(matches!(late, Error::Conflict { code: "already_retried", .. }), "{late}");
    let late = letters.discard(&world.admin, all[1].id).await.unwrap_err();
    assert!(matches!(late, Error::Conflict { code: "already_retried", .. }), "{late}");
    let gone = letters.discard(&world.admin, all[0].id).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");

    let _running = world.start();
    until("it is told", async || lock(&world.channel.told).len() == 1).await;
    assert_eq!(lock(&world.channel.told)[0].idempotency_key, all[1].idempotency_key, "the key is the same");
    for (action, letter) in [("retry", &all[1]), ("discard", &all[0])] {
        let rows = world.audited(&format!("dead_letter.{action}")).await;
        assert_eq!(rows.len(), 1, "{action}");
        let entry = &rows[0].entry;
        assert_eq!((entry.target_type.as_str(), &entry.target_id), ("dead_letter", &letter.id.to_string()));
        assert_eq!(entry.actor_id, world.admin.id.to_string());
        assert_eq!(entry.metadata["idempotencyKey"], json!(letter.idempotency_key));
        assert_eq!(entry.metadata["lastError"], json!("the channel is down"));
        assert!(events(&world).await.contains(&(action.to_owned(), letter.id.to_string())));
    }
    world.chain_holds().await;
}

#[tokio::test(start_paused = true)]
async fn every_letter_to_a_mended_channel_is_retried_at_once_and_met_once() {
    let (world, channel) = with_dead(60).await;
    let mut other = draft("channel");
    other.name = "other".into();
    let other = world.rounds.connectors().create(&world.admin, other).await.unwrap();
    let letters = world.rounds.dead_letters();
    assert_eq!(letters.retry_all(&world.admin, &Recipient::Channel(other.id)).await.unwrap(), 0);
    assert_eq!(letters.retry_all(&world.admin, &Recipient::Channel(channel)).await.unwrap(), 60);
    assert_eq!(world.audited("dead_letter.retry").await.len(), 60, "a row for each");
    assert_eq!(letters.retry_all(&world.admin, &Recipient::Channel(channel)).await.unwrap(), 0);
    let _running = world.start();
    until("everything is told", async || notices(&world, NoticeStatus::Pending).await.is_empty()).await;
    assert_eq!(lock(&world.channel.told).len(), 60);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_seen_by_who_reads_connectors_and_decided_on_by_who_writes_them() {
    let (world, channel) = with_dead(1).await;
    let letters = world.rounds.dead_letters();
    let id = list(&world, some(1)).await.0[0].id;
    for who in [&world.viewer, &world.editor] {
        for refused in [
            letters.retry(who, id).await.map(|_| ()),
            letters.discard(who, id).await,
            letters.retry_all(who, &Recipient::Channel(channel)).await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::Denied(Denied::Missing { .. })), "{refused}");
            assert!(refused.to_string().contains("needs connectors:write on connectors:*"), "{refused}");
        }
    }
    // Another organisation has neither the letter nor the list.
    let stranger = Principal::user(OrgId::new("elsewhere"), "stranger", OrgRole::Admin);
    assert!(letters.list(&stranger, &some(9)).await.unwrap().items.is_empty());
    assert_eq!(letters.count(&stranger).await.unwrap(), 0);
    assert!(matches!(letters.retry(&stranger, id).await, Err(Error::NotFound { .. })));
    assert!(matches!(letters.discard(&stranger, id).await, Err(Error::NotFound { .. })));
    assert_eq!(letters.retry_all(&stranger, &Recipient::Channel(channel)).await.unwrap(), 0);
    assert_eq!(notices(&world, NoticeStatus::Dead).await.len(), 1, "nothing of this changed anything");
}

#[tokio::test(start_paused = true)]
async fn rule_8_an_agent_decides_on_no_dead_letter_whatever_its_role() {
    let (world, channel) = with_dead(1).await;
    let letters = world.rounds.dead_letters();
    let id = list(&world, some(1)).await.0[0].id;
    let mut agent = world.agent.clone();
    agent.role = OrgRole::Admin;
    agent.server_admin = true;
    for refused in [
        letters.retry(&agent, id).await.map(|_| ()),
        letters.discard(&agent, id).await,
        letters.retry_all(&agent, &Recipient::Channel(channel)).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(Error::Denied(Denied::AgentsNeverDecide { .. }))), "{refused:?}");
    }
    assert_eq!(notices(&world, NoticeStatus::Dead).await.len(), 1);
}
