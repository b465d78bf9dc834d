//! `transition(plan, event) → plan`: every row of the state machine, in one match.

use super::{
    ApprovalRequest, Plan, PlanEvent, PlanStatus, RequestKind, RequestStatus, Revision, Step, StepFailure, StepResult,
    StepStatus, VerificationStatus, digest,
};
use crate::IllegalTransition;
use crate::access::Actor;
use crate::time::Timestamp;

/// What a plan waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// This step may run now.
    Run(u32),
    /// This step needs an approval of its own, and no request is open.
    Ask(u32),
    /// This step's request is open.
    Waiting(u32),
    /// This step runs.
    Running(u32),
    /// Every step had its turn.
    None,
}

/// What an executing plan waits for.
#[must_use]
pub fn next_step(plan: &Plan) -> NextStep {
    if let Some(step) = plan.running_step() {
        return NextStep::Running(step.ordinal);
    }
    let Some(step) = plan.steps.iter().find(|step| step.status == StepStatus::Pending) else {
        return NextStep::None;
    };
    if plan.auto_edit || step.approved_by.is_some() {
        NextStep::Run(step.ordinal)
    } else if plan.open_request(RequestKind::Step { ordinal: step.ordinal }).is_some() {
        NextStep::Waiting(step.ordinal)
    } else {
        NextStep::Ask(step.ordinal)
    }
}

