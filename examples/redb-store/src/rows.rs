//! A record in the file: its body as text, what it is found by, and who holds it.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction};
use rounds_core::ports::store::{Index, Key, Lease, ListQuery, Lookup, Page, Record, RecordKind, Versioned};
use rounds_core::ports::{StoreError, store};
use rounds_core::{OrgId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::File;
use crate::error::{Fail, corrupt};
use crate::seal::Sealer;

/// Rows as JSON, by kind and id: UUIDs v7 sort by creation, and so do lists.
pub(crate) const ROWS: TableDefinition<'_, (&str, u128), &str> = TableDefinition::new("rows");
/// Whose a unique key is, and whose a part.
const UNIQUE: TableDefinition<'_, (&str, &str), u128> = TableDefinition::new("unique");
const PARTS: TableDefinition<'_, (&str, u128), u128> = TableDefinition::new("parts");
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) index: Index,
    pub(crate) body: String,
    pub(crate) secret: Option<String>,
    pub(crate) fence: u64,
    pub(crate) worker: Option<String>,
    /// When the lease ends, in microseconds since 1970.
    pub(crate) until: i64,
}

impl Row {
    pub(crate) fn new(sealer: &Sealer, record: &Record, version: u64) -> Result<Self, Fail> {
        let secret = record.secret().map(|secret| sealer.seal(record.key(), secret)).transpose()?;
        let (index, body) = (record.index(), record.encode()?);
        Ok(Self { version, index, body, secret, fence: 0, worker: None, until: 0 })
    }

    pub(crate) fn read(&self, sealer: &Sealer, key: Key) -> Result<Versioned<Record>, Fail> {
        let mut value = Record::decode(key.kind, &self.body).map_err(|error| corrupt(key, error))?;
        value.set_secret(self.secret.as_ref().map(|sealed| sealer.open(key, sealed)).transpose()?);
        Ok(Versioned { value, version: self.version })
    }

    pub(crate) fn is_held(&self, now: i64) -> bool {
        self.worker.is_some() && self.until > now
    }

    /// Whether nobody has claimed it since this lease was given; its time may be over.
    pub(crate) fn is_of(&self, lease: &Lease) -> bool {
        self.fence == lease.fence && self.worker.as_deref() == Some(lease.worker.as_str())
    }
}

fn parsed(text: &str) -> Result<Row, Fail> {
    serde_json::from_str(text).map_err(|error| corrupt("a row", error))
}

pub(crate) fn get(
    rows: &impl ReadableTable<(&'static str, u128), &'static str>,
    key: Key,
) -> Result<Option<Row>, Fail> {
    rows.get((key.kind.as_str(), key.id.as_u128()))?.map(|found| parsed(found.value())).transpose()
}

/// Every row of a kind, in order of ids.
pub(crate) fn all(
    rows: &impl ReadableTable<(&'static str, u128), &'static str>,
    kind: RecordKind,
) -> Result<impl DoubleEndedIterator<Item = Result<(Key, Row), Fail>>, Fail> {
    let range = rows.range((kind.as_str(), 0)..=(kind.as_str(), u128::MAX))?;
    Ok(range.map(move |found| {
        let (at, row) = found?;
        Ok((Key::new(kind, Uuid::from_u128(at.value().1)), parsed(row.value())?))
    }))
}

/// The tables of one write, which keep what a record is found by in step with the record.
pub(crate) struct Rows<'tx> {
    pub(crate) rows: Table<'tx, (&'static str, u128), &'static str>,
    unique: Table<'tx, (&'static str, &'static str), u128>,
    parts: Table<'tx, (&'static str, u128), u128>,
}

impl<'tx> Rows<'tx> {
    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self, Fail> {
        Ok(Self { rows: tx.open_table(ROWS)?, unique: tx.open_table(UNIQUE)?, parts: tx.open_table(PARTS)? })
    }

    /// Puts a row in a key's place without a change of what it is found by: its lease.
    pub(crate) fn save(&mut self, key: Key, row: &Row) -> Result<(), Fail> {
        let text = serde_json::to_string(row).map_err(|error| corrupt(key, error))?;
        self.rows.insert((key.kind.as_str(), key.id.as_u128()), text.as_str())?;
        Ok(())
    }

