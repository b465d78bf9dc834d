//! A rule with an alert for each label set, and alerts that keep firing for a while.

use std::collections::BTreeMap;

use rounds_core::alert::{AlertInstance, AlertState, RESOLVED_KEPT, Reason};
use rounds_core::investigation::{InvestigationStatus, SkipReason};
use rounds_core::plan::VerificationStatus;
use rounds_core::ports::store::StoreExt as _;
use rounds_core::ports::{NoticeKind, Point, Series};
use rounds_core::service::{Approval, RuleDraft};
use rounds_core::{AlertRuleId, Settings, Timestamp};
use serde_json::json;

use crate::harness::{Detective, Does, World, draft, eventually, lock, pass, rule_draft, secs, until};

fn pods(values: &[(&str, f64)]) -> Vec<Series> {
    let one = |(pod, value): &(&str, f64)| {
        let labels = BTreeMap::from([("pod".to_owned(), (*pod).to_owned())]);
        Series::new(labels, vec![Point { at: Timestamp::UNIX_EPOCH, value: *value }])
    };
    values.iter().map(one).collect()
}

async fn series(world: &World, rule: AlertRuleId) -> Vec<AlertInstance> {
    world.rounds.alerts().get(&world.viewer, rule).await.unwrap().series
}

fn shown(series: &[AlertInstance]) -> Vec<(String, AlertState)> {
    series.iter().map(|one| (one.last_labels["pod"].clone(), one.state)).collect()
}

async fn states(world: &World, rule: AlertRuleId) -> Vec<(String, AlertState)> {
    shown(&series(world, rule).await)
}

fn are(expected: &[(&str, AlertState)]) -> Vec<(String, AlertState)> {
    expected.iter().map(|(pod, state)| ((*pod).to_owned(), *state)).collect()
}

const EACH: &str = r#"{ "series": "each" }"#;

