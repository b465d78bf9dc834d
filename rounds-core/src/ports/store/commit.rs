use std::collections::BTreeSet;
use std::fmt;

use super::{Key, Record, RecordKind, StoreError};
use crate::audit::AuditEntry;
use crate::ports::Event;

/// Names a worker: one process, one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerId(String);

impl WorkerId {
    /// A name that no other process has: the prefix and a random part.
    #[must_use]
    pub fn unique(prefix: &str) -> Self {
        Self(format!("{prefix}-{}", crate::id::fresh()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to drive one record, for a while. The fence rises with each claim, so a worker that overslept holds
/// an old one and can commit nothing (rule 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The record.
    pub key: Key,
    /// Who holds it.
    pub worker: WorkerId,
    /// Which claim of the record this is.
    pub fence: u64,
}

/// One change of one record.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new record, at version 1.
    Insert(Record),
    /// A new value of a record that is still at this version; the version rises by one.
    Update(Record, u64),
    /// No more record, which is still at this version.
    Delete(Key, u64),
    /// No change, but the record must still be at this version.
    Expect(Key, u64),
}

impl Change {
    /// The record it is about.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Insert(record) | Self::Update(record, _) => record.key(),
            Self::Delete(key, _) | Self::Expect(key, _) => *key,
        }
    }
}

/// Changes that happen together or not at all (rule 9).
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Commit {
    /// The changes, in order. No record may appear twice.
    pub changes: Vec<Change>,
    /// What the audit log says of them.
    pub audit: Vec<AuditEntry>,
    /// What pages and embedders hear of them; `seq` is the store's to set.
    pub events: Vec<Event>,
    /// The leases that must be held at the moment of the commit.
    pub leases: Vec<Lease>,
    /// Those of them that are given back with it, and with it only.
    pub released: Vec<Lease>,
}

impl Commit {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And a new record.
    pub fn insert(mut self, record: impl Into<Record>) -> Self {
        self.changes.push(Change::Insert(record.into()));
        self
    }

    /// And a new value of a record read at `version`.
    pub fn update(mut self, record: impl Into<Record>, version: u64) -> Self {
        self.changes.push(Change::Update(record.into(), version));
        self
    }

    /// And no more record, read at `version`.
    pub fn delete(mut self, key: Key, version: u64) -> Self {
        self.changes.push(Change::Delete(key, version));
        self
    }

    /// Provided that a record is still at `version`.
    pub fn expect(mut self, key: Key, version: u64) -> Self {
        self.changes.push(Change::Expect(key, version));
        self
    }

    /// And an audit entry.
    pub fn audit(mut self, entry: AuditEntry) -> Self {
        self.audit.push(entry);
        self
    }

    /// And an event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Provided that a lease is held.
    pub fn under(mut self, lease: &Lease) -> Self {
        self.leases.push(lease.clone());
        self
    }

    /// Provided that a lease is held, and given back in the same moment: the work is done, and whoever is next need
    /// not wait.
    pub fn releasing(mut self, lease: &Lease) -> Self {
        self.released.push(lease.clone());
        self.under(lease)
    }

    /// And all that another one changes, tells and asks.
    pub fn absorb(&mut self, mut other: Self) {
        self.changes.append(&mut other.changes);
        self.audit.append(&mut other.audit);
        self.events.append(&mut other.events);
        self.leases.append(&mut other.leases);
        self.released.append(&mut other.released);
    }

    /// What no store takes: a record that is named twice. Stores ask this first.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], naming the record.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        match self.changes.iter().map(Change::key).find(|key| !seen.insert(*key)) {
            Some(twice) => Err(StoreError::Invalid(format!("{twice} appears twice in one commit"))),
            None => Ok(()),
        }
    }

    /// The kinds of records that it changes: what stores wake others for, once it is applied.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<RecordKind> {
        let changes = self.changes.iter().filter(|change| !matches!(change, Change::Expect(..)));
        changes.map(|change| change.key().kind).collect()
    }
}

/// What a commit led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The version of each changed record, in the order of the changes; 0 for a deleted one.
    pub versions: Vec<u64>,
    /// The events, numbered.
    pub events: Vec<Event>,
}
