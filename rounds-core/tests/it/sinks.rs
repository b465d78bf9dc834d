//! Sinks: every event, at least once and in order, over restarts and replicas; what a sink cannot take is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::ports::store::{EventCursor, EventLetter, ListQuery, NoticeStatus, RecordKind, StoreExt, Versioned};
use rounds_core::ports::{CallContext, Event, EventSink, PortError, PortErrorKind, Store};
use rounds_core::service::{DeadLetterFilter, Recipient};
use rounds_core::testing::Fault;
use rounds_core::{OrgId, Rounds, Settings};
use tokio::time::Instant;

use crate::harness::{World, eventually, lock, pass, secs, until};

/// What a bus answers to one call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Yes,
    No(PortErrorKind),
    Panics,
    Hangs,
}

/// A sink that remembers what it was given, and answers as told.
#[derive(Clone)]
struct Bus {
    name: &'static str,
    given: Arc<Mutex<Vec<(Instant, u64)>>>,
    taken: Arc<Mutex<Vec<u64>>>,
    says: Arc<Mutex<VecDeque<Says>>>,
    takes: Arc<Mutex<Duration>>,
}

impl Bus {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            given: Arc::default(),
            taken: Arc::default(),
            says: Arc::default(),
            takes: Arc::new(Mutex::new(Duration::ZERO)),
        }
    }

    fn taken(&self) -> Vec<u64> {
        lock(&self.taken).clone()
    }

    fn given(&self) -> Vec<u64> {
        lock(&self.given).iter().map(|(_, seq)| *seq).collect()
    }

    fn will_say(&self, answers: impl IntoIterator<Item = Says>) {
        lock(&self.says).extend(answers);
    }
}

#[async_trait]
impl EventSink for Bus {
    fn name(&self) -> &str {
        self.name
    }

    async fn event(&self, _cx: &CallContext, event: &Event) -> Result<(), PortError> {
        lock(&self.given).push((Instant::now(), event.seq));
        let takes = *lock(&self.takes);
        tokio::time::sleep(takes).await;
        let says = lock(&self.says).pop_front().unwrap_or(Says::Yes);
        match says {
            Says::Yes => lock(&self.taken).push(event.seq),
            Says::No(kind) => return Err(PortError::new(kind, "the bus is down")),
            Says::Panics => panic!("a fault in the embedder's sink"),
            Says::Hangs => std::future::pending().await,
        }
        Ok(())
    }
}

/// A replica on the world's store that has the bus.
fn replica(world: &World, bus: &Bus) -> Rounds {
    world.replica(Arc::new(world.store.clone())).event_sink(Arc::new(bus.clone())).build().unwrap()
}

async fn cursor(world: &World, sink: &str) -> EventCursor {
    let all: Vec<Versioned<EventCursor>> = world.store.all(ListQuery::new(RecordKind::EventCursor)).await.unwrap();
    all.into_iter().map(|found| found.value).find(|cursor| cursor.sink == sink).unwrap()
}

async fn letters(world: &World) -> Vec<EventLetter> {
    let all: Vec<Versioned<EventLetter>> = world.store.all(ListQuery::new(RecordKind::EventLetter)).await.unwrap();
    all.into_iter().map(|found| found.value).collect()
}

/// The number of the newest event.
async fn last(world: &World) -> u64 {
    world.store.events(&OrgId::default(), 0, 10_000).await.unwrap().last().map_or(0, |event| event.seq)
}

/// A world with a bus that has begun: from the returned number on it is given everything.
async fn begun(settings: Settings) -> (World, Bus, u64) {
    let world = World::with(settings).await;
    let bus = Bus::new("bus");
    let began = last(&world).await;
    let running = replica(&world, &bus).start();
    until("the sink is known", async || {
        world.store.count(RecordKind::EventCursor, None).await.unwrap().get("bus") == Some(&1)
    })
    .await;
    running.shutdown(secs(60)).await;
    assert!(bus.given().is_empty(), "what happened before is history");
    (world, bus, began)
}

