//! Events and audit rows: numbered per organisation without gaps, the audit rows chained.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, Table, TableDefinition, TableError, WriteTransaction};
use rounds_core::OrgId;
use rounds_core::audit::chain::{self, Broken, Verifier};
use rounds_core::audit::{AuditEntry, AuditRow, Checkpoint, Prune};
use rounds_core::ports::store::{AuditHead, AuditPage, AuditQuery};
use rounds_core::ports::{Event, StoreError};
use serde::{Deserialize, Serialize};

use crate::File;
use crate::error::{Fail, corrupt};

type Log = TableDefinition<'static, (&'static str, u64), &'static str>;
const EVENTS: Log = TableDefinition::new("events");
pub(crate) const AUDIT: Log = TableDefinition::new("audit");
const CHECKPOINTS: TableDefinition<'_, &str, &str> = TableDefinition::new("checkpoints");

/// An audit row as it is kept: with the text that was hashed, by which it is verified.
#[derive(Serialize, Deserialize)]
struct Line {
    previous: String,
    hash: String,
    text: String,
}

impl Line {
    fn row(self, seq: u64) -> Result<AuditRow, Fail> {
        let entry = serde_json::from_str(&self.text).map_err(|error| corrupt(format!("audit row {seq}"), error))?;
        Ok(AuditRow { seq, previous: self.previous, hash: self.hash, entry })
    }
}

fn parsed<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, Fail> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

fn text_of(value: &impl Serialize) -> Result<String, Fail> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(error.to_string()).into())
}

/// Makes the tables.
pub(crate) fn open(tx: &WriteTransaction) -> Result<(), TableError> {
    tx.open_table(EVENTS)?;
    tx.open_table(AUDIT)?;
    tx.open_table(CHECKPOINTS)?;
    Ok(())
}

pub(crate) fn append_events(tx: &WriteTransaction, events: Vec<Event>) -> Result<Vec<Event>, Fail> {
    let mut log = tx.open_table(EVENTS)?;
    let mut numbered = Vec::with_capacity(events.len());
    for mut event in events {
        let org = event.org_id.as_str();
        let last = log.range((org, 0)..=(org, u64::MAX))?.next_back().transpose()?.map_or(0, |(at, _)| at.value().1);
        event.seq = last + 1;
        log.insert((org, event.seq), text_of(&event)?.as_str())?;
        numbered.push(event);
    }
    Ok(numbered)
}

pub(crate) fn append_audit(tx: &WriteTransaction, entries: Vec<AuditEntry>, key: &[u8]) -> Result<(), Fail> {
    let mut log = tx.open_table(AUDIT)?;
    let checkpoints = tx.open_table(CHECKPOINTS)?;
    for entry in entries {
        let org = entry.org_id.clone();
        let (last, previous) = match end(&log, &org)? {
            Some(end) => end,
            // Nothing is left before it, or nothing ever was.
            None => match checkpoints.get(org.as_str())? {
                Some(found) => parsed::<Checkpoint>("a checkpoint", found.value()).map(|at| (at.seq, at.hash))?,
                None => (0, chain::GENESIS.to_owned()),
            },
        };
        let (row, text) = AuditRow::after(last, &previous, entry, key);
        let line = Line { previous: row.previous, hash: row.hash, text };
        log.insert((org.as_str(), row.seq), text_of(&line)?.as_str())?;
    }
    Ok(())
}

fn end(log: &Table<'_, (&'static str, u64), &'static str>, org: &OrgId) -> Result<Option<(u64, String)>, Fail> {
    let last = log.range((org.as_str(), 0)..=(org.as_str(), u64::MAX))?.next_back().transpose()?;
    last.map(|(at, line)| Ok((at.value().1, parsed::<Line>("an audit row", line.value())?.hash))).transpose()
}

