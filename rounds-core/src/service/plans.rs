//! Everything a person can decide about a plan.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::decide::Decision;
use super::error::Error;
use super::listed::{Listed, limit};
use super::prepare::{self, Origin};
use super::shared::Shared;
use crate::access::{Action, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{AlertRuleId, ConnectorId, InvestigationId, NoticeId, PlanId, TeamId};
use crate::investigation::{Proposal, ProposedStep};
use crate::plan::{Plan, PlanEvent, PlanOutcome, PlanStatus, Step, transition};
use crate::ports::NoticeKind;
use crate::ports::store::{Commit, Cursor, ListQuery, PlanTag, RecordKind, StoreExt, Versioned};
use crate::time::Timestamp;

/// Plans: propose, read, decide. Every method authorizes the principal itself.
pub struct Plans<'a> {
    pub(crate) shared: &'a Shared,
}

/// How many plans are read for one page at most: what is younger than a filter's time is read past.
const LOOKED_AT: usize = 2_000;

/// How far the order of ids may be from that of the times, with several replicas and their clocks.
const SKEW: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// Which plans are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlanFilter {
    /// With one of these statuses; empty: any.
    pub statuses: Vec<PlanStatus>,
    /// Proposed by this investigation.
    pub investigation_id: Option<InvestigationId>,
    /// Of this team.
    pub owner_team_id: Option<TeamId>,
    /// With a step that runs through this connector.
    pub connector_id: Option<ConnectorId>,
    /// With a step that touches an object in this namespace.
    pub namespace: Option<String>,
    /// Proposed at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Proposed before this moment.
    pub created_before: Option<Timestamp>,
    /// After this plan, in the order of the list (newest first).
    pub after: Option<PlanId>,
    /// At most this many; 0 is 100, and more than 100 is 100.
    pub limit: u32,
}

impl PlanFilter {
    /// What the store finds it by.
    fn tags(&self) -> Vec<String> {
        let team = self.owner_team_id.map(PlanTag::Team);
        let connector = self.connector_id.map(PlanTag::Connector);
        let namespace = self.namespace.as_deref().map(PlanTag::Namespace);
        [team, connector, namespace].into_iter().flatten().map(|tag| tag.to_string()).collect()
    }

    /// Whether a plan was proposed in the time that is asked for.
    fn is_of_its_time(&self, plan: &Plan) -> bool {
        self.created_from.is_none_or(|from| plan.created_at >= from)
            && self.created_before.is_none_or(|before| plan.created_at < before)
    }
}

/// A proposal by a person or a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ProposeRequest {
    /// The plan.
    pub plan: Proposal,
    /// How to undo it.
    #[serde(default)]
    pub rescue: Option<Proposal>,
    /// The investigation it follows from.
    #[serde(default)]
    pub investigation_id: Option<InvestigationId>,
    /// The alert it is to end.
    #[serde(default)]
    pub linked_alert_rule_id: Option<AlertRuleId>,
}

/// A proposal that follows from no investigation and no alert, and has no rescue.
impl From<Proposal> for ProposeRequest {
    fn from(plan: Proposal) -> Self {
        Self { plan, rescue: None, investigation_id: None, linked_alert_rule_id: None }
    }
}

impl ProposeRequest {
    /// The same with how to undo it.
    #[must_use]
    pub fn with_rescue(mut self, rescue: impl Into<Option<Proposal>>) -> Self {
        self.rescue = rescue.into();
        self
    }

    /// The same with the investigation it follows from.
    #[must_use]
    pub fn with_investigation(mut self, id: impl Into<Option<InvestigationId>>) -> Self {
        self.investigation_id = id.into();
        self
    }

    /// The same with the alert it is to end.
    #[must_use]
    pub fn with_alert_rule(mut self, id: impl Into<Option<AlertRuleId>>) -> Self {
        self.linked_alert_rule_id = id.into();
        self
    }
}

/// What was stored of a proposal.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// The plan, waiting for a person.
    pub plan: Plan,
    /// The draft that undoes it.
    pub rescue: Option<Plan>,
}

/// How a person approves. As JSON: `{"autoEdit": false, "digest": "v1:sha256:…"}`, each of them optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Approval {
    /// Whether no step needs an approval of its own. Needs `plans:auto_edit` on every namespace of the plan.
    pub auto_edit: bool,
    /// The digest the person saw. Another one than the plan's is refused; none is audited as unbound.
    pub digest: Option<String>,
}

