//! The dispatcher: takes queued investigations, runs each as the service account, saves report and plan together.
//!
//! Whether one runs is decided when its turn comes, from rows: is there a live token, does the episode still last,
//! was the rule investigated a moment ago. A crash resumes the same investigation with the next attempt.

mod ending;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::turn::Agent;
use super::cap::Cap;
use super::error::Error;
use super::guard::guarded;
use super::notebook::Notebook;
use super::observe::woken;
use super::shared::{Shared, millis, mutated};
use super::toolbox::{Bearings, Bench};
use crate::alert::{AlertInstance, AlertRule};
use crate::id::InvestigationId;
use crate::investigation::{Investigation, InvestigationStatus, SkipReason, Trigger};
use crate::ports::store::{ClaimQuery, Lease, RecordKind, StoreError, StoreExt, Versioned, Work, WorkerId};
use crate::ports::{FiredAlert, Investigator};
use crate::time::{Timestamp, after_ms, elapsed};

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
        let (running, agent, rule, said) = loop {
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
            let said = said(&found.value, rule.as_ref(), instance.as_ref().map(|instance| &instance.value));
            if let Some(running) = self.start(&found, instance, &agent, &mut tries).await? {
                break (running, agent, rule, said);
            }
            // Something moved between the look and the start: look again.
            match self.shared.store.investigation(found.value.id).await? {
                Some(again) if !again.value.status.is_terminal() => found = again,
                _ => return Ok(()),
            }
        };
        let alert = fired(&running.value, rule, said);
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
}

/// What is said to people about what fires.
fn said(
    investigation: &Investigation,
    rule: Option<&AlertRule>,
    instance: Option<&AlertInstance>,
) -> BTreeMap<String, String> {
    let Some(rule) = rule else { return BTreeMap::new() };
    match &investigation.trigger {
        Trigger::Alert { value, labels, .. } => rule.said(instance, labels, *value),
        // Nothing fires that the places could be filled in with.
        Trigger::Person { .. } if rule.source.is_none() => rule.annotations.clone(),
        Trigger::Person { .. } => rule.said(instance, &BTreeMap::new(), None),
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
