//! Every row of the alert's and the investigation's state machine, and that there are no others.

use std::collections::BTreeMap;

use rounds_core::access::{Actor, ActorType};
use rounds_core::alert::{
    AlertInstance, AlertRule, AlertState, Condition, Evaluation, Observation, Operator, Reason, Severity, Silence,
    disable, enable, evaluate, next_evaluation, reset,
};
use rounds_core::investigation::{InvestigationEvent, InvestigationStatus, transition};
use rounds_core::{AlertRuleId, InvestigationId, OrgId, SilenceId, Timestamp};

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
        labels: BTreeMap::from([("team".into(), "shop".into())]),
        datasource_id: None,
        owner_team_id: None,
        enabled: true,
        created_by: Actor { kind: ActorType::User, id: "ada".into(), login: "ada".into() },
        created_at: at(0),
        updated_at: at(0),
    }
}

fn labels(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("pod".into(), name.into())])
}

fn sample(value: f64) -> Observation {
    Observation::Sample { value, labels: labels("web"), series: 1 }
}

fn breach() -> Observation {
    sample(9.0)
}

fn calm() -> Observation {
    sample(1.0)
}

fn down() -> Observation {
    Observation::Failed("connection refused".into())
}

/// An instance with what it was shown, at times of its own.
struct Watch {
    rule: AlertRule,
    instance: AlertInstance,
}

impl Watch {
    fn new(for_duration_sec: u64) -> Self {
        let rule = rule(for_duration_sec);
        let instance = AlertInstance::new(&rule, at(0));
        Self { rule, instance }
    }

    /// A rule that waits 20 s, in a state, with its last sample at 100 s.
    fn in_state(state: AlertState) -> Self {
        let mut watch = Self::new(20);
        match state {
            AlertState::Normal => watch.see(100, &calm()),
            AlertState::Pending => watch.see(100, &breach()),
            AlertState::Firing => {
                watch.see(80, &breach());
                watch.see(90, &breach());
                watch.see(100, &breach())
            }
            AlertState::Resolved => {
                watch.see(70, &breach());
                watch.see(80, &breach());
                watch.see(90, &breach());
                watch.see(100, &calm())
            }
            AlertState::Disabled => {
                watch.see(100, &breach());
                watch.take(|rule, instance| disable(rule, instance, at(100)))
            }
        };
        assert_eq!(watch.instance.state, state);
        watch.instance.investigation_id = Some(InvestigationId::new());
        watch
    }

    fn take(&mut self, change: impl FnOnce(&AlertRule, &AlertInstance) -> Evaluation) -> Evaluation {
        let evaluation = change(&self.rule, &self.instance);
        self.instance = evaluation.instance.clone();
        evaluation
    }

    fn see(&mut self, seconds: u64, seen: &Observation) -> Evaluation {
        self.take(|rule, instance| evaluate(rule, instance, seen, at(seconds), NO_DATA))
    }

    fn state(&self) -> AlertState {
        self.instance.state
    }
}

/// What can happen to an instance whose last sample was at 100 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    /// The condition holds at the next interval.
    True,
    /// The condition holds two intervals on, when the rule has waited long enough.
    TrueForLongEnough,
    /// The condition is false at the next interval.
    False,
    Failed,
    Empty,
    /// Every interval, until the series counts as gone.
    EmptyForLongEnough,
    Reset,
    Disable,
    Enable,
}

impl Happens {
    const ALL: [Self; 9] = [
        Self::True,
        Self::TrueForLongEnough,
        Self::False,
        Self::Failed,
        Self::Empty,
        Self::EmptyForLongEnough,
        Self::Reset,
        Self::Disable,
        Self::Enable,
    ];

    fn to(self, watch: &mut Watch) -> Evaluation {
        match self {
            Self::True => watch.see(110, &breach()),
            Self::TrueForLongEnough => watch.see(120, &breach()),
            Self::False => watch.see(110, &calm()),
            Self::Failed => watch.see(110, &down()),
            Self::Empty => watch.see(110, &Observation::Empty),
            Self::EmptyForLongEnough => {
                watch.see(110, &Observation::Empty);
                watch.see(120, &Observation::Empty);
                watch.see(130, &Observation::Empty)
            }
            Self::Reset => watch.take(|rule, instance| reset(rule, instance, at(110))),
            Self::Disable => watch.take(|rule, instance| disable(rule, instance, at(110))),
            Self::Enable => watch.take(|rule, instance| enable(rule, instance, at(110))),
        }
    }

    fn when(self) -> Timestamp {
        match self {
            Self::TrueForLongEnough => at(120),
            Self::EmptyForLongEnough => at(130),
            _ => at(110),
        }
    }
}

