//! Alerts that others evaluate: told any number of times, they count once.

use std::collections::BTreeMap;
use std::time::Duration;

use rounds_core::alert::{AlertState, Notified, Severity};
use rounds_core::ports::NoticeKind;
use rounds_core::ports::store::{ListQuery, RecordKind, Store as _, StoreExt as _, Versioned};
use rounds_core::service::{ExternalAlert, Received, RuleDraft, RuleView, SilenceDraft};
use rounds_core::time::after_ms;
use rounds_core::{Error, Settings, Timestamp};
use serde_json::json;

use crate::harness::{Detective, Does, World, draft, eventually, later, lock, pass, secs, until};

fn at(seconds: u64) -> Timestamp {
    after_ms(chrono::DateTime::from_timestamp(1_767_000_000, 0).unwrap(), seconds * 1000)
}

fn alert(fingerprint: &str, starts: u64, resolved: bool) -> ExternalAlert {
    ExternalAlert {
        name: "HighErrorRate".into(),
        fingerprint: fingerprint.into(),
        notified: Notified {
            starts_at: at(starts),
            resolved,
            labels: BTreeMap::from([("alertname".into(), "HighErrorRate".into()), ("pod".into(), fingerprint.into())]),
            annotations: BTreeMap::from([("summary".into(), "too many errors".into())]),
            value: None,
            severity: Severity::Critical,
        },
        query: "rate(errors[5m]) > 1".into(),
    }
}

async fn detective(settings: Settings) -> World {
    let world = World::built(settings, |builder| {
        builder.investigator(std::sync::Arc::new(Detective::new([Does::Proposes(vec!["restart app/web"])])))
    })
    .await;
    world.mint();
    world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    world
}

async fn told(world: &World, alerts: &[ExternalAlert]) -> Received {
    world.rounds.alerts().receive(&world.editor, "alertmanager", alerts).await.unwrap()
}

/// What the channel was told of alerts that fire.
fn firing(world: &World) -> Vec<rounds_core::ports::Notice> {
    lock(&world.channel.told).iter().filter(|notice| notice.kind == NoticeKind::AlertFiring).cloned().collect()
}

async fn rule(world: &World) -> RuleView {
    let mut all = world.rounds.alerts().list(&world.viewer).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_fired_external_alert_goes_the_whole_line_and_its_end_verifies_the_plan() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let first = told(&world, &[alert("a", 10, false)]).await;
    assert_eq!((first.fired, first.unchanged), (1, 0));
    let found = rule(&world).await;
    assert_eq!((found.rule.name.as_str(), found.state()), ("alertmanager/HighErrorRate", AlertState::Firing));
    assert_eq!((found.rule.source.as_deref(), found.series[0].firing_since), (Some("alertmanager"), Some(at(10))));
    let investigation = world.investigated().await;
    let plan = world.plan(investigation.plan_id.unwrap()).await;
    assert_eq!(plan.linked_alert_rule_id, Some(found.rule.id));
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    told(&world, &[alert("a", 10, true)]).await;
    eventually("it is verified", async || {
        let status = world.plan(plan.id).await.verification.status;
        (status.as_str() == "recovered").then_some(())
    })
    .await;
    until("its end is told", async || {
        lock(&world.channel.told).iter().any(|notice| notice.kind == NoticeKind::AlertResolved)
    })
    .await;
    let told = lock(&world.channel.told).clone();
    let fired = told.iter().find(|notice| notice.kind == NoticeKind::AlertFiring).unwrap();
    assert_eq!((fired.severity.as_str(), fired.body.as_str()), ("critical", "summary: too many errors"));
}