/// The state machine of a plan with its steps and requests.
///
/// # Errors
/// The event means nothing in that state, or comes too late (rule 7); the message names both.
pub fn transition(plan: &Plan, event: &PlanEvent) -> Result<Plan, IllegalTransition> {
    use PlanEvent as E;
    use PlanStatus as S;

    let illegal = || IllegalTransition::new("plan", plan.status.as_str(), event.name());
    let mut next = plan.clone();
    match (plan.status, event) {
        (S::Draft, E::Submit { at, request_id, expires_at, .. }) => {
            next.status = S::PendingApproval;
            next.expires_at = Some(*expires_at);
            next.approval_request_id = Some(*request_id);
            next.requests.push(open(RequestKind::Plan, *request_id, &plan.digest, *at, *expires_at));
        }
        (S::Draft, E::PrimaryEnded { at, how }) => {
            end(&mut next, S::Cancelled, *at, None, Some(format!("the plan it would undo was {how}")));
        }
        (S::Draft, E::Approve { .. }) => {
            return Err(illegal().hint("submit the rescue plan first, then approve it"));
        }
        (S::Draft, E::Cancel { .. }) => {
            return Err(illegal().hint("nobody submitted it, so there is nothing to end: it runs nothing by itself"));
        }

        (S::PendingApproval, E::Modify { at, by, summary, steps, canonical, digest, request_id }) => {
            let expires_at = unexpired(plan, *at).ok_or_else(|| illegal().hint("it expired; propose again"))?;
            next.history.push(Revision {
                revision: plan.revision,
                digest: plan.digest.clone(),
                summary: plan.summary.clone(),
                commands: plan.steps.iter().map(|step| step.review.command_text.clone()).collect(),
                replaced_by: by.clone(),
                replaced_at: *at,
            });
            supersede(&mut next, *at);
            next.revision += 1;
            next.summary.clone_from(summary);
            next.steps.clone_from(steps);
            next.canonical.clone_from(canonical);
            next.digest.clone_from(digest);
            next.approval_request_id = Some(*request_id);
            next.requests.push(open(RequestKind::Plan, *request_id, digest, *at, expires_at));
            if let Err(why) = digest::check(&next) {
                return Err(illegal().hint(why.reason));
            }
            if !untouched(steps) {
                return Err(illegal()
                    .hint("at least one step, numbered from 0, of which nobody approved or ran any, is accepted"));
            }
        }
        (S::PendingApproval, E::Approve { at, by, auto_edit }) => {
            unexpired(plan, *at).ok_or_else(|| illegal().hint("it expired; propose again"))?;
            resolve(&mut next, RequestKind::Plan, RequestStatus::Approved, *at, Some(by), None);
            next.status = S::Approved;
            next.auto_edit = *auto_edit;
            next.approved_by = Some(by.clone());
        }
        (S::PendingApproval, E::Reject { at, by, reason }) => {
            unexpired(plan, *at).ok_or_else(|| illegal().hint("it expired"))?;
            resolve(&mut next, RequestKind::Plan, RequestStatus::Rejected, *at, Some(by), reason.clone());
            end(&mut next, S::Rejected, *at, Some(by), reason.clone());
        }
        (S::PendingApproval, E::Expire { at }) => {
            if unexpired(plan, *at).is_some() {
                return Err(illegal().hint("its time has not come"));
            }
            resolve(&mut next, RequestKind::Plan, RequestStatus::Expired, *at, None, None);
            end(&mut next, S::Expired, *at, None, Some("nobody decided in time".into()));
        }
        (S::PendingApproval | S::Approved, E::Cancel { at, by, reason }) => {
            end(&mut next, S::Cancelled, *at, Some(by), reason.clone());
        }

        (S::Approved, E::Start { at }) => {
            next.status = S::Executing;
            next.started_at = plan.started_at.or(Some(*at));
        }
        (S::Executing, E::Cancel { at, by, reason }) => {
            if plan.running_step().is_none() {
                end(&mut next, S::Cancelled, *at, Some(by), reason.clone());
            } else if plan.cancel_requested_at.is_none() {
                // The process is not killed: its real outcome is recorded first.
                next.cancel_requested_at = Some(*at);
                next.cancel_requested_by = Some(by.clone());
                next.resolution.clone_from(reason);
            } else {
                return Err(illegal().hint("it was already asked to end, after the running step"));
            }
        }
        (S::Executing, E::RequestStep { at, ordinal, request_id, expires_at }) => {
            if next_step(plan) != NextStep::Ask(*ordinal) {
                return Err(illegal());
            }
            next.requests.push(open(
                RequestKind::Step { ordinal: *ordinal },
                *request_id,
                &plan.digest,
                *at,
                *expires_at,
            ));
            step_mut(&mut next, *ordinal, event)?.approval_request_id = Some(*request_id);
        }
        (S::Executing, E::ApproveStep { at, by, ordinal }) => {
            let kind = RequestKind::Step { ordinal: *ordinal };
            let request = plan.open_request(kind).ok_or_else(illegal)?;
            if *at >= request.expires_at {
                return Err(illegal().hint("its request expired"));
            }
            resolve(&mut next, kind, RequestStatus::Approved, *at, Some(by), None);
            step_mut(&mut next, *ordinal, event)?.approved_by = Some(by.clone());
        }
        (S::Executing, E::RejectStep { at, by, ordinal, reason }) => {
            let kind = RequestKind::Step { ordinal: *ordinal };
            let request = plan.open_request(kind).ok_or_else(illegal)?;
            if *at >= request.expires_at {
                return Err(illegal().hint("its request expired"));
            }
            resolve(&mut next, kind, RequestStatus::Rejected, *at, Some(by), reason.clone());
            let why = match reason {
                Some(reason) => format!("{by} rejected this step: {reason}"),
                None => format!("{by} rejected this step"),
            };
            halt(&mut next, *ordinal, StepFailure::Rejected, why, *at, event)?;
        }
        (S::Executing, E::ExpireStep { at, ordinal }) => {
            let kind = RequestKind::Step { ordinal: *ordinal };
            let request = plan.open_request(kind).ok_or_else(illegal)?;
            if *at < request.expires_at {
                return Err(illegal().hint("its time has not come"));
            }
            resolve(&mut next, kind, RequestStatus::Expired, *at, None, None);
            let why = "nobody decided on this step in time".into();
            halt(&mut next, *ordinal, StepFailure::Expired, why, *at, event)?;
        }
        (S::Executing, E::StartStep { at, ordinal, effect_deadline, alert_firing }) => {
            if next_step(plan) != NextStep::Run(*ordinal) {
                return Err(illegal());
            }
            let approved_by = plan.approved_by.clone();
            // Of the first step only: what fired later is not what the plan set out to end.
            if plan.steps.iter().all(|step| step.attempt == 0) {
                next.verification.was_firing = *alert_firing;
            }
            let step = step_mut(&mut next, *ordinal, event)?;
            step.status = StepStatus::Executing;
            step.attempt += 1;
            step.approved_by = step.approved_by.take().or(approved_by);
            step.executed_at = Some(*at);
            step.effect_deadline = Some(*effect_deadline);
            step.finished_at = None;
            step.exit_code = None;
            step.output_text = None;
            step.error_text = None;
            step.failure = None;
        }
        (S::Executing, E::FinishStep { at, ordinal, result }) => {
            if next_step(plan) != NextStep::Running(*ordinal) {
                return Err(illegal());
            }
            finish_step(&mut next, *ordinal, result, *at, event)?;
        }
        (S::Executing, E::HaltReviewChanged { at, ordinal, reason }) => {
            let (NextStep::Run(turn) | NextStep::Ask(turn) | NextStep::Waiting(turn)) = next_step(plan) else {
                return Err(illegal());
            };
            if turn != *ordinal {
                return Err(illegal().hint("a step is reviewed again when its turn comes"));
            }
            halt(&mut next, *ordinal, StepFailure::ReviewChanged, reason.clone(), *at, event)?;
        }
        (S::Failed, E::Retry { by, ordinal, acknowledge_unknown_outcome, keep_auto_edit, .. }) => {
            retry(&mut next, *ordinal, by, *acknowledge_unknown_outcome, *keep_auto_edit, event)?;
        }
        (S::Rejected | S::Expired | S::Cancelled | S::Completed, _) => {
            return Err(illegal().hint("it has ended, and nothing changes it any more"));
        }
        (S::Draft | S::PendingApproval | S::Approved | S::Executing | S::Failed, _) => return Err(illegal()),
    }
    Ok(next)
}

