//! Backtests: what a rule would have done is what it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;
use rounds_core::access::{Action, Actor, ActorType, Denied, Principal, Scope};
use rounds_core::alert::{
    AlertRule, AlertState, Backtest, Condition, MarkKind, Observation, Operator, Severity, backtest,
};
use rounds_core::ports::{Authorizer, Point, Series};
use rounds_core::service::{BACKTEST_POINTS, RuleDraft};
use rounds_core::{AlertRuleId, Error, OrgId, Settings, Timestamp};
use serde_json::json;

use crate::harness::{World, later, pass, rule_draft, secs, until};
use crate::plan_fixtures::at;

const INTERVAL: u64 = 10;
const NO_DATA: u32 = 3;

fn rule(for_duration_sec: u64) -> AlertRule {
    AlertRule {
        series: Default::default(),
        absent_is_zero: false,
        annotations: Default::default(),
        source: None,
        id: AlertRuleId::new(),
        org_id: OrgId::default(),
        name: "errors".into(),
        description: String::new(),
        condition: Condition {
            query: "rate".into(),
            operator: Operator::Gt,
            threshold: 5.0,
            for_duration_sec,
            keep_firing_for_sec: 0,
        },
        evaluation_interval_sec: INTERVAL,
        severity: Severity::High,
        labels: BTreeMap::new(),
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: Actor { kind: ActorType::User, id: "ada".into(), login: "ada".into() },
        created_at: at(0),
        updated_at: at(0),
    }
}

fn sample(value: f64) -> Observation {
    Observation::Sample { value, labels: BTreeMap::new(), series: 1 }
}

/// One evaluation per letter, an interval apart: `T`rue, `f`alse, `.` no series.
fn seen(letters: &str) -> Vec<(Timestamp, Observation)> {
    let observed = |letter| match letter {
        'T' => sample(9.0),
        'f' => sample(1.0),
        _ => Observation::Empty,
    };
    letters.chars().enumerate().map(|(tick, letter)| (at(tick as u64 * INTERVAL), observed(letter))).collect()
}

fn marks(found: &Backtest) -> Vec<(MarkKind, Timestamp)> {
    found.marks.iter().map(|mark| (mark.kind, mark.at)).collect()
}

fn states(found: &Backtest) -> String {
    found.timeline.iter().map(|point| point.state.as_str().chars().next().unwrap()).collect()
}

#[test]
fn it_fires_when_the_duration_is_over_and_not_before() {
    let found = backtest(&rule(30), &seen("fTTTTTff"), NO_DATA);
    assert_eq!(states(&found), "npppffrr");
    assert_eq!(marks(&found), [(MarkKind::Pending, at(10)), (MarkKind::Firing, at(40)), (MarkKind::Resolved, at(60))]);
    let summary = &found.summary;
    assert_eq!((summary.fired, summary.firing_sec, summary.pending_only), (1, 20, 0));
    assert_eq!((summary.first_fired_at, summary.last_fired_at), (Some(at(40)), Some(at(40))));
    let spans: Vec<_> = found.spans.iter().map(|span| (span.state, span.from, span.to)).collect();
    assert_eq!(spans, [(AlertState::Pending, at(10), at(40)), (AlertState::Firing, at(40), at(60))]);
    // One sample less, and it never fires.
    let found = backtest(&rule(30), &seen("fTTTff"), NO_DATA);
    assert_eq!((states(&found).as_str(), found.summary.fired, found.summary.pending_only), ("npppnn", 0, 1));
    assert_eq!(marks(&found), [(MarkKind::Pending, at(10)), (MarkKind::Normal, at(40))]);
}

#[test]
fn without_a_duration_it_fires_at_the_first_true_sample_and_what_fires_at_the_end_counts_up_to_it() {
    let found = backtest(&rule(0), &seen("fTfTTT"), NO_DATA);
    assert_eq!(states(&found), "nfrfff");
    assert_eq!((found.summary.fired, found.summary.firing_sec), (2, 30));
    assert_eq!((found.summary.first_fired_at, found.summary.last_fired_at), (Some(at(10)), Some(at(30))));
    assert_eq!(found.summary.state, AlertState::Firing);
}

