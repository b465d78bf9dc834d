//! The rules that must never break, over random events, legal and not, while time goes on.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use rounds_core::access::{Action, Denied, Grant, OrgRole, Principal, Scope, evaluate};
use rounds_core::plan::{
    NextStep, Plan, PlanEvent, PlanOutcome, PlanStatus, RequestKind, RequestStatus, StepFailure, StepResult,
    StepStatus, VerificationStatus, digest, next_step, transition,
};
use rounds_core::step::Target;
use rounds_core::{IllegalTransition, OrgId, RequestId, Timestamp};

use crate::plan_fixtures::{TTL, at, draft, failed, interrupted, modify, output, person, proposed};

/// What was tried, on what, and what came of it.
#[derive(Debug, Clone)]
struct Try {
    before: Plan,
    event: PlanEvent,
    result: Result<Plan, IllegalTransition>,
}

/// A plan and everything that was tried on it.
#[derive(Debug, Clone)]
struct Trace {
    first: Plan,
    tries: Vec<Try>,
}

impl Trace {
    /// Every plan on the way.
    fn plans(&self) -> impl Iterator<Item = &Plan> {
        std::iter::once(&self.first).chain(self.tries.iter().filter_map(|tried| tried.result.as_ref().ok()))
    }

    /// What happened: before, event, after.
    fn happened(&self) -> impl Iterator<Item = (&Plan, &PlanEvent, &Plan)> {
        self.tries.iter().filter_map(|tried| Some((&tried.before, &tried.event, tried.result.as_ref().ok()?)))
    }
}

/// One try, before it is known on what.
#[derive(Debug, Clone)]
struct Move {
    what: u8,
    ordinal: u32,
    seconds: u64,
    yes: bool,
    grant: bool,
    ending: u8,
}

fn a_move() -> impl Strategy<Value = Move> {
    let what = prop_oneof![3 => Just(0_u8), 2 => 1..=16_u8];
    let seconds = prop_oneof![6 => Just(0), 6 => 1..4_u64, 1 => Just(TTL / 2), 1 => Just(2 * TTL)];
    (what, 0..6_u32, seconds, any::<bool>(), any::<bool>(), 0..5_u8)
        .prop_map(|(what, ordinal, seconds, yes, grant, ending)| Move { what, ordinal, seconds, yes, grant, ending })
}

fn result(ending: u8) -> StepResult {
    match ending {
        0 => interrupted(),
        1 | 2 => failed(),
        _ => StepResult::Done(output("ok")),
    }
}

/// What usually comes next, so that walks get far; else anything at all.
fn event(plan: &Plan, m: &Move, now: Timestamp) -> PlanEvent {
    let later = now + Duration::from_secs(TTL);
    let by = person(if m.grant { "ada" } else { "bob" });
    let (mut what, mut ordinal) = (m.what, m.ordinal);
    if what == 0 {
        (what, ordinal) = match (plan.status, next_step(plan)) {
            (PlanStatus::Draft, _) => (1, 0),
            (PlanStatus::PendingApproval, _) => (4, 0),
            (PlanStatus::Approved, _) => (8, 0),
            (PlanStatus::Executing, NextStep::Ask(ordinal)) => (9, ordinal),
            (PlanStatus::Executing, NextStep::Waiting(ordinal)) => (10, ordinal),
            (PlanStatus::Executing, NextStep::Run(ordinal)) => (13, ordinal),
            (PlanStatus::Executing, NextStep::Running(ordinal)) => (14, ordinal),
            (PlanStatus::Failed, _) => (16, m.ordinal % plan.steps.len() as u32),
            (_, _) => (m.ordinal as u8 + 1, m.ordinal),
        };
    }
    // Half of what speaks of a step speaks of the one whose turn it is; the rest of any, there or not.
    if let (true, Some(turn)) = (m.ordinal >= 3, turn(plan)) {
        ordinal = turn;
    }
    let request_id = RequestId::new();
    match what {
        1 => PlanEvent::Submit { at: now, by, request_id, expires_at: later },
        2 => PlanEvent::PrimaryEnded { at: now, how: "expired" },
        3 => modify(plan, by, now),
        4 => PlanEvent::Approve { at: now, by, auto_edit: m.yes },
        5 => PlanEvent::Reject { at: now, by, reason: m.yes.then(|| "no".into()) },
        6 => PlanEvent::Expire { at: now },
        7 => PlanEvent::Cancel { at: now, by, reason: m.yes.then(|| "no".into()) },
        8 => PlanEvent::Start { at: now },
        9 => PlanEvent::RequestStep { at: now, ordinal, request_id, expires_at: later },
        10 => PlanEvent::ApproveStep { at: now, by, ordinal },
        11 => PlanEvent::RejectStep { at: now, by, ordinal, reason: m.yes.then(|| "no".into()) },
        12 => PlanEvent::ExpireStep { at: now, ordinal },
        13 => PlanEvent::StartStep { at: now, ordinal, effect_deadline: later, alert_firing: Some(m.yes) },
        14 => PlanEvent::FinishStep { at: now, ordinal, result: result(m.ending) },
        15 => PlanEvent::HaltReviewChanged { at: now, ordinal, reason: "refused today".into() },
        _ => PlanEvent::Retry { at: now, by, ordinal, acknowledge_unknown_outcome: m.yes, keep_auto_edit: m.grant },
    }
}

