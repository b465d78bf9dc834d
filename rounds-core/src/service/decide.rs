//! One decision about a plan: authorized, applied, and committed with everything that follows from it.

use serde_json::json;

use super::channels::Heard;
use super::error::Error;
use super::plans::{Approval, Modification, Plans, follow_up};
use super::prepare;
use super::shared::{Shared, millis, mutated};
use crate::access::{Action, Principal};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{PlanId, RequestId};
use crate::plan::{ApprovalRequest, Plan, PlanEvent, PlanStatus, RequestStatus, digest, transition};
use crate::ports::NoticeKind;
use crate::ports::store::{Commit, Key, RecordKind, Versioned};
use crate::time::after_ms;

/// What a decision came by, when it was not the plan itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Via<'a> {
    /// The request that was decided on.
    pub request: Option<RequestId>,
    /// What was answered in a channel.
    pub channel: Option<&'a Heard>,
}

impl Plans<'_> {
    /// One decision: authorize, apply, and commit plan, rescue, audit and events together. A refused decision is
    /// audited too, as a failure. `via` is the request that was decided on, when it was not the plan itself.
    pub(crate) async fn decide(
        &self,
        who: &Principal,
        id: PlanId,
        via: Option<RequestId>,
        decision: &Decision,
    ) -> Result<Plan, Error> {
        self.decide_via(who, id, Via { request: via, channel: None }, decision).await
    }

    /// As [`decide`](Self::decide), from wherever it came.
    pub(crate) async fn decide_via(
        &self,
        who: &Principal,
        id: PlanId,
        via: Via<'_>,
        decision: &Decision,
    ) -> Result<Plan, Error> {
        let result = self.try_decide(who, id, via, decision).await;
        if let Err(error) = &result {
            self.audit_refusal(who, id, via, decision, error).await;
        }
        result
    }

    async fn try_decide(&self, who: &Principal, id: PlanId, via: Via<'_>, decision: &Decision) -> Result<Plan, Error> {
        let shared = self.shared;
        decision.check_reason()?;
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            shared.authorize(who, Action::PlansApprove, &found.value.scopes()).await?;
            if let Some(request) = via.request.and_then(|id| found.value.request(id)) {
                still_open(request)?;
                via.channel.map_or(Ok(()), |heard| heard.fits(&found.value, request))?;
            }
            let event = self.event(who, &found.value, decision).await?;
            let mut next = match transition(&found.value, &event) {
                Err(_) if mutated!(shared, CancelsWhatEnded) => {
                    Plan { status: PlanStatus::Cancelled, ..found.value.clone() }
                }
                decided => decided?,
            };
            if let Decision::Approve { reason: Some(reason), .. } | Decision::ApproveStep { reason: Some(reason), .. } =
                decision
                && let Some(request) = next.requests.iter_mut().find(|request| Some(request.id) == via.request)
            {
                request.reason = Some(reason.clone());
            }
            let counterpart = self.counterpart(who, &found.value, decision).await?;
            let mut commit = Commit::new()
                .event(shared.plan_event(&next, event.name()))
                .audit(decision.entry(shared, who, &found.value, via, Outcome::Success))
                .update(next.clone(), found.version);
            if let Some(other) = counterpart {
                // Whoever starts the other plan in the same moment finds this one changed, or the other way round.
                commit = commit.expect(Key::new(RecordKind::Plan, other.value.id.as_uuid()), other.version);
            }
            if next.status != found.value.status {
                commit = follow_up(shared, commit, &next, found.version + 1).await?;
            }
            // A changed plan asks anew: what was told before asks a request that is no longer open.
            let asks = match event {
                PlanEvent::Submit { .. } => Some(("waits for approval", "submitted".to_owned())),
                PlanEvent::Modify { .. } => {
                    Some(("was changed and waits for approval", format!("modified/{}", next.revision)))
                }
                _ => None,
            };
            if let Some((what, part)) = asks {
                let (version, kind) = (found.version + 1, NoticeKind::PlanProposed);
                commit = commit.insert(shared.plan_notice(&next, version, kind, what, &part));
            }
            if shared.settle(commit, &mut tries).await? {
                return Ok(next);
            }
        }
    }

    /// What a decision means for this plan, with everything it needs beyond `plans:approve`.
    async fn event(&self, who: &Principal, plan: &Plan, decision: &Decision) -> Result<PlanEvent, Error> {
        let shared = self.shared;
        let at = shared.now();
        let by = who.actor();
        Ok(match decision {
            Decision::Approve { approval, .. } => {
                if approval.auto_edit {
                    shared.authorize(who, Action::PlansAutoEdit, &plan.scopes()).await?;
                }
                check_digest(plan, approval.digest.as_deref())?;
                PlanEvent::Approve { at, by, auto_edit: approval.auto_edit }
            }
            Decision::Reject(reason) => PlanEvent::Reject { at, by, reason: reason.clone() },
            Decision::Cancel(reason) => PlanEvent::Cancel { at, by, reason: reason.clone() },
            Decision::Modify(change) => self.modification(plan, change, by).await?,
            Decision::Submit => {
                let expires_at = after_ms(at, millis(shared.settings.plan_approval_ttl));
                PlanEvent::Submit { at, by, request_id: RequestId::new(), expires_at }
            }
            Decision::Retry { ordinal, acknowledge_unknown_outcome } => {
                if plan.step(*ordinal).is_none() {
                    return Err(Error::not_found("step", format!("{}:{ordinal}", plan.id)));
                }
                let holds = shared.authorize(who, Action::PlansAutoEdit, &plan.scopes()).await.is_ok();
                PlanEvent::Retry {
                    at,
                    by,
                    ordinal: *ordinal,
                    acknowledge_unknown_outcome: *acknowledge_unknown_outcome,
                    keep_auto_edit: plan.auto_edit && holds,
                }
            }
            Decision::ApproveStep { ordinal, .. } => PlanEvent::ApproveStep { at, by, ordinal: *ordinal },
            Decision::RejectStep { ordinal, reason } => {
                PlanEvent::RejectStep { at, by, ordinal: *ordinal, reason: reason.clone() }
            }
        })
    }

    async fn modification(
        &self,
        plan: &Plan,
        change: &Modification,
        by: crate::access::Actor,
    ) -> Result<PlanEvent, Error> {
        check_digest(plan, change.digest.as_deref())?;
        let summary = change.summary.clone().unwrap_or_else(|| plan.summary.clone());
        prepare::check_summary(&summary)?;
        // A plan that cannot be modified says so before the cluster is asked about steps that nobody can save.
        let steps = match plan.status {
            PlanStatus::PendingApproval => prepare::steps(self.shared, &plan.org_id, &change.steps).await?,
            _ => Vec::new(),
        };
        let canonical = digest::canonical_bytes(plan.id, plan.revision + 1, &steps);
        Ok(PlanEvent::Modify {
            at: self.shared.now(),
            by,
            summary,
            digest: digest::digest(&canonical),
            steps,
            canonical,
            request_id: RequestId::new(),
        })
    }

    /// A plan and the one that undoes it never run at the same time: the other plan, once it is seen not to be in
    /// the way of a decision that starts this one.
    async fn counterpart(
        &self,
        who: &Principal,
        plan: &Plan,
        decision: &Decision,
    ) -> Result<Option<Versioned<Plan>>, Error> {
        if !matches!(decision, Decision::Approve { .. } | Decision::Submit | Decision::Retry { .. }) {
            return Ok(None);
        }
        if let Some(primary_id) = plan.rescue_for_plan_id {
            let primary = self.load(who, primary_id).await?;
            let status = primary.value.status;
            if matches!(status, PlanStatus::Failed | PlanStatus::Cancelled | PlanStatus::Completed) {
                return Ok(Some(primary));
            }
            return Err(Error::Conflict {
                code: "primary_not_ended",
                message: format!(
                    "the plan it undoes ({primary_id}) is {}: a rescue plan goes on once that one is failed, \
                     cancelled or completed",
                    status.as_str()
                ),
            });
        }
        let (Some(rescue_id), Decision::Retry { .. }) = (plan.rescue_plan_id, decision) else { return Ok(None) };
        let rescue = self.load(who, rescue_id).await?;
        let status = rescue.value.status;
        if matches!(status, PlanStatus::Approved | PlanStatus::Executing) {
            return Err(Error::Conflict {
                code: "rescue_under_way",
                message: format!(
                    "the plan that undoes this one ({rescue_id}) is {}: wait until it has ended, or cancel it",
                    status.as_str()
                ),
            });
        }
        Ok(Some(rescue))
    }

    async fn audit_refusal(&self, who: &Principal, id: PlanId, via: Via<'_>, decision: &Decision, error: &Error) {
        match error {
            Error::Denied(_) | Error::State(_) | Error::Conflict { .. } | Error::Refused(_) => {}
            // Nothing was decided about: there is no such plan, or nobody could look.
            Error::NotFound { .. } | Error::Invalid(_) | Error::Port(_) | Error::Store(_) => return,
        }
        let Ok(found) = self.load(who, id).await else { return };
        let entry = decision.entry(self.shared, who, &found.value, via, Outcome::Failure);
        let entry = entry.with("error", error.to_string());
        if let Err(error) = self.shared.store.commit(Commit::new().audit(entry)).await {
            tracing::error!(plan = %id, %error, "a refused decision could not be audited");
        }
    }
}