#[test]
fn a_gap_of_more_than_three_intervals_restarts_pending_and_one_of_three_does_not() {
    // Not gone for long enough to end by itself: the gap is what is looked at.
    let patient = 100;
    let found = backtest(&rule(50), &seen("TT..TTTT"), patient);
    assert_eq!(found.summary.first_fired_at, Some(at(50)), "30 s without a sample are no gap");
    assert!(found.marks.iter().all(|mark| mark.kind != MarkKind::Gap), "{:?}", found.marks);
    let found = backtest(&rule(50), &seen("TT...TTTTTT"), patient);
    assert_eq!(found.summary.first_fired_at, Some(at(100)), "it waits anew from 50 s");
    let gap = found.marks.iter().find(|mark| mark.kind == MarkKind::Gap).unwrap();
    assert_eq!((gap.at, gap.until), (at(10), Some(at(50))));
}

#[test]
fn a_series_that_is_gone_ends_what_fired_with_no_data() {
    let found = backtest(&rule(0), &seen("TT......"), NO_DATA);
    assert_eq!(states(&found), "ffffrrrr");
    assert_eq!(
        marks(&found),
        [(MarkKind::Firing, at(0)), (MarkKind::NoData, at(40)), (MarkKind::Gap, at(10))],
        "and the gap lasts to the end"
    );
    assert_eq!((found.summary.samples, found.summary.missing, found.summary.firing_sec), (2, 6, 40));
}

#[test]
fn a_rule_that_is_switched_off_is_replayed_as_if_it_were_on_and_nothing_seen_is_nothing_found() {
    let mut off = rule(0);
    off.enabled = false;
    assert_eq!(backtest(&off, &seen("fT"), NO_DATA).summary.fired, 1);
    assert_eq!(backtest(&rule(0), &[], NO_DATA), Backtest::default());
}

