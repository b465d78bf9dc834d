//! What goes wrong inside, and how it is told outside.

use rounds_core::ports::StoreError;
use sea_orm::DbErr;

use crate::dialect;
use crate::identity::IdentityError;

/// A failure on its way out: the database's own are kept until it is decided whether to try again.
#[derive(Debug)]
pub(crate) enum Fail {
    Db(DbErr),
    Store(StoreError),
    Refused(IdentityError),
}

impl Fail {
    /// Whether the database was only busy, so that the same work may pass a moment later.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::Db(error) => dialect::is_busy(error),
            Self::Store(_) | Self::Refused(_) => false,
        }
    }
}

impl From<DbErr> for Fail {
    fn from(error: DbErr) -> Self {
        Self::Db(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<IdentityError> for Fail {
    fn from(error: IdentityError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fail> for StoreError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Db(error) => dialect::explain(&error),
            Fail::Store(error) => error,
            // No store call makes one; saying it plainly beats hiding it.
            Fail::Refused(error) => Self::Invalid(error.to_string()),
        }
    }
}

impl From<Fail> for IdentityError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Refused(error) => error,
            Fail::Db(_) | Fail::Store(_) => Self::Store(fail.into()),
        }
    }
}

/// Numbers that rows hold as signed and Rounds counts from zero.
pub(crate) fn unsigned(what: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number)
        .map_err(|_| StoreError::Corrupt { what: what.into(), message: format!("{number} is not a count") })
}

/// The other way. Nothing counts that far.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