async fn all_taken(world: &World, bus: &Bus, after: u64) {
    let expected: Vec<u64> = (after + 1..=last(world).await).collect();
    until("everything is taken", async || {
        let mut taken = bus.taken();
        taken.dedup();
        taken == expected
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_is_given_what_happened_while_nothing_ran_in_order_and_once() {
    let (world, bus, began) = begun(Settings::default()).await;
    for _ in 0..130 {
        world.propose(&["get app/web"]).await;
    }
    let _running = replica(&world, &bus).start();
    all_taken(&world, &bus, began).await;
    world.propose(&["get app/web"]).await;
    all_taken(&world, &bus, began).await;
    pass(secs(600)).await;
    assert_eq!(bus.given(), (began + 1..=began + 131).collect::<Vec<_>>(), "each once");
    assert_eq!(cursor(&world, "bus").await.seq, last(&world).await);
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_at_a_time_feeds_a_sink_and_the_other_goes_on_where_it_stopped() {
    let (world, bus, began) = begun(Settings::default()).await;
    let (first, second) = (replica(&world, &bus).start(), replica(&world, &bus).start());
    *lock(&bus.takes) = secs(3);
    for _ in 0..6 {
        world.propose(&["get app/web"]).await;
    }
    until("it is under way", async || bus.taken().len() == 2).await;
    first.shutdown(secs(60)).await;
    all_taken(&world, &bus, began).await;
    pass(secs(60)).await;
    let given = lock(&bus.given).clone();
    assert_eq!(given.len(), 6, "each once, whoever fed it: {given:?}");
    assert!(given.windows(2).all(|two| two[1].0 - two[0].0 >= secs(3)), "never two at a time: {given:?}");
    second.shutdown(secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_is_replaced_when_its_lease_is_over_and_nothing_is_left_out() {
    let (world, bus, began) = begun(Settings::default()).await;
    let dying = Bus { taken: Arc::default(), given: Arc::default(), ..bus.clone() };
    let doomed = replica(&world, &dying).start();
    for _ in 0..3 {
        world.propose(&["get app/web"]).await;
    }
    dying.will_say([Says::Yes, Says::Hangs]);
    until("it hangs in the second", async || dying.given().len() == 2).await;
    // It is cut off: nothing is written down any more, and no lease given back.
    doomed.shutdown(Duration::ZERO).await;
    lock(&bus.says).clear();
    let _next = replica(&world, &bus).start();
    all_taken(&world, &bus, began).await;
    assert_eq!(bus.taken(), [began + 1, began + 2, began + 3], "from where it was written down, in order");
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_does_not_take_is_tried_again_with_growing_pauses_before_what_comes_after_it() {
    let (world, bus, began) = begun(Settings::default()).await;
    bus.will_say([Says::No(PortErrorKind::Unavailable), Says::Panics, Says::No(PortErrorKind::Timeout)]);
    world.propose(&["get app/web"]).await;
    world.propose(&["get app/web"]).await;
    let running = replica(&world, &bus).start();
    until("it failed", async || cursor(&world, "bus").await.attempts == 2).await;
    // A restart forgets neither how often it was tried nor when it is next.
    running.shutdown(secs(60)).await;
    let failing = cursor(&world, "bus").await;
    assert!(failing.last_error.as_deref().unwrap().contains("a fault in the embedder's sink"), "{failing:?}");
    let _running = replica(&world, &bus).start();
    all_taken(&world, &bus, began).await;
    let given = lock(&bus.given).clone();
    assert_eq!(bus.given(), [1, 1, 1, 1, 2].map(|n| began + n));
    let pauses: Vec<Duration> = given.windows(2).map(|two| two[1].0 - two[0].0).collect();
    for (pause, least) in pauses.iter().zip([1, 2, 4]) {
        assert!(*pause >= secs(least) && *pause < secs(least + 3), "1 s, 2 s, 4 s: {pauses:?}");
    }
    until("it is written down", async || cursor(&world, "bus").await.seq == began + 2).await;
    let mended = cursor(&world, "bus").await;
    assert_eq!((mended.attempts, mended.last_error), (0, None));
    assert!(letters(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_given_is_a_dead_letter_and_the_sink_goes_on() {
    let settings = Settings { notice_attempts: 2, query_timeout: secs(5), ..Settings::default() };
    let (world, bus, began) = begun(settings).await;
    // The first is refused for good, the second takes too long twice.
    bus.will_say([Says::No(PortErrorKind::Invalid), Says::Hangs, Says::Hangs]);
    for _ in 0..3 {
        world.propose(&["get app/web"]).await;
    }
    let running = replica(&world, &bus).start();
    until("the third is taken", async || bus.taken() == [began + 3]).await;
    until("it is written down", async || cursor(&world, "bus").await.seq == began + 3).await;
    let dead = letters(&world).await;
    let kept: Vec<(u64, u32, NoticeStatus)> = dead.iter().map(|l| (l.event.seq, l.attempts, l.status)).collect();
    assert_eq!(kept, [(began + 1, 1, NoticeStatus::Dead), (began + 2, 2, NoticeStatus::Dead)]);
    assert_eq!(dead[0].last_error.as_deref(), Some("the bus is down"));
    assert!(dead[1].last_error.as_deref().unwrap().contains("longer than"), "{dead:?}");
    pass(secs(3600)).await;
    assert_eq!(bus.given().len(), 4, "nobody tries a dead letter again by himself");
    assert_eq!(last(&world).await, began + 3, "and no event tells of it: it would have to be delivered too");

    // A person does, and what fails again is tried as often as a new one.
    let letters_of = world.rounds.dead_letters();
    let list =
        letters_of.list(&world.admin, &DeadLetterFilter { limit: 10, ..Default::default() }).await.unwrap().items;
    assert_eq!(list[0].link.as_deref(), Some(format!("/plans/{}", dead[1].event.subject_id).as_str()));
    assert_eq!((list.len(), &list[0].to), (2, &Recipient::Sink("bus".into())));
    bus.will_say([Says::No(PortErrorKind::Unavailable), Says::Yes]);
    letters_of.retry(&world.admin, dead[0].id).await.unwrap();
    until("it is taken", async || bus.taken().contains(&(began + 1))).await;
    until("it is gone", async || letters(&world).await.len() == 1).await;
    assert_eq!(letters_of.retry_all(&world.admin, &Recipient::Sink("other".into())).await.unwrap(), 0);
    assert_eq!(letters_of.retry_all(&world.admin, &Recipient::Sink("bus".into())).await.unwrap(), 1);
    until("nothing is left", async || letters(&world).await.is_empty()).await;
    running.shutdown(secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn sinks_wait_for_none_of_the_others_and_keep_their_own_places() {
    let (world, bus, began) = begun(Settings::default()).await;
    let other = Bus::new("other");
    other.will_say(std::iter::repeat_n(Says::No(PortErrorKind::Unavailable), 4));
    let both = world.replica(Arc::new(world.store.clone()));
    let both = both.event_sink(Arc::new(bus.clone())).event_sink(Arc::new(other.clone())).build().unwrap();
    let mut heard = both.subscribe();
    let running = both.start();
    until("both are known", async || world.store.count(RecordKind::EventCursor, None).await.unwrap().len() == 2).await;
    world.propose(&["get app/web"]).await;
    all_taken(&world, &bus, began).await;
    assert!(other.taken().is_empty());
    assert_eq!(heard.recv().await.unwrap().seq, began + 1, "who subscribed waits for no sink");
    // A replica without a sink leaves its place alone.
    running.shutdown(secs(60)).await;
    let running = replica(&world, &bus).start();
    world.propose(&["get app/web"]).await;
    all_taken(&world, &bus, began).await;
    running.shutdown(secs(60)).await;
    assert_eq!(cursor(&world, "other").await.seq, began);
    let _running = replica(&world, &other).start();
    all_taken(&world, &other, began).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_commit_leaves_out_no_event_and_changes_no_order() {
    for fault in [Fault::CommitFails, Fault::AnswerLost, Fault::LeaseLost, Fault::Conflict] {
        for number in 0..4 {
            let settings = Settings { notice_attempts: 2, ..Settings::default() };
            let (world, bus, began) = begun(settings).await;
            for _ in 0..3 {
                world.propose(&["get app/web"]).await;
            }
            bus.will_say([Says::Yes, Says::No(PortErrorKind::Unavailable), Says::No(PortErrorKind::Unavailable)]);
            world.store.fail_after(number, fault);
            let what = format!("{fault:?} at {number}");
            let without_notices = rounds_core::service::ServiceName::Outbox;
            let rounds = world.replica(Arc::new(world.store.clone())).without(without_notices);
            let _running = rounds.event_sink(Arc::new(bus.clone())).build().unwrap().start();
            until(&what, async || cursor(&world, "bus").await.seq == began + 3).await;
            let mut seen: Vec<u64> = bus.taken();
            seen.extend(letters(&world).await.iter().map(|letter| letter.event.seq));
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, [began + 1, began + 2, began + 3], "{what}: {:?}", bus.given());
            // A repeat begins again where it was written down, and goes forward from there.
            let firsts = bus.given().into_iter().fold(Vec::new(), |mut firsts: Vec<u64>, seq| {
                if !firsts.contains(&seq) {
                    firsts.push(seq);
                }
                firsts
            });
            assert!(firsts.is_sorted(), "{what}: {firsts:?}");
        }
    }
}

#[tokio::test]
async fn a_sink_needs_a_name_of_its_own_that_the_store_can_keep() {
    let world = World::new().await;
    for (names, said) in [
        (&[""][..], "found the name ``; 1 to 64"),
        (&["My Bus"], "found the name `My Bus`"),
        (&["bus", "bus"], "found two sinks named `bus`"),
    ] {
        let builder = names.iter().fold(world.replica(Arc::new(world.store.clone())), |builder, name| {
            builder.event_sink(Arc::new(Bus::new(name)))
        });
        let refused = builder.build().err().unwrap().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_backlog_says_how_far_a_sink_is_behind() {
    let (world, _, _) = begun(Settings::default()).await;
    world.propose(&["get app/web"]).await;
    world.propose(&["get app/web"]).await;
    let backlog =
        eventually("it is counted", async || Some(world.rounds.backlog(&OrgId::default()).await.unwrap())).await;
    let of_bus = &backlog[&Some(Recipient::Sink("bus".into()))];
    assert_eq!((of_bus.pending, of_bus.dead), (2, 0));
    assert_eq!(backlog[&None].pending, 2, "two notices are not routed yet");
}