    /// Puts a row, or none, in the place of another, or of none.
    pub(crate) fn put(&mut self, key: Key, before: Option<&Row>, after: Option<&Row>) -> Result<(), Fail> {
        let (kind, id) = (key.kind.as_str(), key.id.as_u128());
        for index in before.iter().map(|row| &row.index) {
            if let Some(unique) = &index.unique {
                self.unique.remove((kind, unique.as_str()))?;
            }
            for part in &index.children {
                self.parts.remove((kind, part.id.as_u128()))?;
            }
        }
        let Some(row) = after else {
            self.rows.remove((kind, id))?;
            return Ok(());
        };
        let taken = |unique: String| Err(StoreError::Duplicate { kind: key.kind, unique }.into());
        if let Some(unique) = &row.index.unique
            && self.unique.insert((kind, unique.as_str()), id)?.is_some()
        {
            return taken(unique.clone());
        }
        for part in &row.index.children {
            if self.parts.insert((kind, part.id.as_u128()), id)?.is_some() {
                return taken(format!("part {}", part.id));
            }
        }
        self.save(key, row)
    }
}

impl File {
    /// Makes the tables, and refuses another key than the one that the file was begun with.
    pub(crate) fn begin(&self, fingerprint: &str) -> Result<(), Fail> {
        let tx = self.db.begin_write()?;
        Rows::open(&tx)?;
        crate::logs::open(&tx)?;
        let begun_with = {
            let mut meta = tx.open_table(META)?;
            let found = meta.get("key")?.map(|found| found.value().to_owned());
            if found.is_none() {
                meta.insert("key", fingerprint)?;
            }
            found
        };
        if begun_with.is_some_and(|begun_with| begun_with != fingerprint) {
            return Err(corrupt("the file", "it was begun with another key: open it with that one"));
        }
        Ok(tx.commit()?)
    }

    pub(crate) fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, Fail> {
        let tx = self.read()?;
        let key = match lookup {
            Lookup::Key(key) => Some(*key),
            Lookup::Unique(kind, text) => {
                let found = tx.open_table(UNIQUE)?.get((kind.as_str(), text.as_str()))?;
                found.map(|id| Key::new(*kind, Uuid::from_u128(id.value())))
            }
            Lookup::Child(kind, part) => {
                let found = tx.open_table(PARTS)?.get((kind.as_str(), part.as_u128()))?;
                found.map(|id| Key::new(*kind, Uuid::from_u128(id.value())))
            }
            other => return Err(StoreError::Invalid(format!("{other:?} is newer than this store")).into()),
        };
        let Some(key) = key else { return Ok(None) };
        get(&tx.open_table(ROWS)?, key)?.map(|row| row.read(&self.sealer, key)).transpose()
    }

    pub(crate) fn list(&self, query: &ListQuery) -> Result<Page, Fail> {
        let rows = self.read()?.open_table(ROWS)?;
        let all = all(&rows, query.kind)?;
        let ordered: Box<dyn Iterator<Item = _>> = if query.newest_first { Box::new(all.rev()) } else { Box::new(all) };
        let after = |key: &Key| match query.after {
            Some(store::Cursor(place)) if query.newest_first => key.id < place,
            Some(store::Cursor(place)) => key.id > place,
            None => true,
        };
        let limit = query.limit as usize;
        let wanted = |found: &Result<(Key, Row), Fail>| match found {
            Ok((key, row)) => after(key) && query.matches(&row.index),
            Err(_) => true,
        };
        let found: Vec<(Key, Row)> = ordered.filter(wanted).take(limit + 1).collect::<Result<_, _>>()?;
        let next = (found.len() > limit).then(|| store::Cursor(found[limit - 1].0.id));
        let mut records = Vec::new();
        for (key, row) in found.iter().take(limit) {
            match row.read(&self.sealer, *key).map_err(StoreError::from) {
                Ok(record) => records.push(record),
                // One record that cannot be read must not hide the others.
                Err(error) => tracing::warn!(record = %key, %error, "a record is left out of a list"),
            }
        }
        Ok(Page { records, next })
    }

    pub(crate) fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, Fail> {
        let rows = self.read()?.open_table(ROWS)?;
        let mut counts = BTreeMap::new();
        for found in all(&rows, kind)? {
            let (_, row) = found?;
            if org.is_none_or(|org| *org == row.index.org) {
                *counts.entry(row.index.status.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    pub(crate) fn next_due(&self, wanted: &ListQuery, after: Timestamp) -> Result<Option<Timestamp>, Fail> {
        let rows = self.read()?.open_table(ROWS)?;
        let mut next = None;
        for found in all(&rows, wanted.kind)? {
            let (_, row) = found?;
            let due = row.index.due_at.filter(|due| *due > after && wanted.matches(&row.index));
            next = [next, due].into_iter().flatten().min();
        }
        Ok(next)
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, Fail> {
        Ok(self.db.begin_read()?)
    }
}