fn open(
    kind: RequestKind,
    id: crate::id::RequestId,
    digest: &str,
    at: Timestamp,
    expires_at: Timestamp,
) -> ApprovalRequest {
    ApprovalRequest {
        id,
        kind,
        status: RequestStatus::Pending,
        digest: digest.into(),
        created_at: at,
        expires_at,
        resolved_at: None,
        resolved_by: None,
        reason: None,
    }
}

/// Whether steps are as a review leaves them. The digest does not cover where a step is, so one that came approved
/// or done would run, or be left out, on nobody's word.
fn untouched(steps: &[Step]) -> bool {
    let fresh = |(place, step): (usize, &Step)| {
        step.ordinal as usize == place
            && step.status == StepStatus::Pending
            && step.attempt == 0
            && step.approved_by.is_none()
            && step.approval_request_id.is_none()
    };
    !steps.is_empty() && steps.iter().enumerate().all(fresh)
}

/// Rule 7: past `expires_at` a plan cannot be decided on, swept or not.
fn unexpired(plan: &Plan, at: Timestamp) -> Option<Timestamp> {
    plan.expires_at.filter(|expires_at| at < *expires_at)
}

fn step_mut<'a>(plan: &'a mut Plan, ordinal: u32, event: &PlanEvent) -> Result<&'a mut Step, IllegalTransition> {
    let count = plan.steps.len();
    plan.steps.get_mut(ordinal as usize).ok_or_else(|| {
        IllegalTransition::new("plan", format!("of {count} steps"), format!("{} of step {ordinal}", event.name()))
    })
}

fn resolve(
    plan: &mut Plan,
    kind: RequestKind,
    status: RequestStatus,
    at: Timestamp,
    by: Option<&Actor>,
    reason: Option<String>,
) {
    let open = |request: &&mut ApprovalRequest| request.kind == kind && request.status == RequestStatus::Pending;
    if let Some(request) = plan.requests.iter_mut().find(open) {
        request.status = status;
        request.resolved_at = Some(at);
        request.resolved_by = by.cloned();
        request.reason = reason;
    }
}

fn supersede(plan: &mut Plan, at: Timestamp) {
    for request in plan.requests.iter_mut().filter(|request| request.status == RequestStatus::Pending) {
        request.status = RequestStatus::Superseded;
        request.resolved_at = Some(at);
    }
}

/// The plan ends or halts: open requests are superseded, steps that had no turn are skipped.
fn end(plan: &mut Plan, status: PlanStatus, at: Timestamp, by: Option<&Actor>, resolution: Option<String>) {
    supersede(plan, at);
    for step in plan.steps.iter_mut().filter(|step| step.status == StepStatus::Pending) {
        step.status = StepStatus::Skipped;
    }
    plan.status = status;
    plan.resolved_at = Some(at);
    plan.resolved_by = by.cloned();
    plan.resolution = resolution;
    if status == PlanStatus::Completed {
        plan.verification.begin(plan.linked_alert_rule_id.is_some(), at);
        if plan.changes_its_rule() {
            plan.verification.says_nothing(at);
        }
    } else {
        plan.verification.status = VerificationStatus::NotApplicable;
    }
}

fn halt(
    plan: &mut Plan,
    ordinal: u32,
    failure: StepFailure,
    why: String,
    at: Timestamp,
    event: &PlanEvent,
) -> Result<(), IllegalTransition> {
    let step = step_mut(plan, ordinal, event)?;
    if step.status != StepStatus::Pending {
        return Err(IllegalTransition::new("step", step.status.as_str(), event.name()));
    }
    step.status = StepStatus::Failed;
    step.failure = Some(failure);
    step.finished_at = Some(at);
    step.error_text = Some(why.clone());
    end(plan, PlanStatus::Failed, at, None, Some(format!("step {ordinal}: {why}")));
    Ok(())
}