/// What a person decides.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    Approve { approval: Approval, reason: Option<String> },
    Reject(Option<String>),
    Cancel(Option<String>),
    Modify(Modification),
    Submit,
    Retry { ordinal: u32, acknowledge_unknown_outcome: bool },
    ApproveStep { ordinal: u32, reason: Option<String> },
    RejectStep { ordinal: u32, reason: Option<String> },
}

impl Decision {
    /// A reason goes into the plan, its history and the audit log.
    fn check_reason(&self) -> Result<(), Error> {
        let reason = match self {
            Self::Reject(reason) | Self::Cancel(reason) | Self::RejectStep { reason, .. } => reason.as_deref(),
            Self::Approve { .. } | Self::Modify(_) | Self::Submit | Self::Retry { .. } | Self::ApproveStep { .. } => {
                None
            }
        };
        match reason {
            Some(reason) if reason.len() > prepare::MAX_TEXT => {
                Err(Error::Invalid(format!("reason: a text of at most {} bytes is expected", prepare::MAX_TEXT)))
            }
            _ => Ok(()),
        }
    }

    fn entry(&self, shared: &Shared, who: &Principal, plan: &Plan, via: Via<'_>, outcome: Outcome) -> AuditEntry {
        let target = match via.request {
            Some(request) => (AuditEntry::TARGET_REQUEST, request.to_string()),
            None => (AuditEntry::TARGET_PLAN, plan.id.to_string()),
        };
        let action = match self {
            Self::Approve { .. } | Self::ApproveStep { .. } => "approval.approve",
            Self::Reject(_) | Self::RejectStep { .. } => "approval.reject",
            Self::Cancel(_) => "approval.cancel",
            Self::Modify(_) => "approval.modify",
            Self::Submit => "approval.submit",
            Self::Retry { .. } => "approval.retry",
        };
        let entry = AuditEntry::new(shared.now(), &plan.org_id, &who.actor(), action, target, outcome)
            .with("planId", plan.id.to_string())
            .with("digest", plan.digest.clone())
            .with("revision", plan.revision);
        let entry =
            via.channel.into_iter().flat_map(Heard::audit).fold(entry, |entry, (name, value)| entry.with(name, value));
        match self {
            Self::Approve { approval, reason } => with_reason(
                entry.with("autoEdit", approval.auto_edit).with("unbound", approval.digest.is_none()),
                reason.as_deref(),
            ),
            Self::Reject(reason) | Self::Cancel(reason) => entry.with("reason", json!(reason)),
            Self::Modify(_) | Self::Submit => entry,
            Self::Retry { ordinal, acknowledge_unknown_outcome } => {
                entry.with("stepOrdinal", *ordinal).with("acknowledgeUnknownOutcome", *acknowledge_unknown_outcome)
            }
            Self::ApproveStep { ordinal, reason } => {
                with_reason(entry.with("stepOrdinal", *ordinal), reason.as_deref())
            }
            Self::RejectStep { ordinal, reason } => entry.with("stepOrdinal", *ordinal).with("reason", json!(reason)),
        }
    }
}

fn with_reason(entry: AuditEntry, reason: Option<&str>) -> AuditEntry {
    match reason {
        Some(reason) => entry.with("reason", reason),
        None => entry,
    }
}

/// A decision on a request is about that request, and not about another one that took its place meanwhile.
fn still_open(request: &ApprovalRequest) -> Result<(), Error> {
    if request.status == RequestStatus::Pending {
        return Ok(());
    }
    let by = request.resolved_by.as_ref().map_or_else(|| "Rounds".to_owned(), ToString::to_string);
    let at = request.resolved_at.map(|at| format!(" at {}", at.to_rfc3339())).unwrap_or_default();
    Err(Error::Conflict {
        code: "already_resolved",
        message: format!("this request was {} by {by}{at}", request.status.as_str()),
    })
}

fn check_digest(plan: &Plan, seen: Option<&str>) -> Result<(), Error> {
    match seen {
        Some(seen) if seen != plan.digest => Err(Error::Conflict {
            code: "digest_mismatch",
            message: format!(
                "the plan is no longer what was shown: it is at revision {} with digest {}; look at it again",
                plan.revision, plan.digest
            ),
        }),
        _ => Ok(()),
    }
}
