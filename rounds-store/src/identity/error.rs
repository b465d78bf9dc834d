use rounds_core::ports::{PortError, PortErrorKind, StoreError};

/// Why a change of accounts was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is, or was, a user: the first admin is made once.
    #[error("this installation already has its first admin; sign in, or ask an admin for an account")]
    UsersExist,
    /// Somebody else has it.
    #[error("{field} `{value}` is taken")]
    Taken {
        /// Which field.
        field: &'static str,
        /// What was asked for.
        value: String,
    },
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The change would leave nobody who can administer the server.
    #[error("this is the last server admin who can sign in; make another one first")]
    LastAdmin,
    /// The password that was proved was set anew since.
    #[error("the password was changed in this moment; sign in again")]
    PasswordChanged,
    /// A value cannot be accepted.
    #[error("{field}: {message}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What would be accepted.
        message: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<IdentityError> for PortError {
    fn from(error: IdentityError) -> Self {
        let kind = match error {
            // What the database said is for a log, not for whoever asked: it stays beneath.
            IdentityError::Store(error) => {
                let kind = match error {
                    StoreError::Unavailable { .. } => PortErrorKind::Unavailable,
                    _ => PortErrorKind::Protocol,
                };
                return PortError::new(kind, "the accounts cannot be read").with_source(error);
            }
            IdentityError::UsersExist
            | IdentityError::Taken { .. }
            | IdentityError::NotFound { .. }
            | IdentityError::LastAdmin
            | IdentityError::PasswordChanged
            | IdentityError::Invalid { .. } => PortErrorKind::Invalid,
        };
        PortError::new(kind, error.to_string())
    }
}
