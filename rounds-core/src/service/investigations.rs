//! Investigations: ask, read, cancel.

use serde_json::json;

use super::error::Error;
use super::listed::{Listed, limit};
use super::shared::Shared;
use crate::access::{Action, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{AlertRuleId, InvestigationId};
use crate::investigation::{Investigation, InvestigationEvent, InvestigationStatus, Trigger, transition};
use crate::ports::EventSubject;
use crate::ports::store::{Commit, Cursor, ListQuery, RecordKind, StoreExt, Versioned};

/// Investigations. Every method authorizes the principal itself.
pub struct Investigations<'a> {
    pub(crate) shared: &'a Shared,
}

/// Which investigations are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InvestigationFilter {
    /// With one of these statuses; empty: any.
    pub statuses: Vec<InvestigationStatus>,
    /// About this rule.
    pub rule_id: Option<AlertRuleId>,
    /// After this investigation, in the order of the list (newest first).
    pub after: Option<InvestigationId>,
    /// At most this many; 0 is 100, and more than 100 is 100.
    pub limit: u32,
}

/// An investigation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The investigation.
    pub investigation_id: InvestigationId,
    /// Whether it was there already.
    pub existing: bool,
}

impl Investigations<'_> {
    /// Asks a question. The investigation runs in the background, as the service account.
    ///
    /// # Errors
    /// `investigations:create` is missing, or the question is empty or too long.
    pub async fn ask(&self, who: &Principal, question: &str) -> Result<Investigation, Error> {
        let scopes = [Scope::all("investigations")];
        self.shared.authorize(who, Action::InvestigationsCreate, &scopes).await?;
        if question.trim().is_empty() || question.len() > 8 * 1024 {
            return Err(Error::Invalid("question: a text of 1 to 8192 bytes is expected".into()));
        }
        let queued = queue(self.shared, who, question.to_owned(), Trigger::Person { rule_id: None });
        let investigation = queued.investigation.clone();
        self.shared.store.commit(queued.into_commit(self.shared)).await?;
        Ok(investigation)
    }

    /// One investigation with its report.
    ///
    /// # Errors
    /// There is none in the principal's organisation, or `investigations:read` is missing.
    pub async fn get(&self, who: &Principal, id: InvestigationId) -> Result<Investigation, Error> {
        self.may_read(who).await?;
        Ok(self.load(who, id).await?.value)
    }

    /// Investigations, newest first.
    ///
    /// # Errors
    /// `investigations:read` is missing.
    pub async fn list(
        &self,
        who: &Principal,
        filter: &InvestigationFilter,
    ) -> Result<Listed<Investigation, InvestigationId>, Error> {
        self.may_read(who).await?;
        let page = self
            .shared
            .store
            .list(&ListQuery {
                org: Some(who.org_id.clone()),
                statuses: filter.statuses.iter().map(|status| status.as_str().to_owned()).collect(),
                parent: filter.rule_id.map(|id| id.as_uuid()),
                newest_first: true,
                after: filter.after.map(|id| Cursor(id.as_uuid())),
                limit: limit(filter.limit, 100),
                ..ListQuery::new(RecordKind::Investigation)
            })
            .await?;
        let found: Result<Vec<Investigation>, _> =
            page.records.into_iter().map(|record| record.value.try_into()).collect();
        Ok(Listed::new(found?, page.next.map(|cursor| InvestigationId::from(cursor.0))))
    }

    /// Ends an investigation that has not ended.
    ///
    /// # Errors
    /// `investigations:create` is missing, there is none, or it has ended.
    pub async fn cancel(&self, who: &Principal, id: InvestigationId) -> Result<Investigation, Error> {
        let scopes = [Scope::all("investigations")];
        self.shared.authorize(who, Action::InvestigationsCreate, &scopes).await?;
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            let mut next = found.value;
            next.status = transition(next.status, InvestigationEvent::Cancel)?;
            next.updated_at = self.shared.now();
            next.finished_at = Some(next.updated_at);
            let commit = told(self.shared, &next, who, "cancelled").update(next.clone(), found.version);
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(next);
            }
        }
    }

    async fn load(&self, who: &Principal, id: InvestigationId) -> Result<Versioned<Investigation>, Error> {
        let found = self.shared.store.investigation(id).await?;
        found.filter(|found| found.value.org_id == who.org_id).ok_or_else(|| Error::not_found("investigation", id))
    }

    async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::InvestigationsRead, &[Scope::all("investigations")]).await?)
    }
}

/// An investigation that a person asks for, not yet stored.
pub(crate) struct Asked<'a> {
    pub id: InvestigationId,
    investigation: Investigation,
    who: &'a Principal,
}

impl Asked<'_> {
    pub fn into_commit(self, shared: &Shared) -> Commit {
        told(shared, &self.investigation, self.who, "queued").insert(self.investigation)
    }
}

pub(crate) fn queue<'a>(shared: &Shared, who: &'a Principal, question: String, trigger: Trigger) -> Asked<'a> {
    let mut investigation = Investigation::queued(who.org_id.clone(), question, trigger, shared.now());
    investigation.requested_by = Some(who.actor());
    investigation.force = true;
    Asked { id: investigation.id, investigation, who }
}

fn told(shared: &Shared, investigation: &Investigation, who: &Principal, name: &str) -> Commit {
    let org = &investigation.org_id;
    let data = json!({ "status": investigation.status, "ruleId": investigation.rule_id() });
    let target = ("investigation", investigation.id.to_string());
    let action = format!("investigation.{name}");
    Commit::new()
        .event(shared.event(org, EventSubject::Investigation, investigation.id, name, data))
        .audit(AuditEntry::new(shared.now(), org, &who.actor(), action, target, Outcome::Success))
}
