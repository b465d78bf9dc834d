//! What can go wrong inside: something of Rounds' own, or something of redb's.

use rounds_core::ports::StoreError;

pub(crate) enum Fail {
    Store(StoreError),
    Db(redb::Error),
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// redb has an error for each kind of call, so that `?` needs one of these for each.
macro_rules! of_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fail {
            fn from(error: $error) -> Self {
                Self::Db(error.into())
            }
        }
    )*};
}
of_redb!(redb::CommitError, redb::DatabaseError, redb::StorageError, redb::TableError, redb::TransactionError);

impl From<Fail> for StoreError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Store(error) => error,
            // A full disk or a lost one may come back; a file that is damaged does not mend itself.
            Fail::Db(error @ (redb::Error::Io(_) | redb::Error::DatabaseAlreadyOpen)) => {
                Self::Unavailable { message: error.to_string() }
            }
            Fail::Db(error) => Self::Corrupt { what: "the file".into(), message: error.to_string() },
        }
    }
}

/// Something in the file cannot be read as what it should be.
pub(crate) fn corrupt(what: impl ToString, error: impl ToString) -> Fail {
    Fail::Store(StoreError::Corrupt { what: what.to_string(), message: error.to_string() })
}