/// The lines of an organisation after a number, oldest first.
fn lines(
    log: &ReadOnlyTable<(&'static str, u64), &'static str>,
    org: &OrgId,
    after: u64,
) -> Result<impl DoubleEndedIterator<Item = Result<(u64, Line), Fail>>, Fail> {
    let range = log.range((org.as_str(), after.saturating_add(1))..=(org.as_str(), u64::MAX))?;
    Ok(range.map(|found| {
        let (at, line) = found?;
        Ok((at.value().1, parsed("an audit row", line.value())?))
    }))
}

pub(crate) fn checkpoint(tx: &ReadTransaction, org: &OrgId) -> Result<Option<Checkpoint>, Fail> {
    let found = tx.open_table(CHECKPOINTS)?.get(org.as_str())?;
    found.map(|text| parsed("a checkpoint", text.value())).transpose()
}

pub(crate) fn verify(tx: &ReadTransaction, org: &OrgId, key: &[u8]) -> Result<Result<AuditHead, Broken>, Fail> {
    let started = match checkpoint(tx, org)? {
        Some(checkpoint) => Verifier::after(&checkpoint, org.clone(), key),
        None => Ok(Verifier::new(org.clone(), key)),
    };
    let mut verifier = match started {
        Ok(verifier) => verifier,
        Err(broken) => return Ok(Err(broken)),
    };
    for found in lines(&tx.open_table(AUDIT)?, org, 0)? {
        let (seq, line) = found?;
        if let Err(broken) = verifier.next(seq, &line.previous, &line.hash, &line.text) {
            return Ok(Err(broken));
        }
    }
    let (seq, hash) = verifier.head();
    Ok(Ok(AuditHead { seq, hash: hash.to_owned() }))
}

impl File {
    pub(crate) fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, Fail> {
        let log = self.read()?.open_table(EVENTS)?;
        let range = log.range((org.as_str(), after.saturating_add(1))..=(org.as_str(), u64::MAX))?;
        range.take(limit as usize).map(|found| parsed("an event", found?.1.value())).collect()
    }

    pub(crate) fn audit(&self, query: &AuditQuery) -> Result<AuditPage, Fail> {
        let log = self.read()?.open_table(AUDIT)?;
        let (mut rows, mut total, mut passed) = (Vec::new(), 0, 0);
        for found in lines(&log, &query.org, 0)?.rev() {
            let (seq, line) = found?;
            let row = line.row(seq)?;
            if query.matches(&row.entry) {
                total += 1;
                if query.before.is_some_and(|before| seq >= before) {
                    continue;
                }
                if passed >= query.offset && rows.len() < query.limit as usize {
                    rows.push(row);
                }
                passed += 1;
            }
        }
        Ok(AuditPage { rows, total })
    }

    pub(crate) fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, Fail> {
        let log = self.read()?.open_table(AUDIT)?;
        let found = lines(&log, org, after)?.take(limit as usize);
        found.map(|found| found.and_then(|(seq, line)| line.row(seq))).collect()
    }

    /// Only what is verified goes, and only what is before the moment, by the time that was hashed.
    pub(crate) fn prune_audit(&self, prune: &Prune) -> Result<Option<Checkpoint>, Fail> {
        let tx = self.db.begin_write()?;
        // With the write lock in hand: what is read here is what is removed below.
        let read = self.read()?;
        if let Err(broken) = verify(&read, prune.org(), &self.audit_key)? {
            return Err(corrupt("the audit log", broken));
        }
        let mut last = None;
        for found in lines(&read.open_table(AUDIT)?, prune.org(), 0)? {
            let (seq, line) = found?;
            let row = line.row(seq)?;
            if row.entry.at >= prune.before() {
                break;
            }
            last = Some(row);
        }
        let Some(last) = last else { return Ok(None) };
        let checkpoint = prune.checkpoint(&self.audit_key, last.seq, &last.hash);
        let org = prune.org().as_str();
        tx.open_table(AUDIT)?.retain_in((org, 0)..=(org, last.seq), |_, _| false)?;
        tx.open_table(CHECKPOINTS)?.insert(org, text_of(&checkpoint)?.as_str())?;
        append_audit(&tx, vec![prune.entry(&checkpoint)], &self.audit_key)?;
        tx.commit()?;
        Ok(Some(checkpoint))
    }
}
