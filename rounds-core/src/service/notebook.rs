//! An investigation that runs, as its row tells it: what was read, found and spent so far, written down while it goes on.
//!
//! People watch the row change, a run that is cut off leaves in it what there was, and money is counted in it before it
//! is spent: a crash in the middle of a call does not make the call free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::shared::{Shared, millis};
use crate::access::Actor;
use crate::agent::untrusted::clean;
use crate::audit::{AuditEntry, Outcome};
use crate::id::OrgId;
use crate::investigation::{
    Amount, Evidence, EvidenceSource, Exhausted, Findings, Investigation, ModelUse, ReadingId, Report, Spending, Usage,
};
use crate::ports::store::{Commit, Lease, StoreError, StoreExt, Versioned};
use crate::ports::{EventSubject, ModelInfo};
use crate::redact::redact;
use crate::time::{Timestamp, elapsed};

/// How much of an answer is kept with the report.
const EXCERPT: usize = 4 * 1024;
/// How often a commit is tried anew because somebody else spent at the same moment.
const TRIES: u32 = 64;

pub(crate) struct Notebook {
    shared: Arc<Shared>,
    lease: Lease,
    actor: Actor,
    investigator: String,
    row: tokio::sync::Mutex<Versioned<Investigation>>,
    notes: Mutex<Notes>,
    changed: Notify,
}

#[derive(Default)]
struct Notes {
    evidence: Vec<Evidence>,
    so_far: Findings,
    /// How many tool calls are in the audit log already.
    audited: usize,
}

