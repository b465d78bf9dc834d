//! Changes from outside: told once, read by people and investigations, forgotten after a while.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;

use super::error::Error;
use super::shared::Shared;
use crate::access::{Action, Denied, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::change::{ChangeDraft, ChangeRecord, InvalidChange};
use crate::id::{ChangeId, OrgId};
use crate::ports::store::{Commit, Key, ListQuery, Record, RecordKind, StoreError, StoreExt};
use crate::ports::{EventSubject, Line};
use crate::time::Timestamp;

/// How many changes one listing answers at most.
const MOST: u32 = 1_000;
/// How many that have to make room go with one recording: more only when the setting was lowered.
const ROOM: u64 = 100;
/// How many old ones go in one commit of the sweeper.
const SWEPT: u32 = 200;

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The change, as it is kept.
    pub change: ChangeRecord,
    /// Whether it had been told before, under the same key.
    pub existing: bool,
}

/// Which changes are wanted. Every condition must hold; an empty one holds for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeFilter {
    /// That happened at or after this moment.
    pub from: Option<Timestamp>,
    /// That happened at or before this moment.
    pub to: Option<Timestamp>,
    /// In this namespace, or in none: a change that names no namespace may be about any.
    pub namespace: Option<String>,
    /// Of those that happened at `to` itself, only what comes after this one in the list: with `to`, where a page goes on.
    pub after: Option<ChangeId>,
    /// At most so many, the newest: up to 1000; 0: 1000.
    pub limit: u32,
}

/// What changed outside of Rounds, as pipelines and people tell it. Every method authorizes the principal itself.
pub struct Changes<'a> {
    pub(crate) shared: &'a Arc<Shared>,
}