/// The step whose turn it is.
fn turn(plan: &Plan) -> Option<u32> {
    match next_step(plan) {
        NextStep::Run(ordinal) | NextStep::Ask(ordinal) | NextStep::Waiting(ordinal) | NextStep::Running(ordinal) => {
            Some(ordinal)
        }
        NextStep::None => None,
    }
}

fn a_trace() -> impl Strategy<Value = Trace> {
    let tolerant = proptest::collection::vec(any::<bool>(), 1..=5);
    (proptest::bool::weighted(0.2), tolerant, proptest::collection::vec(a_move(), 1..80)).prop_map(
        |(rescue, tolerant, moves)| {
            let first = if rescue { draft(&tolerant) } else { proposed(&tolerant) };
            let (mut plan, mut seconds, mut tries) = (first.clone(), 0, Vec::new());
            for m in moves {
                seconds += m.seconds;
                let event = event(&plan, &m, at(seconds));
                let result = transition(&plan, &event);
                let before = plan.clone();
                if let Ok(next) = &result {
                    plan = next.clone();
                }
                tries.push(Try { before, event, result });
            }
            Trace { first, tries }
        },
    )
}

/// Where an event speaks of a step, which.
fn ordinal_of(event: &PlanEvent) -> Option<u32> {
    match event {
        PlanEvent::RequestStep { ordinal, .. }
        | PlanEvent::ApproveStep { ordinal, .. }
        | PlanEvent::RejectStep { ordinal, .. }
        | PlanEvent::ExpireStep { ordinal, .. }
        | PlanEvent::StartStep { ordinal, .. }
        | PlanEvent::FinishStep { ordinal, .. }
        | PlanEvent::HaltReviewChanged { ordinal, .. }
        | PlanEvent::Retry { ordinal, .. } => Some(*ordinal),
        _ => None,
    }
}

fn open_requests(plan: &Plan) -> impl Iterator<Item = &rounds_core::plan::ApprovalRequest> {
    plan.requests.iter().filter(|request| request.status == RequestStatus::Pending)
}

