//! Signing in and out, the sessions that go on, and who a token is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rounds_core::access::{Action, ActorType, Principal};
use rounds_core::ports::{Identity as _, TokenIdentity};
use rounds_core::{PrincipalId, Timestamp};
use rounds_store::identity::{PasswordProof, Session, SessionInfo, SessionStart};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

use super::users::only_admins_make_admins;
use super::{Accounts, at_most_own_role};
use crate::auth::Peer;
use crate::error::ApiError;

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// However busy: after this the person signs in again.
    pub lifetime: Duration,
    /// Without a request of the person's.
    pub idle: Duration,
}

impl Default for SessionLimits {
    /// A working week, so that whoever is on call signs in once; a day of silence, so that what was left open somewhere
    /// ends.
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(7 * 86_400), idle: Duration::from_secs(86_400) }
    }
}

/// A new session.
pub struct SignedIn {
    /// What the cookie carries.
    pub token: SecretString,
    /// Who signed in.
    pub principal: Principal,
}

/// How somebody proved who they are.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    Password(PasswordProof),
    #[cfg(feature = "oidc")]
    Oidc,
}

impl Proof {
    /// The word of the audit log.
    fn word(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            #[cfg(feature = "oidc")]
            Self::Oidc => "oidc",
        }
    }
}

/// A session that goes on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Session")]
pub struct SessionView {
    /// What it is ended by. It opens nothing.
    pub id: Uuid,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends, however busy.
    pub expires_at: DateTime<Utc>,
    /// The browser, as it called itself.
    pub user_agent: Option<String>,
    /// The address it was begun from.
    pub address: Option<String>,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

impl SessionView {
    fn of(found: SessionInfo, current: Option<Uuid>) -> Self {
        Self {
            id: found.id,
            created_at: found.created_at,
            last_seen_at: found.last_seen_at,
            expires_at: found.expires_at,
            user_agent: found.user_agent,
            address: found.address,
            is_current: current == Some(found.id),
        }
    }
}

impl Accounts {
    /// The session that a cookie stands for; `None` when it is over, or its account is disabled. Looking does not prolong
    /// it: [`Self::seen`] does.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn session(&self, token: &SecretString, now: Timestamp) -> Result<Option<Session>, ApiError> {
        Ok(self.identity.session(token, now, self.limits.idle).await?)
    }

    /// Somebody used a session.
    pub async fn seen(&self, session: &Session, now: Timestamp) {
        self.identity.touch_session(session, now).await;
    }

    /// Whom a bearer token stands for.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn bearer(&self, token: &SecretString, now: Timestamp) -> Result<Option<TokenIdentity>, ApiError> {
        Ok(self.identity.authenticate(token, now).await?)
    }

    /// Signs in with login or email and password. Unknown user, wrong password and disabled account are the same
    /// `None`, after the same work. Whatever session the browser had before is over then.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn sign_in(&self, user: &str, password: SecretString, from: &Peer) -> Result<Option<SignedIn>, ApiError> {
        let mut tries = 0;
        loop {
            let Some((account, proof)) = self.identity.verify_password(user, &password).await? else { return Ok(None) };
            match self.begin_session(account.id, from, Proof::Password(proof)).await {
                // Set anew meanwhile, to the same or with another hash: what is right now is looked at once more.
                Err(error) if error.body.code == "password_changed" && tries == 0 => tries += 1,
                begun => return begun,
            }
        }
    }

    /// Begins the session of somebody who proved who they are; `None` when the account is shut out.
    pub(crate) async fn begin_session(
        &self,
        account: PrincipalId,
        from: &Peer,
        proof: Proof,
    ) -> Result<Option<SignedIn>, ApiError> {
        let Some(principal) = self.identity.principal(account).await? else { return Ok(None) };
        let entry = self.entry(&principal, "session.create", ("user", principal.id.to_string()));
        let entry = entry.with("via", proof.word()).with("address", from.address.to_string());
        let start = SessionStart {
            user_agent: from.user_agent.clone(),
            address: Some(from.address.to_string()),
            replaces: from.session.clone(),
            proof: match proof {
                Proof::Password(proof) => Some(proof),
                #[cfg(feature = "oidc")]
                Proof::Oidc => None,
            },
            ..SessionStart::new(account, self.limits.lifetime)
        };
        let session = self.identity.create_session(start, self.now(), &[entry]).await?;
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

    /// One's own sessions, the one used last first. `current` is the one that asks.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn my_sessions(&self, who: &Principal, current: Option<Uuid>) -> Result<Vec<SessionView>, ApiError> {
        self.sessions_of(who.id, current).await
    }

    /// Ends a session of one's own: it is over at once.
    ///
    /// # Errors
    /// There is no such session of one's own.
    pub async fn end_my_session(&self, who: &Principal, id: Uuid) -> Result<(), ApiError> {
        let entry = self.entry(who, "session.delete", ("user", who.id.to_string())).with("sessionId", id.to_string());
        match self.identity.end_session(who.id, id, &[entry]).await? {
            true => Ok(()),
            false => Err(ApiError::not_found("session", id)),
        }
    }

    /// Ends every session of one's own but the one that asks; answers how many.
    ///
    /// # Errors
    /// The accounts cannot be written.
    pub async fn end_my_other_sessions(&self, who: &Principal, current: Option<Uuid>) -> Result<u64, ApiError> {
        let entry = self.entry(who, "session.delete", ("user", who.id.to_string())).with("sessions", "others");
        Ok(self.identity.delete_sessions(who.id, current, &[entry]).await?)
    }

    /// Changes one's own password. Every session but the one that asks ends; tokens go on until they are revoked.
    /// `false`: the current password is another.
    ///
    /// # Errors
    /// The new password does not hold, or whoever asks is a program.
    pub async fn change_my_password(
        &self,
        who: &Principal,
        session: Uuid,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<bool, ApiError> {
        if who.kind != ActorType::User {
            return Err(ApiError::bad_request("service accounts have no password"));
        }
        let entry = self.entry(who, "user.password", ("user", who.id.to_string())).with("login", who.login.clone());
        Ok(self.identity.change_password(who.id, (current, new), Some(session), &[entry]).await?)
    }

    /// A user's sessions.
    ///
    /// # Errors
    /// `users:read` is missing, or there is no such user in the organisation.
    pub async fn user_sessions(
        &self,
        who: &Principal,
        id: PrincipalId,
        current: Option<Uuid>,
    ) -> Result<Vec<SessionView>, ApiError> {
        self.may(who, Action::UsersRead).await?;
        let found = self.user(who, id).await?;
        self.sessions_of(found.id, current).await
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// `users:write` is missing, there is no such user in the organisation, or they are more than who asks.
    pub async fn end_user_sessions(&self, who: &Principal, id: PrincipalId) -> Result<(), ApiError> {
        self.may(who, Action::UsersWrite).await?;
        let found = self.user(who, id).await?;
        only_admins_make_admins(who, found.is_server_admin)?;
        at_most_own_role(who, found.role, Action::UsersWrite)?;
        let entry = self.entry(who, "session.delete", ("user", id.to_string())).with("login", found.login);
        self.identity.delete_sessions(id, None, &[entry.with("sessions", "all")]).await?;
        Ok(())
    }

    async fn sessions_of(&self, account: PrincipalId, current: Option<Uuid>) -> Result<Vec<SessionView>, ApiError> {
        let found = self.identity.sessions(account, self.now(), self.limits.idle).await?;
        Ok(found.into_iter().map(|session| SessionView::of(session, current)).collect())
    }
}
