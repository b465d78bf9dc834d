//! People.

use chrono::{DateTime, Utc};
use rounds_core::access::{Action, ActorType, OrgRole, Principal};
use rounds_core::{OrgId, PrincipalId};
use rounds_store::identity::{Account, AccountChange, NewUser, Subject};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Accounts, at_most_own_role, missing, same_org};
use crate::error::ApiError;

/// A person to be made.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserDraft {
    /// An address, which works for signing in too.
    #[serde(default)]
    pub email: Option<String>,
    /// What they sign in with.
    pub login: String,
    /// The name to show; absent: the login.
    #[serde(default)]
    pub name: Option<String>,
    /// 8 to 256 characters.
    #[schemars(with = "String")]
    pub password: SecretString,
    /// `Viewer`, `Editor` or `Admin`.
    #[serde(default = "viewer")]
    pub org_role: OrgRole,
    /// Whether they administer the server.
    #[serde(default)]
    pub is_admin: bool,
}

fn viewer() -> OrgRole {
    OrgRole::Viewer
}

/// What changes about a person; absent fields stay.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserChange {
    /// The name to show.
    #[serde(default)]
    pub name: Option<String>,
    /// An address.
    #[serde(default)]
    pub email: Option<String>,
    /// `Viewer`, `Editor` or `Admin`.
    #[serde(default)]
    pub org_role: Option<OrgRole>,
    /// Whether they administer the server.
    #[serde(default)]
    pub is_admin: Option<bool>,
    /// Whether they are shut out.
    #[serde(default)]
    pub is_disabled: Option<bool>,
    /// A new password; it ends every session of theirs.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
}

/// A person, as admins see them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "User")]
pub struct UserView {
    /// The account.
    pub id: PrincipalId,
    /// An address.
    pub email: Option<String>,
    /// What they sign in with.
    pub login: String,
    /// The name to show.
    pub name: String,
    /// Whether they administer the server.
    pub is_admin: bool,
    /// Whether they are shut out.
    pub is_disabled: bool,
    /// Their organisation.
    pub org_id: OrgId,
    /// Their role in it.
    pub role: OrgRole,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

impl From<Account> for UserView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            login: account.login,
            name: account.name,
            is_admin: account.is_server_admin,
            is_disabled: account.is_disabled,
            org_id: account.org_id,
            role: account.role,
            created_at: account.created_at,
        }
    }
}

