//! What a [`MemoryStore`](super::MemoryStore) keeps, and how it changes: in place, with a way back.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use uuid::Uuid;

use crate::audit::chain;
use crate::audit::{AuditEntry, AuditRow, Checkpoint, Prune};
use crate::connector::StoredSecret;
use crate::id::OrgId;
use crate::ports::Event;
use crate::ports::store::has_status;
use crate::ports::store::{
    AuditHead, Change, ClaimQuery, Cursor, Index, Key, Lease, ListQuery, Lookup, Page, Record, RecordKind, StoreError,
    Versioned, WorkerId,
};
use crate::time::Timestamp;

/// One record as a database would keep it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    version: u64,
    index: Index,
    body: Body,
    secret: Option<StoredSecret>,
    fence: u64,
    holder: Option<(WorkerId, Duration)>,
}

#[derive(Debug, Clone)]
enum Body {
    /// As text, so that reading goes through the same decoding as with a database.
    Text(String),
    /// As it is, for the simulation: four fifths of its time would go into JSON.
    #[cfg(test)]
    Value(Box<Record>),
}

impl Row {
    fn new(record: &Record, version: u64, encoded: bool) -> Result<Self, StoreError> {
        let body = match encoded {
            #[cfg(test)]
            false => Body::Value(Box::new(record.clone())),
            _ => Body::Text(record.encode()?),
        };
        Ok(Self { version, index: record.index(), body, secret: record.secret().cloned(), fence: 0, holder: None })
    }

    fn read(&self, kind: RecordKind) -> Result<Versioned<Record>, StoreError> {
        let mut record = match &self.body {
            Body::Text(text) => Record::decode(kind, text)?,
            #[cfg(test)]
            Body::Value(record) => (**record).clone(),
        };
        record.set_secret(self.secret.clone());
        Ok(Versioned { value: record, version: self.version })
    }

    fn is_held(&self, now: Duration) -> bool {
        self.holder.as_ref().is_some_and(|(_, until)| *until > now)
    }

    fn is_held_by(&self, lease: &Lease, now: Duration) -> bool {
        self.is_held(now) && self.is_of(lease)
    }

    fn is_of(&self, lease: &Lease) -> bool {
        self.fence == lease.fence && self.holder.as_ref().is_some_and(|(worker, _)| *worker == lease.worker)
    }
}

/// An organisation's logs.
#[derive(Debug, Default)]
struct Logs {
    events: Vec<Event>,
    audit: Vec<Entry>,
    checkpoint: Option<Checkpoint>,
}

/// An audit row with the text that was hashed.
#[derive(Debug, Clone)]
struct Entry {
    row: AuditRow,
    text: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether bodies are kept as they are, and not as text.
    pub(super) plain: bool,
    rows: BTreeMap<Key, Row>,
    unique: HashMap<(RecordKind, String), Uuid>,
    children: HashMap<(RecordKind, Uuid), Uuid>,
    logs: HashMap<OrgId, Logs>,
}