/// The design's table. Whatever is not here changes no state.
const ROWS: &[(AlertState, Happens, AlertState, Reason)] = {
    use AlertState::{Disabled, Firing, Normal, Pending, Resolved};
    &[
        (Normal, Happens::True, Pending, Reason::Condition),
        (Normal, Happens::TrueForLongEnough, Pending, Reason::Condition),
        (Resolved, Happens::True, Pending, Reason::Condition),
        (Resolved, Happens::TrueForLongEnough, Pending, Reason::Condition),
        (Pending, Happens::TrueForLongEnough, Firing, Reason::Condition),
        (Pending, Happens::False, Normal, Reason::Condition),
        (Firing, Happens::False, Resolved, Reason::Condition),
        (Pending, Happens::EmptyForLongEnough, Normal, Reason::NoData),
        (Firing, Happens::EmptyForLongEnough, Resolved, Reason::NoData),
        (Pending, Happens::Reset, Normal, Reason::RuleChanged),
        (Firing, Happens::Reset, Normal, Reason::RuleChanged),
        (Resolved, Happens::Reset, Normal, Reason::RuleChanged),
        (Normal, Happens::Disable, Disabled, Reason::Disabled),
        (Pending, Happens::Disable, Disabled, Reason::Disabled),
        (Firing, Happens::Disable, Disabled, Reason::Disabled),
        (Resolved, Happens::Disable, Disabled, Reason::Disabled),
        (Disabled, Happens::Enable, Normal, Reason::Enabled),
    ]
};

#[test]
fn every_row_of_the_alert_table_and_no_other() {
    for from in AlertState::ALL {
        for event in Happens::ALL {
            let mut watch = Watch::in_state(from);
            let before = watch.instance.clone();
            let Evaluation { instance, history } = event.to(&mut watch);
            let pair = format!("{from:?} on {event:?}");
            let row = ROWS.iter().find(|row| (row.0, row.1) == (from, event));

            assert_eq!(instance.investigation_id, before.investigation_id, "{pair}");
            let Some((_, _, to, reason)) = row else {
                assert_eq!(instance.state, from, "{pair}");
                assert_eq!(instance.state_changed_at, before.state_changed_at, "{pair}");
                assert_eq!(instance.pending_since, before.pending_since, "{pair}");
                assert_eq!(instance.firing_since, before.firing_since, "{pair}");
                assert_eq!(history, None, "{pair}");
                continue;
            };
            assert_eq!(instance.state, *to, "{pair}");
            assert_eq!(instance.state_changed_at, event.when(), "{pair}");
            let pending = match to {
                AlertState::Pending => Some(event.when()),
                AlertState::Firing => before.pending_since,
                _ => None,
            };
            assert_eq!(instance.pending_since, pending, "{pair}");
            assert_eq!(instance.firing_since, (*to == AlertState::Firing).then(|| event.when()), "{pair}");

            let history = history.unwrap_or_else(|| panic!("{pair} left no history"));
            assert_eq!((history.from_state, history.to_state, history.reason), (from, *to, *reason), "{pair}");
            assert_eq!((history.rule_id, &history.rule_name), (watch.rule.id, &watch.rule.name), "{pair}");
            assert_eq!((history.timestamp, history.threshold), (event.when(), 5.0), "{pair}");
            let value = (*reason == Reason::Condition).then_some(instance.last_value).flatten();
            assert_eq!(history.value, value, "{pair}");
            // A rule that starts over forgets what it saw; the history tells what was firing.
            let labels = if event == Happens::Reset { &before.last_labels } else { &instance.last_labels };
            assert_eq!(&history.labels, labels, "{pair}");
            assert!(event != Happens::Reset || instance.last_labels.is_empty(), "{pair}");
        }
    }
}

#[test]
fn an_alert_without_a_duration_fires_at_once_from_normal_and_from_resolved() {
    let mut watch = Watch::new(0);
    for (seconds, seen, state) in [
        (10, breach(), AlertState::Firing),
        (20, calm(), AlertState::Resolved),
        (30, breach(), AlertState::Firing),
        (40, breach(), AlertState::Firing),
    ] {
        watch.see(seconds, &seen);
        assert_eq!(watch.state(), state, "at {seconds} s");
    }
    assert_eq!(watch.instance.firing_since, Some(at(30)), "the episode is named by its beginning");
}

