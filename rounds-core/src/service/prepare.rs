//! From a proposal to steps that can be shown: reviewed by the gate and dry-run by the target system.

use serde_json::{Value, json};

use super::error::{Error, StepRefusal};
use super::guard::{SLACK, guarded};
use super::review::review;
use super::shared::{Shared, millis};
use crate::access::Actor;
use crate::id::{AlertRuleId, InvestigationId, OrgId, PlanId, RequestId, TeamId};
use crate::investigation::{Proposal, ProposedStep};
use crate::plan::{ApprovalRequest, Plan, PlanStatus, RequestKind, RequestStatus, Step, Verification, digest};
use crate::ports::CallContext;
use crate::ports::store::StoreExt;
use crate::step::{Mode, Refusal, ReviewedStep, Tier, kept};
use crate::time::after_ms;

/// The most steps a plan may have.
const MAX_STEPS: usize = 50;
/// The longest summary, risk note and reason.
pub(crate) const MAX_TEXT: usize = 8 * 1024;

/// Reviews and dry-runs every step. All or nothing: the refusals of all steps come back together.
pub(crate) async fn steps(shared: &Shared, org: &OrgId, proposed: &[ProposedStep]) -> Result<Vec<Step>, Error> {
    if proposed.is_empty() || proposed.len() > MAX_STEPS {
        return Err(Error::Invalid(format!("found {} steps; 1 to {MAX_STEPS} are accepted", proposed.len())));
    }
    let mut reviewed = Vec::with_capacity(proposed.len());
    let mut refusals = Vec::new();
    for (ordinal, step) in (0u32..).zip(proposed) {
        if step.risk_note.as_ref().is_some_and(|note| note.len() > MAX_TEXT) {
            return Err(Error::Invalid(format!("step {ordinal}: a risk note has at most {MAX_TEXT} bytes")));
        }
        let live =
            shared.live.adapter(shared.store.as_ref(), org, step.connector_id).await.map_err(|error| match error {
                Error::NotFound { .. } | Error::Invalid(_) => Error::Invalid(format!("step {ordinal}: {error}")),
                other => other,
            })?;
        match review(shared, &live, &step.spec, Mode::Write).await {
            Ok(review) => reviewed.push((ordinal, step, live, review)),
            Err(stopped) => {
                let Refusal { rule, message } = stopped.into_refusal(&live.row.name);
                refusals.push(StepRefusal { ordinal, rule, message });
            }
        }
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let mut steps = Vec::with_capacity(reviewed.len());
    for (ordinal, proposed, live, review) in reviewed {
        let limit = live.port.describe().step_timeout.unwrap_or(shared.settings.step_timeout);
        let cx = CallContext::with_timeout(limit);
        let preview = match guarded(shared, cx.timeout + SLACK, live.port.dry_run(&cx, &review)).await {
            Ok(Ok(preview)) => preview.text,
            Err(broken) => format!("The dry-run did not succeed: {broken}"),
            // A step may rest on one before it, so a refused preview is shown and not the end of the proposal.
            Ok(Err(error)) => format!("The dry-run did not succeed: {error}\n{}", error.output.error_output),
        };
        // It goes into the plan's row, and every page of the plan shows it.
        steps.push(step(ordinal, proposed, &live.row, review, kept(preview)));
    }
    Ok(steps)
}

fn step(
    ordinal: u32,
    proposed: &ProposedStep,
    connector: &crate::connector::Connector,
    review: ReviewedStep,
    preview: String,
) -> Step {
    Step {
        dry_run_text: Some(preview),
        risk_note: proposed.risk_note.clone(),
        continue_on_error: proposed.continue_on_error,
        ..Step::new(ordinal, connector.id, connector.revision, review)
    }
}

/// Where a proposal comes from.
pub(crate) struct Origin<'a> {
    pub org: &'a OrgId,
    pub by: &'a Actor,
    pub investigation: Option<InvestigationId>,
    pub rule: Option<AlertRuleId>,
}

