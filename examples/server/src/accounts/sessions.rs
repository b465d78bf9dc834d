//! Signing in and out, and who a token is.

use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::access::Principal;
use rounds_core::ports::{Identity as _, TokenIdentity};
use secrecy::SecretString;

use super::Accounts;
use crate::error::ApiError;

/// How long a session lasts: a working week, so that whoever is on call signs in once.
const SESSION: Duration = Duration::from_secs(7 * 86_400);

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
    pub async fn session(&self, token: &SecretString, now: Timestamp) -> Result<Option<Principal>, ApiError> {
        Ok(self.identity.session(token, now).await?.map(|session| session.principal))
    }

    /// Whom a bearer token stands for.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn bearer(&self, token: &SecretString, now: Timestamp) -> Result<Option<TokenIdentity>, ApiError> {
        Ok(self.identity.authenticate(token, now).await?)
    }

    /// Signs in with login or email and password. Unknown user, wrong password and disabled account are the same
    /// `None`, after the same work.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn sign_in(&self, user: &str, password: SecretString) -> Result<Option<SignedIn>, ApiError> {
        let Some(account) = self.identity.verify_password(user, &password).await? else { return Ok(None) };
        let Some(principal) = self.identity.principal(account.id).await? else { return Ok(None) };
        let entry = self.entry(&principal, "session.create", ("user", principal.id.to_string()));
        let session = self.identity.create_session(account.id, self.now(), SESSION, &[entry]).await?;
        Ok(Some(SignedIn { token: session.id, principal }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The accounts cannot be written.
    pub async fn sign_out(&self, who: &Principal, token: &SecretString) -> Result<(), ApiError> {
        let entry = self.entry(who, "session.delete", ("user", who.id.to_string()));
        Ok(self.identity.delete_session(token, &[entry]).await?)
    }
}