#[test]
fn an_alert_fires_when_the_duration_is_over_and_not_before() {
    for (for_duration, fires_at) in [(1, 110), (10, 110), (11, 120), (20, 120), (25, 130)] {
        let mut watch = Watch::new(for_duration);
        watch.see(100, &breach());
        let first = (110..=140).step_by(10).find(|seconds| {
            watch.see(*seconds, &breach());
            watch.state() == AlertState::Firing
        });
        assert_eq!(first, Some(fires_at), "forDurationSec {for_duration}");
        assert_eq!(watch.instance.pending_since, Some(at(100)));
    }
}

#[test]
fn a_gap_of_more_than_three_intervals_restarts_pending_since() {
    for (gap, restarts) in [(29, false), (30, false), (31, true), (3_000, true)] {
        let mut watch = Watch::new(60);
        watch.see(100, &breach());
        watch.see(100 + gap, &breach());
        let since = if restarts { at(100 + gap) } else { at(100) };
        assert_eq!(watch.instance.pending_since, Some(since), "a gap of {gap} s");
        assert_eq!(watch.state(), AlertState::Pending);
    }
}

#[test]
fn an_outage_between_two_true_samples_is_not_a_duration() {
    let mut watch = Watch::new(30);
    watch.see(100, &breach());
    for seconds in (110..=200).step_by(10) {
        watch.see(seconds, &down());
    }
    watch.see(210, &breach());
    assert_eq!(watch.state(), AlertState::Pending);
    assert_eq!(watch.instance.pending_since, Some(at(210)));
}

#[test]
fn rule_13_a_firing_alert_survives_a_gap() {
    let mut watch = Watch::in_state(AlertState::Firing);
    let since = watch.instance.firing_since;
    watch.see(10_000, &breach());
    assert_eq!((watch.state(), watch.instance.firing_since), (AlertState::Firing, since));
}

#[test]
fn rule_13_an_alert_in_flight_reads_back_as_it_was() {
    for state in AlertState::ALL {
        let instance = Watch::in_state(state).instance;
        let text = serde_json::to_string(&instance).unwrap();
        assert_eq!(serde_json::from_str::<AlertInstance>(&text).unwrap(), instance);
    }
}

#[test]
fn a_failed_query_changes_nothing_but_is_recorded_until_one_works() {
    for state in [AlertState::Normal, AlertState::Pending, AlertState::Firing, AlertState::Resolved] {
        let mut watch = Watch::in_state(state);
        let before = watch.instance.clone();
        // However long it lasts: an outage of the datasource says nothing about the series.
        for seconds in (110..=1_000).step_by(10) {
            watch.see(seconds, &down());
        }
        let expected = AlertInstance {
            last_error: Some("connection refused".into()),
            last_evaluated_at: Some(at(1_000)),
            next_evaluation_at: Some(next_evaluation(&watch.rule, at(1_000))),
            ..before
        };
        assert_eq!(watch.instance, expected);
        watch.see(1_010, &calm());
        assert_eq!(watch.instance.last_error, None);
    }
}

#[test]
fn an_empty_answer_changes_nothing_but_is_recorded_and_said() {
    for state in [AlertState::Normal, AlertState::Pending, AlertState::Firing, AlertState::Resolved] {
        let mut watch = Watch::in_state(state);
        let before = watch.instance.clone();
        watch.see(110, &Observation::Empty);
        let after = watch.instance.clone();
        assert_eq!(after.last_evaluated_at, Some(at(110)));
        assert!(after.warning.as_deref().is_some_and(|warning| warning.contains("no series")), "{:?}", after.warning);
        assert_eq!((after.last_value, after.last_sample_at), (before.last_value, before.last_sample_at));
        watch.see(120, &calm());
        assert_eq!(watch.instance.warning, None);
    }
}

#[test]
fn a_series_that_is_gone_for_n_intervals_resolves_with_no_data_and_not_before() {
    for (state, to) in [(AlertState::Firing, AlertState::Resolved), (AlertState::Pending, AlertState::Normal)] {
        let mut watch = Watch::in_state(state);
        watch.see(110, &Observation::Empty);
        watch.see(120, &Observation::Empty);
        assert_eq!(watch.state(), state, "after {} intervals", NO_DATA - 1);
        let history = watch.see(130, &Observation::Empty).history.unwrap();
        assert_eq!((watch.state(), history.reason, history.value), (to, Reason::NoData, None));
    }
}

#[test]
fn a_series_that_comes_back_is_not_gone() {
    let mut watch = Watch::in_state(AlertState::Firing);
    let seen = breach();
    for seconds in (110..=400).step_by(10) {
        // Two empty answers, then the series is there again.
        watch.see(seconds, if seconds % 30 == 10 { &seen } else { &Observation::Empty });
    }
    assert_eq!(watch.state(), AlertState::Firing);
    // Empty answers from before it was seen again do not count, however long nobody could look after that.
    watch.see(410, &seen);
    watch.see(1_000, &Observation::Empty);
    assert_eq!((watch.state(), watch.instance.empty_answers), (AlertState::Firing, 1));
}

