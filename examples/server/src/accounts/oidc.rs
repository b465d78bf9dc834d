//! Whom an identity provider's word signs in.
//!
//! A subject that was linked once stands for its account. The first time, it is linked to the account with its address,
//! and an address is weaker than a subject: who can make the provider vouch for somebody's address takes their account
//! over. So the provider must say that it verified the address, an account that is linked already is linked to nobody
//! else, and accounts of server admins are not linked by address unless the operator says so.

use axum::http::StatusCode;
use rounds_core::access::{ActorType, OrgRole, Principal};
use rounds_core::{OrgId, PrincipalId};
use rounds_store::IdentityError;
use rounds_store::identity::{Account, NewUser};

use super::sessions::Proof;
use super::{Accounts, SignedIn};
use crate::auth::Peer;
use crate::error::ApiError;

/// What a provider says of somebody, its signature checked.
#[derive(Debug, Clone)]
pub(crate) struct Vouched {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The address, when the provider says that it verified it.
    pub(crate) verified_email: Option<String>,
    pub(crate) login: Option<String>,
    pub(crate) name: Option<String>,
    /// The role of an account that is made for them; none: they are not among those who may have one.
    pub(crate) role: Option<OrgRole>,
}

/// What a provider's word counts for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust {
    pub(crate) allow_sign_up: bool,
    pub(crate) link_admins: bool,
}

impl Accounts {
    /// Signs in whom a provider vouches for.
    ///
    /// # Errors
    /// 403 that says why not; nobody learns whether an account is shut out or not there.
    pub(crate) async fn sign_in_vouched(
        &self,
        vouched: &Vouched,
        trust: Trust,
        from: &Peer,
    ) -> Result<SignedIn, ApiError> {
        let account = match self.identity.linked_account(&vouched.issuer, &vouched.subject).await? {
            Some(account) => account,
            None => self.link(vouched, trust).await?,
        };
        self.begin_session(account.id, from, Proof::Oidc).await?.ok_or_else(nobody)
    }

    async fn link(&self, vouched: &Vouched, trust: Trust) -> Result<Account, ApiError> {
        let Some(email) = &vouched.verified_email else {
            return Err(refused(
                "the provider does not say that it verified your address, so it stands for no account",
            ));
        };
        let (account, is_new) = match self.identity.user_by_email(email).await? {
            Some(account) => (account, false),
            None if trust.allow_sign_up => (self.sign_up(vouched, email).await?, true),
            None => return Err(nobody()),
        };
        if account.is_disabled {
            return Err(nobody());
        }
        if account.is_server_admin && !trust.link_admins {
            return Err(refused(
                "an admin of the server is not recognized by an address: sign in with your password, or have the \
                 operator set ROUNDS_OIDC_LINK_ADMINS for your first time",
            ));
        }
        let entry = self.entry(&account.bare_principal(), "user.link", ("user", account.id.to_string()));
        let entry = entry
            .with("login", account.login.clone())
            .with("issuer", vouched.issuer.clone())
            .with("subject", vouched.subject.clone())
            .with("by", if is_new { "sign-up" } else { "email" });
        let subject = (vouched.issuer.as_str(), vouched.subject.as_str());
        match self.identity.link_account(account.id, subject, self.now(), &[entry]).await {
            Ok(()) => Ok(account),
            // Somebody else came with this address before, or the provider gave it to somebody else since.
            Err(IdentityError::Taken { .. }) => {
                Err(refused("the account with your address belongs to somebody else at the provider: ask an admin"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An account for somebody who has none: it has no password, and never administers the server.
    async fn sign_up(&self, vouched: &Vouched, email: &str) -> Result<Account, ApiError> {
        let Some(role) = vouched.role else {
            return Err(refused("you are in none of the groups that may sign in here: ask an admin"));
        };
        let Some(login) = &vouched.login else {
            return Err(refused("the provider does not say what your login is: ask an admin for an account"));
        };
        let (id, org_id) = (PrincipalId::new(), OrgId::default());
        let by = Principal { id, kind: ActorType::User, ..Principal::user(org_id.clone(), login, role) };
        let entry = self.entry(&by, "user.create", ("user", id.to_string()));
        let entry = entry.with("login", login.clone()).with("role", role.to_string()).with("via", "oidc");
        let user = NewUser {
            id,
            org_id,
            login: login.clone(),
            email: Some(email.to_owned()),
            name: vouched.name.clone().unwrap_or_else(|| login.clone()),
            role,
            is_server_admin: false,
            password: None,
        };
        match self.identity.create_user(user, self.now(), &[entry]).await {
            Ok(account) => Ok(account),
            Err(error @ (IdentityError::Taken { .. } | IdentityError::Invalid { .. })) => {
                Err(refused(format!("no account could be made for you ({error}): ask an admin for one")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn nobody() -> ApiError {
    refused("there is no account for you here: ask an admin for one with your address")
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "not_recognized", message)
}
