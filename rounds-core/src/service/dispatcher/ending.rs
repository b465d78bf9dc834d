//! How an investigation ends: with a report and perhaps a plan in one commit, skipped, or failed.

use serde_json::json;

use super::super::error::Error;
use super::super::notebook::Notebook;
use super::super::plans::proposal_commit;
use super::super::prepare::{self, Origin};
use super::super::undo;
use super::Job;
use crate::access::{Action, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::investigation::{
    Findings, Investigation, InvestigationEvent, InvestigationStatus, Proposal, SkipReason, transition,
};
use crate::plan::Plan;
use crate::ports::EventSubject;
use crate::ports::store::{Commit, StoreExt as _, Versioned};

impl Job {
    pub(super) async fn complete(
        &self,
        found: Versioned<Investigation>,
        agent: &Principal,
        findings: Findings,
        notebook: &Notebook,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        let evidence = notebook.evidence();
        let cited = findings.check_citations(&evidence);
        let mut report = findings.report(self.investigator.name(), evidence, found.value.model_use.clone());
        let actor = agent.actor();
        let origin = Origin {
            org: &found.value.org_id,
            by: &actor,
            investigation: Some(found.value.id),
            rule: found.value.rule_id(),
        };
        let proposed = match (&findings.plan, cited) {
            (_, Err(error)) => Err(error.to_string()),
            (None, Ok(())) => Ok(None),
            (Some(plan), Ok(())) => {
                let scope = [Scope::all("plans")];
                match shared.authorize(agent, Action::PlansPropose, &scope).await {
                    Err(denied) => Err(denied.to_string()),
                    Ok(()) => {
                        match self.prepare(&origin, plan, findings.rescue.as_ref()).await {
                            Ok(prepared) => Ok(Some(prepared)),
                            // The store failed and not the proposal: as a refusal, the plan would be lost for good.
                            Err(error @ Error::Store(_)) => return Err(error),
                            Err(error) => Err(error.to_string()),
                        }
                    }
                }
            }
        };
        let proposal = match proposed {
            Ok(proposal) => proposal,
            Err(reason) => {
                tracing::warn!(investigation = %found.value.id, %reason, "the proposed plan was not stored");
                report.refused_proposal = Some(reason);
                None
            }
        };
        let now = shared.now();
        let mut next = found.value.clone();
        next.status = transition(next.status, InvestigationEvent::Complete)?;
        next.updated_at = now;
        next.finished_at = Some(now);
        next.report = Some(report);
        next.plan_id = proposal.as_ref().map(|(plan, _)| plan.id);
        let mut commit = self.changed(&next, "completed");
        for call in notebook.last_calls(&next, &findings) {
            commit = commit.audit(call);
        }
        if let Some((plan, rescue)) = &proposal {
            let mut rows = proposal_commit(shared, plan, rescue.as_ref());
            commit.changes.append(&mut rows.changes);
            commit.audit.append(&mut rows.audit);
            commit.events.append(&mut rows.events);
        }
        self.keep_result(&next, commit.update(next.clone(), found.version)).await?;
        metrics::counter!("rounds_investigations_total", "outcome" => "completed").increment(1);
        Ok(())
    }

    /// Commits how a run ended. What was found out is worth more than an error of the store that trying again mends.
    async fn keep_result(&self, ended: &Investigation, commit: Commit) -> Result<(), Error> {
        let shared = &self.shared;
        let mut tried = false;
        loop {
            match shared.store.commit(commit.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() => {
                    tried = true;
                    tracing::warn!(investigation = %ended.id, %error, "the result could not be stored; trying again");
                    // Often enough to be heard before the lease runs out.
                    shared.clock.sleep(shared.settings.lease_ttl / 10).await;
                }
                // A commit whose answer was lost may have happened.
                Err(error) => {
                    let stored = if tried { shared.store.investigation(ended.id).await? } else { None };
                    return match stored {
                        Some(stored) if stored.value == *ended => Ok(()),
                        _ => Err(error.into()),
                    };
                }
            }
        }
    }

    async fn prepare(
        &self,
        origin: &Origin<'_>,
        plan: &Proposal,
        rescue: Option<&Proposal>,
    ) -> Result<(Plan, Option<Plan>), Error> {
        let mut prepared = prepare::plan(&self.shared, origin, plan).await?;
        let rescue = match rescue {
            Some(rescue) => Some(prepare::rescue(&self.shared, origin, rescue, &mut prepared).await?),
            None => self.way_back(origin, &mut prepared).await?,
        };
        Ok((prepared, rescue))
    }

    /// A rescue plan that nobody proposed. What stands in its way is no reason to lose the plan itself.
    async fn way_back(&self, origin: &Origin<'_>, plan: &mut Plan) -> Result<Option<Plan>, Error> {
        let back = undo::proposal(&self.shared, &plan.org_id, &plan.summary, &plan.steps).await?;
        let Some(proposal) = back else { return Ok(None) };
        match prepare::rescue(&self.shared, origin, &proposal, plan).await {
            Ok(rescue) => Ok(Some(rescue)),
            Err(error @ Error::Store(_)) => Err(error),
            Err(error) => {
                tracing::warn!(plan = %plan.id, %error, "the way back from a plan cannot be a rescue plan");
                Ok(None)
            }
        }
    }

    pub(super) async fn skip(&self, found: Versioned<Investigation>, reason: SkipReason) -> Result<(), Error> {
        let mut next = found.value;
        next.status = transition(next.status, InvestigationEvent::Skip)?;
        next.skip_reason = Some(reason);
        next.updated_at = self.shared.now();
        next.finished_at = Some(next.updated_at);
        tracing::info!(investigation = %next.id, reason = reason.as_str(), "investigation skipped");
        metrics::counter!("rounds_investigations_total", "outcome" => "skipped").increment(1);
        self.shared.store.commit(self.changed(&next, "skipped").update(next, found.version)).await?;
        Ok(())
    }

    pub(super) async fn fail(&self, found: Versioned<Investigation>, error: &str) -> Result<(), Error> {
        self.fail_with(found, error, Vec::new()).await
    }

    /// Fails it, with audit entries of what it did since the last commit.
    pub(super) async fn fail_with(
        &self,
        found: Versioned<Investigation>,
        error: &str,
        calls: Vec<AuditEntry>,
    ) -> Result<(), Error> {
        let mut next = found.value;
        next.status = transition(next.status, InvestigationEvent::Fail)?;
        next.error = Some(error.to_owned());
        next.updated_at = self.shared.now();
        next.finished_at = Some(next.updated_at);
        tracing::warn!(investigation = %next.id, %error, "investigation failed");
        metrics::counter!("rounds_investigations_total", "outcome" => "failed").increment(1);
        let mut commit = self.changed(&next, "failed").update(next.clone(), found.version);
        for call in calls {
            commit = commit.audit(call);
        }
        self.keep_result(&next, commit).await
    }

    /// A commit under the lease that tells of a change, and gives lease and place back with the last one; the
    /// investigation's own update goes first or last, as the caller likes.
    pub(super) fn changed(&self, next: &Investigation, name: &str) -> Commit {
        let mut data = json!({ "status": next.status, "ruleId": next.rule_id(), "planId": next.plan_id });
        if let (Some(reason), Some(data)) = (next.skip_reason, data.as_object_mut()) {
            data.insert("skipReason".into(), json!(reason));
        }
        let event = self.shared.event(&next.org_id, EventSubject::Investigation, next.id, name, data);
        let mut commit = Commit::new().event(event);
        commit = if next.status.is_terminal() {
            commit.releasing(&self.lease).releasing(&self.place)
        } else {
            commit.under(&self.lease)
        };
        if let Some(agent) = &next.run_as {
            let outcome = match next.status {
                InvestigationStatus::Failed => Outcome::Failure,
                _ => Outcome::Success,
            };
            let target = ("investigation", next.id.to_string());
            let action = format!("investigation.{name}");
            let entry = AuditEntry::new(self.shared.now(), &next.org_id, agent, action, target, outcome)
                .with("attempt", next.attempt)
                .with("requestedBy", json!(next.requested_by.as_ref().map(|by| &by.id)));
            commit = commit.audit(entry);
        }
        commit
    }
}
