use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{Index, Key, Record, RecordKind, StoreError, Versioned, WorkerId};
use crate::audit::{AuditEntry, AuditRow, Outcome};
use crate::id::OrgId;
use crate::time::Timestamp;

/// How one record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// By its key.
    Key(Key),
    /// By what no two records of its kind share ([`Index::unique`](super::Index::unique)).
    Unique(RecordKind, String),
    /// By a part it contains ([`Index::children`](super::Index::children)).
    Child(RecordKind, Uuid),
}

/// A place in a list: after this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub Uuid);

/// Which records are wanted. Every condition must hold; an empty one holds for all.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// The kind.
    pub kind: RecordKind,
    /// Of this organisation.
    pub org: Option<OrgId>,
    /// With one of these statuses; empty: any.
    pub statuses: Vec<String>,
    /// Belonging to this.
    pub parent: Option<Uuid>,
    /// Containing a part with this status.
    pub child_status: Option<String>,
    /// Having each of these tags.
    pub tags: Vec<String>,
    /// Due at or before this moment.
    pub due_by: Option<Timestamp>,
    /// The newest first.
    pub newest_first: bool,
    /// After this place.
    pub after: Option<Cursor>,
    /// At most this many; 1 to 1000.
    pub limit: u32,
}

impl ListQuery {
    /// All records of a kind, oldest first, the first 100.
    #[must_use]
    pub fn new(kind: RecordKind) -> Self {
        Self {
            kind,
            org: None,
            statuses: Vec::new(),
            parent: None,
            child_status: None,
            tags: Vec::new(),
            due_by: None,
            newest_first: false,
            after: None,
            limit: 100,
        }
    }

    /// Refuses a limit outside 1 to 1000.
    ///
    /// # Errors
    /// [`StoreError::Invalid`].
    pub fn check(&self) -> Result<(), StoreError> {
        check_limit(self.limit)
    }

    /// Whether a record with this index is wanted: every condition but the kind, the place and the limit. For stores that
    /// look at each record, and for tests of those that do not.
    #[must_use]
    pub fn matches(&self, index: &Index) -> bool {
        self.org.as_ref().is_none_or(|org| *org == index.org)
            && has_status(&self.statuses, index)
            && self.parent.is_none_or(|parent| index.parent == Some(parent))
            && self.child_status.as_ref().is_none_or(|wanted| index.children.iter().any(|c| c.status == *wanted))
            && self.tags.iter().all(|tag| index.tags.contains(tag))
            && self.due_by.is_none_or(|by| index.due_at.is_some_and(|due| due <= by))
    }
}

/// Refuses a limit outside 1 to 1000, for lists of anything.
///
/// # Errors
/// [`StoreError::Invalid`].
pub fn check_limit(limit: u32) -> Result<(), StoreError> {
    match limit {
        1..=1000 => Ok(()),
        _ => Err(StoreError::Invalid(format!("a limit of 1 to 1000 is expected, not {limit}"))),
    }
}

/// Whether a record has one of these statuses; none at all asks for any.
pub(crate) fn has_status(wanted: &[String], index: &Index) -> bool {
    wanted.is_empty() || wanted.iter().any(|status| index.status.as_deref() == Some(status.as_str()))
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records.
    pub records: Vec<Versioned<Record>>,
    /// Where the next page starts; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// Which record a worker wants to take.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimQuery {
    /// The kind.
    pub kind: RecordKind,
    /// With one of these statuses; empty: any.
    pub statuses: Vec<String>,
    /// Due at or before this moment, by the services' clock.
    pub due_by: Timestamp,
    /// Who takes it.
    pub worker: WorkerId,
    /// For how long, by the store's clock.
    pub ttl: Duration,
}

impl ClaimQuery {
    /// Since when a record with this index is due, when it is one that the worker wants. The longest due one is taken, of
    /// two the one with the smaller id, when nobody holds it.
    #[must_use]
    pub fn due(&self, index: &Index) -> Option<Timestamp> {
        index.due_at.filter(|due| *due <= self.due_by && has_status(&self.statuses, index))
    }
}

/// Which audit rows are wanted. Every condition must hold; an empty one holds for all.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditQuery {
    /// Of this organisation.
    pub org: OrgId,
    /// With this action.
    pub action: Option<String>,
    /// By this actor.
    pub actor_id: Option<String>,
    /// On this type of target.
    pub target_type: Option<String>,
    /// On this target.
    pub target_id: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// At or after this moment.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// Only rows with a smaller number: those after the last of a page, whatever was appended meanwhile. It is a place, not a
    /// condition: [`AuditPage::total`] counts as if it were absent.
    pub before: Option<u64>,
    /// How many rows to pass over.
    pub offset: u64,
    /// At most this many; 1 to 1000.
    pub limit: u32,
}

impl AuditQuery {
    /// The newest hundred rows of an organisation.
    #[must_use]
    pub fn new(org: OrgId) -> Self {
        Self {
            org,
            action: None,
            actor_id: None,
            target_type: None,
            target_id: None,
            outcome: None,
            from: None,
            to: None,
            before: None,
            offset: 0,
            limit: 100,
        }
    }

    /// Refuses a limit outside 1 to 1000.
    ///
    /// # Errors
    /// [`StoreError::Invalid`].
    pub fn check(&self) -> Result<(), StoreError> {
        check_limit(self.limit)
    }

    /// Whether an entry is wanted: every condition but the organisation and the place.
    #[must_use]
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        same(&self.action, &entry.action)
            && same(&self.actor_id, &entry.actor_id)
            && same(&self.target_type, &entry.target_type)
            && same(&self.target_id, &entry.target_id)
            && self.outcome.is_none_or(|outcome| outcome == entry.outcome)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

/// A page of audit rows, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditPage {
    /// The rows.
    pub rows: Vec<AuditRow>,
    /// How many there are in all.
    pub total: u64,
}

/// The end of an audit chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// How many rows there are.
    pub seq: u64,
    /// The hash of the last.
    pub hash: String,
}
