//! Whether the alert recovered: true to false, and so for long enough, by samples and never by their absence.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rounds_core::access::{Actor, ActorType};
use rounds_core::alert::{
    AlertInstance, AlertRule, AlertState, Condition, Observation, Operator, Severity, disable, enable, evaluate, reset,
};
use rounds_core::plan::{AlertView, Plan, PlanEvent, StepResult, Verification, VerificationStatus as Status, verify};
use rounds_core::{AlertRuleId, OrgId, Timestamp};

use crate::plan_fixtures::{at, drive, failed, output, proposed};

const INTERVAL: u64 = 10;
/// The plan of these tests completes at this second.
const COMPLETED: u64 = 100;
const STABLE_MS: u64 = 30_000;
const DEADLINE_MS: u64 = 200_000;

/// The linked alert and the watch over it.
struct Watched {
    rule: AlertRule,
    instance: AlertInstance,
    watch: Verification,
}

/// What one evaluation sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    True,
    False,
    NaN,
    Empty,
    Failed,
}

impl Seen {
    fn observation(self) -> Observation {
        let sample = |value| Observation::Sample { value, labels: BTreeMap::new(), series: 1 };
        match self {
            Self::True => sample(9.0),
            Self::False => sample(1.0),
            Self::NaN => sample(f64::NAN),
            Self::Empty => Observation::Empty,
            Self::Failed => Observation::Failed("connection refused".into()),
        }
    }
}

impl Watched {
    /// A plan completed while its alert was firing.
    fn new() -> Self {
        let rule = AlertRule {
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
                for_duration_sec: 0,
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
        };
        let instance = AlertInstance::new(&rule, at(0));
        let mut watched = Self { rule, instance, watch: completed(Some(true)).verification };
        watched.see(COMPLETED, Seen::True);
        assert_eq!(watched.instance.state, AlertState::Firing);
        watched
    }

    fn see(&mut self, seconds: u64, seen: Seen) {
        self.instance = evaluate(&self.rule, &self.instance, &seen.observation(), at(seconds), 5).instance;
    }

    fn look(&mut self, seconds: u64) -> Status {
        let view = AlertView::of(&self.rule, &self.instance);
        self.watch = verify(&self.watch, Some(&view), at(seconds), STABLE_MS, DEADLINE_MS);
        self.watch.status
    }

    /// Sees and looks, an interval after the other, from the first interval after completion.
    fn follow(&mut self, seen: &[Seen]) -> Status {
        for (seconds, seen) in (COMPLETED + INTERVAL..).step_by(INTERVAL as usize).zip(seen) {
            self.see(seconds, *seen);
            self.look(seconds);
        }
        self.watch.status
    }
}

fn completed(alert_firing: Option<bool>) -> Plan {
    run(proposed(&[true, false]), [alert_firing, Some(true)], StepResult::Done(output("ok")))
}

fn run(plan: Plan, alert_firing: [Option<bool>; 2], first: StepResult) -> Plan {
    let by = || Actor { kind: ActorType::User, id: "bob".into(), login: "bob".into() };
    let start = |ordinal, alert_firing| PlanEvent::StartStep {
        at: at(COMPLETED - 1),
        ordinal,
        effect_deadline: at(COMPLETED),
        alert_firing,
    };
    let finish = |ordinal, result| PlanEvent::FinishStep { at: at(COMPLETED), ordinal, result };
    drive(
        plan,
        [
            PlanEvent::Approve { at: at(1), by: by(), auto_edit: true },
            PlanEvent::Start { at: at(2) },
            start(0, alert_firing[0]),
            finish(0, first),
            start(1, alert_firing[1]),
            finish(1, StepResult::Done(output("ok"))),
        ],
    )
}

