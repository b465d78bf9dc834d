//! The dispatcher: takes queued investigations, runs each as the service account, saves report and plan together.
//!
//! Whether one runs is decided when its turn comes, from rows: is there a live token, does the episode still last,
//! was the rule investigated a moment ago. A crash resumes the same investigation with the next attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cap::Cap;
use super::error::Error;
use super::guard::guarded;
use super::notebook::Notebook;
use super::observe::woken;
use super::plans::proposal_commit;
use super::prepare::{self, Origin};
use super::shared::{Shared, millis, mutated};
use super::toolbox::{Bearings, Bench};
use super::undo;
use crate::access::{Action, Principal, Scope};
use crate::alert::{AlertInstance, AlertRule, AlertState, annotated};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{AlertRuleId, InvestigationId, OrgId};
use crate::investigation::{
    Findings, Investigation, InvestigationEvent, InvestigationStatus, SkipReason, Spending, Trigger, transition,
};
use crate::plan::Plan;
use crate::ports::store::{ClaimQuery, Commit, Lease, RecordKind, StoreError, StoreExt, Versioned, Work, WorkerId};
use crate::ports::{EventSubject, FiredAlert, Investigator};
use crate::time::{Timestamp, after_ms, elapsed};

/// At most one warning about missing tokens in this time.
const WARN_EVERY_MS: u64 = 60_000;