#[tokio::test(start_paused = true)]
async fn a_notice_counts_once_however_often_and_late_it_comes() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let firing = alert("a", 100, false);
    told(&world, &[firing.clone(), firing.clone()]).await;
    assert_eq!(told(&world, std::slice::from_ref(&firing)).await.unchanged, 1);
    // Whoever merges several senders says the earliest start; and replicas see it begin a moment apart.
    assert_eq!(told(&world, &[alert("a", 95, false), alert("a", 130, false)]).await.unchanged, 2);
    assert_eq!(rule(&world).await.state(), AlertState::Firing);
    assert_eq!(told(&world, &[alert("a", 95, true)]).await.resolved, 1);
    // Late repeats of what is over wake nothing.
    assert_eq!(told(&world, &[firing, alert("a", 130, true), alert("a", 95, false)]).await.unchanged, 3);
    assert_eq!(rule(&world).await.state(), AlertState::Resolved);
    world.investigated().await;
    pass(secs(600)).await;
    assert_eq!(world.investigations().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_overtakes_its_beginning_is_remembered() {
    let world = detective(Settings::default()).await;
    told(&world, &[alert("a", 10, false)]).await;
    assert_eq!(told(&world, &[alert("b", 20, true)]).await.unchanged, 1);
    assert_eq!(told(&world, &[alert("b", 20, false)]).await.unchanged, 1, "it is over");
    // The end of a later episode of what fires ends it, and the late beginning wakes nothing.
    assert_eq!(told(&world, &[alert("a", 500, true)]).await.resolved, 1);
    assert_eq!(told(&world, &[alert("a", 500, false)]).await.unchanged, 1);
    assert_eq!(told(&world, &[alert("a", 600, false)]).await.fired, 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_the_first_thing_told_of_a_name_is_remembered() {
    let world = detective(Settings::default()).await;
    assert_eq!(told(&world, &[alert("a", 10, true)]).await.unchanged, 1);
    assert_eq!(rule(&world).await.state(), AlertState::Normal);
    assert_eq!(told(&world, &[alert("a", 10, false)]).await.unchanged, 1, "it is over");
    assert_eq!(told(&world, &[alert("a", 600, false)]).await.fired, 1);
    // In one message, too.
    let received = told(&world, &[alert("b", 10, true), alert("b", 10, false), alert("b", 600, false)]).await;
    assert_eq!((received.fired, received.resolved, received.unchanged), (1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_many_alerts_is_stored_together_and_each_is_investigated() {
    let world = detective(Settings { series_per_rule: 300, ..Settings::default() }).await;
    let many: Vec<_> = (0..250).map(|nth| alert(&format!("pod-{nth}"), 10, false)).collect();
    let before = world.store.events(&rounds_core::OrgId::default(), 0, 1000).await.unwrap().len();
    let mut wakes = world.store.wakes();
    assert_eq!(told(&world, &many).await.fired, 250);
    let mut commits = 0;
    while let Ok(kind) = wakes.try_recv() {
        commits += usize::from(kind == RecordKind::AlertHistory);
    }
    assert_eq!(commits, 3, "a hundred at a time");
    assert_eq!(world.investigations().await.len(), 250);
    let events = world.store.events(&rounds_core::OrgId::default(), 0, 1000).await.unwrap();
    assert_eq!(events.len() - before, 501, "the rule, and two of each");
    assert_eq!(events[before].name, "created", "whoever hears what it did has heard of it");
    assert_eq!(told(&world, &many).await.unchanged, 250);
}

#[tokio::test(start_paused = true)]
async fn what_ends_in_a_message_makes_room_for_what_begins_in_it() {
    let world = World::with(Settings { series_per_rule: 2, ..Settings::default() }).await;
    assert_eq!(told(&world, &[alert("a", 10, false), alert("b", 10, false)]).await.fired, 2);
    let message = [
        alert("c", 20, false),
        alert("d", 20, false),
        alert("e", 20, false),
        alert("a", 10, true),
        alert("b", 10, true),
    ];
    let received = told(&world, &message).await;
    assert_eq!((received.fired, received.resolved), (2, 2));
    let ignored: Vec<_> = received.ignored.iter().map(|(fingerprint, _)| fingerprint.as_str()).collect();
    assert_eq!(ignored, ["e"], "each is answered for itself");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_says_at_too_great_length_what_its_source_asks_keeps_none_of_the_others() {
    let world = World::with(Settings::default()).await;
    let long = ExternalAlert { query: "x".repeat(100_000), ..alert("a", 10, false) };
    assert_eq!(told(&world, &[long, alert("b", 10, false)]).await.fired, 2);
}

#[tokio::test(start_paused = true)]
async fn of_alerts_that_are_over_the_newest_are_kept() {
    let world = World::with(Settings { series_per_rule: 1, ..Settings::default() }).await;
    for nth in 0..15 {
        pass(secs(1)).await;
        assert_eq!(told(&world, &[alert(&nth.to_string(), 10, false)]).await.fired, 1);
        pass(secs(1)).await;
        assert_eq!(told(&world, &[alert(&nth.to_string(), 10, true)]).await.resolved, 1);
    }
    let kept: Vec<_> = world.rounds.alerts().get(&world.viewer, rule(&world).await.rule.id).await.unwrap().series;
    let mut pods: Vec<u32> = kept.iter().map(|one| one.last_labels["pod"].parse().unwrap()).collect();
    pods.sort_unstable();
    assert_eq!(pods, (5..15).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_was_not_heard_of_for_long_fires_again_when_it_is_told_again() {
    let settings = Settings { external_alert_stale: secs(3600), alert_evaluator: false, ..Settings::default() };
    let world = detective(settings).await;
    let _running = world.start();
    told(&world, &[alert("a", 10, false)]).await;
    // Also where nothing is evaluated.
    until("it ends unheard", async || rule(&world).await.state() == AlertState::Resolved).await;
    assert_eq!(told(&world, &[alert("a", 10, false)]).await.fired, 1);
    until("it is investigated anew", async || world.investigations().await.len() == 2).await;
    assert_eq!(told(&world, &[alert("a", 10, false)]).await.unchanged, 1);
    assert_eq!(told(&world, &[alert("a", 10, true)]).await.resolved, 1);
    assert_eq!(told(&world, &[alert("a", 10, false)]).await.unchanged, 1);
}

#[tokio::test(start_paused = true)]
async fn each_alert_is_as_bad_as_its_own_notice_says() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let mut warning = alert("a", 10, false);
    warning.notified.severity = Severity::Warning;
    told(&world, &[warning, alert("b", 10, false)]).await;
    until("both are told", async || firing(&world).len() == 2).await;
    let mut severities: Vec<_> = firing(&world).into_iter().map(|notice| notice.severity).collect();
    severities.sort_unstable();
    assert_eq!(severities, ["critical", "warning"]);
}

#[tokio::test(start_paused = true)]
async fn after_its_silence_an_external_alert_is_told_without_another_notice() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let matchers = BTreeMap::from([("pod".to_owned(), "a".to_owned())]);
    let ends_at = later(world.now(), secs(600));
    let silence = SilenceDraft { rule_id: None, matchers, comment: String::new(), starts_at: None, ends_at };
    world.rounds.alerts().silence(&world.editor, silence).await.unwrap();
    told(&world, &[alert("a", 10, false)]).await;
    pass(secs(590)).await;
    assert!(firing(&world).is_empty());
    pass(secs(120)).await;
    assert_eq!(firing(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_makes_no_alerts_that_it_would_then_investigate() {
    let world = detective(Settings::default()).await;
    let denied = world.rounds.alerts().receive(&world.agent, "alertmanager", &[alert("a", 10, false)]).await;
    assert!(matches!(denied, Err(Error::Denied(_))), "{denied:?}");
}

#[tokio::test(start_paused = true)]
async fn a_later_start_is_a_new_episode_even_when_the_end_of_the_first_was_never_told() {
    let world = detective(Settings { investigation_cooldown: Duration::ZERO, ..Settings::default() }).await;
    let _running = world.start();
    told(&world, &[alert("a", 10, false)]).await;
    world.investigated().await;
    assert_eq!(told(&world, &[alert("a", 500, false)]).await.fired, 1);
    until("it is investigated again", async || world.investigations().await.len() == 2).await;
    let found = rule(&world).await;
    assert_eq!(found.series[0].firing_since, Some(at(500)));
    let history = world.rounds.alerts().history(&world.viewer, found.rule.id, 10).await.unwrap();
    let moves: Vec<_> = history.iter().map(|row| row.to_state).collect();
    assert_eq!(moves.iter().filter(|state| **state == AlertState::Firing).count(), 2, "{moves:?}");
    assert_eq!(moves.iter().filter(|state| **state == AlertState::Resolved).count(), 1, "{moves:?}");
}

#[tokio::test(start_paused = true)]
async fn two_receivers_at_once_start_one_investigation() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let both = [alert("a", 10, false), alert("b", 10, false)];
    let alerts = world.rounds.alerts();
    let at_once = (0..6).map(|_| alerts.receive(&world.editor, "alertmanager", &both));
    let received: Vec<Received> = futures::future::try_join_all(at_once).await.unwrap();
    assert_eq!(received.iter().map(|one| one.fired).sum::<usize>(), 2);
    assert_eq!(rule(&world).await.series.len(), 2);
    pass(secs(60)).await;
    assert_eq!(world.investigations().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_alert_of_which_nothing_is_heard_any_more_ends_without_data_and_is_no_recovery() {
    let world = detective(Settings { external_alert_stale: secs(3600), ..Settings::default() }).await;
    let _running = world.start();
    told(&world, &[alert("a", 10, false)]).await;
    let investigation = world.investigated().await;
    pass(secs(3000)).await;
    // Told again, it has an hour more.
    told(&world, &[alert("a", 10, false)]).await;
    pass(secs(3500)).await;
    assert_eq!(rule(&world).await.state(), AlertState::Firing);
    let plan = world.plan(investigation.plan_id.unwrap()).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    pass(secs(200)).await;
    let found = rule(&world).await;
    assert_eq!(found.state(), AlertState::Resolved);
    let history = world.rounds.alerts().history(&world.viewer, found.rule.id, 1).await.unwrap();
    assert_eq!(history[0].reason, rounds_core::alert::Reason::NoData);
    pass(secs(3600)).await;
    assert_eq!(world.plan(plan.id).await.verification.status.as_str(), "inconclusive");
}

#[tokio::test(start_paused = true)]
async fn silences_and_a_rule_that_is_switched_off_hold_for_external_alerts() {
    let world = detective(Settings::default()).await;
    let _running = world.start();
    let matchers = BTreeMap::from([("pod".to_owned(), "a".to_owned())]);
    let ends_at = later(world.now(), secs(600));
    let silence = SilenceDraft { rule_id: None, matchers, comment: String::new(), starts_at: None, ends_at };
    world.rounds.alerts().silence(&world.editor, silence).await.unwrap();
    told(&world, &[alert("a", 10, false)]).await;
    assert_eq!(world.investigated().await.skip_reason.map(|reason| reason.as_str()), Some("silenced"));
    assert!(lock(&world.channel.told).is_empty());
    let id = rule(&world).await.rule.id;
    world.rounds.alerts().set_enabled(&world.editor, id, false).await.unwrap();
    assert_eq!(told(&world, &[alert("b", 20, false)]).await.unchanged, 1);
    world.rounds.alerts().set_enabled(&world.editor, id, true).await.unwrap();
    assert_eq!(told(&world, &[alert("b", 20, false)]).await.fired, 1);
}

#[tokio::test(start_paused = true)]
async fn what_its_source_says_of_a_rule_is_not_changed_here_and_the_rest_is() {
    let world = detective(Settings::default()).await;
    told(&world, &[alert("a", 10, false)]).await;
    let found = rule(&world).await.rule;
    let mut draft = RuleDraft::from(&found);
    draft.description = "ask the shop team".into();
    let changed = world.rounds.alerts().update(&world.editor, found.id, draft.clone()).await.unwrap();
    assert_eq!((changed.rule.description.as_str(), changed.state()), ("ask the shop team", AlertState::Firing));
    let renamed = RuleDraft { name: "another".into(), ..draft.clone() };
    assert!(world.rounds.alerts().update(&world.editor, found.id, renamed).await.is_err());
    draft.condition.threshold = 7.0;
    let refused = world.rounds.alerts().update(&world.editor, found.id, draft).await.unwrap_err().to_string();
    assert!(refused.contains("alertmanager evaluates this rule"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_named_and_keeps_none_of_the_others() {
    let world = World::with(Settings { series_per_rule: 2, ..Settings::default() }).await;
    world.rule("alertmanager/Mine", json!({})).await;
    let named = |name: &str, fingerprint: &str| ExternalAlert { name: name.into(), ..alert(fingerprint, 1, false) };
    let received = told(
        &world,
        &[
            named("", "e"),
            named("Mine", "m"),
            named("A", "not/plain"),
            named("A", "1"),
            named("A", "2"),
            named("A", "3"),
        ],
    )
    .await;
    assert_eq!(received.fired, 2);
    let why: Vec<_> = received.ignored.iter().map(|(_, why)| why.as_str()).collect();
    let expected = ["alertname: found 0 bytes", "fingerprint: ", "2 alerts of this name fire already", "was made here"];
    assert_eq!(why.len(), expected.len(), "{why:?}");
    for (why, expected) in why.iter().zip(expected) {
        assert!(why.contains(expected), "{why}");
    }
    let denied = world.rounds.alerts().receive(&world.viewer, "alertmanager", &[]).await.unwrap_err();
    assert!(matches!(denied, Error::Denied(_)), "{denied}");
    let source = world.rounds.alerts().receive(&world.editor, "a/b", &[]).await.unwrap_err().to_string();
    assert!(source.contains("source: found \"a/b\""), "{source}");
    let rules: Vec<Versioned<rounds_core::alert::AlertRule>> =
        world.store.all(ListQuery::new(RecordKind::AlertRule)).await.unwrap();
    assert_eq!(rules.len(), 2);
}