#[test]
fn the_alert_at_the_first_step_decides_whether_the_plan_can_have_helped() {
    for (first, status) in
        [(Some(true), Status::Watching), (Some(false), Status::Inconclusive), (None, Status::Inconclusive)]
    {
        let plan = completed(first);
        assert_eq!((plan.verification.status, plan.verification.was_firing), (status, first));
        assert_eq!(plan.verification.since, Some(at(COMPLETED)));
        assert_eq!(plan.verification.settled_at.is_some(), status == Status::Inconclusive);
        assert_eq!(plan.verification.reason.is_some(), status == Status::Inconclusive);
    }
    // A step that failed and was tolerated is a first step all the same.
    let plan = run(proposed(&[true, false]), [Some(false), Some(true)], failed());
    assert_eq!(plan.verification.status, Status::Inconclusive);
}

#[test]
fn a_plan_without_an_alert_is_not_verified() {
    let mut plan = proposed(&[true, false]);
    plan.linked_alert_rule_id = None;
    let plan = run(plan, [None, None], StepResult::Done(output("ok")));
    assert_eq!((plan.verification.status, plan.verification.settled_at), (Status::NotApplicable, None));
}

#[test]
fn an_alert_that_goes_false_and_stays_so_between_samples_has_recovered() {
    use Seen::{False, True};
    assert_eq!(Watched::new().follow(&[False, False, False]), Status::Watching, "20 s is not 30 s");
    assert_eq!(Watched::new().follow(&[False, False, False, False]), Status::Recovered);
    assert_eq!(Watched::new().follow(&[True, True, False, False, False, False]), Status::Recovered);
    assert_eq!(Watched::new().follow(&[False, False, False, True, False, False, False]), Status::Watching);

    let mut watched = Watched::new();
    watched.follow(&[False, False, False, False]);
    assert_eq!((watched.watch.settled_at, watched.watch.false_since), (Some(at(140)), Some(at(110))));
    assert!(watched.watch.reason.is_some());
}

#[test]
fn silence_after_one_good_sample_is_not_stability() {
    let mut watched = Watched::new();
    watched.see(110, Seen::False);
    for seconds in 110..COMPLETED + DEADLINE_MS / 1_000 {
        assert_eq!(watched.look(seconds), Status::Watching, "at {seconds} s");
    }
    assert_eq!(watched.look(COMPLETED + DEADLINE_MS / 1_000), Status::Inconclusive);
}

#[test]
fn a_flap_between_two_looks_is_seen() {
    let mut watched = Watched::new();
    watched.see(110, Seen::False);
    watched.look(110);
    watched.see(120, Seen::True);
    watched.see(130, Seen::False);
    watched.see(140, Seen::False);
    assert_eq!(watched.look(140), Status::Watching, "it was true 20 s ago");
    for seconds in [150, 160, 170] {
        watched.see(seconds, Seen::False);
        watched.look(seconds);
    }
    assert_eq!(watched.watch.status, Status::Recovered);
}

#[test]
fn no_data_is_never_success() {
    use Seen::{Empty, Failed, False, NaN};
    for nothing in [Empty, Failed, NaN] {
        assert_eq!(Watched::new().follow(&[nothing; 19]), Status::Watching, "{nothing:?}");
        assert_eq!(Watched::new().follow(&[nothing; 20]), Status::Inconclusive, "{nothing:?}");
        // Between two good samples it breaks the window.
        let seen = [False, False, nothing, False, False, False, False];
        assert_eq!(Watched::new().follow(&seen[..6]), Status::Watching, "{nothing:?}");
        assert_eq!(Watched::new().follow(&seen), Status::Recovered, "{nothing:?}");
    }
}

#[test]
fn a_sample_from_before_the_plan_completed_says_nothing() {
    let mut watched = Watched::new();
    watched.see(COMPLETED, Seen::False);
    watched.look(COMPLETED + 1);
    assert_eq!(watched.watch.false_since, None);
}

#[test]
fn an_alert_that_is_still_true_at_the_deadline_has_not_recovered() {
    assert_eq!(Watched::new().follow(&[Seen::True; 19]), Status::Watching);
    let mut watched = Watched::new();
    assert_eq!(watched.follow(&[Seen::True; 20]), Status::NotRecovered);
    assert_eq!(watched.watch.settled_at, Some(at(COMPLETED + DEADLINE_MS / 1_000)));
}

