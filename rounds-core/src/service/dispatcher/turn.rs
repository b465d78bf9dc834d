//! Whether an investigation runs when its turn comes, and as whom; and its start.

use super::super::error::Error;
use super::super::shared::millis;
use super::Job;
use crate::access::{Action, Denied, Principal, Scope};
use crate::alert::{AlertInstance, AlertRule, AlertState};
use crate::id::{AlertRuleId, OrgId};
use crate::investigation::{
    Investigation, InvestigationEvent, InvestigationStatus, SkipReason, Spending, Trigger, transition,
};
use crate::ports::store::{StoreExt as _, Versioned};
use crate::time::{Timestamp, after_ms};

/// At most one warning about missing tokens in this time.
const WARN_EVERY_MS: u64 = 60_000;

impl Job {
    pub(super) async fn reason_to_skip(
        &self,
        investigation: &Investigation,
        rule: Option<&AlertRule>,
        instance: Option<&AlertInstance>,
    ) -> Result<Option<SkipReason>, Error> {
        let shared = &self.shared;
        let now = shared.now();
        if investigation.force {
            return Ok(None);
        }
        let Trigger::Alert { firing_since, labels, .. } = &investigation.trigger else { return Ok(None) };
        if !shared.settings.auto_investigation {
            // Queued before it was switched off. What a person asked for is forced, and runs.
            return Ok(Some(SkipReason::SwitchedOff));
        }
        if now > after_ms(investigation.created_at, millis(shared.settings.investigation_stale)) {
            return Ok(Some(SkipReason::Stale));
        }
        let lasts = |instance: &&AlertInstance| {
            instance.state == AlertState::Firing && instance.firing_since == Some(*firing_since)
        };
        let (Some(rule), Some(instance)) = (rule, instance.filter(lasts)) else {
            return Ok(Some(SkipReason::EpisodeEnded));
        };
        let silences = shared.store.silences(&rule.org_id).await?;
        if silences.iter().any(|silence| silence.value.covers(rule, labels, now)) {
            return Ok(Some(SkipReason::Silenced));
        }
        if self.spending(&rule.org_id, rule.id).await?.value.runs >= shared.settings.budget.runs_per_rule_per_day {
            return Ok(Some(SkipReason::BudgetSpent));
        }
        // Those that ran by anybody's wish count; this one does not, when it is resumed.
        let recent = |at| now < after_ms(at, millis(shared.settings.investigation_cooldown));
        Ok(instance
            .investigated
            .filter(|(other, at)| *other != investigation.id && recent(*at))
            .map(|_| SkipReason::Cooldown))
    }

    /// Whom the run acts as: read anew for each investigation, so that a fresh token serves and a revoked one does
    /// not, without a restart.
    pub(super) async fn agent(&self, investigation: &Investigation) -> Result<Agent, Error> {
        let shared = &self.shared;
        let now = shared.now();
        let found = match &shared.pinned_token {
            Some(token) => shared.identity.authenticate(token, now).await?,
            None => shared.identity.live_agent(&investigation.org_id, now).await?,
        };
        let Some(found) = found else {
            self.warn_no_token(now);
            return Ok(Agent::None);
        };
        let agent = found.principal;
        if !agent.is_agent || agent.org_id != investigation.org_id {
            tracing::warn!(
                login = %agent.login,
                "AUTO_INVESTIGATION_SA_TOKEN must belong to a service account of this organisation that is marked as agent"
            );
            self.warn_no_token(now);
            return Ok(Agent::None);
        }
        let scope = [Scope::all("investigations")];
        if let Err(denied) = shared.authorize(&agent, Action::InvestigationsCreate, &scope).await {
            tracing::warn!(%denied, "the service account may not investigate: grant it what it lacks; the next firing alert will use it");
            return Ok(Agent::Denied(denied));
        }
        Ok(Agent::Live(agent))
    }

    fn warn_no_token(&self, now: Timestamp) {
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if warned.is_none_or(|at| now >= after_ms(at, WARN_EVERY_MS)) {
            *warned = Some(now);
            // Operators search for these words.
            tracing::warn!(
                "no live service-account token found for auto-investigation: mint one under Admin → Service accounts; \
                 the next firing alert will use it"
            );
        }
    }

    /// Commits the start, and with it that the rule is investigated now: of two investigations of one rule that two
    /// replicas start in the same moment, the second finds the instance changed, looks again, and sees the first.
    /// `None`: look again.
    pub(super) async fn start(
        &self,
        found: &Versioned<Investigation>,
        instance: Option<Versioned<AlertInstance>>,
        agent: &Principal,
        tries: &mut u32,
    ) -> Result<Option<Versioned<Investigation>>, Error> {
        let now = self.shared.now();
        let mut next = found.value.clone();
        let event = match next.status {
            InvestigationStatus::Queued => InvestigationEvent::Start,
            _ => InvestigationEvent::Resume,
        };
        next.status = transition(next.status, event)?;
        next.attempt += 1;
        next.started_at = next.started_at.or(Some(now));
        next.updated_at = now;
        next.run_as = Some(agent.actor());
        next.investigator = Some(self.investigator.name().to_owned());
        let mut commit = self.changed(&next, "started").update(next.clone(), found.version);
        if let (Some(rule), InvestigationStatus::Queued) = (next.rule_id(), found.value.status) {
            let mut row = self.spending(&next.org_id, rule).await?;
            row.value.runs += 1;
            commit = match row.version {
                0 => commit.insert(row.value),
                version => commit.update(row.value, version),
            };
        }
        if let Some(instance) = instance {
            let investigated = Some((next.id, next.started_at.unwrap_or(now)));
            commit = commit.update(AlertInstance { investigated, ..instance.value }, instance.version);
        }
        let started = match self.shared.settle(commit, tries).await {
            // Two replicas found no row of what the rule spent: the second finds the first one's.
            Err(Error::Conflict { code: "name_taken", .. }) => false,
            settled => settled?,
        };
        Ok(started.then(|| Versioned { value: next, version: found.version + 1 }))
    }

    /// What the rule spent today; at version 0 when there is no row yet.
    pub(super) async fn spending(&self, org: &OrgId, rule: AlertRuleId) -> Result<Versioned<Spending>, Error> {
        let now = self.shared.now();
        let found = self.shared.store.spending(org, Some(rule)).await?;
        Ok(match found {
            Some(found) => Versioned { value: found.value.on(now), version: found.version },
            None => Versioned { value: Spending::new(org.clone(), Some(rule), now), version: 0 },
        })
    }
}

/// Whom an investigation would act as.
pub(super) enum Agent {
    Live(Principal),
    None,
    Denied(Denied),
}
