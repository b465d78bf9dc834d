//! Users, sessions, teams, service accounts, tokens and grants, as the HTTP side needs them.

use rounds_core::Timestamp;
use rounds_core::access::Principal;
use rounds_core::ports::{PortError, TokenIdentity};
use secrecy::SecretString;

/// The accounts behind the server.
#[derive(Clone)]
pub struct Accounts {}

/// A new session.
pub struct SignedIn {
    /// What the cookie carries.
    pub token: SecretString,
    /// Who signed in.
    pub principal: Principal,
}

impl Accounts {
    /// Whose session a cookie stands for; `None` when it is over, or its account is disabled.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn session(&self, _token: &SecretString, _now: Timestamp) -> Result<Option<Principal>, PortError> {
        Ok(None)
    }

    /// Whom a bearer token stands for.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn bearer(&self, _token: &SecretString, _now: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        Ok(None)
    }

    /// Signs in with login or email and password. Unknown user, wrong password and disabled account are the same
    /// `None`, after the same work.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn sign_in(&self, _user: &str, _password: SecretString) -> Result<Option<SignedIn>, PortError> {
        Ok(None)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The accounts cannot be written.
    pub async fn sign_out(&self, _token: &SecretString) -> Result<(), PortError> {
        Ok(())
    }

    /// Whether there is any user at all: without one, the setup wizard makes the first admin.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn has_users(&self) -> Result<bool, PortError> {
        Ok(false)
    }
}