/// The same letters, seen by the evaluator in its own time: what it saw at which moment, and what it made of it.
async fn live(
    letters: &str,
    for_duration_sec: u64,
) -> (AlertRule, Vec<(Timestamp, Observation)>, Vec<(AlertState, Timestamp)>) {
    let world = World::new().await;
    let show = |letter| match letter {
        'T' => world.errors.set(0.9),
        'f' => world.errors.set(0.1),
        _ => world.errors.fake.set_series(Vec::new()),
    };
    show('f');
    let rule = world.rule("errors", json!({ "forDurationSec": for_duration_sec })).await;
    let running = world.start();
    // It is evaluated at once, then on its grid, which may begin in the same moment: from here on one at a time.
    pass(secs(INTERVAL + 1)).await;
    let mut last = world.alert(rule.id).await.last_evaluated_at;
    let mut seen = Vec::new();
    for letter in letters.chars() {
        show(letter);
        until("it is evaluated", async || world.alert(rule.id).await.last_evaluated_at > last).await;
        let alert = world.alert(rule.id).await;
        last = alert.last_evaluated_at;
        let at = last.unwrap();
        let observed =
            if alert.last_sample_at == last { sample(alert.last_value.unwrap()) } else { Observation::Empty };
        seen.push((at, observed));
    }
    let history = world.rounds.alerts().history(&world.viewer, rule.id, 500).await.unwrap();
    running.shutdown(secs(5)).await;
    (rule, seen, history.iter().rev().map(|row| (row.to_state, row.timestamp)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_backtest_agrees_with_the_evaluator_on_the_same_samples(
        letters in "[TTTf.]{1,40}",
        for_duration_sec in prop::sample::select(vec![0_u64, 10, 25, 60]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (rule, seen, happened) = runtime.block_on(live(&letters, for_duration_sec));
        prop_assert_eq!(seen.len(), letters.len());
        let found = backtest(&rule, &seen, rounds_core::Settings::default().no_data_intervals);
        let mut before = AlertState::Normal;
        let mut told = Vec::new();
        for point in &found.timeline {
            if point.state != before {
                told.push((point.state, point.at));
                before = point.state;
            }
        }
        prop_assert_eq!(told, happened, "{}", letters);
    }
}

fn points(from: Timestamp, values: &[f64]) -> Vec<Point> {
    let point = |(tick, value): (usize, &f64)| Point { at: later(from, secs(tick as u64 * INTERVAL)), value: *value };
    values.iter().enumerate().map(point).collect()
}

#[tokio::test(start_paused = true)]
async fn a_viewer_tries_a_draft_over_the_past_and_nothing_is_stored() {
    let world = World::new().await;
    pass(secs(7200)).await;
    let (from, to) = (later(world.now(), secs(0)) - chrono::TimeDelta::seconds(60), world.now());
    let other = Series::new(BTreeMap::from([("pod".into(), "b".into())]), points(from, &[0.9; 7]));
    let first =
        Series::new(BTreeMap::from([("pod".into(), "a".into())]), points(from, &[0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1]));
    world.errors.fake.set_series(vec![other, first]);
    let draft = RuleDraft { name: String::new(), ..rule_draft("x", json!({ "forDurationSec": 20 })) };
    let found = world.rounds.alerts().backtest(&world.viewer, draft, from, to).await.unwrap();
    assert_eq!(states(&found.backtest), "nppfrrr");
    assert_eq!((found.step_sec, found.coarser, found.series_count), (10, false, 2));
    assert!(found.warnings[0].contains("2 series"), "{:?}", found.warnings);
    assert!(world.rounds.alerts().list(&world.viewer).await.unwrap().is_empty());

    let rule = world.rule("errors", json!({ "forDurationSec": 0 })).await;
    let found = world.rounds.alerts().backtest_rule(&world.viewer, rule.id, from, to).await.unwrap();
    assert_eq!(states(&found.backtest), "nfffrrr");
}

#[tokio::test(start_paused = true)]
async fn a_long_range_is_evaluated_more_coarsely_and_says_so() {
    let world = World::new().await;
    world.errors.set(0.1);
    let to = world.now();
    let from = to - chrono::TimeDelta::days(7);
    let draft = rule_draft("x", json!({ "evaluationIntervalSec": 1 }));
    let found = world.rounds.alerts().backtest(&world.viewer, draft, from, to).await.unwrap();
    assert!(found.coarser && found.step_sec == 55, "{}", found.step_sec);
    assert!(found.backtest.timeline.len() as u64 <= BACKTEST_POINTS);
    assert!(found.warnings.iter().any(|warning| warning.contains("every 55 s")), "{:?}", found.warnings);
}

/// Everybody may do everything, but for one.
pub struct NotForAutoEditors;

#[async_trait]
impl Authorizer for NotForAutoEditors {
    async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        if who.login != "auto-editor" {
            return Ok(());
        }
        let scope = scopes.first().cloned().unwrap_or_else(|| Scope::of(action));
        Err(Denied::missing(who, action, &scope))
    }
}

#[tokio::test(start_paused = true)]
async fn a_backtest_needs_the_right_to_read_rules_a_range_in_the_past_and_a_rule_that_holds() {
    let world = World::built(Settings::default(), |builder| builder.authorizer(Arc::new(NotForAutoEditors))).await;
    world.errors.set(0.1);
    let alerts = world.rounds.alerts();
    let to = world.now();
    let hour = chrono::TimeDelta::hours(1);
    let draft = || rule_draft("x", json!({}));
    let refused = alerts.backtest(&world.auto_editor, draft(), to - hour, to).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    for (from, until) in [(to, to - hour), (to, to), (to + hour, to + hour * 2), (to - hour * 24 * 32, to)] {
        let refused = alerts.backtest(&world.viewer, draft(), from, until).await;
        assert!(matches!(&refused, Err(Error::Invalid(message)) if message.starts_with("from: found")), "{refused:?}");
    }
    let hasty = rule_draft("x", json!({ "evaluationIntervalSec": 0 }));
    let refused = alerts.backtest(&world.viewer, hasty, to - hour, to).await;
    assert!(matches!(&refused, Err(Error::Invalid(message)) if message.starts_with("evaluationIntervalSec")));
    world.errors.fake.fail("connection refused");
    assert!(matches!(alerts.backtest(&world.viewer, draft(), to - hour, to).await, Err(Error::Port(_))));
}
