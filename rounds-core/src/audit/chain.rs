//! The keyed hash chain over audit rows.
//!
//! `hash(n) = HMAC-SHA256(key, "rounds.audit.v1\n" ‖ org ‖ "\n" ‖ n ‖ "\n" ‖ hash(n-1) ‖ "\n" ‖ entry text)`, all hex
//! in lower case. Stores keep the entry text as it was hashed. Without the key nobody can rewrite a row and the
//! rows after it; with an exported head nobody can cut off the end.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{AuditEntry, Checkpoint};
use crate::canonical;
use crate::id::OrgId;

/// What the first row of every organisation follows.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The text of an entry that is hashed and stored: canonical JSON.
#[must_use]
pub fn entry_text(entry: &AuditEntry) -> String {
    canonical::to_string(&serde_json::to_value(entry).unwrap_or_default())
}

/// The hash of a row.
#[must_use]
pub fn hash(key: &[u8], org: &OrgId, seq: u64, previous: &str, entry_text: &str) -> String {
    // HMAC takes a key of any length, so this cannot fail; an empty answer would verify nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    for part in ["rounds.audit.v1", org.as_str(), &seq.to_string(), previous, entry_text] {
        // Lengths before parts, so that no two different rows give the same bytes.
        mac.update(format!("{}:", part.len()).as_bytes());
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    hex::encode(mac.finalize().into_bytes())
}

/// Where a chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log of {org} breaks at row {seq}: {reason}")]
pub struct Broken {
    /// The organisation.
    pub org: OrgId,
    /// The first row that does not fit.
    pub seq: u64,
    /// In which way.
    pub reason: String,
}

/// Walks a chain row by row.
#[derive(Clone)]
pub struct Verifier {
    org: OrgId,
    key: Vec<u8>,
    seq: u64,
    head: String,
}

/// Without the key.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("org", &self.org).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Starts before the first row.
    #[must_use]
    pub fn new(org: OrgId, key: &[u8]) -> Self {
        Self { org, key: key.to_vec(), seq: 0, head: GENESIS.into() }
    }

    /// Starts in the middle, after a row that is taken for true: what is verified is what follows it.
    #[must_use]
    pub fn at(org: OrgId, key: &[u8], seq: u64, hash: &str) -> Self {
        Self { seq, head: hash.to_owned(), ..Self::new(org, key) }
    }

    /// Starts after the rows that a checkpoint stands for.
    ///
    /// # Errors
    /// The checkpoint is another organisation's, or is not signed with the key.
    pub fn after(checkpoint: &Checkpoint, org: OrgId, key: &[u8]) -> Result<Self, Broken> {
        if checkpoint.org != org {
            let reason = format!("its checkpoint is that of {}", checkpoint.org);
            return Err(Broken { org, seq: checkpoint.seq, reason });
        }
        checkpoint.verify(key)?;
        Ok(Self { seq: checkpoint.seq, head: checkpoint.hash.clone(), ..Self::new(org, key) })
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// It does not follow the one before, or its text or hash was changed.
    pub fn next(&mut self, seq: u64, previous: &str, hash_hex: &str, entry_text: &str) -> Result<(), Broken> {
        let broken = |reason: &str| Broken { org: self.org.clone(), seq, reason: reason.into() };
        if seq != self.seq + 1 {
            return Err(broken(&format!("row {} is missing", self.seq + 1)));
        }
        if previous != self.head {
            return Err(broken("it does not follow the row before it"));
        }
        if hash(&self.key, &self.org, seq, previous, entry_text) != hash_hex {
            return Err(broken("its content is not what was hashed, or the key is another one"));
        }
        self.seq = seq;
        self.head = hash_hex.into();
        Ok(())
    }

    /// How many rows were taken and the hash of the last: export it to notice later whether the end was cut off.
    #[must_use]
    pub fn head(&self) -> (u64, &str) {
        (self.seq, &self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Actor;
    use crate::audit::Outcome;

    fn rows() -> Vec<(u64, String, String, String)> {
        let org = OrgId::default();
        let mut previous = GENESIS.to_owned();
        (1..=3)
            .map(|seq| {
                let at = chrono::DateTime::UNIX_EPOCH;
                let entry = AuditEntry::new(at, &org, &Actor::system(), "a", ("t", seq.to_string()), Outcome::Success);
                let text = entry_text(&entry);
                let row = (seq, previous.clone(), hash(b"key", &org, seq, &previous, &text), text);
                previous.clone_from(&row.2);
                row
            })
            .collect()
    }

    fn verify(rows: &[(u64, String, String, String)], key: &[u8]) -> Result<(), Broken> {
        let mut verifier = Verifier::new(OrgId::default(), key);
        rows.iter().try_for_each(|row| verifier.next(row.0, &row.1, &row.2, &row.3))
    }

    #[test]
    fn a_changed_a_removed_and_a_moved_row_and_another_key_are_all_noticed() {
        assert!(verify(&rows(), b"key").is_ok());
        assert!(verify(&rows(), b"other").is_err());
        let mut changed = rows();
        changed[1].3 = changed[1].3.replace("success", "failure");
        assert_eq!(verify(&changed, b"key").unwrap_err().seq, 2);
        let mut removed = rows();
        removed.remove(1);
        assert_eq!(verify(&removed, b"key").unwrap_err().seq, 3);
        let mut moved = rows();
        moved.swap(0, 1);
        assert!(verify(&moved, b"key").is_err());
    }
}