fn finish_step(
    plan: &mut Plan,
    ordinal: u32,
    result: &StepResult,
    at: Timestamp,
    event: &PlanEvent,
) -> Result<(), IllegalTransition> {
    let step = step_mut(plan, ordinal, event)?;
    step.finished_at = Some(at);
    step.effect_deadline = None;
    let halted = match result {
        StepResult::Done(output) => {
            step.status = StepStatus::Done;
            step.exit_code = output.exit_code;
            step.output_text = Some(output.output.clone());
            step.error_text = (!output.error_output.is_empty()).then(|| output.error_output.clone());
            None
        }
        StepResult::Failed { message, output } => {
            step.status = StepStatus::Failed;
            step.failure = Some(StepFailure::Failed);
            step.exit_code = output.exit_code;
            step.output_text = Some(output.output.clone());
            step.error_text = Some(error_text(message, output));
            (!step.continue_on_error).then(|| format!("step {ordinal} failed: {message}"))
        }
        StepResult::Interrupted { message, output } => {
            step.status = StepStatus::Interrupted;
            step.exit_code = output.exit_code;
            step.output_text = Some(output.output.clone());
            step.error_text = Some(error_text(message, output));
            // Whatever continueOnError says: after an unknown outcome a person looks first.
            Some(format!("step {ordinal} was interrupted: {message}"))
        }
    };
    let last = !plan.steps.iter().any(|step| step.status == StepStatus::Pending);
    if plan.cancel_requested_at.is_some() {
        let by = plan.cancel_requested_by.clone();
        let why = plan.resolution.take().or(halted);
        end(plan, PlanStatus::Cancelled, at, by.as_ref(), why);
    } else if let Some(why) = halted {
        end(plan, PlanStatus::Failed, at, None, Some(why));
    } else if last {
        end(plan, PlanStatus::Completed, at, None, None);
    }
    Ok(())
}

fn error_text(message: &str, output: &crate::step::StepOutput) -> String {
    let said = output.error_output.trim();
    // What the adapter concludes ("it was killed", "nothing was sent") is not in what the program said.
    let text = if message.contains(said) {
        message.to_owned()
    } else if said.contains(message) {
        output.error_output.clone()
    } else {
        format!("{message}\n{said}")
    };
    // Each part may be as long as the whole is allowed to be.
    crate::step::StepOutput { error_output: text, ..Default::default() }.capped().error_output
}

fn retry(
    plan: &mut Plan,
    ordinal: u32,
    by: &Actor,
    acknowledged: bool,
    keep_auto_edit: bool,
    event: &PlanEvent,
) -> Result<(), IllegalTransition> {
    let auto_edit = plan.auto_edit && keep_auto_edit;
    // Later steps run again behind this one, so what bars one of them bars it.
    let changed = plan.steps.iter().any(|step| step.failure == Some(StepFailure::ReviewChanged));
    let unknown = plan.steps.iter().find(|step| step.status == StepStatus::Interrupted).map(|step| step.ordinal);
    let step = step_mut(plan, ordinal, event)?;
    let illegal = || IllegalTransition::new("step", step.status.as_str(), event.name());
    match step.status {
        StepStatus::Failed | StepStatus::Interrupted => {}
        StepStatus::Pending | StepStatus::Executing | StepStatus::Done | StepStatus::Skipped => {
            return Err(illegal().hint("only a failed or interrupted step can be retried"));
        }
    }
    if changed {
        return Err(illegal().hint("today's review differs from what was approved: propose a new plan"));
    }
    if let Some(unknown) = unknown.filter(|_| !acknowledged) {
        return Err(illegal().hint(&format!(
            "step {unknown} was interrupted, nobody knows how, and would run again: look first, then retry with \
             acknowledgeUnknownOutcome"
        )));
    }
    step.status = StepStatus::Pending;
    step.failure = None;
    // The click of the person who retries approves this one step.
    step.approved_by = Some(by.clone());
    step.approval_request_id = None;
    for later in plan.steps.iter_mut().filter(|step| step.ordinal > ordinal) {
        if later.status != StepStatus::Done {
            later.status = StepStatus::Pending;
            later.failure = None;
            later.approved_by = None;
            later.approval_request_id = None;
        }
    }
    plan.status = PlanStatus::Executing;
    plan.auto_edit = auto_edit;
    plan.resolved_at = None;
    plan.resolved_by = None;
    plan.resolution = None;
    Ok(())
}