pub(crate) async fn run(shared: Arc<Shared>, investigator: Arc<dyn Investigator>, stop: CancellationToken) {
    let worker = WorkerId::unique("dispatcher");
    let slots = Arc::new(Semaphore::new(shared.settings.concurrent_investigations));
    let mut cap = Cap::new(Work::Investigation, shared.settings.concurrent_investigations);
    let warned = Arc::new(std::sync::Mutex::new(None::<Timestamp>));
    let runs = TaskTracker::new();
    let ended = Arc::new(Notify::new());
    let mut wakes = shared.store.wakes();
    loop {
        // Where other replicas hold every place, whatever else changes brings no place: only time does.
        let mut capped = false;
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            match claim(&shared, &worker, &mut cap).await {
                Ok(Turn::Ours(found, lease, place)) => {
                    let job = Job {
                        shared: Arc::clone(&shared),
                        investigator: Arc::clone(&investigator),
                        warned: Arc::clone(&warned),
                        lease,
                        place,
                    };
                    let (stop, ended) = (stop.clone(), Arc::clone(&ended));
                    runs.spawn(async move {
                        job.run(*found, stop).await;
                        drop(slot);
                        ended.notify_one();
                    });
                }
                Ok(Turn::Capped) => {
                    capped = true;
                    break;
                }
                Ok(Turn::NothingDue) => break,
                Err(error) => {
                    tracing::warn!(%error, "investigations could not be claimed; trying again");
                    break;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = woken(&mut wakes, RecordKind::Investigation), if !capped => {}
            () = ended.notified() => {}
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
    runs.close();
    runs.wait().await;
}

/// What there is to do.
enum Turn {
    /// An investigation, with its lease and that of its place under the cap.
    Ours(Box<Versioned<Investigation>>, Lease, Lease),
    /// Something is due, and as many run as may.
    Capped,
    NothingDue,
}

async fn claim(shared: &Shared, worker: &WorkerId, cap: &mut Cap) -> Result<Turn, StoreError> {
    let mut statuses = vec![InvestigationStatus::Queued.as_str().into()];
    if !mutated!(shared, ResumesNoInvestigation) {
        statuses.push(InvestigationStatus::Running.as_str().into());
    }
    let claimed = shared
        .store
        .claim(&ClaimQuery {
            kind: RecordKind::Investigation,
            statuses,
            due_by: shared.now(),
            worker: worker.clone(),
            ttl: shared.settings.lease_ttl,
        })
        .await?;
    let Some((record, lease)) = claimed else { return Ok(Turn::NothingDue) };
    match cap.take(shared, worker).await {
        Ok(Some(place)) => Ok(Turn::Ours(Box::new(record.try_map(Investigation::try_from)?), lease, place)),
        Ok(None) => {
            shared.store.release(&lease).await?;
            Ok(Turn::Capped)
        }
        Err(error) => {
            shared.store.release(&lease).await?;
            Err(error)
        }
    }
}

struct Job {
    shared: Arc<Shared>,
    investigator: Arc<dyn Investigator>,
    warned: Arc<std::sync::Mutex<Option<Timestamp>>>,
    lease: Lease,
    /// Under the cap on how many run in all replicas.
    place: Lease,
}

impl Job {
    async fn run(&self, found: Versioned<Investigation>, stop: CancellationToken) {
        let id = found.value.id;
        // Its last commit gives the leases back, so what it has to say comes before their keepers find them gone.
        let result = tokio::select! {
            biased;
            result = self.investigate(found) => result,
            () = self.shared.keep(&self.lease) => Err(Error::Store(StoreError::LeaseLost { key: self.lease.key })),
            () = self.shared.keep(&self.place) => Err(Error::Store(StoreError::LeaseLost { key: self.place.key })),
            // The row stays `running`; whoever starts next resumes it.
            () = stop.cancelled() => Ok(()),
        };
        match result {
            Ok(()) => {
                self.give_back(&self.lease).await;
            }
            Err(Error::Store(StoreError::LeaseLost { .. })) => {
                tracing::warn!(investigation = %id, "the lease on the investigation is lost; somebody else runs it");
            }
            // The lease is left to run out: an investigation that fails at once must not be claimed at once.
            Err(error) => {
                tracing::warn!(investigation = %id, %error, "the investigation could not be stored; trying again");
            }
        }
        self.give_back(&self.place).await;
    }

    async fn give_back(&self, lease: &Lease) {
        if let Err(error) = self.shared.store.release(lease).await {
            tracing::debug!(lease = %lease.key, %error, "a lease could not be given back; it runs out by itself");
        }
    }

    async fn investigate(&self, found: Versioned<Investigation>) -> Result<(), Error> {
        let mut found = found;
        let mut tries = 0;
        let (running, rule) = loop {
            let rule = match found.value.rule_id() {
                Some(id) => self.shared.store.rule(id).await?.map(|rule| rule.value),
                None => None,
            };
            let instance = self.shared.watched(&found.value).await?;
            if found.value.status == InvestigationStatus::Queued {
                let watched = instance.as_ref().map(|instance| &instance.value);
                if let Some(reason) = self.reason_to_skip(&found.value, rule.as_ref(), watched).await? {
                    return self.skip(found, reason).await;
                }
            }
            let agent = match self.agent(&found.value).await? {
                Agent::Live(agent) => agent,
                missing if found.value.status == InvestigationStatus::Queued => {
                    let (reason, error) = match missing {
                        Agent::Denied(denied) => (SkipReason::AgentDenied, Some(denied.to_string())),
                        _ => (SkipReason::NoLiveToken, None),
                    };
                    found.value.error = error;
                    return self.skip(found, reason).await;
                }
                Agent::Denied(denied) => return self.fail(found, &denied.to_string()).await,
                Agent::None => {
                    let error = "the service account's token was revoked while the investigation ran";
                    return self.fail(found, error).await;
                }
            };
            if found.value.attempt >= self.shared.settings.investigation_attempts {
                let tries = found.value.attempt;
                return self.fail(found, &format!("it was started {tries} times and never came to an end")).await;
            }
            if let Some(running) = self.start(&found, instance, &agent, &mut tries).await? {
                break ((running, agent), rule);
            }
            // Something moved between the look and the start: look again.
            match self.shared.store.investigation(found.value.id).await? {
                Some(again) if !again.value.status.is_terminal() => found = again,
                _ => return Ok(()),
            }
        };
        let (running, agent) = running;
        let annotations = self.annotations(&running.value, rule.as_ref()).await?;
        let alert = fired(&running.value, rule, annotations);
        let datasource = alert.rule.as_ref().and_then(|rule| rule.datasource_id);
        let (id, shared, limit) = (running.value.id, &self.shared, self.shared.settings.investigation_timeout);
        let started = shared.now();
        let bearings = Bearings {
            org: running.value.org_id.clone(),
            agent: agent.clone(),
            deadline: after_ms(started, millis(limit)),
            datasource,
        };
        let by = self.investigator.name();
        let notebook = Notebook::new(Arc::clone(shared), self.lease.clone(), running, agent.actor(), by);
        let notebook = Arc::new(notebook);
        let bench = Bench::new(Arc::clone(shared), bearings, Arc::clone(&notebook)).await?;
        let over = CancellationToken::new();
        let run = async {
            let outcome = guarded(shared, limit, self.investigator.investigate(&bench, &alert)).await;
            over.cancel();
            outcome
        };
        let outcome = tokio::select! {
            biased;
            (outcome, ()) = futures::future::join(run, notebook.journal(&over)) => outcome,
            () = self.ended(id) => {
                tracing::info!(investigation = %id, "the investigation was cancelled while it ran");
                return Ok(());
            }
        };
        let outcome = outcome.and_then(|answered| answered.map_err(|error| error.to_string()));
        metrics::histogram!("rounds_investigation_duration_seconds")
            .record(elapsed(started, self.shared.now()).as_secs_f64());
        let Some(running) = notebook.last().await? else { return Ok(()) };
        match outcome {
            Ok(findings) => self.complete(running, &agent, findings, &notebook).await,
            Err(error) => {
                let mut running = running;
                // What was read and found is worth keeping, even without a conclusion.
                let mut report = notebook.report(running.value.model_use.clone());
                report.limit.get_or_insert_with(|| error.clone());
                running.value.report = Some(report);
                let calls = notebook.untold_calls(&running.value);
                self.fail_with(running, &error, calls).await
            }
        }
    }

    /// Returns once somebody else ended the investigation: a person who cancelled it wants it to stop reading.
    async fn ended(&self, id: InvestigationId) {
        let mut wakes = self.shared.store.wakes();
        loop {
            match self.shared.store.investigation(id).await {
                Ok(Some(found)) if !found.value.status.is_terminal() => {}
                Ok(_) => return,
                // The run goes on: its lease says whether it still may.
                Err(error) => tracing::debug!(investigation = %id, %error, "nobody knows whether it was cancelled"),
            }
            tokio::select! {
                biased;
                () = woken(&mut wakes, RecordKind::Investigation) => {}
                () = self.shared.clock.sleep(self.shared.settings.poll_interval) => {}
            }
        }
    }

    /// What is said to people about what fires.
    async fn annotations(
        &self,
        investigation: &Investigation,
        rule: Option<&AlertRule>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let Some(rule) = rule else { return Ok(BTreeMap::new()) };
        if rule.source.is_some() {
            let instance = self.shared.watched(investigation).await?;
            return Ok(instance.map(|found| found.value.annotations).unwrap_or_default());
        }
        let Trigger::Alert { value, labels, .. } = &investigation.trigger else { return Ok(rule.annotations.clone()) };
        let filled = |text: &String| annotated(text, labels, *value);
        Ok(rule.annotations.iter().map(|(name, text)| (name.clone(), filled(text))).collect())
    }

    async fn reason_to_skip(
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
    async fn agent(&self, investigation: &Investigation) -> Result<Agent, Error> {
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
    async fn start(
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
    async fn spending(&self, org: &OrgId, rule: AlertRuleId) -> Result<Versioned<Spending>, Error> {
        let now = self.shared.now();
        let found = self.shared.store.spending(org, Some(rule)).await?;
        Ok(match found {
            Some(found) => Versioned { value: found.value.on(now), version: found.version },
            None => Versioned { value: Spending::new(org.clone(), Some(rule), now), version: 0 },
        })
    }

    async fn complete(
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
        plan: &crate::investigation::Proposal,
        rescue: Option<&crate::investigation::Proposal>,
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

    async fn skip(&self, found: Versioned<Investigation>, reason: SkipReason) -> Result<(), Error> {
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

    async fn fail(&self, found: Versioned<Investigation>, error: &str) -> Result<(), Error> {
        self.fail_with(found, error, Vec::new()).await
    }

    /// Fails it, with audit entries of what it did since the last commit.
    async fn fail_with(
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

    /// A commit under the lease that tells of a change, and gives lease and place back with the last one; the investigation's own update goes first or last, as the
    /// caller likes.
    fn changed(&self, next: &Investigation, name: &str) -> Commit {
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

fn fired(investigation: &Investigation, rule: Option<AlertRule>, annotations: BTreeMap<String, String>) -> FiredAlert {
    let (firing_since, value, labels) = match &investigation.trigger {
        Trigger::Alert { firing_since, value, labels, .. } => (*firing_since, *value, labels.clone()),
        Trigger::Person { .. } => (investigation.created_at, None, Default::default()),
    };
    FiredAlert {
        investigation_id: investigation.id,
        attempt: investigation.attempt,
        rule,
        firing_since,
        value,
        labels,
        annotations,
        question: investigation.requested_by.is_some().then(|| investigation.question.clone()),
    }
}

/// Whom an investigation would act as.
enum Agent {
    Live(Principal),
    None,
    Denied(crate::access::Denied),
}