fn ended(status: PlanStatus) -> bool {
    status.is_terminal() || status == PlanStatus::Failed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rule_1_what_is_digested_changes_only_by_modify_and_always_fits(trace in a_trace()) {
        for plan in trace.plans() {
            prop_assert_eq!(digest::check(plan), Ok(()));
            for request in open_requests(plan) {
                prop_assert_eq!(&request.digest, &plan.digest, "an open request shows this revision");
            }
        }
        for (before, event, after) in trace.happened() {
            let same = (&before.digest, &before.canonical, before.revision, before.history.len())
                == (&after.digest, &after.canonical, after.revision, after.history.len());
            prop_assert_eq!(same, !matches!(event, PlanEvent::Modify { .. }), "{}", event.name());
            if !same {
                prop_assert_eq!(before.status, PlanStatus::PendingApproval);
                prop_assert_eq!(after.revision, before.revision + 1);
            }
        }
    }

    #[test]
    fn rule_4_a_step_starts_once_per_approval_and_attempts_count_by_one(trace in a_trace()) {
        // Per step: how often it started, and whether it may start (again) at all.
        let mut starts: HashMap<u32, u32> = HashMap::new();
        let mut retried: HashMap<u32, bool> = HashMap::new();
        for (before, event, after) in trace.happened() {
            match event {
                PlanEvent::StartStep { ordinal, .. } => {
                    let count = starts.entry(*ordinal).or_default();
                    prop_assert!(
                        *count == 0 || retried.insert(*ordinal, false) == Some(true),
                        "step {ordinal} started again without a retry"
                    );
                    *count += 1;
                    prop_assert_eq!(after.steps[*ordinal as usize].attempt, *count);
                    prop_assert_eq!(before.steps[*ordinal as usize].status, StepStatus::Pending);
                }
                PlanEvent::Retry { ordinal, .. } => {
                    for step in before.steps.iter().filter(|step| step.ordinal >= *ordinal) {
                        if step.status != StepStatus::Done {
                            retried.insert(step.ordinal, true);
                        }
                    }
                }
                _ => {}
            }
            let (old, new): (u32, u32) =
                (before.steps.iter().map(|s| s.attempt).sum(), after.steps.iter().map(|s| s.attempt).sum());
            prop_assert_eq!(new - old, u32::from(matches!(event, PlanEvent::StartStep { .. })), "{}", event.name());
        }
        for plan in trace.plans() {
            let executing = plan.steps.iter().filter(|step| step.status == StepStatus::Executing).count();
            prop_assert!(executing <= 1);
            prop_assert!(executing == 0 || plan.status == PlanStatus::Executing);
        }
    }

    #[test]
    fn rule_4_an_unknown_outcome_never_reruns_unless_a_person_accepts_it(trace in a_trace()) {
        for (before, event, after) in trace.happened() {
            for (old, new) in before.steps.iter().zip(&after.steps) {
                if old.status == StepStatus::Interrupted && new.status != StepStatus::Interrupted {
                    let accepted =
                        matches!(event, PlanEvent::Retry { acknowledge_unknown_outcome: true, ordinal, .. } if *ordinal <= old.ordinal);
                    prop_assert!(accepted, "step {} by {event:?}", old.ordinal);
                }
                if old.status == StepStatus::Executing && new.status != StepStatus::Executing {
                    prop_assert!(matches!(event, PlanEvent::FinishStep { .. }), "only its outcome ends a running step");
                }
            }
        }
    }

    #[test]
    fn rule_6_terminal_is_terminal_and_retry_is_for_failed_plans(trace in a_trace()) {
        for tried in &trace.tries {
            if tried.before.status.is_terminal() {
                let error = tried.result.as_ref().expect_err("terminal is terminal");
                prop_assert_eq!((&error.state[..], &error.event[..]), (tried.before.status.as_str(), tried.event.name()));
            }
        }
        for (before, event, _) in trace.happened() {
            if let PlanEvent::Retry { ordinal, .. } = event {
                prop_assert_eq!(before.status, PlanStatus::Failed);
                let step = &before.steps[*ordinal as usize];
                prop_assert!(matches!(step.status, StepStatus::Failed | StepStatus::Interrupted));
                prop_assert!(before.steps.iter().all(|step| step.failure != Some(StepFailure::ReviewChanged)));
            } else {
                prop_assert_ne!(before.status, PlanStatus::Failed, "{}", event.name());
            }
        }
    }

    #[test]
    fn rule_6_a_request_that_was_decided_never_changes(trace in a_trace()) {
        for (before, event, after) in trace.happened() {
            prop_assert!(after.requests.len() >= before.requests.len());
            for (old, new) in before.requests.iter().zip(&after.requests) {
                prop_assert!(old.status == RequestStatus::Pending || old == new, "{}", event.name());
                prop_assert_eq!((old.id, old.kind, &old.digest, old.expires_at), (new.id, new.kind, &new.digest, new.expires_at));
            }
        }
    }

    #[test]
    fn rule_7_past_its_time_nothing_is_approved_rejected_or_modified_swept_or_not(trace in a_trace()) {
        for (before, event, _) in trace.happened() {
            let (now, expires_at, decided) = match event {
                PlanEvent::Approve { at, .. } | PlanEvent::Reject { at, .. } | PlanEvent::Modify { at, .. } => {
                    (at, before.expires_at, true)
                }
                PlanEvent::Expire { at } => (at, before.expires_at, false),
                PlanEvent::ApproveStep { at, ordinal, .. } | PlanEvent::RejectStep { at, ordinal, .. } => {
                    let request = before.open_request(RequestKind::Step { ordinal: *ordinal });
                    (at, request.map(|request| request.expires_at), true)
                }
                PlanEvent::ExpireStep { at, ordinal } => {
                    let request = before.open_request(RequestKind::Step { ordinal: *ordinal });
                    (at, request.map(|request| request.expires_at), false)
                }
                _ => continue,
            };
            let expires_at = expires_at.expect("whatever can be decided can expire");
            prop_assert_eq!(*now < expires_at, decided, "{}", event.name());
        }
    }

    #[test]
    fn without_auto_edit_no_step_runs_without_an_approval_of_its_own(trace in a_trace()) {
        // Followed from the events alone: who approved which step, and whether auto-edit still stands.
        let (mut auto_edit, mut plan_approver) = (false, None);
        let mut approvals = HashMap::new();
        for (before, event, after) in trace.happened() {
            match event {
                PlanEvent::Approve { by, auto_edit: yes, .. } => (auto_edit, plan_approver) = (*yes, Some(by)),
                PlanEvent::ApproveStep { by, ordinal, .. } => {
                    approvals.insert(*ordinal, by);
                }
                PlanEvent::Retry { by, ordinal, keep_auto_edit, .. } => {
                    auto_edit &= *keep_auto_edit;
                    // Later steps that will run again are asked about again.
                    approvals.retain(|approved, _| approved < ordinal);
                    approvals.insert(*ordinal, by);
                }
                PlanEvent::StartStep { ordinal, .. } => {
                    let own = approvals.remove(ordinal);
                    prop_assert!(auto_edit || own.is_some(), "step {ordinal} ran on nobody's word");
                    let approver = own.or(plan_approver);
                    prop_assert_eq!(after.steps[*ordinal as usize].approved_by.as_ref(), approver);
                }
                PlanEvent::RequestStep { .. } => prop_assert!(!auto_edit, "auto-edit asks no more"),
                _ => {}
            }
            prop_assert_eq!(after.auto_edit, auto_edit, "{}", event.name());
            let _ = before;
        }
    }

    #[test]
    fn steps_run_in_their_order(trace in a_trace()) {
        for (before, event, after) in trace.happened() {
            if let PlanEvent::StartStep { ordinal, .. } = event {
                for earlier in before.steps.iter().filter(|step| step.ordinal < *ordinal) {
                    let tolerated = earlier.status == StepStatus::Failed
                        && earlier.continue_on_error
                        && earlier.failure == Some(StepFailure::Failed);
                    prop_assert!(earlier.status == StepStatus::Done || tolerated, "{earlier:?}");
                }
                prop_assert!(before.cancel_requested_at.is_none(), "nothing starts after a person asked to end");
            }
            // One event moves one step by name; the others only to `skipped`, or back to `pending` by a retry.
            for (old, new) in before.steps.iter().zip(&after.steps).filter(|(old, new)| old.status != new.status) {
                let named = ordinal_of(event) == Some(old.ordinal);
                let skipped = (old.status, new.status) == (StepStatus::Pending, StepStatus::Skipped) && ended(after.status);
                let again = matches!(event, PlanEvent::Retry { ordinal, .. } if *ordinal < old.ordinal)
                    && new.status == StepStatus::Pending
                    && old.status != StepStatus::Done;
                prop_assert!(named || skipped || again, "step {} by {}", old.ordinal, event.name());
                prop_assert_ne!(old.status, StepStatus::Done, "what is done stays done");
            }
        }
    }

    #[test]
    fn skipped_pending_and_ends_are_kept_in_step(trace in a_trace()) {
        for plan in trace.plans() {
            let any = |status| plan.steps.iter().any(|step| step.status == status);
            if ended(plan.status) {
                prop_assert!(!any(StepStatus::Pending) && !any(StepStatus::Executing));
                prop_assert_eq!(open_requests(plan).count(), 0, "open requests are superseded when a plan ends");
                prop_assert!(plan.resolved_at.is_some());
            } else {
                prop_assert!(!any(StepStatus::Skipped));
                prop_assert!(plan.resolved_at.is_none() && plan.resolved_by.is_none());
            }
            if matches!(plan.status, PlanStatus::Draft | PlanStatus::PendingApproval | PlanStatus::Approved) {
                prop_assert!(plan.steps.iter().all(|step| step.status == StepStatus::Pending && step.attempt == 0));
            }
            if plan.status == PlanStatus::Completed {
                prop_assert!(!any(StepStatus::Skipped) && !any(StepStatus::Interrupted));
            }
            for step in &plan.steps {
                prop_assert_eq!(step.failure.is_some(), step.status == StepStatus::Failed);
                prop_assert_eq!(step.effect_deadline.is_some(), step.status == StepStatus::Executing);
                let ran = matches!(step.status, StepStatus::Executing | StepStatus::Done | StepStatus::Interrupted);
                prop_assert!(!ran || (step.attempt > 0 && step.executed_at.is_some()));
            }
            let watched = !matches!(plan.verification.status, VerificationStatus::NotApplicable);
            prop_assert_eq!(watched, plan.status == PlanStatus::Completed);
            let waits = plan.status == PlanStatus::PendingApproval;
            prop_assert_eq!(plan.open_request(RequestKind::Plan).is_some(), waits);
            prop_assert!(!waits || plan.expires_at.is_some());
        }
    }

    #[test]
    fn there_are_never_two_open_requests_of_one_kind(trace in a_trace()) {
        for plan in trace.plans() {
            let mut open: Vec<_> = open_requests(plan).collect();
            let count = open.len();
            open.dedup_by_key(|request| request.kind);
            prop_assert_eq!(open.len(), count);
            prop_assert!(count <= 1, "one question at a time");
            for request in open {
                let id = match request.kind {
                    RequestKind::Plan => plan.approval_request_id,
                    RequestKind::Step { ordinal } => plan.steps[ordinal as usize].approval_request_id,
                };
                prop_assert_eq!(id, Some(request.id));
            }
        }
    }

    #[test]
    fn an_executing_plan_always_waits_for_something_that_can_happen(trace in a_trace()) {
        for plan in trace.plans() {
            let status = |ordinal: u32| plan.steps[ordinal as usize].status;
            let asked = |ordinal| plan.open_request(RequestKind::Step { ordinal }).is_some();
            match next_step(plan) {
                NextStep::Running(ordinal) => prop_assert_eq!(status(ordinal), StepStatus::Executing),
                NextStep::Run(ordinal) => prop_assert_eq!(status(ordinal), StepStatus::Pending),
                NextStep::Waiting(ordinal) => prop_assert!(status(ordinal) == StepStatus::Pending && asked(ordinal)),
                NextStep::Ask(ordinal) => prop_assert!(status(ordinal) == StepStatus::Pending && !asked(ordinal)),
                NextStep::None => prop_assert!(ended(plan.status)),
            }
            if plan.status == PlanStatus::Executing {
                let m = Move { what: 0, ordinal: 0, seconds: 0, yes: true, grant: true, ending: 3 };
                let now = plan.requests.last().map_or(at(0), |request| request.created_at);
                prop_assert!(transition(plan, &event(plan, &m, now)).is_ok(), "{:?}", next_step(plan));
            }
        }
    }

    #[test]
    fn an_outcome_says_what_became_of_the_plan(trace in a_trace()) {
        for plan in trace.plans() {
            let outcome = PlanOutcome::of(plan);
            match (plan.status, &outcome) {
                (PlanStatus::Draft | PlanStatus::PendingApproval | PlanStatus::Approved, PlanOutcome::Started)
                | (PlanStatus::Completed, PlanOutcome::Completed)
                | (PlanStatus::Rejected | PlanStatus::Expired | PlanStatus::Cancelled, PlanOutcome::Cancelled) => {}
                (PlanStatus::Executing, PlanOutcome::Started) => {
                    prop_assert!(!matches!(next_step(plan), NextStep::Waiting(_)));
                }
                (PlanStatus::Executing, PlanOutcome::PausedForApproval { step_ordinal, approval_request_id }) => {
                    prop_assert_eq!(next_step(plan), NextStep::Waiting(*step_ordinal));
                    prop_assert_eq!(plan.request(*approval_request_id).unwrap().status, RequestStatus::Pending);
                }
                (PlanStatus::Failed, PlanOutcome::Failed { failed_ordinal, reason }) => {
                    let step = &plan.steps[*failed_ordinal as usize];
                    prop_assert!(matches!(step.status, StepStatus::Failed | StepStatus::Interrupted));
                    prop_assert!(reason.starts_with(&format!("step {failed_ordinal}")), "{reason}");
                }
                (status, outcome) => prop_assert!(false, "{status:?} is said to be {outcome:?}"),
            }
            prop_assert_eq!(outcome.is_under_way(), matches!(outcome, PlanOutcome::Started));
        }
    }

    #[test]
    fn whether_the_alert_was_firing_is_asked_at_the_first_step_only(trace in a_trace()) {
        let mut first = None;
        for (_, event, after) in trace.happened() {
            if let PlanEvent::StartStep { alert_firing, .. } = event {
                first = first.or(Some(*alert_firing));
            }
            prop_assert_eq!(after.verification.was_firing, first.flatten());
        }
    }

    #[test]
    fn every_refusal_names_state_and_event_and_changes_nothing(trace in a_trace()) {
        for tried in &trace.tries {
            let Err(error) = &tried.result else { continue };
            prop_assert!(error.event.contains(tried.event.name()));
            let text = error.to_string();
            prop_assert!(text.contains(&error.state) && text.contains(&error.event), "{text}");
            prop_assert_eq!(error, &transition(&tried.before, &tried.event).unwrap_err(), "the same again");
        }
    }

    #[test]
    fn rule_13_a_plan_reads_back_as_it_was(trace in a_trace()) {
        let last = trace.plans().last().unwrap();
        let text = serde_json::to_string(last).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Plan>(&text).unwrap(), last);
    }
}