impl Accounts {
    /// Whether there is or was any user: without one, the setup wizard makes the first admin.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub async fn has_users(&self) -> Result<bool, ApiError> {
        Ok(self.identity.has_users().await?)
    }

    /// Makes the first admin, once, whoever asks and however many at a time.
    ///
    /// # Errors
    /// 409 for ever once there was any user; 400 for fields that do not hold.
    pub async fn first_admin(&self, draft: UserDraft) -> Result<UserView, ApiError> {
        let id = PrincipalId::new();
        let org_id = OrgId::default();
        let user = NewUser { role: OrgRole::Admin, is_server_admin: true, ..new_user(id, &org_id, draft) };
        let by = Principal { id, ..Principal::user(org_id, &user.login, OrgRole::Admin) };
        let entry = self.entry(&by, "user.create", ("user", id.to_string()));
        let entry = entry.with("login", user.login.clone()).with("firstAdmin", true);
        Ok(self.identity.first_admin(user, self.now(), &[entry]).await?.into())
    }

    /// Every user of the organisation.
    ///
    /// # Errors
    /// `users:read` is missing.
    pub async fn users(&self, who: &Principal) -> Result<Vec<UserView>, ApiError> {
        self.may(who, Action::UsersRead).await?;
        Ok(self.identity.users(&who.org_id).await?.into_iter().map(UserView::from).collect())
    }

    /// One user of the organisation.
    ///
    /// # Errors
    /// `users:read` is missing, or there is no such user.
    pub async fn user_view(&self, who: &Principal, id: PrincipalId) -> Result<UserView, ApiError> {
        self.may(who, Action::UsersRead).await?;
        Ok(self.user(who, id).await?.into())
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `users:write` is missing, the login or address is taken, or a field does not hold.
    pub async fn create_user(&self, who: &Principal, draft: UserDraft) -> Result<UserView, ApiError> {
        self.may(who, Action::UsersWrite).await?;
        at_most_own_role(who, draft.org_role, Action::UsersWrite)?;
        only_admins_make_admins(who, draft.is_admin)?;
        let id = PrincipalId::new();
        let user = new_user(id, &who.org_id, draft);
        let entry = self.entry(who, "user.create", ("user", id.to_string()));
        let entry = entry
            .with("login", user.login.clone())
            .with("role", user.role.to_string())
            .with("isAdmin", user.is_server_admin);
        Ok(self.identity.create_user(user, self.now(), &[entry]).await?.into())
    }

    /// Changes a user.
    ///
    /// # Errors
    /// `users:write` is missing, there is no such user, it is the last admin, a field does not hold, or it would let who asks
    /// sign in as somebody who may more.
    pub async fn change_user(
        &self,
        who: &Principal,
        id: PrincipalId,
        change: UserChange,
    ) -> Result<UserView, ApiError> {
        self.may(who, Action::UsersWrite).await?;
        let found = self.user(who, id).await?;
        only_admins_make_admins(who, found.is_server_admin || change.is_admin == Some(true))?;
        at_most_own_role(who, change.org_role.unwrap_or(OrgRole::Viewer).max(found.role), Action::UsersWrite)?;
        // Whoever sets a password, or the address that a provider vouches for, can sign in with it.
        if id != who.id && (change.password.is_some() || change.email.is_some()) {
            self.at_most_own_grants(who, Subject::Account(id)).await?;
        }
        let entry = self.entry(who, "user.update", ("user", id.to_string())).with("login", found.login);
        if let Some(password) = &change.password {
            let entry = entry.clone().with("password", "changed");
            self.identity.set_password(id, password, &[entry]).await?;
        }
        let change = AccountChange {
            name: change.name,
            email: change.email.map(Some),
            role: change.org_role,
            is_server_admin: change.is_admin,
            is_disabled: change.is_disabled,
        };
        let mut entry = entry;
        if let Some(role) = change.role {
            entry = entry.with("role", role.to_string());
        }
        if let Some(admin) = change.is_server_admin {
            entry = entry.with("isAdmin", admin);
        }
        if let Some(disabled) = change.is_disabled {
            entry = entry.with("isDisabled", disabled);
        }
        Ok(self.identity.change_account(id, change, &[entry]).await?.into())
    }

    /// Deletes a user with their sessions, tokens and grants.
    ///
    /// # Errors
    /// `users:write` is missing, there is no such user, or it is the last server admin.
    pub async fn delete_user(&self, who: &Principal, id: PrincipalId) -> Result<(), ApiError> {
        self.may(who, Action::UsersWrite).await?;
        let found = self.user(who, id).await?;
        only_admins_make_admins(who, found.is_server_admin)?;
        at_most_own_role(who, found.role, Action::UsersWrite)?;
        let entry = self.entry(who, "user.delete", ("user", id.to_string())).with("login", found.login);
        Ok(self.identity.delete_account(id, &[entry]).await?)
    }

    /// The account behind whoever asks.
    ///
    /// # Errors
    /// It is gone meanwhile.
    pub async fn myself(&self, who: &Principal) -> Result<Account, ApiError> {
        self.identity.account(who.id).await?.ok_or_else(ApiError::unauthorized)
    }

    pub(super) async fn user(&self, who: &Principal, id: PrincipalId) -> Result<Account, ApiError> {
        let found = self.identity.account(id).await?;
        let is_theirs = |found: &Account| found.kind == ActorType::User && same_org(&found.org_id, who);
        found.filter(is_theirs).ok_or_else(|| ApiError::not_found("user", id))
    }
}

fn new_user(id: PrincipalId, org_id: &OrgId, draft: UserDraft) -> NewUser {
    NewUser {
        id,
        org_id: org_id.clone(),
        name: draft.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| draft.login.clone()),
        login: draft.login,
        email: draft.email,
        role: draft.org_role,
        is_server_admin: draft.is_admin,
        password: Some(draft.password),
    }
}

/// `users:write` can be granted; the server is not handed out with it.
pub(super) fn only_admins_make_admins(who: &Principal, admin: bool) -> Result<(), ApiError> {
    if admin && !who.server_admin {
        return Err(missing(who, Action::UsersWrite, "server-admins".into()).into());
    }
    Ok(())
}
