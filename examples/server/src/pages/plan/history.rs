//! What happened to a plan, oldest first, from the plan itself: everybody who may see it may see this.

use rounds_core::Timestamp;
use rounds_core::plan::{Plan, RequestKind, RequestStatus, StepStatus, VerificationStatus};

use crate::pages::diff::{Line, lists};

/// One thing that happened.
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) what: String,
    pub(super) note: Option<String>,
    pub(super) diff: Vec<Line>,
}

impl Moment {
    fn new(at: Timestamp, what: impl Into<String>, note: Option<String>) -> Self {
        Self { at, what: what.into(), note, diff: Vec::new() }
    }
}

pub(super) fn moments(plan: &Plan) -> Vec<Moment> {
    let mut moments = vec![Moment::new(plan.created_at, format!("Proposed by {}", plan.created_by), None)];
    revisions(plan, &mut moments);
    decisions(plan, &mut moments);
    attempts(plan, &mut moments);
    if let (Some(at), Some(by)) = (plan.cancel_requested_at, &plan.cancel_requested_by) {
        moments.push(Moment::new(at, format!("{by} asked to cancel it after the running step"), None));
    }
    if let Some(at) = plan.resolved_at {
        let by = plan.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        moments.push(Moment::new(at, format!("Plan {}{by}", plan.status.as_str()), None));
    }
    let watch = &plan.verification;
    if let Some(at) = watch.since.filter(|_| watch.status != VerificationStatus::NotApplicable) {
        moments.push(Moment::new(at, "Watching the alert", None));
    }
    if let Some(at) = watch.settled_at {
        let what = format!("Verification: {}", watch.status.as_str().replace('_', " "));
        moments.push(Moment::new(at, what, watch.reason.clone()));
    }
    moments.sort_by_key(|moment| moment.at);
    moments
}

fn revisions(plan: &Plan, moments: &mut Vec<Moment>) {
    let current: Vec<String> = plan.steps.iter().map(|step| step.review.command_text.clone()).collect();
    for (place, before) in plan.history.iter().enumerate() {
        let after = plan.history.get(place + 1).map_or(&current, |next| &next.commands);
        let summary = plan.history.get(place + 1).map_or(&plan.summary, |next| &next.summary);
        let mut diff = Vec::new();
        if *summary != before.summary {
            diff.extend(lists(std::slice::from_ref(&before.summary), std::slice::from_ref(summary)));
        }
        diff.extend(lists(&before.commands, after));
        let what = format!("Modified by {}: revision {}", before.replaced_by, before.revision + 1);
        moments.push(Moment { diff, ..Moment::new(before.replaced_at, what, None) });
    }
}

fn decisions(plan: &Plan, moments: &mut Vec<Moment>) {
    for request in &plan.requests {
        let Some(at) = request.resolved_at else { continue };
        let decided = match request.status {
            RequestStatus::Approved => "Approved",
            RequestStatus::Rejected => "Rejected",
            RequestStatus::Expired => "Expired",
            // A modification or the end of the plan superseded it, and that is a moment of its own.
            RequestStatus::Pending | RequestStatus::Superseded => continue,
        };
        let by = request.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let what = match request.kind {
            RequestKind::Plan if plan.auto_edit && request.status == RequestStatus::Approved => {
                format!("{decided}{by}, with auto-edit of subsequent steps")
            }
            RequestKind::Plan => format!("{decided}{by}"),
            RequestKind::Step { ordinal } => format!("Step {}: {}{by}", ordinal + 1, decided.to_lowercase()),
        };
        moments.push(Moment::new(at, what, request.reason.clone()));
    }
}

/// The last attempt of each step; earlier ones are in the audit log.
fn attempts(plan: &Plan, moments: &mut Vec<Moment>) {
    for step in plan.steps.iter().filter(|step| step.attempt > 0) {
        let name = format!("Step {}, attempt {}", step.ordinal + 1, step.attempt);
        if let Some(at) = step.executed_at {
            let by = step.approved_by.as_ref().map(|by| format!(", approved by {by}")).unwrap_or_default();
            moments.push(Moment::new(at, format!("{name}: started{by}"), Some(step.review.command_text.clone())));
        }
        let ended = matches!(step.status, StepStatus::Done | StepStatus::Failed | StepStatus::Interrupted);
        if let Some(at) = step.finished_at.filter(|_| ended) {
            let code = step.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let said = step.error_text.as_ref().filter(|_| step.status != StepStatus::Done);
            let note = said.and_then(|text| text.lines().next()).map(str::to_owned);
            moments.push(Moment::new(at, format!("{name}: {}{code}", step.status.as_str()), note));
        }
    }
}