fn each() -> serde_json::Value {
    serde_json::from_str(EACH).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_label_set_has_a_state_a_history_and_an_investigation_of_its_own() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(std::sync::Arc::new(Detective::new([Does::Proposes(vec!["restart app/web"])])))
    })
    .await;
    world.mint();
    world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("a", 0.9), ("b", 0.1), ("c", 0.9)]));
    let rule = world.rule("errors", each()).await;
    until("two fire", async || {
        states(&world, rule.id).await == are(&[("a", AlertState::Firing), ("c", AlertState::Firing)])
    })
    .await;
    // A label set for which the condition does not hold needs no row.
    let whole = world.alert(rule.id).await;
    assert_eq!((whole.state, whole.warning, whole.series), (AlertState::Firing, None, None));
    world.errors.fake.set_series(pods(&[("a", 0.1), ("b", 0.9), ("c", 0.9)]));
    let expected = [("b", AlertState::Firing), ("c", AlertState::Firing), ("a", AlertState::Resolved)];
    until("another fires", async || states(&world, rule.id).await == are(&expected)).await;
    assert_eq!(world.alert(rule.id).await.state, AlertState::Firing);
    let done = eventually("three investigations", async || {
        let all = world.investigations().await;
        (all.len() == 3 && all.iter().all(|one| one.status.is_terminal())).then_some(all)
    })
    .await;
    // Each looked at its own: none is in the cooldown of another.
    let skipped: Vec<_> = done.iter().filter_map(|one| one.skip_reason).collect();
    assert!(!skipped.contains(&SkipReason::Cooldown), "{done:?}");
    assert!(done.iter().filter(|one| one.status == InvestigationStatus::Completed).count() >= 2, "{done:?}");
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 50).await.unwrap();
    let moves: Vec<_> = history.iter().map(|row| (row.labels["pod"].as_str(), row.to_state)).collect();
    assert_eq!(moves.iter().filter(|(pod, _)| *pod == "a").count(), 2, "{moves:?}");
    assert!(moves.contains(&("a", AlertState::Resolved)) && moves.contains(&("b", AlertState::Firing)), "{moves:?}");
    until("they are told", async || {
        let told = lock(&world.channel.told);
        let of = |kind: NoticeKind| told.iter().filter(|notice| notice.kind == kind).count();
        of(NoticeKind::AlertFiring) == 3 && of(NoticeKind::AlertResolved) == 1
    })
    .await;
    let told = lock(&world.channel.told).clone();
    let titles: Vec<_> = told.iter().map(|notice| notice.title.as_str()).collect();
    assert!(titles.contains(&"errors is firing: pod=b"), "{titles:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_label_sets_are_followed_than_allowed_and_the_rule_says_so() {
    let world = World::with(Settings { series_per_rule: 2, ..Settings::default() }).await;
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("d", 0.9), ("c", 0.9), ("b", 0.9), ("a", 0.1)]));
    let rule = world.rule("errors", each()).await;
    until("it fires", async || world.alert(rule.id).await.state == AlertState::Firing).await;
    assert_eq!(states(&world, rule.id).await, are(&[("b", AlertState::Firing), ("c", AlertState::Firing)]));
    let warning = world.alert(rule.id).await.warning.unwrap();
    assert!(warning.contains("1 more label sets than the 2"), "{warning}");
    // Whoever is followed stays so; a place that comes free goes to the next.
    world.errors.fake.set_series(pods(&[("d", 0.9), ("c", 0.9), ("b", 0.1), ("a", 0.9)]));
    until("a place is given away", async || {
        states(&world, rule.id).await
            == are(&[("a", AlertState::Firing), ("c", AlertState::Firing), ("b", AlertState::Resolved)])
    })
    .await;
    world.errors.fake.set_series(pods(&[("d", 0.1), ("c", 0.9), ("a", 0.9)]));
    until("the warning goes", async || world.alert(rule.id).await.warning.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_label_set_that_is_gone_ends_without_data_and_a_failed_query_ends_none() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("a", 0.9), ("b", 0.9)]));
    let rule = world.rule("errors", each()).await;
    until("both fire", async || states(&world, rule.id).await.len() == 2).await;
    world.errors.fake.fail("it is down");
    pass(secs(200)).await;
    assert_eq!(states(&world, rule.id).await, are(&[("a", AlertState::Firing), ("b", AlertState::Firing)]));
    assert!(world.alert(rule.id).await.last_error.unwrap().contains("it is down"));
    world.errors.fake.set_series(pods(&[("a", 0.9)]));
    until("one ends", async || {
        states(&world, rule.id).await == are(&[("a", AlertState::Firing), ("b", AlertState::Resolved)])
    })
    .await;
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 50).await.unwrap();
    assert_eq!((history[0].reason, history[0].labels["pod"].as_str()), (Reason::NoData, "b"));
    // What is over is kept for a day, and no longer.
    pass(RESOLVED_KEPT - secs(60)).await;
    assert_eq!(states(&world, rule.id).await.len(), 2);
    pass(secs(120)).await;
    assert_eq!(states(&world, rule.id).await, are(&[("a", AlertState::Firing)]));
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_verified_by_the_label_set_that_it_was_made_for() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(std::sync::Arc::new(Detective::new([Does::Proposes(vec!["restart app/web"]), Does::Errs])))
    })
    .await;
    world.mint();
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("a", 0.9)]));
    let rule = world.rule("errors", each()).await;
    let investigation = world.investigated().await;
    let plan = world.plan(investigation.plan_id.unwrap()).await;
    // Another one fires, too, and goes on: that is not what this plan is about.
    world.errors.fake.set_series(pods(&[("a", 0.9), ("z", 0.9)]));
    until("both fire", async || states(&world, rule.id).await.len() == 2).await;
    world.rounds.plans().approve(&world.auto_editor, plan.id, &Approval::of(&plan).with_auto_edit()).await.unwrap();
    world.settled(plan.id).await;
    world.errors.fake.set_series(pods(&[("a", 0.1), ("z", 0.9)]));
    let verified = eventually("it is verified", async || {
        let status = world.plan(plan.id).await.verification.status;
        (status != VerificationStatus::Watching).then_some(status)
    })
    .await;
    assert_eq!(verified, VerificationStatus::Recovered);
    assert_eq!(world.alert(rule.id).await.state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_does_to_the_rule_ends_its_label_sets_and_tells_so() {
    type Change = fn(&World, AlertRuleId, RuleDraft) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    let changes: [(&str, Change); 4] = [
        ("switch off", |world, id, _| {
            Box::pin(async move { drop(world.rounds.alerts().set_enabled(&world.editor, id, false).await.unwrap()) })
        }),
        ("delete", |world, id, _| {
            Box::pin(async move { world.rounds.alerts().delete(&world.editor, id).await.unwrap() })
        }),
        ("change the threshold", |world, id, draft| {
            let mut draft = draft;
            draft.condition.threshold = 0.99;
            Box::pin(async move { drop(world.rounds.alerts().update(&world.editor, id, draft).await.unwrap()) })
        }),
        ("back to one alert", |world, id, draft| {
            let mut draft = draft;
            draft.series = Default::default();
            draft.condition.threshold = 0.99;
            Box::pin(async move { drop(world.rounds.alerts().update(&world.editor, id, draft).await.unwrap()) })
        }),
    ];
    for (what, change) in changes {
        let world = World::new().await;
        world.rounds.connectors().create(&world.admin, draft("channel")).await.unwrap();
        let _running = world.start();
        world.errors.fake.set_series(pods(&[("a", 0.9), ("b", 0.9)]));
        let rule = world.rule("errors", each()).await;
        until("both fire", async || states(&world, rule.id).await.len() == 2).await;
        change(&world, rule.id, rule_draft("errors", each())).await;
        for pod in ["a", "b"] {
            let title = format!(": pod={pod}");
            until(what, async || {
                let told = lock(&world.channel.told);
                told.iter().any(|one| one.kind == NoticeKind::AlertResolved && one.title.ends_with(&title))
            })
            .await;
        }
        let left = world.store.instance_of(rule.id).await.unwrap().map(|found| found.value.state);
        assert_ne!(left, Some(AlertState::Firing), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_keeps_firing_for_as_long_as_its_rule_says() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.set(0.9);
    let draft = rule_draft("errors", json!({})).with_keep_firing_for(60);
    let rule = world.rounds.alerts().create(&world.editor, draft).await.unwrap().rule;
    world.in_state(rule.id, AlertState::Firing).await;
    let since = world.alert(rule.id).await.firing_since;
    // It flaps, and that is one episode.
    world.errors.set(0.1);
    pass(secs(40)).await;
    world.errors.set(0.9);
    pass(secs(20)).await;
    world.errors.set(0.1);
    pass(secs(50)).await;
    let still = world.alert(rule.id).await;
    assert_eq!((still.state, still.firing_since), (AlertState::Firing, since));
    pass(secs(30)).await;
    assert_eq!(world.alert(rule.id).await.state, AlertState::Resolved);
}

#[tokio::test(start_paused = true)]
async fn with_absent_is_zero_a_label_set_that_is_gone_is_over_at_once() {
    let world = World::new().await;
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("a", 1.0), ("b", 1.0)]));
    let rule = world.rule("errors", json!({ "series": "each", "absentIsZero": true })).await;
    until("both fire", async || states(&world, rule.id).await.len() == 2).await;
    world.errors.fake.set_series(pods(&[("a", 1.0)]));
    pass(secs(15)).await;
    assert_eq!(states(&world, rule.id).await, are(&[("a", AlertState::Firing), ("b", AlertState::Resolved)]));
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 1).await.unwrap();
    assert_eq!(history[0].reason, Reason::Condition);
    world.errors.fake.set_series(Vec::new());
    pass(secs(15)).await;
    assert_eq!(world.alert(rule.id).await.state, AlertState::Resolved);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_changed_while_it_is_watched_says_nothing_of_the_plan() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(std::sync::Arc::new(Detective::new([Does::Proposes(vec!["restart app/web"]), Does::Errs])))
    })
    .await;
    world.mint();
    let _running = world.start();
    world.errors.set(0.9);
    let rule = world.rule("errors", json!({})).await;
    let investigation = world.investigated().await;
    let plan = world.plan(investigation.plan_id.unwrap()).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    pass(secs(5)).await;
    let mut loose = rule_draft("errors", json!({}));
    loose.condition.threshold = 5.0;
    world.rounds.alerts().update(&world.editor, rule.id, loose).await.unwrap();
    let verified = eventually("it is settled", async || {
        let verification = world.plan(plan.id).await.verification;
        (verification.status != VerificationStatus::Watching).then_some(verification.status)
    })
    .await;
    assert_eq!(verified, VerificationStatus::Inconclusive);
}