/// A plan that waits for a person.
pub(crate) async fn plan(shared: &Shared, origin: &Origin<'_>, proposal: &Proposal) -> Result<Plan, Error> {
    let mut plan = draft(shared, origin, proposal).await?;
    let expires_at = after_ms(plan.created_at, millis(shared.settings.plan_approval_ttl));
    let request = ApprovalRequest {
        id: RequestId::new(),
        kind: RequestKind::Plan,
        status: RequestStatus::Pending,
        digest: plan.digest.clone(),
        created_at: plan.created_at,
        expires_at,
        resolved_at: None,
        resolved_by: None,
        reason: None,
    };
    plan.status = PlanStatus::PendingApproval;
    plan.expires_at = Some(expires_at);
    plan.approval_request_id = Some(request.id);
    plan.requests.push(request);
    Ok(plan)
}

/// A rescue plan: a draft without expiry, tied to the plan it undoes.
pub(crate) async fn rescue(
    shared: &Shared,
    origin: &Origin<'_>,
    proposal: &Proposal,
    primary: &mut Plan,
) -> Result<Plan, Error> {
    let mut rescue = draft(shared, origin, proposal).await?;
    rescue.rescue_for_plan_id = Some(primary.id);
    primary.rescue_plan_id = Some(rescue.id);
    Ok(rescue)
}

async fn draft(shared: &Shared, origin: &Origin<'_>, proposal: &Proposal) -> Result<Plan, Error> {
    check_summary(&proposal.summary)?;
    let steps = steps(shared, origin.org, &proposal.steps).await?;
    let owner_team_id = owner(shared, origin, &steps).await?;
    let id = PlanId::new();
    let canonical = digest::canonical_bytes(id, 1, &steps);
    Ok(Plan {
        id,
        org_id: origin.org.clone(),
        investigation_id: origin.investigation,
        rescue_for_plan_id: None,
        rescue_plan_id: None,
        summary: proposal.summary.clone(),
        status: PlanStatus::Draft,
        revision: 1,
        digest: digest::digest(&canonical),
        canonical,
        linked_alert_rule_id: origin.rule,
        owner_team_id,
        verification: Verification::default(),
        auto_edit: false,
        approval_request_id: None,
        created_by: origin.by.clone(),
        created_at: shared.now(),
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
    })
}

/// The team a plan concerns: the rule's, else that of the connector it writes through, else of the one it reads through.
async fn owner(shared: &Shared, origin: &Origin<'_>, steps: &[Step]) -> Result<Option<TeamId>, Error> {
    if let Some(id) = origin.rule
        && let Some(rule) = shared.store.rule(id).await?
        && rule.value.owner_team_id.is_some()
    {
        return Ok(rule.value.owner_team_id);
    }
    let (writes, reads): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.review.tier != Tier::Read);
    for step in writes.into_iter().chain(reads) {
        let connector = shared.store.connector(step.connector_id).await?;
        if let Some(team) = connector.and_then(|found| found.value.owner_team_id) {
            return Ok(Some(team));
        }
    }
    Ok(None)
}

pub(crate) fn check_summary(summary: &str) -> Result<(), Error> {
    if summary.trim().is_empty() || summary.len() > MAX_TEXT {
        return Err(Error::Invalid(format!("summary: a text of 1 to {MAX_TEXT} bytes is expected")));
    }
    Ok(())
}

/// What today's gate makes of an approved step: anything but the very same rendering is a difference.
pub(crate) fn same_review(approved: &ReviewedStep, today: &ReviewedStep) -> Result<(), String> {
    if approved == today {
        return Ok(());
    }
    let parts: [(&str, Value, Value); 6] = [
        ("the kind", json!(approved.kind), json!(today.kind)),
        ("the parameters", approved.params.clone(), today.params.clone()),
        ("the command", json!(approved.command_text), json!(today.command_text)),
        ("the targets", json!(approved.targets), json!(today.targets)),
        ("the tier", json!(approved.tier), json!(today.tier)),
        ("the verb", json!(approved.verb), json!(today.verb)),
    ];
    Err(match parts.into_iter().find(|(_, approved, today)| approved != today) {
        Some((what, approved, today)) => {
            format!("review_changed: {what} would be {today}, and {approved} was approved: propose again")
        }
        None => "review_changed: what the gate says of this step is no longer what was shown: propose again".into(),
    })
}