impl State {
    pub(super) fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        let key = match lookup {
            Lookup::Key(key) => Some(*key),
            Lookup::Unique(kind, text) => self.unique.get(&(*kind, text.clone())).map(|id| Key::new(*kind, *id)),
            Lookup::Child(kind, child) => self.children.get(&(*kind, *child)).map(|id| Key::new(*kind, *id)),
        };
        key.and_then(|key| self.rows.get(&key).map(|row| row.read(key.kind))).transpose()
    }

    pub(super) fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        query.check()?;
        let after = |key: &Key| {
            query.after.is_none_or(|Cursor(after)| if query.newest_first { key.id < after } else { key.id > after })
        };
        let of_kind = self.of_kind(query.kind).filter(|(key, row)| after(key) && query.matches(&row.index));
        let limit = query.limit as usize;
        let found: Vec<_> = if query.newest_first {
            let mut all: Vec<_> = of_kind.collect();
            all.reverse();
            all.truncate(limit + 1);
            all
        } else {
            of_kind.take(limit + 1).collect()
        };
        let next = (found.len() > limit).then(|| Cursor(found[limit - 1].0.id));
        let records = found.into_iter().take(limit).map(|(key, row)| row.read(key.kind)).collect::<Result<_, _>>()?;
        Ok(Page { records, next })
    }

    pub(super) fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (_, row) in self.of_kind(kind).filter(|(_, row)| org.is_none_or(|org| *org == row.index.org)) {
            *counts.entry(row.index.status.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts
    }

    pub(super) fn claim(
        &mut self,
        query: &ClaimQuery,
        now: Duration,
    ) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        let longest_due = self
            .of_kind(query.kind)
            .filter(|(_, row)| !row.is_held(now))
            .filter_map(|(key, row)| query.due(&row.index).map(|due| (due, *key)))
            .min();
        let Some(row) = longest_due.and_then(|(_, key)| self.rows.get_mut(&key).map(|row| (key, row))) else {
            return Ok(None);
        };
        let (key, row) = row;
        row.fence += 1;
        row.holder = Some((query.worker.clone(), now.saturating_add(query.ttl)));
        Ok(Some((row.read(key.kind)?, Lease { key, worker: query.worker.clone(), fence: row.fence })))
    }

    pub(super) fn renew(&mut self, lease: &Lease, until: Duration) -> Result<(), StoreError> {
        // Its time may be over: while worker and fence are unchanged, nobody has claimed the record since.
        match self.rows.get_mut(&lease.key).filter(|row| row.is_of(lease)) {
            Some(row) => {
                row.holder = Some((lease.worker.clone(), until));
                Ok(())
            }
            None => Err(StoreError::LeaseLost { key: lease.key }),
        }
    }

    pub(super) fn release(&mut self, lease: &Lease) {
        if let Some(row) = self.rows.get_mut(&lease.key).filter(|row| row.is_of(lease)) {
            row.holder = None;
        }
    }

    pub(super) fn next_due(&self, kind: RecordKind, statuses: &[String], after: Timestamp) -> Option<Timestamp> {
        let wanted = self.of_kind(kind).filter(|(_, row)| has_status(statuses, &row.index));
        wanted.filter_map(|(_, row)| row.index.due_at.filter(|due| *due > after)).min()
    }

    pub(super) fn check_leases(&self, leases: &[Lease], now: Duration) -> Result<(), StoreError> {
        match leases.iter().find(|lease| !self.rows.get(&lease.key).is_some_and(|row| row.is_held_by(lease, now))) {
            Some(lost) => Err(StoreError::LeaseLost { key: lost.key }),
            None => Ok(()),
        }
    }

    /// Applies every change or none: what was changed before a refusal is put back, newest first.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Result<Vec<u64>, StoreError> {
        let mut versions = Vec::with_capacity(changes.len());
        let mut undo: Vec<(Key, Option<Row>)> = Vec::new();
        for change in changes {
            match self.change(change, &mut undo) {
                Ok(version) => versions.push(version),
                Err(refusal) => {
                    for (key, before) in undo.into_iter().rev() {
                        self.put(key, before);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(versions)
    }

    fn change(&mut self, change: &Change, undo: &mut Vec<(Key, Option<Row>)>) -> Result<u64, StoreError> {
        let key = change.key();
        let before = self.rows.get(&key).cloned();
        let at = |expected: u64| match &before {
            Some(row) if row.version == expected => Ok(row.clone()),
            _ => Err(StoreError::Conflict { key, expected }),
        };
        let (after, version) = match change {
            Change::Insert(_) if before.is_some() => {
                return Err(StoreError::Duplicate { kind: key.kind, unique: format!("id {}", key.id) });
            }
            Change::Insert(record) => (Some(Row::new(record, 1, !self.plain)?), 1),
            Change::Update(record, expected) => {
                let held = at(*expected)?;
                let row =
                    Row { fence: held.fence, holder: held.holder, ..Row::new(record, expected + 1, !self.plain)? };
                (Some(row), expected + 1)
            }
            Change::Delete(_, expected) => {
                at(*expected)?;
                (None, 0)
            }
            Change::Expect(_, expected) => return at(*expected).map(|row| row.version),
        };
        if let Some(row) = &after {
            self.check_unique(key, &row.index)?;
        }
        undo.push((key, before));
        self.put(key, after);
        Ok(version)
    }

    fn check_unique(&self, key: Key, index: &Index) -> Result<(), StoreError> {
        let taken = |holder: Option<&Uuid>| holder.is_some_and(|id| *id != key.id);
        if let Some(unique) = index.unique.as_ref().filter(|u| taken(self.unique.get(&(key.kind, (*u).clone())))) {
            return Err(StoreError::Duplicate { kind: key.kind, unique: unique.clone() });
        }
        if let Some(child) = index.children.iter().find(|child| taken(self.children.get(&(key.kind, child.id)))) {
            return Err(StoreError::Duplicate { kind: key.kind, unique: format!("part {}", child.id) });
        }
        Ok(())
    }

    /// Puts a row, or no row, in a key's place, and keeps what it is found by in step.
    fn put(&mut self, key: Key, row: Option<Row>) {
        if let Some(before) = self.rows.remove(&key) {
            if let Some(unique) = before.index.unique {
                self.unique.remove(&(key.kind, unique));
            }
            for child in before.index.children {
                self.children.remove(&(key.kind, child.id));
            }
        }
        if let Some(row) = row {
            if let Some(unique) = &row.index.unique {
                self.unique.insert((key.kind, unique.clone()), key.id);
            }
            for child in &row.index.children {
                self.children.insert((key.kind, child.id), key.id);
            }
            self.rows.insert(key, row);
        }
    }

    pub(super) fn append_event(&mut self, mut event: Event) -> Event {
        let log = &mut self.logs.entry(event.org_id.clone()).or_default().events;
        event.seq = log.len() as u64 + 1;
        log.push(event.clone());
        event
    }

    pub(super) fn append_audit(&mut self, key: &[u8], entry: AuditEntry) {
        let logs = self.logs.entry(entry.org_id.clone()).or_default();
        let (last, previous) = match (logs.audit.last(), &logs.checkpoint) {
            (Some(last), _) => (last.row.seq, last.row.hash.clone()),
            (None, Some(checkpoint)) => (checkpoint.seq, checkpoint.hash.clone()),
            (None, None) => (0, chain::GENESIS.to_owned()),
        };
        let (row, text) = AuditRow::after(last, &previous, entry, key);
        logs.audit.push(Entry { row, text });
    }

    pub(super) fn events(&self, org: &OrgId, after: u64, limit: u32) -> Vec<Event> {
        let log = self.logs.get(org).map(|logs| logs.events.as_slice()).unwrap_or_default();
        log.iter().filter(|event| event.seq > after).take(limit as usize).cloned().collect()
    }

    /// An organisation's audit rows, newest first.
    pub(super) fn audit(&self, org: &OrgId) -> impl Iterator<Item = &AuditRow> {
        self.logs.get(org).into_iter().flat_map(|logs| logs.audit.iter().rev().map(|entry| &entry.row))
    }

    pub(super) fn verify_audit(&self, org: &OrgId, key: &[u8]) -> Result<AuditHead, chain::Broken> {
        let mut verifier = match self.checkpoint(org) {
            Some(checkpoint) => chain::Verifier::after(checkpoint, org.clone(), key)?,
            None => chain::Verifier::new(org.clone(), key),
        };
        for entry in self.logs.get(org).map(|logs| logs.audit.as_slice()).unwrap_or_default() {
            verifier.next(entry.row.seq, &entry.row.previous, &entry.row.hash, &entry.text)?;
        }
        let (seq, hash) = verifier.head();
        Ok(AuditHead { seq, hash: hash.into() })
    }

    pub(super) fn checkpoint(&self, org: &OrgId) -> Option<&Checkpoint> {
        self.logs.get(org)?.checkpoint.as_ref()
    }

    /// The caller has verified the chain: a checkpoint must never stand for rows that somebody changed.
    pub(super) fn prune_audit(&mut self, prune: &Prune, key: &[u8]) -> Option<Checkpoint> {
        let log = &mut self.logs.get_mut(prune.org())?.audit;
        let old = log.iter().take_while(|entry| entry.row.entry.at < prune.before()).count();
        let last = log.get(old.checked_sub(1)?)?;
        let checkpoint = prune.checkpoint(key, last.row.seq, &last.row.hash);
        log.drain(..old);
        let entry = prune.entry(&checkpoint);
        self.logs.entry(prune.org().clone()).or_default().checkpoint = Some(checkpoint.clone());
        self.append_audit(key, entry);
        Some(checkpoint)
    }

    /// Changes the stored text of an audit row without its hash, as somebody with the database in hand would.
    pub(super) fn tamper(&mut self, org: &OrgId, seq: u64, from: &str, to: &str) -> bool {
        let log = self.logs.get_mut(org).map(|logs| &mut logs.audit);
        let Some(entry) = log.and_then(|log| log.iter_mut().find(|entry| entry.row.seq == seq)) else { return false };
        let changed = entry.text.replace(from, to);
        let differs = changed != entry.text;
        entry.text = changed;
        differs
    }

    fn of_kind(&self, kind: RecordKind) -> impl DoubleEndedIterator<Item = (&Key, &Row)> {
        self.rows.range(Key::new(kind, Uuid::nil())..=Key::new(kind, Uuid::max()))
    }
}