/// What is booked.
pub(crate) enum Booking<'a> {
    /// Set aside before a call.
    Reserve(&'a ModelInfo, Amount),
    /// What the call came to.
    Settle(&'a ModelInfo, Usage),
}

/// Why nothing was booked.
pub(crate) enum Unbooked {
    Exhausted(Exhausted),
    Failed(Error),
}

impl Notebook {
    pub fn new(shared: Arc<Shared>, lease: Lease, row: Versioned<Investigation>, actor: Actor, by: &str) -> Self {
        Self {
            shared,
            lease,
            actor,
            investigator: by.to_owned(),
            row: tokio::sync::Mutex::new(row),
            notes: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The row at the end of a run, read again: a commit of ours that was dropped half way may have happened. `None`: a
    /// person ended the investigation.
    pub async fn last(&self) -> Result<Option<Versioned<Investigation>>, Error> {
        let mut row = self.row.lock().await;
        match self.reread(&mut row).await {
            Ok(running) => Ok(running.then(|| row.clone())),
            // What was found out is worth more than this error: whoever commits it finds out what is right.
            Err(Error::Store(error)) if error.is_transient() => Ok(Some(row.clone())),
            Err(error) => Err(error),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read in this run.
    pub fn evidence(&self) -> Vec<Evidence> {
        self.notes().evidence.clone()
    }

    pub fn readings(&self) -> usize {
        self.notes().evidence.len()
    }

    pub fn record(&self, source: EvidenceSource, at: Timestamp, answer: Result<&str, &str>) -> ReadingId {
        let (ok, text) = match answer {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        let duration = elapsed(at, self.shared.now());
        let source = match source {
            EvidenceSource::Query { datasource_id, expr, metric } => {
                let metric = metric.filter(|metric| redact(metric, &[]) == *metric);
                EvidenceSource::Query { datasource_id, expr: redact(&expr, &[]), metric }
            }
            EvidenceSource::Command { connector_id, command } => {
                EvidenceSource::Command { connector_id, command: redact(&command, &[]) }
            }
        };
        let mut notes = self.notes();
        let id = ReadingId(u32::try_from(notes.evidence.len()).unwrap_or(u32::MAX).saturating_add(1));
        notes.evidence.push(Evidence {
            id,
            source,
            at,
            duration_ms: millis(duration),
            ok,
            // It is shown on pages and handed on to models: whoever wrote it, what looks like a credential stays out.
            excerpt: clean(text, EXCERPT),
            truncated: text.len() > EXCERPT,
        });
        self.changed.notify_one();
        id
    }

    pub fn note(&self, so_far: &Findings) {
        self.notes().so_far = so_far.clone();
        self.changed.notify_one();
    }

    /// What there is so far, as a report.
    pub fn report(&self, model: Option<ModelUse>) -> Report {
        let notes = self.notes();
        notes.so_far.report(&self.investigator, notes.evidence.clone(), model)
    }

    /// Writes down what changed, until told that the run is over; at most once in
    /// [`progress_interval`](crate::Settings::progress_interval), for short runs never.
    pub async fn journal(&self, over: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = self.changed.notified() => {}
            }
            tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = self.shared.clock.sleep(self.shared.settings.progress_interval) => {}
            }
            let mut row = self.row.lock().await;
            let mut next = row.value.clone();
            if let Err(error) = self.commit(&mut row, &mut next, Commit::new()).await {
                // It is there to be watched, and comes again with the next change or the end.
                tracing::debug!(investigation = %row.value.id, %error, "what was found so far could not be written down");
            }
        }
    }

    /// Commits a change of the row with what was noted so far.
    async fn commit(
        &self,
        row: &mut Versioned<Investigation>,
        next: &mut Investigation,
        commit: Commit,
    ) -> Result<(), StoreError> {
        next.updated_at = self.shared.now();
        next.report = Some(self.report(next.model_use.clone()));
        let (calls, audited) = {
            let notes = self.notes();
            (self.audit(next, &notes), notes.so_far.calls.len())
        };
        let data = json!({
            "status": next.status,
            "ruleId": next.rule_id(),
            "planId": next.plan_id,
            "readings": self.readings(),
            "sections": next.report.as_ref().map_or(0, |report| report.sections.len()),
            "toolCalls": audited,
            "tokens": next.model_use.as_ref().map(|used| used.usage.total()),
            "costMicros": next.model_use.as_ref().and_then(|used| used.cost_micros),
        });
        let event = self.shared.event(&next.org_id, EventSubject::Investigation, next.id, "progress", data);
        let mut commit = commit.update(next.clone(), row.version).event(event).under(&self.lease);
        for entry in calls {
            commit = commit.audit(entry);
        }
        self.shared.store.commit(commit).await?;
        self.notes().audited = audited;
        *row = Versioned { value: next.clone(), version: row.version + 1 };
        Ok(())
    }

    /// Audit entries of the tool calls that are not in the log yet.
    fn audit(&self, investigation: &Investigation, notes: &Notes) -> Vec<AuditEntry> {
        let calls = notes.so_far.calls.get(notes.audited..).unwrap_or_default();
        let entries = calls.iter().map(|call| {
            let target = ("investigation", investigation.id.to_string());
            let outcome = if call.error.is_none() { Outcome::Success } else { Outcome::Failure };
            AuditEntry::new(call.at, &investigation.org_id, &self.actor, "agent.tool_call", target, outcome)
                .with("tool", call.tool.clone())
                .with("arguments", call.arguments.clone())
                .with("readings", json!(call.readings))
                .with("error", json!(call.error))
        });
        entries.collect()
    }

    /// Audit entries of the tool calls that were noted and that no commit told of yet.
    pub fn untold_calls(&self, investigation: &Investigation) -> Vec<AuditEntry> {
        self.audit(investigation, &self.notes())
    }

    /// The same at the end of a run, whose findings say what was called.
    pub fn last_calls(&self, investigation: &Investigation, findings: &Findings) -> Vec<AuditEntry> {
        let mut notes = self.notes();
        notes.so_far.calls = findings.calls.clone();
        self.audit(investigation, &notes)
    }

    /// Books what a call of the model may cost, or did: on the row, the rule and the organisation, in one commit.
    pub async fn book(&self, booking: Booking<'_>) -> Result<(), Unbooked> {
        let mut row = self.row.lock().await;
        for _ in 0..TRIES {
            let now = self.shared.now();
            let mut next = row.value.clone();
            let (org, rule) = (next.org_id.clone(), next.rule_id());
            let mut accounts = vec![self.account(&org, None, now).await.map_err(Unbooked::Failed)?];
            if rule.is_some() {
                accounts.push(self.account(&org, rule, now).await.map_err(Unbooked::Failed)?);
            }
            self.apply(&booking, &mut next, &mut accounts).map_err(Unbooked::Exhausted)?;
            let mut commit = Commit::new();
            for account in accounts {
                commit = match account.version {
                    Some(version) => commit.update(account.row, version),
                    None => commit.insert(account.row),
                };
            }
            match self.commit(&mut row, &mut next, commit).await {
                Ok(()) => return Ok(()),
                // Another run spent at the same moment, or a commit of ours whose answer was lost has happened.
                Err(StoreError::Conflict { .. } | StoreError::Duplicate { .. }) => {
                    if !self.reread(&mut row).await.map_err(Unbooked::Failed)? {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(Unbooked::Failed(error.into())),
            }
        }
        Err(Unbooked::Failed(Error::Invalid("the investigation has ended, or others spend too fast".into())))
    }

    /// `false`: the investigation has ended.
    async fn reread(&self, row: &mut Versioned<Investigation>) -> Result<bool, Error> {
        match self.shared.store.investigation(row.value.id).await? {
            Some(found) if !found.value.status.is_terminal() => {
                *row = found;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn account(
        &self,
        org: &OrgId,
        rule: Option<crate::id::AlertRuleId>,
        now: Timestamp,
    ) -> Result<Account, Error> {
        let found = self.shared.store.spending(org, rule).await?;
        Ok(match found {
            Some(found) => {
                let begun_anew = found.value.day < now.date_naive();
                Account { row: found.value.on(now), version: Some(found.version), begun_anew }
            }
            None => Account { row: Spending::new(org.clone(), rule, now), version: None, begun_anew: true },
        })
    }

    fn apply(
        &self,
        booking: &Booking<'_>,
        next: &mut Investigation,
        accounts: &mut [Account],
    ) -> Result<(), Exhausted> {
        let (Booking::Reserve(model, _) | Booking::Settle(model, _)) = booking;
        let fresh = || ModelUse::of(&model.name, model.prices.is_some());
        let mut used = next.model_use.take().filter(|used| used.model == model.name).unwrap_or_else(fresh);
        match booking {
            Booking::Reserve(_, wanted) => {
                let org = &accounts[0].row;
                let rule = accounts.get(1).map(|account| &account.row);
                self.shared.settings.budget.admit(*wanted, used.spent(), rule, org)?;
                // What an attempt before this one had set aside when it was cut off: nobody knows what came of it.
                if let Some(lost) = used.reserved.take() {
                    used.usage += Usage::new(lost.tokens, 0);
                    used.cost_micros = used.cost_micros.map(|cost| cost.saturating_add(lost.cost_micros));
                }
                used.reserved = Some(*wanted);
                for account in accounts {
                    account.row.spent = account.row.spent.plus(*wanted);
                }
            }
            Booking::Settle(_, usage) => {
                let cost = model.prices.map(|prices| prices.cost_micros(*usage));
                let reserved = used.reserved.take().unwrap_or_default();
                let actual = Amount { tokens: usage.total(), cost_micros: cost.unwrap_or_default() };
                used.calls += 1;
                used.usage += *usage;
                used.cost_micros = used.cost_micros.map(|before| before.saturating_add(cost.unwrap_or_default()));
                for account in accounts {
                    let set_aside = if account.begun_anew { Amount::default() } else { reserved };
                    account.row.spent = account.row.spent.plus(actual).minus(set_aside);
                }
            }
        }
        next.model_use = Some(used);
        Ok(())
    }
}

/// A day's spending, as it is in the store.
struct Account {
    row: Spending,
    /// `None`: there is no row yet.
    version: Option<u64>,
    /// Whether nothing of what was set aside before is in it.
    begun_anew: bool,
}