#[test]
fn a_recovery_that_is_too_young_at_the_deadline_is_inconclusive() {
    let mut seen = vec![Seen::True; 18];
    seen.extend([Seen::False, Seen::False]);
    assert_eq!(Watched::new().follow(&seen), Status::Inconclusive);
}

#[test]
fn a_rule_that_is_gone_or_switched_off_is_inconclusive() {
    let mut watched = Watched::new();
    let gone = verify(&watched.watch, None, at(110), STABLE_MS, DEADLINE_MS);
    assert_eq!(gone.status, Status::Inconclusive);
    watched.instance = disable(&watched.rule, &watched.instance, at(110)).instance;
    assert_eq!(watched.look(110), Status::Inconclusive);
}

#[test]
fn a_rule_that_was_changed_or_switched_off_and_on_starts_the_window_anew() {
    type Break = fn(&AlertRule, &AlertInstance, Timestamp) -> AlertInstance;
    let breaks: [Break; 2] = [
        |rule, instance, now| reset(rule, instance, now).instance,
        |rule, instance, now| enable(rule, &disable(rule, instance, now).instance, now).instance,
    ];
    for change in breaks {
        let mut watched = Watched::new();
        watched.follow(&[Seen::False, Seen::False, Seen::False]);
        watched.instance = change(&watched.rule, &watched.instance, at(135));
        watched.see(140, Seen::False);
        assert_eq!(watched.look(140), Status::Watching);
    }
}

#[test]
fn a_watch_without_a_beginning_is_inconclusive() {
    let watched = Watched::new();
    let watch = Verification { since: None, ..watched.watch.clone() };
    let view = AlertView::of(&watched.rule, &watched.instance);
    assert_eq!(verify(&watch, Some(&view), at(110), STABLE_MS, DEADLINE_MS).status, Status::Inconclusive);
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        3 => Just(Seen::False),
        1 => Just(Seen::True),
        1 => Just(Seen::Empty),
        1 => Just(Seen::Failed),
        1 => Just(Seen::NaN),
    ]
}

proptest! {
    #[test]
    fn recovered_only_after_false_samples_without_a_break_for_the_whole_window(
        seen in proptest::collection::vec(seen(), 1..30),
    ) {
        let mut watched = Watched::new();
        let mut run = 0;
        let mut settled = None;
        for (seconds, seen) in (COMPLETED + INTERVAL..).step_by(INTERVAL as usize).zip(seen) {
            watched.see(seconds, seen);
            watched.look(seconds);
            if let Some(settled) = &settled {
                prop_assert_eq!(&watched.watch, settled, "what is settled stays so");
                continue;
            }
            run = if seen == Seen::False { run + 1 } else { 0 };
            let over = seconds >= COMPLETED + DEADLINE_MS / 1_000;
            let expected = match seen {
                Seen::False if (run - 1) * INTERVAL * 1_000 >= STABLE_MS => Status::Recovered,
                Seen::True if over => Status::NotRecovered,
                _ if over => Status::Inconclusive,
                _ => Status::Watching,
            };
            prop_assert_eq!(watched.watch.status, expected);
            if expected != Status::Watching {
                prop_assert_eq!(watched.watch.settled_at, Some(at(seconds)));
                settled = Some(watched.watch.clone());
            }
        }
    }

    #[test]
    fn only_a_watch_is_ever_settled(seconds in 0_u64..10_000, seen in seen()) {
        for status in [Status::NotApplicable, Status::Recovered, Status::NotRecovered, Status::Inconclusive] {
            let mut watched = Watched::new();
            watched.watch.status = status;
            let before = watched.watch.clone();
            watched.see(seconds, seen);
            watched.look(seconds);
            prop_assert_eq!(&watched.watch, &before);
        }
    }
}