#[test]
fn empty_answers_in_quick_succession_are_not_intervals() {
    // A rule is looked at out of turn: a restart, a changed connector, a person who asks.
    let mut watch = Watch::in_state(AlertState::Firing);
    for seconds in 101..130 {
        watch.see(seconds, &Observation::Empty);
        assert_eq!(watch.state(), AlertState::Firing, "at {seconds} s");
    }
    watch.see(130, &Observation::Empty);
    assert_eq!(watch.state(), AlertState::Resolved);
}

#[test]
fn an_outage_before_an_empty_answer_is_not_absence() {
    // The datasource restarts and has not scraped yet, or this process was away: the series was not seen to be gone.
    for outage in [true, false] {
        for state in [AlertState::Firing, AlertState::Pending] {
            let mut watch = Watch::in_state(state);
            if outage {
                for seconds in (110..=990).step_by(10) {
                    watch.see(seconds, &down());
                }
            }
            watch.see(1_000, &Observation::Empty);
            assert_eq!(watch.state(), state, "one empty answer after an outage");
            watch.see(1_010, &down());
            watch.see(1_020, &Observation::Empty);
            assert_eq!(watch.state(), state, "a failure between counts for nothing");
            watch.see(1_030, &Observation::Empty);
            assert_ne!(watch.state(), state, "the third empty answer");
        }
    }
}

#[test]
fn several_series_are_folded_with_a_warning_that_goes_away() {
    let mut watch = Watch::new(0);
    watch.see(10, &Observation::Sample { value: 9.0, labels: labels("a"), series: 3 });
    let warning = watch.instance.warning.clone().unwrap();
    assert!(warning.contains("3 series") && warning.contains("first in label order"), "{warning}");
    assert_eq!(watch.instance.last_labels, labels("a"));
    assert_eq!(watch.state(), AlertState::Firing);
    watch.see(20, &breach());
    assert_eq!(watch.instance.warning, None);
}

#[test]
fn operators_compare_as_promql_does_with_nan_and_the_infinities() {
    use Operator::{Eq, Ge, Gt, Le, Lt, Ne};
    const INF: f64 = f64::INFINITY;
    let table: &[(f64, f64, &[Operator])] = &[
        (6.0, 5.0, &[Gt, Ge, Ne]),
        (5.0, 5.0, &[Ge, Le, Eq]),
        (4.0, 5.0, &[Lt, Le, Ne]),
        (-0.0, 0.0, &[Ge, Le, Eq]),
        (f64::NAN, 5.0, &[Ne]),
        (f64::NAN, f64::NAN, &[Ne]),
        (INF, 5.0, &[Gt, Ge, Ne]),
        (INF, INF, &[Ge, Le, Eq]),
        (-INF, 5.0, &[Lt, Le, Ne]),
    ];
    for (value, threshold, hold) in table {
        for operator in [Gt, Ge, Lt, Le, Eq, Ne] {
            assert_eq!(operator.holds(*value, *threshold), hold.contains(&operator), "{value} {operator} {threshold}");
        }
    }
    let mut watch = Watch::new(0);
    watch.see(10, &sample(f64::NAN));
    assert_eq!(watch.state(), AlertState::Normal, "NaN is over no threshold");
}

#[test]
fn a_changed_rule_forgets_what_was_seen_of_the_old_one() {
    for state in AlertState::ALL {
        let mut watch = Watch::in_state(state);
        watch.take(|rule, instance| reset(rule, instance, at(110)));
        let after = &watch.instance;
        assert_eq!((after.last_value, after.last_sample_at, after.warning.clone()), (None, None, None), "{state:?}");
        assert!(after.last_labels.is_empty() && after.last_error.is_none(), "{state:?}");
    }
}

#[test]
fn only_what_decides_when_a_rule_is_true_resets_it() {
    let old = rule(20);
    type Edit = fn(&mut AlertRule);
    let edits: [(bool, Edit); 8] = [
        (false, |rule| rule.condition.query.push('x')),
        (false, |rule| rule.condition.operator = Operator::Ne),
        (false, |rule| rule.condition.threshold += 1.0),
        (false, |rule| rule.condition.for_duration_sec += 1),
        (false, |rule| rule.datasource_id = Some(rounds_core::ConnectorId::new())),
        (true, |rule| rule.name.push('x')),
        (true, |rule| rule.severity = Severity::Low),
        (true, |rule| rule.evaluation_interval_sec += 1),
    ];
    for (index, (same, edit)) in edits.into_iter().enumerate() {
        let mut new = old.clone();
        edit(&mut new);
        assert_eq!(old.watches_the_same(&new), same, "edit {index}");
    }
}

