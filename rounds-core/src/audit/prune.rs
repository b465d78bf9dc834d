//! Removing old rows without breaking the chain: what is left says, under the chain's key, where it went on.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::chain::Broken;
use super::{AuditEntry, Outcome};
use crate::access::Actor;
use crate::id::OrgId;
use crate::time::{Timestamp, after_ms};

/// A request to remove the rows before a moment. Made by [`Prune::new`], which keeps what is too young.
#[derive(Debug, Clone, PartialEq)]
pub struct Prune {
    before: Timestamp,
    entry: AuditEntry,
}

/// What was asked to be removed is too young.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "audit rows are kept for at least {} days: a moment before {oldest} is accepted, not {found}",
    Prune::KEPT_DAYS
)]
pub struct TooYoung {
    found: Timestamp,
    oldest: Timestamp,
}

impl Prune {
    /// No row is removed before it is this old.
    pub const KEPT_DAYS: u64 = 30;
    /// The action of the row that says that rows were removed, and by whom.
    pub const ACTION: &'static str = "audit.prune";

    /// Rows of an organisation before a moment, removed by somebody now.
    ///
    /// # Errors
    /// The moment is less than [`KEPT_DAYS`](Self::KEPT_DAYS) ago.
    pub fn new(org: &OrgId, before: Timestamp, by: &Actor, now: Timestamp) -> Result<Self, TooYoung> {
        if after_ms(before, Self::KEPT_DAYS * 86_400_000) > now {
            let oldest = now - chrono::TimeDelta::days(Self::KEPT_DAYS as i64);
            return Err(TooYoung { found: before, oldest });
        }
        let target = ("organisation", org.to_string());
        let entry =
            AuditEntry::new(now, org, by, Self::ACTION, target, Outcome::Success).with("before", before.to_rfc3339());
        Ok(Self { before, entry })
    }

    /// The organisation.
    #[must_use]
    pub fn org(&self) -> &OrgId {
        &self.entry.org_id
    }

    /// Rows before this moment go, up to the first that is not.
    #[must_use]
    pub fn before(&self) -> Timestamp {
        self.before
    }

    /// The checkpoint that a store leaves in place of the rows up to `seq`, whose hash is `hash`; signed with the
    /// chain's key.
    #[must_use]
    pub fn checkpoint(&self, key: &[u8], seq: u64, hash: &str) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            org: self.entry.org_id.clone(),
            seq,
            hash: hash.to_owned(),
            at: self.entry.at,
            by: self.entry.actor_id.clone(),
            signature: String::new(),
        };
        checkpoint.signature = checkpoint.expected(key);
        checkpoint
    }

    /// The row that a store appends together with the checkpoint.
    #[must_use]
    pub fn entry(&self, checkpoint: &Checkpoint) -> AuditEntry {
        self.entry.clone().with("through", checkpoint.seq).with("hash", checkpoint.hash.clone())
    }
}

/// Where a chain goes on after its older rows were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The organisation.
    pub org: OrgId,
    /// The last row that was removed.
    pub seq: u64,
    /// Its hash, which the first row that is left follows.
    pub hash: String,
    /// When they were removed.
    pub at: Timestamp,
    /// By whom: the actor's id.
    pub by: String,
    /// Under the chain's key, so that nobody without it can pretend that rows were removed in order.
    pub signature: String,
}

impl Checkpoint {
    /// Whether it is signed with this key.
    ///
    /// # Errors
    /// It is not, and so proves nothing.
    pub fn verify(&self, key: &[u8]) -> Result<(), Broken> {
        if self.expected(key) == self.signature && !self.signature.is_empty() {
            return Ok(());
        }
        let reason = "the checkpoint that stands for the rows up to it is not signed with this key".into();
        Err(Broken { org: self.org.clone(), seq: self.seq, reason })
    }

    fn expected(&self, key: &[u8]) -> String {
        // HMAC takes a key of any length, so this cannot fail; an empty answer verifies nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
        let (seq, at) = (self.seq.to_string(), self.at.timestamp_micros().to_string());
        for part in ["rounds.audit.checkpoint.v1", self.org.as_str(), &seq, &self.hash, &at, &self.by] {
            mac.update(format!("{}:", part.len()).as_bytes());
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(days)
    }

    #[test]
    fn what_is_younger_than_thirty_days_is_kept() {
        let org = OrgId::default();
        assert!(Prune::new(&org, at(70), &Actor::system(), at(100)).is_ok());
        let refused = Prune::new(&org, at(71), &Actor::system(), at(100)).unwrap_err().to_string();
        assert!(refused.contains("at least 30 days"), "{refused}");
    }

    #[test]
    fn a_checkpoint_that_was_changed_in_any_part_is_not_signed() {
        let prune = Prune::new(&OrgId::default(), at(1), &Actor::system(), at(100)).unwrap();
        let signed = prune.checkpoint(b"key", 7, "abc");
        assert!(signed.verify(b"key").is_ok());
        assert!(signed.verify(b"other").is_err());
        for forged in [
            Checkpoint { org: OrgId::new("other"), ..signed.clone() },
            Checkpoint { seq: 8, ..signed.clone() },
            Checkpoint { hash: "abd".into(), ..signed.clone() },
            Checkpoint { at: at(2), ..signed.clone() },
            Checkpoint { by: "ada".into(), ..signed.clone() },
            Checkpoint { signature: String::new(), ..signed.clone() },
        ] {
            assert_eq!(forged.verify(b"key").unwrap_err().seq, forged.seq);
        }
    }
}