impl Changes<'_> {
    /// Records a change. Under a key that was told before, it answers what is there and changes nothing.
    ///
    /// Who is an agent is refused, whatever its role: it would write the evidence that it then reads.
    ///
    /// # Errors
    /// `changes:write` is missing, a field does not hold, or another change was told under the same key.
    pub async fn record(&self, who: &Principal, draft: ChangeDraft) -> Result<Recorded, Error> {
        let scope = Scope::all("changes");
        if who.is_agent {
            let login = who.login.clone();
            return Err(Denied::AgentsNeverDecide { login, action: Action::ChangesWrite, scope }.into());
        }
        self.shared.authorize(who, Action::ChangesWrite, &[scope]).await?;
        let now = self.shared.now();
        let kept = TimeDelta::from_std(self.shared.settings.change_retention).unwrap_or(TimeDelta::MAX);
        let oldest = now.checked_sub_signed(kept).unwrap_or(Timestamp::MIN_UTC);
        let draft = draft.checked(now, oldest)?;
        let mut tries = 0;
        loop {
            if let Some(key) = &draft.idempotency_key
                && let Some(found) = self.shared.store.change_told(&who.org_id, key).await?
            {
                return told_again(found.value, &draft);
            }
            let forget_at = draft.at.unwrap_or(now).checked_add_signed(kept).unwrap_or(Timestamp::MAX_UTC);
            let change = ChangeRecord::new(draft.clone(), who.org_id.clone(), who.actor(), now, forget_at);
            let commit = self.make_room(&who.org_id, Commit::new()).await?;
            let target = ("change", change.id.to_string());
            let entry = AuditEntry::new(now, &who.org_id, &who.actor(), "change.record", target, Outcome::Success)
                .with("kind", change.kind.as_str())
                .with("title", change.title.clone())
                .with("namespace", json!(change.namespace));
            let data =
                json!({ "kind": change.kind, "title": change.title, "namespace": change.namespace, "at": change.at });
            let event = self.shared.event(&who.org_id, EventSubject::Change, change.id, "recorded", data);
            let commit = commit.insert(change.clone()).audit(entry).event(event);
            match self.shared.settle(commit, &mut tries).await {
                Ok(true) => return Ok(Recorded { change, existing: false }),
                Ok(false) => {}
                // Somebody told it in the same moment: the next look finds theirs.
                Err(Error::Conflict { code: "name_taken", .. }) if draft.idempotency_key.is_some() && tries < 16 => {
                    tries += 1;
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes of the principal's organisation, the latest first.
    ///
    /// # Errors
    /// `changes:read` is missing, or `from` comes after `to`.
    pub async fn list(&self, who: &Principal, filter: &ChangeFilter) -> Result<Vec<ChangeRecord>, Error> {
        self.shared.authorize(who, Action::ChangesRead, &[Scope::all("changes")]).await?;
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && from > to
        {
            return Err(Error::Invalid(format!("from: found {from}, which is after to ({to})")));
        }
        Ok(listed(self.shared, &who.org_id, filter).await?)
    }

    /// Deletes of the oldest in the same commit, when there are as many as may be.
    async fn make_room(&self, org: &OrgId, commit: Commit) -> Result<Commit, Error> {
        let most = self.shared.settings.changes_kept as u64;
        let there: u64 = self.shared.store.count(RecordKind::Change, Some(org)).await?.values().sum();
        let surplus = (there + 1).saturating_sub(most).min(ROOM);
        let Ok(limit @ 1..) = u32::try_from(surplus) else { return Ok(commit) };
        let oldest = ListQuery { org: Some(org.clone()), limit, ..ListQuery::new(RecordKind::Change) };
        let oldest = self.shared.store.list(&oldest).await?.records;
        Ok(oldest.into_iter().fold(commit, |commit, found| commit.delete(found.value.key(), found.version)))
    }
}

impl From<InvalidChange> for Error {
    fn from(error: InvalidChange) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn told_again(change: ChangeRecord, draft: &ChangeDraft) -> Result<Recorded, Error> {
    if change.is_told_by(draft) {
        return Ok(Recorded { change, existing: true });
    }
    let message = format!(
        "idempotencyKey: another change ({}: {}) was told under this key: a key stands for one change",
        change.kind, change.title
    );
    Err(Error::Conflict { code: "idempotency_key_reused", message })
}

/// The changes that a filter wants, the latest first.
async fn listed(shared: &Shared, org: &OrgId, filter: &ChangeFilter) -> Result<Vec<ChangeRecord>, StoreError> {
    // In the order in which they happened, which need not be the order in which they were told: all are looked at, and
    // the number that is kept bounds them.
    let query = ListQuery { org: Some(org.clone()), ..ListQuery::new(RecordKind::Change) };
    let now = shared.now();
    let mut found: Vec<ChangeRecord> = shared
        .store
        .all(query)
        .await?
        .into_iter()
        .map(|found| found.value)
        // What is past its time is gone, swept or not.
        .filter(|change: &ChangeRecord| change.forget_at > now)
        .filter(|change| filter.from.is_none_or(|from| change.at >= from))
        .filter(|change| filter.to.is_none_or(|to| change.at <= to))
        .filter(|change| match (filter.to, filter.after) {
            (Some(to), Some(after)) => change.at < to || change.id < after,
            _ => true,
        })
        .filter(|change| match (&filter.namespace, &change.namespace) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => true,
        })
        .collect();
    found.sort_by_key(|change| std::cmp::Reverse((change.at, change.id)));
    found.truncate(super::listed::limit(filter.limit, MOST) as usize);
    Ok(found)
}

/// The recorded changes of a stretch of time as lines, and whether there were more than are answered.
pub(crate) async fn lines(
    shared: &Shared,
    org: &OrgId,
    (start, end): (Timestamp, Timestamp),
    namespace: Option<&str>,
) -> Result<(Vec<Line>, bool), StoreError> {
    let filter = ChangeFilter {
        from: Some(start),
        to: Some(end),
        namespace: namespace.map(str::to_owned),
        limit: MOST,
        ..ChangeFilter::default()
    };
    let found = listed(shared, org, &filter).await?;
    let full = found.len() >= MOST as usize;
    Ok((found.into_iter().map(line).collect(), full))
}

fn line(change: ChangeRecord) -> Line {
    let mut labels = change.labels;
    let told = [
        ("source", change.source),
        ("namespace", change.namespace),
        ("service", change.service),
        ("url", change.url),
        ("recordedBy", Some(change.recorded_by.login)),
    ];
    // What code knows stands over what somebody called the same.
    labels.extend(told.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))));
    Line::new(change.at, labels, format!("{}: {}", change.kind, change.title))
}

/// Forgets what is past its time, for the sweeper.
pub(crate) async fn forget(shared: &Shared) -> Result<(), StoreError> {
    loop {
        let query = ListQuery { due_by: Some(shared.now()), limit: SWEPT, ..ListQuery::new(RecordKind::Change) };
        let page = shared.store.list(&query).await?;
        if page.records.is_empty() {
            return Ok(());
        }
        let keys: Vec<(Key, u64)> =
            page.records.iter().map(|found| (Record::key(&found.value), found.version)).collect();
        let commit = keys.into_iter().fold(Commit::new(), |commit, (key, version)| commit.delete(key, version));
        match shared.store.commit(commit).await {
            Ok(_) => {}
            // Another replica, or a recording that makes room, was faster; the next sweep sees what is left.
            Err(StoreError::Conflict { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        if page.next.is_none() {
            return Ok(());
        }
    }
}
