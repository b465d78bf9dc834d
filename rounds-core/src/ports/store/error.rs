use super::{Key, RecordKind};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else changed the record first: read it again and decide anew.
    #[error("{key} changed meanwhile (version {expected} was expected)")]
    Conflict {
        /// The record.
        key: Key,
        /// The version that was expected.
        expected: u64,
    },
    /// There already is a record with that unique key, or that id.
    #[error("there already is a {kind} with {unique}")]
    Duplicate {
        /// The kind of record.
        kind: RecordKind,
        /// What must be unique, as the record's index says.
        unique: String,
    },
    /// The lease is over or somebody else's: the worker may commit nothing under it.
    #[error("the lease on {key} is lost")]
    LeaseLost {
        /// The record.
        key: Key,
    },
    /// The database is busy or cannot be reached; the same call may succeed later.
    #[error("the store is unavailable: {message}")]
    Unavailable {
        /// What went wrong. Never a secret.
        message: String,
    },
    /// The store was closed by whoever opened it: nothing will succeed any more, and whoever works on it ends.
    #[error("the store is closed")]
    Closed,
    /// What is stored cannot be read: another key, another version of Rounds, or damage.
    #[error("{what} cannot be read: {message}")]
    Corrupt {
        /// Which record or row.
        what: String,
        /// What is wrong and what would help.
        message: String,
    },
    /// The call itself is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Conflict { .. }
            | Self::Duplicate { .. }
            | Self::LeaseLost { .. }
            | Self::Closed
            | Self::Corrupt { .. }
            | Self::Invalid(_) => false,
        }
    }
}
