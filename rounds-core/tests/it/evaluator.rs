//! The evaluator: what it sees becomes state, whatever datasources, restarts and other evaluators do.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::alert::{AlertState, Reason};
use rounds_core::ports::store::{RecordKind, Store, StoreExt};
use rounds_core::ports::{Point, Series};
use rounds_core::service::SilenceDraft;
use rounds_core::{Settings, Timestamp};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Logs, World, draft, eventually, later, lock, pass, rule_draft, secs, until};

#[tokio::test(start_paused = true)]
async fn an_alert_waits_for_its_duration_before_it_fires_and_resolves_when_it_is_over() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.set(0.1);
    let rule = world.rule("errors", json!({ "forDurationSec": 45 })).await;
    pass(secs(60)).await;
    assert_eq!(world.alert(rule.id).await.state, AlertState::Normal);
    world.errors.set(0.9);
    let pending = world.in_state(rule.id, AlertState::Pending).await;
    let since = pending.pending_since.unwrap();
    let firing = world.in_state(rule.id, AlertState::Firing).await;
    assert_eq!(firing.pending_since, Some(since));
    let fired = firing.firing_since.unwrap();
    assert!(fired >= later(since, secs(45)) && fired <= later(since, secs(56)), "{since} … {fired}");
    world.errors.set(0.1);
    let resolved = world.in_state(rule.id, AlertState::Resolved).await;
    assert_eq!((resolved.firing_since, resolved.pending_since), (None, None));
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 10).await.unwrap();
    let moves: Vec<_> = history.iter().rev().map(|row| (row.from_state, row.to_state, row.value)).collect();
    assert_eq!(
        moves,
        [
            (AlertState::Normal, AlertState::Pending, Some(0.9)),
            (AlertState::Pending, AlertState::Firing, Some(0.9)),
            (AlertState::Firing, AlertState::Resolved, Some(0.1)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_duration_it_fires_at_the_first_sample_and_a_shorter_one_returns_to_normal() {
    let world = World::new().await;
    let _running = world.start();
    pass(secs(1)).await;
    world.errors.set(0.9);
    let at_once = world.rule("at once", json!({})).await;
    let patient = world.rule("patient", json!({ "forDurationSec": 100 })).await;
    assert_eq!(world.in_state(at_once.id, AlertState::Firing).await.state_changed_at, at_once.created_at);
    pass(secs(50)).await;
    world.errors.set(0.1);
    pass(secs(30)).await;
    assert_eq!(world.alert(patient.id).await.state, AlertState::Normal);
    assert_eq!(world.alert(at_once.id).await.state, AlertState::Resolved);
    pass(secs(100)).await;
    let history = world.rounds.alerts().history(&world.viewer, patient.id, 10).await.unwrap();
    assert!(history.iter().all(|row| row.to_state != AlertState::Firing));
}

#[tokio::test(start_paused = true)]
async fn rule_13_a_restart_in_the_middle_keeps_since_when_it_is_pending() {
    let world = World::new().await;
    let running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({ "forDurationSec": 60 })).await;
    pass(secs(25)).await;
    let since = world.alert(rule.id).await.pending_since.unwrap();
    running.shutdown(secs(5)).await;
    pass(secs(3)).await;
    let next = world.replica(Arc::new(world.store.clone())).build().unwrap();
    let _running = next.start();
    let fired = world.in_state(rule.id, AlertState::Firing).await.firing_since.unwrap();
    assert!(fired <= later(since, secs(71)), "the duration went on from {since}, it fired at {fired}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_between_two_true_samples_is_not_a_duration() {
    let world = World::new().await;
    let running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({ "forDurationSec": 60 })).await;
    pass(secs(25)).await;
    running.shutdown(secs(5)).await;
    pass(secs(600)).await;
    let back = world.now();
    let _running = world.start();
    let fired = world.in_state(rule.id, AlertState::Firing).await.firing_since.unwrap();
    assert!(fired >= later(back, secs(60)), "it waited anew: back at {back}, fired at {fired}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_query_changes_no_state_is_recorded_and_logged_as_metric_query_failed() {
    let (logs, _guard) = Logs::listen();
    let world = World::new().await;
    let _running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({})).await;
    world.in_state(rule.id, AlertState::Firing).await;
    assert!(logs.with("metric query failed").is_empty());
    world.errors.fake.fail("401 Unauthorized");
    let told = eventually("it is recorded", async || world.alert(rule.id).await.last_error).await;
    assert_eq!(told, "401 Unauthorized");
    let line = logs.with("metric query failed").remove(0);
    assert!(line.starts_with("WARN metric query failed"), "operators search for these words: {line}");
    assert!(line.contains("401 Unauthorized") && line.contains(&rule.id.to_string()) && line.contains("errors"));
    pass(secs(300)).await;
    let alert = world.alert(rule.id).await;
    assert_eq!(alert.state, AlertState::Firing, "nobody knows, so nothing changes");
    assert!(alert.last_evaluated_at.unwrap() > alert.last_sample_at.unwrap());
    world.errors.set(0.9);
    until("it is forgotten", async || world.alert(rule.id).await.last_error.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_datasource_that_is_missing_hangs_or_panics_is_recorded_and_ends_no_rule() {
    let (logs, _guard) = Logs::listen();
    let world = World::with(Settings { query_timeout: secs(5), ..Settings::default() }).await;
    let _running = world.start();
    world.errors.set(0.1);
    let rule = world.rule("errors", json!({})).await;
    until("it is evaluated", async || world.alert(rule.id).await.last_value.is_some()).await;
    let said = async |words: &str| {
        eventually(words, async || world.alert(rule.id).await.last_error.filter(|error| error.contains(words))).await
    };
    *lock(&world.errors.takes) = secs(36_000);
    said("took longer than").await;
    *lock(&world.errors.takes) = secs(0);
    *lock(&world.errors.panics) = true;
    said("a fault in the datasource").await;
    *lock(&world.errors.panics) = false;
    until("it is evaluated again", async || world.alert(rule.id).await.last_error.is_none()).await;
    let found = world.rounds.connectors().list(&world.admin).await.unwrap();
    let id = found.iter().find(|connector| connector.kind == "errors").unwrap().id;
    world.rounds.connectors().delete(&world.admin, id).await.unwrap();
    said("no datasource is configured").await;
    assert!(logs.with("metric query failed").len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn several_series_fold_to_the_first_in_label_order_with_a_warning() {
    let world = World::new().await;
    let _running = world.start();
    let series = |pod: &str, value| {
        Series::new([("pod".to_owned(), pod.to_owned())].into(), vec![Point { at: Timestamp::UNIX_EPOCH, value }])
    };
    world.errors.fake.set_series(vec![series("web-2", 0.9), series("web-1", 0.1)]);
    let rule = world.rule("errors", json!({})).await;
    let alert = eventually("it is evaluated", async || {
        let alert = world.alert(rule.id).await;
        alert.last_value.is_some().then_some(alert)
    })
    .await;
    assert_eq!((alert.state, alert.last_value), (AlertState::Normal, Some(0.1)));
    assert_eq!(alert.last_labels["pod"], "web-1");
    assert!(alert.warning.unwrap().contains("2 series"));
}

#[tokio::test(start_paused = true)]
async fn a_series_that_is_gone_resolves_with_no_data_after_its_intervals() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({})).await;
    world.in_state(rule.id, AlertState::Firing).await;
    world.errors.fake.set_series(Vec::new());
    pass(secs(45)).await;
    assert_eq!(world.alert(rule.id).await.state, AlertState::Firing);
    world.in_state(rule.id, AlertState::Resolved).await;
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 1).await.unwrap();
    assert_eq!(history[0].reason, Reason::NoData);
}

#[tokio::test(start_paused = true)]
async fn a_new_and_a_changed_rule_take_effect_at_once() {
    let world = World::with(Settings { evaluator_refresh: secs(36_000), ..Settings::default() }).await;
    let _running = world.start();
    world.errors.set(0.4);
    pass(secs(100)).await;
    let slow = json!({ "evaluationIntervalSec": 3600 });
    let rule = world.rule("errors", slow.clone()).await;
    let began = Instant::now();
    until("the new rule is evaluated", async || world.alert(rule.id).await.last_value.is_some()).await;
    let mut draft = rule_draft("errors", slow);
    draft.condition.threshold = 0.3;
    world.rounds.alerts().update(&world.admin, rule.id, draft.clone()).await.unwrap();
    world.in_state(rule.id, AlertState::Firing).await;
    draft.condition.threshold = 0.6;
    world.rounds.alerts().update(&world.admin, rule.id, draft).await.unwrap();
    let after = world.alert(rule.id).await;
    assert_eq!(after.state, AlertState::Normal, "what was seen under the old condition says nothing");
    world.rounds.alerts().delete(&world.admin, rule.id).await.unwrap();
    let asked = world.errors.asked().len();
    assert!(began.elapsed() < secs(5), "{:?}", began.elapsed());
    pass(secs(8000)).await;
    assert!(world.errors.asked().len() <= asked + 1, "a deleted rule is not evaluated any more");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_question_before_the_change_is_thrown_away() {
    let world = World::new().await;
    let _running = world.start();
    pass(secs(1)).await;
    world.errors.set(0.4);
    // Making and changing a rule asks once, too; only the evaluations are slow.
    let rule = world.rule("errors", json!({})).await;
    *lock(&world.errors.takes) = secs(5);
    pass(secs(2)).await;
    // The first evaluation is under way; the rule now asks for less.
    let mut draft = rule_draft("errors", json!({ "forDurationSec": 600 }));
    draft.condition.threshold = 0.3;
    *lock(&world.errors.takes) = secs(0);
    world.rounds.alerts().update(&world.admin, rule.id, draft).await.unwrap();
    *lock(&world.errors.takes) = secs(5);
    pass(secs(4)).await;
    let alert = world.alert(rule.id).await;
    assert_eq!((alert.state, alert.last_value), (AlertState::Normal, None), "the old answer counts for nothing");
    let pending = world.in_state(rule.id, AlertState::Pending).await;
    assert!(pending.pending_since.unwrap() <= later(rule.created_at, secs(8)), "the new question was asked at once");
    pass(secs(60)).await;
    let asked = world.errors.asked();
    assert!(asked.len() <= 11, "the change left one schedule, not two: {}", asked.len());
    // And one that is deleted while it is asked stays deleted.
    world.rounds.alerts().delete(&world.admin, rule.id).await.unwrap();
    pass(secs(30)).await;
    assert!(world.store.instance_of(rule.id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_disabled_rule_is_not_asked_and_an_enabled_one_starts_from_normal() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({ "forDurationSec": 30 })).await;
    world.in_state(rule.id, AlertState::Firing).await;
    world.rounds.alerts().set_enabled(&world.admin, rule.id, false).await.unwrap();
    pass(secs(11)).await;
    let asked = world.errors.asked().len();
    pass(secs(300)).await;
    assert_eq!(world.errors.asked().len(), asked);
    let alert = world.alert(rule.id).await;
    assert_eq!((alert.state, alert.firing_since), (AlertState::Disabled, None));
    world.rounds.alerts().set_enabled(&world.admin, rule.id, true).await.unwrap();
    let enabled = world.now();
    let fired = world.in_state(rule.id, AlertState::Firing).await.firing_since.unwrap();
    assert!(fired >= later(enabled, secs(30)), "the duration counts anew");
}

#[tokio::test(start_paused = true)]
async fn with_evaluation_switched_off_states_are_kept_and_shown_and_start_nothing() {
    let (logs, _guard) = Logs::listen();
    let world = World::new().await;
    let running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({})).await;
    world.in_state(rule.id, AlertState::Firing).await;
    running.shutdown(secs(5)).await;
    let off = Settings { alert_evaluator: false, ..world.settings.clone() };
    let other = world.replica(Arc::new(world.store.clone())).settings(off).build().unwrap();
    let _running = other.start();
    assert_eq!(logs.with("alert evaluator NOT started: ALERT_EVALUATOR_ENABLED=false").len(), 1);
    let new = other.alerts().create(&world.admin, rule_draft("new", json!({}))).await.unwrap();
    let asked = world.errors.asked().len();
    pass(secs(600)).await;
    assert_eq!(world.errors.asked().len(), asked);
    let view = other.alerts().get(&world.viewer, rule.id).await.unwrap();
    assert_eq!((view.state(), view.evaluated), (AlertState::Firing, false));
    let view = other.alerts().get(&world.viewer, new.rule.id).await.unwrap();
    assert_eq!((view.state(), view.evaluated), (AlertState::Normal, false));
    assert_eq!(world.investigations().await.len(), 1, "the one of the firing itself, and no more");
}

#[tokio::test(start_paused = true)]
async fn a_silence_suppresses_notice_and_investigation_and_not_the_state() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(Arc::new(rounds_core::testing::ScriptedInvestigator::reading("get app/web")))
    })
    .await;
    world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    world.mint();
    world.errors.set(0.1);
    let rule = world.rule("errors", json!({ "labels": { "team": "shop" } })).await;
    let silence = SilenceDraft {
        rule_id: None,
        matchers: [("team".to_owned(), "shop".to_owned())].into(),
        comment: "maintenance".into(),
        starts_at: None,
        ends_at: later(world.now(), secs(600)),
    };
    world.rounds.alerts().silence(&world.admin, silence).await.unwrap();
    let _running = world.start();
    world.errors.set(0.9);
    world.in_state(rule.id, AlertState::Firing).await;
    let skipped = world.investigated().await;
    assert_eq!(skipped.skip_reason.map(rounds_core::investigation::SkipReason::as_str), Some("silenced"));
    pass(secs(60)).await;
    assert!(lock(&world.channel.told).is_empty());
    world.errors.set(0.1);
    world.in_state(rule.id, AlertState::Resolved).await;
    pass(secs(700)).await;
    // The silence is over.
    world.errors.set(0.9);
    world.in_state(rule.id, AlertState::Firing).await;
    until("somebody is told", async || !lock(&world.channel.told).is_empty()).await;
    until("it is investigated", async || world.investigations().await.len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn one_datasource_is_asked_by_few_at_a_time_however_rules_name_it() {
    let world = World::with(Settings { queries_per_datasource: 3, ..Settings::default() }).await;
    let found = world.rounds.connectors().list(&world.admin).await.unwrap();
    let id = found.iter().find(|connector| connector.kind == "errors").unwrap().id;
    world.errors.set(0.1);
    for number in 0..12 {
        let named = if number % 2 == 0 { json!({}) } else { json!({ "datasourceId": id }) };
        world.rule(&format!("rule {number}"), named).await;
    }
    let made = world.errors.asked().len();
    *lock(&world.errors.takes) = secs(6);
    let _running = world.start();
    pass(secs(60)).await;
    assert_eq!(world.errors.peak(), 3);
    let mut asked: Vec<String> = world.errors.asked().into_iter().skip(made).map(|(_, expr)| expr).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 12, "each had its turn");
}

#[tokio::test(start_paused = true)]
async fn a_slow_datasource_delays_its_rules_and_makes_no_backlog() {
    let world = World::new().await;
    world.errors.set(0.1);
    *lock(&world.errors.takes) = secs(15);
    let _running = world.start();
    let rule = world.rule("errors", json!({ "evaluationIntervalSec": 1 })).await;
    pass(secs(150)).await;
    assert_eq!(world.errors.peak(), 1, "a rule is asked one at a time");
    let asked = world.errors.asked().len();
    assert!((8..=11).contains(&asked), "one after the other, with no rest between: {asked}");
    *lock(&world.errors.takes) = secs(0);
    pass(secs(20)).await;
    let before = world.errors.asked().len();
    pass(secs(60)).await;
    let later = world.errors.asked().len() - before;
    assert!((58..=62).contains(&later), "nothing is caught up on: {later} in a minute");
    assert!(world.alert(rule.id).await.last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_every_rule_is_asked_at_once_a_few_at_a_time_and_then_spread_over_its_interval() {
    let world = World::new().await;
    world.errors.set(0.1);
    for number in 0..60 {
        world.rule(&format!("rule {number}"), json!({ "evaluationIntervalSec": 60 })).await;
    }
    let made = world.errors.asked().len();
    *lock(&world.errors.takes) = Duration::from_millis(100);
    let _running = world.start();
    pass(secs(2)).await;
    let first: std::collections::BTreeSet<_> =
        world.errors.asked().into_iter().skip(made).map(|(_, expr)| expr).collect();
    assert_eq!(first.len(), 60, "nobody waits for an interval to pass after an outage");
    assert_eq!(world.errors.peak(), world.settings.queries_per_datasource, "the datasource is not run over");
    let (began, made) = (Instant::now(), world.errors.asked().len());
    pass(secs(61)).await;
    let mut at: Vec<u64> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (asked, expr) in world.errors.asked().into_iter().skip(made) {
        if seen.insert(expr) {
            at.push((asked - began).as_secs());
        }
    }
    assert_eq!(at.len(), 60, "each was asked within its interval");
    let busiest = (0..=60).map(|second| at.iter().filter(|found| **found == second).count()).max().unwrap();
    assert!(busiest <= 12, "they were spread: {busiest} in one second");
}

#[tokio::test(start_paused = true)]
async fn two_evaluators_on_one_store_change_a_state_once_and_queue_one_investigation() {
    for round in 0..5 {
        let world = World::new().await;
        let other = world.replica(Arc::new(world.store.clone())).build().unwrap();
        let rule = world.rule("errors", json!({ "evaluationIntervalSec": 1, "forDurationSec": round % 3 })).await;
        let _running = [world.start(), other.start()];
        for episode in 1..=4 {
            world.errors.set(0.9);
            world.in_state(rule.id, AlertState::Firing).await;
            pass(secs(3)).await;
            assert_eq!(world.investigations().await.len(), episode, "one for each firing episode");
            world.errors.set(0.1);
            world.in_state(rule.id, AlertState::Resolved).await;
        }
        let counts = world.store.count(RecordKind::AlertHistory, None).await.unwrap();
        assert_eq!((counts.get("firing"), counts.get("resolved")), (Some(&4), Some(&4)));
    }
}