impl Approval {
    /// Of a plan as it was shown: what anybody changes meanwhile is refused.
    #[must_use]
    pub fn of(shown: &Plan) -> Self {
        Self { auto_edit: false, digest: Some(shown.digest.clone()) }
    }

    /// The same, without an approval of each step.
    #[must_use]
    pub fn with_auto_edit(mut self) -> Self {
        self.auto_edit = true;
        self
    }
}

/// How a person changes a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Modification {
    /// The new summary; `None`: as before.
    pub summary: Option<String>,
    /// The new steps; each is reviewed and dry-run again.
    pub steps: Vec<ProposedStep>,
    /// The digest the person started from; another one than the plan's is refused.
    pub digest: Option<String>,
}

impl Plans<'_> {
    /// One plan.
    ///
    /// # Errors
    /// There is none in the principal's organisation, or `plans:read` is missing.
    pub async fn get(&self, who: &Principal, id: PlanId) -> Result<Plan, Error> {
        self.shared.authorize(who, Action::PlansRead, &[Scope::all("plans")]).await?;
        Ok(self.load(who, id).await?.value)
    }

    /// Plans, newest first. A call reads past at most 2,000 plans that are younger than the filter's time, so a page may be
    /// short or empty and have a next one all the same.
    ///
    /// # Errors
    /// `plans:read` is missing.
    pub async fn list(&self, who: &Principal, filter: &PlanFilter) -> Result<Listed<Plan, PlanId>, Error> {
        self.shared.authorize(who, Action::PlansRead, &[Scope::all("plans")]).await?;
        let wanted = limit(filter.limit, 100) as usize;
        let mut query = ListQuery {
            org: Some(who.org_id.clone()),
            statuses: filter.statuses.iter().map(|status| status.as_str().to_owned()).collect(),
            parent: filter.investigation_id.map(|id| id.as_uuid()),
            newest_first: true,
            after: filter.after.map(|id| Cursor(id.as_uuid())),
            tags: filter.tags(),
            limit: limit(filter.limit, 100),
            ..ListQuery::new(RecordKind::Plan)
        };
        let (mut found, mut looked_at) = (Vec::new(), 0);
        loop {
            let page = self.shared.store.list(&query).await?;
            for record in page.records {
                let plan: Plan = record.value.try_into()?;
                if filter.created_from.is_some_and(|from| plan.created_at + SKEW < from) {
                    return Ok(Listed::new(found, None));
                }
                if filter.is_of_its_time(&plan) {
                    // One more than wanted says that there is a next page, which begins after the one before it.
                    if found.len() == wanted {
                        let last = found.last().map(|plan: &Plan| plan.id);
                        return Ok(Listed::new(found, last));
                    }
                    found.push(plan);
                }
                looked_at += 1;
            }
            let Some(next) = page.next else { return Ok(Listed::new(found, None)) };
            if looked_at >= LOOKED_AT || found.len() >= wanted {
                return Ok(Listed::new(found, Some(PlanId::from(next.0))));
            }
            query.after = Some(next);
        }
    }

    /// Stores a plan that waits for a person, and its rescue as a draft: all or nothing. Every step is reviewed by
    /// its connector's gate and dry-run by the target system.
    ///
    /// # Errors
    /// `plans:propose` is missing, the gate refuses steps, or the proposal is malformed.
    pub async fn propose(&self, who: &Principal, request: impl Into<ProposeRequest>) -> Result<Proposed, Error> {
        let request = request.into();
        self.shared.authorize(who, Action::PlansPropose, &[Scope::all("plans")]).await?;
        let actor = who.actor();
        if let Some(id) = request.investigation_id {
            let found = self.shared.store.investigation(id).await?;
            found
                .filter(|found| found.value.org_id == who.org_id)
                .ok_or_else(|| Error::Invalid(format!("investigationId: there is no investigation {id}")))?;
        }
        if let Some(id) = request.linked_alert_rule_id {
            let found = self.shared.store.rule(id).await?;
            found
                .filter(|found| found.value.org_id == who.org_id)
                .ok_or_else(|| Error::Invalid(format!("linkedAlertRuleId: there is no alert rule {id}")))?;
        }
        let origin = Origin {
            org: &who.org_id,
            by: &actor,
            investigation: request.investigation_id,
            rule: request.linked_alert_rule_id,
        };
        let mut plan = prepare::plan(self.shared, &origin, &request.plan).await?;
        let rescue = match &request.rescue {
            Some(rescue) => Some(prepare::rescue(self.shared, &origin, rescue, &mut plan).await?),
            None => None,
        };
        let commit = proposal_commit(self.shared, &plan, rescue.as_ref());
        self.shared.store.commit(commit).await?;
        Ok(Proposed { plan, rescue })
    }

    /// Stores a draft that undoes a plan which is there already and has none: the draft and the plan's reference to
    /// it in one commit. Every step is reviewed and dry-run, as in [`propose`](Self::propose).
    ///
    /// # Errors
    /// `plans:propose` is missing, there is no such plan, it has a rescue plan or never ran and never will, the gate
    /// refuses steps, or the proposal is malformed.
    pub async fn propose_rescue(&self, who: &Principal, id: PlanId, rescue: &Proposal) -> Result<Plan, Error> {
        let shared = self.shared;
        shared.authorize(who, Action::PlansPropose, &[Scope::all("plans")]).await?;
        let mut primary = self.load(who, id).await?;
        can_be_rescued(&primary.value)?;
        let actor = who.actor();
        let origin = Origin {
            org: &who.org_id,
            by: &actor,
            investigation: primary.value.investigation_id,
            rule: primary.value.linked_alert_rule_id,
        };
        let draft = prepare::rescue(shared, &origin, rescue, &mut primary.value.clone()).await?;
        let mut tries = 0;
        loop {
            can_be_rescued(&primary.value)?;
            let next = Plan { rescue_plan_id: Some(draft.id), ..primary.value };
            let target = (AuditEntry::TARGET_PLAN, draft.id.to_string());
            let entry = AuditEntry::new(shared.now(), &who.org_id, &actor, "plan.propose", target, Outcome::Success)
                .with("digest", draft.digest.clone())
                .with("steps", draft.steps.len())
                .with("rescueForPlanId", id.to_string());
            let commit = Commit::new()
                .insert(draft.clone())
                .audit(entry)
                .event(shared.plan_event(&draft, "proposed"))
                .event(shared.plan_event(&next, "rescue_proposed"))
                .update(next, primary.version);
            if shared.settle(commit, &mut tries).await? {
                return Ok(draft);
            }
            primary = self.load(who, id).await?;
        }
    }

    /// Approves a plan. It runs in the background; [`PlanOutcome::of`] says where it is.
    ///
    /// # Errors
    /// `plans:approve` is missing (and always for agents), or `plans:auto_edit` when auto-edit is asked for; the
    /// digest is another one; the plan is not waiting, or expired.
    pub async fn approve(&self, who: &Principal, id: PlanId, approval: &Approval) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Approve { approval: approval.clone(), reason: None }).await
    }

    /// Rejects a plan, for good.
    ///
    /// # Errors
    /// `plans:approve` is missing, or the plan is not waiting.
    pub async fn reject(&self, who: &Principal, id: PlanId, reason: Option<String>) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Reject(reason)).await
    }

    /// Ends a plan. A running step is not killed: its real outcome is recorded, then the plan is cancelled.
    ///
    /// # Errors
    /// `plans:approve` is missing, or the plan has ended.
    pub async fn cancel(&self, who: &Principal, id: PlanId, reason: Option<String>) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Cancel(reason)).await
    }

    /// Changes the steps of a waiting plan: the revision rises, the open request is superseded, the digest is new.
    ///
    /// # Errors
    /// `plans:approve` is missing, the gate refuses steps, the digest is another one, or the plan is not waiting.
    pub async fn modify(&self, who: &Principal, id: PlanId, change: &Modification) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Modify(change.clone())).await
    }

    /// What [`modify`](Self::modify) would make of these steps: reviewed by the gate and dry-run, and nothing stored.
    ///
    /// # Errors
    /// As `modify`, but for the digest and the plan's status, which it does not look at.
    pub async fn preview(&self, who: &Principal, id: PlanId, steps: &[ProposedStep]) -> Result<Vec<Step>, Error> {
        let found = self.load(who, id).await?;
        self.shared.authorize(who, Action::PlansApprove, &found.value.scopes()).await?;
        prepare::steps(self.shared, &who.org_id, steps).await
    }

    /// Puts a rescue plan up for approval, once its primary has failed, was cancelled or completed. Runs nothing.
    ///
    /// # Errors
    /// `plans:approve` is missing, the plan is not a draft, or its primary has not ended that way.
    pub async fn submit(&self, who: &Principal, id: PlanId) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Submit).await
    }

    /// Runs a failed or interrupted step of a failed plan again. The click approves that one step; auto-edit
    /// survives only if this person holds the grant.
    ///
    /// # Errors
    /// `plans:approve` is missing; the plan is not failed, the step neither failed nor interrupted; its outcome is
    /// unknown and that was not acknowledged; or the plan was halted because its review changed.
    pub async fn retry(
        &self,
        who: &Principal,
        id: PlanId,
        ordinal: u32,
        acknowledge_unknown_outcome: bool,
    ) -> Result<Plan, Error> {
        self.decide(who, id, None, &Decision::Retry { ordinal, acknowledge_unknown_outcome }).await
    }

    /// Waits until a plan no longer goes on by itself, at most for `limit`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn wait(&self, who: &Principal, id: PlanId, limit: Duration) -> Result<Plan, Error> {
        let mut wakes = self.shared.store.wakes();
        let deadline = self.shared.clock.sleep(limit);
        tokio::pin!(deadline);
        loop {
            let plan = self.get(who, id).await?;
            if !PlanOutcome::of(&plan).is_under_way() {
                return Ok(plan);
            }
            tokio::select! {
                biased;
                () = &mut deadline => return Ok(plan),
                () = super::observe::woken(&mut wakes, RecordKind::Plan) => {}
                () = self.shared.clock.sleep(self.shared.settings.poll_interval) => {}
            }
        }
    }

    pub(super) async fn load(&self, who: &Principal, id: PlanId) -> Result<Versioned<Plan>, Error> {
        let found = self.shared.store.plan(id).await?;
        found.filter(|found| found.value.org_id == who.org_id).ok_or_else(|| Error::not_found("plan", id))
    }
}

