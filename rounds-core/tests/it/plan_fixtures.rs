//! Plans to start from, and the events that can happen to them.

use std::time::Duration;

use rounds_core::access::{Actor, ActorType};
use rounds_core::plan::{
    ApprovalRequest, Plan, PlanEvent, PlanStatus, RequestKind, RequestStatus, Step, StepResult, Verification, digest,
    transition,
};
use rounds_core::ports::Clock as _;
use rounds_core::step::{ReviewedStep, StepOutput, Target, Tier};
use rounds_core::testing::ManualClock;
use rounds_core::{AlertRuleId, ConnectorId, OrgId, PlanId, RequestId, Timestamp};

/// How long a plan and a step's request wait, in seconds.
pub(crate) const TTL: u64 = 100;

/// A moment, in seconds after the tests' beginning of time.
pub(crate) fn at(seconds: u64) -> Timestamp {
    ManualClock::default().now() + Duration::from_secs(seconds)
}

pub(crate) fn person(login: &str) -> Actor {
    Actor { kind: ActorType::User, id: login.into(), login: login.into() }
}

pub(crate) fn output(text: &str) -> StepOutput {
    StepOutput::text(text).with_exit_code(0)
}

pub(crate) fn failed() -> StepResult {
    let output = StepOutput::text("half").with_exit_code(1).with_error_output("no such thing");
    StepResult::Failed { message: "it said no".into(), output }
}

pub(crate) fn interrupted() -> StepResult {
    StepResult::Interrupted { message: "the worker died".into(), output: StepOutput::default() }
}

/// A step that nobody has touched.
pub(crate) fn step(ordinal: u32) -> Step {
    let review = ReviewedStep::command(
        "kubectl",
        ["scale".into(), format!("deployment/web-{ordinal}"), "--replicas=2".into()],
        Tier::Write,
    )
    .on(Target::new("deployment.apps", format!("web-{ordinal}")).in_namespace("app"))
    .reversible()
    .idempotent();
    Step::new(ordinal, ConnectorId::new(), 3, review)
}

/// A rescue plan that nobody submitted; a step of each `continueOnError`.
pub(crate) fn draft(continue_on_error: &[bool]) -> Plan {
    let id = PlanId::new();
    let steps: Vec<Step> = (0..)
        .zip(continue_on_error)
        .map(|(ordinal, continue_on_error)| Step { continue_on_error: *continue_on_error, ..step(ordinal) })
        .collect();
    let canonical = digest::canonical_bytes(id, 1, &steps);
    Plan {
        id,
        org_id: OrgId::default(),
        investigation_id: None,
        rescue_for_plan_id: Some(PlanId::new()),
        rescue_plan_id: None,
        summary: "scale web".into(),
        status: PlanStatus::Draft,
        revision: 1,
        digest: digest::digest(&canonical),
        canonical,
        linked_alert_rule_id: Some(AlertRuleId::new()),
        owner_team_id: None,
        verification: Verification::default(),
        auto_edit: false,
        approval_request_id: None,
        created_by: Actor { kind: ActorType::ServiceAccount, id: "agent".into(), login: "agent".into() },
        created_at: at(0),
        expires_at: None,
        approved_by: None,
        started_at: None,
        resolved_at: None,
        resolved_by: None,
        resolution: None,
        cancel_requested_at: None,
        cancel_requested_by: None,
        steps,
        requests: Vec::new(),
        history: Vec::new(),
    }
}

/// A proposed plan with its open request.
pub(crate) fn proposed(continue_on_error: &[bool]) -> Plan {
    let mut plan = draft(continue_on_error);
    let id = RequestId::new();
    plan.rescue_for_plan_id = None;
    plan.status = PlanStatus::PendingApproval;
    plan.expires_at = Some(at(TTL));
    plan.approval_request_id = Some(id);
    plan.requests.push(ApprovalRequest {
        id,
        kind: RequestKind::Plan,
        status: RequestStatus::Pending,
        digest: plan.digest.clone(),
        created_at: at(0),
        expires_at: at(TTL),
        resolved_at: None,
        resolved_by: None,
        reason: None,
    });
    plan
}

/// The next revision, with the same number of steps.
pub(crate) fn modify(plan: &Plan, by: Actor, now: Timestamp) -> PlanEvent {
    let steps: Vec<Step> = plan
        .steps
        .iter()
        .map(|old| Step { connector_revision: old.connector_revision + 1, ..step(old.ordinal) })
        .collect();
    let canonical = digest::canonical_bytes(plan.id, plan.revision + 1, &steps);
    PlanEvent::Modify {
        at: now,
        by,
        summary: "scale web otherwise".into(),
        steps,
        digest: digest::digest(&canonical),
        canonical,
        request_id: RequestId::new(),
    }
}

/// One that each event of the list must move on.
pub(crate) fn drive(plan: Plan, events: impl IntoIterator<Item = PlanEvent>) -> Plan {
    events.into_iter().fold(plan, |plan, event| transition(&plan, &event).expect("a legal event"))
}