#[tokio::test(start_paused = true)]
async fn those_of_one_rule_that_fire_at_once_stand_behind_each_other_in_the_queue() {
    let world = World::built(Settings::default(), |builder| {
        builder.investigator(std::sync::Arc::new(Detective::new([Does::Hangs])))
    })
    .await;
    world.mint();
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("a", 0.9), ("b", 0.9), ("c", 0.9)]));
    world.rule("errors", each()).await;
    let behind = async || {
        let mut behind: Vec<u32> = world.investigations().await.iter().map(|one| one.behind).collect();
        behind.sort_unstable();
        behind
    };
    until("three wait", async || behind().await == [0, 1, 2]).await;
    world.errors.fake.set_series(pods(&[("a", 0.9), ("b", 0.9), ("c", 0.9), ("d", 0.9)]));
    until("a later one is behind all that are not over", async || behind().await == [0, 1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn of_label_sets_that_are_over_the_newest_are_kept() {
    let world = World::with(Settings { series_per_rule: 1, ..Settings::default() }).await;
    let _running = world.start();
    world.errors.fake.set_series(pods(&[("0", 0.9)]));
    let rule = world.rule("errors", each()).await;
    for nth in 0..15 {
        let name = nth.to_string();
        world.errors.fake.set_series(pods(&[(&name, 0.9)]));
        let fires = |one: &AlertInstance| one.last_labels["pod"] == name && one.state == AlertState::Firing;
        until("it fires", async || series(&world, rule.id).await.iter().any(fires)).await;
        world.errors.fake.set_series(pods(&[(&name, 0.1)]));
        until("it is over", async || !series(&world, rule.id).await.iter().any(fires)).await;
    }
    let kept: Vec<u32> =
        series(&world, rule.id).await.iter().map(|one| one.last_labels["pod"].parse().unwrap()).collect();
    assert_eq!(kept.len(), 10, "{kept:?}");
    assert!(kept.iter().all(|pod| *pod >= 5), "{kept:?}");
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 100).await.unwrap();
    assert_eq!(
        history.iter().filter(|row| row.to_state == AlertState::Resolved).count(),
        15,
        "each end is written down"
    );
}