/// A plan has one rescue plan at most, and none once it is certain that it never ran.
fn can_be_rescued(plan: &Plan) -> Result<(), Error> {
    if let Some(rescue) = plan.rescue_plan_id {
        return Err(Error::Conflict {
            code: "has_rescue",
            message: format!("plan {} has a rescue plan already: {rescue}", plan.id),
        });
    }
    if matches!(plan.status, PlanStatus::Rejected | PlanStatus::Expired) {
        return Err(Error::Conflict {
            code: "nothing_to_undo",
            message: format!("plan {} was {}: there is nothing to undo", plan.id, plan.status.as_str()),
        });
    }
    Ok(())
}

/// What else a change of a plan's status, committed at `version`, means: a rejected or expired primary takes its draft along, an ended plan
/// is told of.
pub(crate) async fn follow_up(shared: &Shared, commit: Commit, plan: &Plan, version: u64) -> Result<Commit, Error> {
    let mut commit = commit;
    let gone = match plan.status {
        PlanStatus::Rejected => Some("rejected"),
        PlanStatus::Expired => Some("expired"),
        _ => None,
    };
    if let (Some(how), Some(rescue_id)) = (gone, plan.rescue_plan_id)
        && let Some(rescue) = shared.store.plan(rescue_id).await?
        && rescue.value.status == PlanStatus::Draft
    {
        let next = transition(&rescue.value, &PlanEvent::PrimaryEnded { at: shared.now(), how })?;
        commit = commit.event(shared.plan_event(&next, "primary_ended")).update(next, rescue.version);
    }
    let ended = plan.status.is_terminal() || plan.status == PlanStatus::Failed;
    if ended {
        // A plan can fail more than once, and each time tells anew: a key that comes back while the first notice is
        // still on its way would have the store refuse the change itself.
        let part = format!("{}/{}", plan.status.as_str(), NoticeId::new());
        commit = commit.insert(shared.plan_notice(plan, version, NoticeKind::PlanEnded, plan.status.as_str(), &part));
    }
    Ok(commit)
}

/// The rows of a new plan and its rescue.
pub(crate) fn proposal_commit(shared: &Shared, plan: &Plan, rescue: Option<&Plan>) -> Commit {
    let entry = AuditEntry::new(
        plan.created_at,
        &plan.org_id,
        &plan.created_by,
        "plan.propose",
        (AuditEntry::TARGET_PLAN, plan.id.to_string()),
        Outcome::Success,
    )
    .with("digest", plan.digest.clone())
    .with("steps", plan.steps.len())
    .with("rescuePlanId", json!(plan.rescue_plan_id));
    let mut commit = Commit::new()
        .insert(plan.clone())
        .audit(entry)
        .event(shared.plan_event(plan, "proposed"))
        .insert(shared.plan_notice(plan, 1, NoticeKind::PlanProposed, "waits for approval", "proposed"));
    if let Some(rescue) = rescue {
        commit = commit.insert(rescue.clone()).event(shared.plan_event(rescue, "proposed"));
    }
    commit
}