#[test]
fn a_rule_that_is_switched_off_sees_nothing_and_starts_over_when_switched_on() {
    let mut watch = Watch::in_state(AlertState::Firing);
    watch.take(|rule, instance| disable(rule, instance, at(110)));
    let off = watch.instance.clone();
    for seen in [breach(), calm(), Observation::Empty, down()] {
        assert_eq!(watch.see(120, &seen).instance, off);
    }
    watch.take(|rule, instance| enable(rule, instance, at(130)));
    assert_eq!((watch.state(), watch.instance.last_sample_at), (AlertState::Normal, None));
    watch.see(140, &breach());
    assert_eq!((watch.state(), watch.instance.pending_since), (AlertState::Pending, Some(at(140))));

    let disabled = AlertRule { enabled: false, ..rule(0) };
    assert_eq!(AlertInstance::new(&disabled, at(0)).state, AlertState::Disabled);
}

#[test]
fn a_silence_covers_a_time_a_rule_and_labels_and_never_everything_by_omission() {
    let rule = rule(0);
    let silence = Silence {
        id: SilenceId::new(),
        org_id: OrgId::default(),
        rule_id: Some(rule.id),
        matchers: BTreeMap::new(),
        comment: "a deployment".into(),
        starts_at: at(10),
        ends_at: at(20),
        created_by: rule.created_by.clone(),
    };
    for (seconds, covered) in [(9, false), (10, true), (19, true), (20, false)] {
        assert_eq!(silence.covers(&rule, &labels("web"), at(seconds)), covered, "at {seconds} s");
    }
    let matching = |rule_id, matchers: &[(&str, &str)]| Silence {
        rule_id,
        matchers: matchers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..silence.clone()
    };
    for (silence, covered, what) in [
        (matching(None, &[]), false, "neither rule nor matchers"),
        (matching(Some(AlertRuleId::new()), &[]), false, "another rule"),
        (matching(None, &[("pod", "web")]), true, "a label of the sample"),
        (matching(None, &[("team", "shop")]), true, "a label of the rule"),
        (matching(None, &[("team", "shop"), ("pod", "db")]), false, "every matcher must match"),
        (matching(Some(AlertRuleId::new()), &[("team", "shop")]), false, "another rule with these labels"),
        (matching(None, &[("zone", "")]), false, "without a rule, what is not there is everything"),
        (matching(None, &[("pod", "web"), ("zone", "")]), true, "what is not there is empty"),
        (matching(None, &[("team", "shop"), ("pod", "")]), false, "what is there is not"),
        (matching(Some(rule.id), &[("pod", "")]), false, "of a rule, too"),
    ] {
        assert_eq!(silence.covers(&rule, &labels("web"), at(15)), covered, "{what}");
    }
}

/// The design's table of the investigation. Whatever is not here is an error.
const INVESTIGATION: &[(InvestigationStatus, InvestigationEvent, InvestigationStatus)] = {
    use InvestigationEvent as E;
    use InvestigationStatus as S;
    &[
        (S::Queued, E::Start, S::Running),
        (S::Running, E::Resume, S::Running),
        (S::Running, E::Complete, S::Completed),
        (S::Running, E::Fail, S::Failed),
        (S::Queued, E::Fail, S::Failed),
        (S::Queued, E::Skip, S::Skipped),
        (S::Queued, E::Cancel, S::Cancelled),
        (S::Running, E::Cancel, S::Cancelled),
    ]
};

#[test]
fn every_row_of_the_investigation_table_and_no_other() {
    use InvestigationEvent as E;
    for from in InvestigationStatus::ALL {
        for (event, name) in [
            (E::Start, "start"),
            (E::Resume, "resume"),
            (E::Complete, "complete"),
            (E::Fail, "fail"),
            (E::Skip, "skip"),
            (E::Cancel, "cancel"),
        ] {
            match (transition(from, event), INVESTIGATION.iter().find(|row| (row.0, row.1) == (from, event))) {
                (Ok(to), Some(row)) => assert_eq!(to, row.2, "{from:?} on {event:?}"),
                (Err(error), None) => {
                    assert_eq!((error.state.as_str(), error.event.as_str()), (from.as_str(), name));
                    let text = error.to_string();
                    assert!(text.contains(from.as_str()) && text.contains(name), "{text}");
                }
                (found, _) => panic!("{from:?} on {event:?}: {found:?}"),
            }
        }
    }
}