fn a_scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::all("plans")),
        Just(Scope::all("connectors")),
        "[a-c]".prop_map(|namespace| Scope::plan_namespace(&namespace)),
        "[a-c]".prop_map(|id| Scope::one("plans", id)),
    ]
}

fn an_action() -> impl Strategy<Value = Action> {
    (0..Action::table().len()).prop_map(|row| Action::table()[row].action)
}

fn a_principal() -> impl Strategy<Value = Principal> {
    let role = prop_oneof![Just(OrgRole::Viewer), Just(OrgRole::Editor), Just(OrgRole::Admin)];
    let grants = proptest::collection::vec((an_action(), a_scope()), 0..12);
    (role, any::<bool>(), any::<bool>(), grants).prop_map(|(role, server_admin, user, grants)| {
        let login = "@syntropize/rounds";
        let base = if user {
            Principal::user(OrgId::default(), login, role)
        } else {
            Principal::agent(OrgId::default(), login)
        };
        let grants = grants.into_iter().map(|(action, scope)| Grant::new(action, scope)).collect();
        Principal { role, server_admin, grants, ..base }
    })
}

proptest! {
    #[test]
    fn rule_8_no_role_and_no_grant_lets_an_agent_decide(
        principal in a_principal(),
        scope in a_scope(),
    ) {
        let agent = Principal { is_agent: true, ..principal };
        for action in [Action::PlansApprove, Action::PlansAutoEdit] {
            let denied = evaluate(&agent, action, &scope).expect_err("agents never decide");
            let names_both = denied.to_string().contains(action.name()) && denied.to_string().contains(&scope.to_string());
            prop_assert!(matches!(denied, Denied::AgentsNeverDecide { .. }) && names_both, "{}", denied);
        }
    }

    #[test]
    fn being_an_agent_never_permits_more(principal in a_principal(), action in an_action(), scope in a_scope()) {
        let agent = Principal { is_agent: true, ..principal.clone() };
        let person = Principal { is_agent: false, ..principal };
        prop_assert!(evaluate(&agent, action, &scope).is_err() || evaluate(&person, action, &scope).is_ok());
    }

    #[test]
    fn auto_edit_is_nobodys_by_role_and_every_namespace_must_be_granted(
        principal in a_principal(),
        namespaces in proptest::collection::vec(proptest::option::of("[a-c]"), 0..4),
    ) {
        let person = Principal { is_agent: false, ..principal };
        let granted = |scope: &Scope| person.grants.contains(&Grant::new(Action::PlansAutoEdit, scope.clone()));
        let wide = granted(&Scope::all("plans"));
        let each = !namespaces.is_empty()
            && namespaces.iter().all(|ns| ns.as_deref().is_some_and(|ns| granted(&Scope::plan_namespace(ns))));
        let mut plan = proposed(&vec![false; namespaces.len()]);
        for (step, namespace) in plan.steps.iter_mut().zip(&namespaces) {
            let target = Target::new("deployment.apps", "web");
            step.review.targets = vec![match namespace {
                Some(namespace) => target.in_namespace(namespace),
                None => target,
            }];
        }
        let all = plan.scopes().iter().all(|scope| evaluate(&person, Action::PlansAutoEdit, scope).is_ok());
        prop_assert_eq!(all, wide || each);
    }
}
