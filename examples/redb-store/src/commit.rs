//! What changes the file: commits, and who holds a record.

use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::ports::StoreError;
use rounds_core::ports::store::{Change, ClaimQuery, Commit, Committed, Key, Lease, Record, Versioned};

use crate::error::Fail;
use crate::rows::{ROWS, Row, Rows, all, get};
use crate::{File, logs};

impl File {
    /// Everything or nothing: an error drops the transaction, and with it whatever was done in it.
    pub(crate) fn commit(&self, commit: Commit) -> Result<Committed, Fail> {
        let kinds = commit.kinds();
        let tx = self.db.begin_write()?;
        // Only now that nobody else writes: a lease must be held when the commit happens, not when it was asked for.
        let now = self.now();
        let mut rows = Rows::open(&tx)?;
        for lease in &commit.leases {
            let row = get(&rows.rows, lease.key)?;
            if !row.is_some_and(|row| row.is_of(lease) && row.is_held(now)) {
                return Err(StoreError::LeaseLost { key: lease.key }.into());
            }
        }
        let changes = commit.changes.iter().map(|change| self.change(&mut rows, change));
        let versions = changes.collect::<Result<Vec<u64>, Fail>>()?;
        for lease in &commit.released {
            give_back(&mut rows, lease)?;
        }
        drop(rows);
        logs::append_audit(&tx, commit.audit, &self.audit_key)?;
        let events = logs::append_events(&tx, commit.events)?;
        tx.commit()?;
        for kind in kinds {
            // Nobody may be listening.
            let _ = self.wakes.send(kind);
        }
        Ok(Committed { versions, events })
    }

    fn change(&self, rows: &mut Rows<'_>, change: &Change) -> Result<u64, Fail> {
        let key = change.key();
        let before = get(&rows.rows, key)?;
        let at = |expected: u64| match &before {
            Some(row) if row.version == expected => Ok(row),
            _ => Err(Fail::from(StoreError::Conflict { key, expected })),
        };
        match change {
            Change::Insert(_) if before.is_some() => {
                Err(StoreError::Duplicate { kind: key.kind, unique: format!("id {}", key.id) }.into())
            }
            Change::Insert(record) => {
                rows.put(key, None, Some(&Row::new(&self.sealer, record, 1)?))?;
                Ok(1)
            }
            Change::Update(record, expected) => {
                let held = at(*expected)?;
                // A lease is no content: whoever holds it holds it still.
                let (fence, worker, until) = (held.fence, held.worker.clone(), held.until);
                let after = Row { fence, worker, until, ..Row::new(&self.sealer, record, expected + 1)? };
                rows.put(key, Some(held), Some(&after))?;
                Ok(expected + 1)
            }
            Change::Delete(_, expected) => {
                rows.put(key, Some(at(*expected)?), None)?;
                Ok(0)
            }
            Change::Expect(_, expected) => Ok(at(*expected)?.version),
        }
    }

    pub(crate) fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, Fail> {
        // An idle worker looks without keeping anybody from writing.
        if longest_due(&self.read()?.open_table(ROWS)?, query, self.now())?.is_none() {
            return Ok(None);
        }
        let tx = self.db.begin_write()?;
        let now = self.now();
        let mut rows = Rows::open(&tx)?;
        let Some((key, mut row)) = longest_due(&rows.rows, query, now)? else { return Ok(None) };
        row.fence += 1;
        row.worker = Some(query.worker.as_str().to_owned());
        row.until = end(now, query.ttl);
        rows.save(key, &row)?;
        drop(rows);
        tx.commit()?;
        // Read only now: one that cannot be read stays leased for its time, so that those behind it get their turn.
        Ok(Some((row.read(&self.sealer, key)?, Lease { key, worker: query.worker.clone(), fence: row.fence })))
    }

    pub(crate) fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), Fail> {
        let tx = self.db.begin_write()?;
        let now = self.now();
        let mut rows = Rows::open(&tx)?;
        let Some(mut row) = get(&rows.rows, lease.key)?.filter(|row| row.is_of(lease)) else {
            return Err(StoreError::LeaseLost { key: lease.key }.into());
        };
        row.until = end(now, ttl);
        rows.save(lease.key, &row)?;
        drop(rows);
        Ok(tx.commit()?)
    }

    pub(crate) fn release(&self, lease: &Lease) -> Result<(), Fail> {
        let tx = self.db.begin_write()?;
        give_back(&mut Rows::open(&tx)?, lease)?;
        Ok(tx.commit()?)
    }
}

fn longest_due(
    rows: &impl redb::ReadableTable<(&'static str, u128), &'static str>,
    query: &ClaimQuery,
    now: i64,
) -> Result<Option<(Key, Row)>, Fail> {
    let mut longest: Option<(Timestamp, Key, Row)> = None;
    for found in all(rows, query.kind)? {
        let (key, row) = found?;
        if let Some(due) = query.due(&row.index).filter(|_| !row.is_held(now))
            && longest.as_ref().is_none_or(|(since, ..)| due < *since)
        {
            longest = Some((due, key, row));
        }
    }
    Ok(longest.map(|(_, key, row)| (key, row)))
}

/// A lease that is lost, or whose record is gone, stays as it is. The fence never falls.
fn give_back(rows: &mut Rows<'_>, lease: &Lease) -> Result<(), Fail> {
    match get(&rows.rows, lease.key)?.filter(|row| row.is_of(lease)) {
        Some(row) => rows.save(lease.key, &Row { worker: None, ..row }),
        None => Ok(()),
    }
}

fn end(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}
