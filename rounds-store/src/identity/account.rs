//! Users and service accounts: what they are, how rows read, what is accepted.

use rounds_core::access::{ActorType, OrgRole, Principal};
use rounds_core::ports::StoreError;
use rounds_core::{OrgId, PrincipalId, Timestamp};
use sea_orm::QueryResult;
use secrecy::SecretString;
use uuid::Uuid;

use super::{IdentityError, corrupt, from_micros};
use crate::dialect::unique_violation;
use crate::error::Fail;
use crate::tables::column_text;

/// A user or a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The account.
    pub id: PrincipalId,
    /// Its organisation.
    pub org_id: OrgId,
    /// A person or a program.
    pub kind: ActorType,
    /// What it signs in with, or is known by.
    pub login: String,
    /// A user's address.
    pub email: Option<String>,
    /// The name to show.
    pub name: String,
    /// Its role in the organisation.
    pub role: OrgRole,
    /// Whether it administers the server.
    pub is_server_admin: bool,
    /// Whether it is an agent: proposes, never decides (rule 8).
    pub is_agent: bool,
    /// Whether it is shut out: no session, no token, no password works.
    pub is_disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Account {
    /// The account as a principal, without teams and grants: for audit entries about what it does to itself.
    #[must_use]
    pub fn bare_principal(&self) -> Principal {
        Principal {
            id: self.id,
            kind: self.kind,
            name: self.name.clone(),
            server_admin: self.is_server_admin,
            is_agent: self.is_agent,
            ..Principal::user(self.org_id.clone(), &self.login, self.role)
        }
    }
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The new account's id.
    pub id: PrincipalId,
    /// Its organisation.
    pub org_id: OrgId,
    /// What it signs in with: letters, digits, `.`, `-`, `_`.
    pub login: String,
    /// Its address, which works for signing in too.
    pub email: Option<String>,
    /// The name to show.
    pub name: String,
    /// Its role in the organisation.
    pub role: OrgRole,
    /// Whether it administers the server.
    pub is_server_admin: bool,
    /// Its password; without one it cannot sign in until one is set.
    pub password: Option<SecretString>,
}

/// A service account to be made.
#[derive(Debug, Clone)]
pub struct NewServiceAccount {
    /// The new account's id.
    pub id: PrincipalId,
    /// Its organisation.
    pub org_id: OrgId,
    /// What it is known by; unique in the organisation.
    pub login: String,
    /// The name to show.
    pub name: String,
    /// Its role in the organisation.
    pub role: OrgRole,
    /// Whether it is an agent: proposes, never decides (rule 8).
    pub is_agent: bool,
}

/// What changes about an account; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// The name to show.
    pub name: Option<String>,
    /// A user's address; `Some(None)` removes it.
    pub email: Option<Option<String>>,
    /// The role in the organisation.
    pub role: Option<OrgRole>,
    /// Whether it administers the server.
    pub is_server_admin: Option<bool>,
    /// Whether it is shut out. Shutting out ends its sessions; its tokens are dead until it is let in again.
    pub is_disabled: Option<bool>,
}

pub(super) const COLUMNS: [&str; 11] = [
    "id",
    "org_id",
    "kind",
    "login",
    "email",
    "name",
    "role",
    "is_server_admin",
    "is_agent",
    "is_disabled",
    "created_at",
];

pub(super) const USER: &str = "user";
pub(super) const SERVICE_ACCOUNT: &str = "service_account";

pub(super) fn read_account(row: &QueryResult) -> Result<Account, Fail> {
    let (kind, role): (String, String) = (row.try_get("", "kind")?, row.try_get("", "role")?);
    let org: String = row.try_get("", "org_id")?;
    Ok(Account {
        id: row.try_get::<Uuid>("", "id")?.into(),
        org_id: OrgId::new(org),
        kind: match kind.as_str() {
            USER => ActorType::User,
            SERVICE_ACCOUNT => ActorType::ServiceAccount,
            other => return Err(corrupt("an account", format!("`{other}` is no kind of account"))),
        },
        login: row.try_get("", "login")?,
        email: row.try_get("", "email")?,
        name: row.try_get("", "name")?,
        role: role.parse().map_err(|error| corrupt("an account", error))?,
        is_server_admin: row.try_get("", "is_server_admin")?,
        is_agent: row.try_get("", "is_agent")?,
        is_disabled: row.try_get("", "is_disabled")?,
        created_at: from_micros(row.try_get("", "created_at")?)?,
    })
}

pub(super) fn kind_text(kind: ActorType) -> &'static str {
    match kind {
        ActorType::User => USER,
        ActorType::ServiceAccount | ActorType::System => SERVICE_ACCOUNT,
    }
}

/// Users sign in without naming an organisation, so their logins are unique in the installation.
pub(super) fn login_key(kind: ActorType, org: &OrgId, login: &str) -> String {
    let login = login.to_lowercase();
    match kind {
        ActorType::User => login,
        ActorType::ServiceAccount | ActorType::System => format!("{}:{login}", column_text(org.as_str())),
    }
}

/// No `@`, so that no login is another user's address.
pub(super) fn checked_login(login: &str) -> Result<String, IdentityError> {
    let login = login.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if login.is_empty() || login.len() > 64 || !login.chars().all(plain) {
        return Err(IdentityError::Invalid {
            field: "login",
            message: "1 to 64 letters, digits, `.`, `-` and `_` are expected".into(),
        });
    }
    Ok(login.into())
}

pub(super) fn checked_email(email: &str) -> Result<String, IdentityError> {
    let email = email.trim();
    let looks_right = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !looks_right || email.len() > 254 || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(IdentityError::Invalid {
            field: "email",
            message: "an address like ada@example.org is expected".into(),
        });
    }
    Ok(email.into())
}

pub(super) fn taken(error: sea_orm::DbErr, login: &str, email: Option<&str>, org: &OrgId) -> IdentityError {
    if matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_))) {
        return IdentityError::NotFound { what: "organisation", id: org.to_string() };
    }
    match (unique_violation(&error), email) {
        (Some(message), Some(email)) if message.contains("email_key") => {
            IdentityError::Taken { field: "email", value: email.into() }
        }
        (Some(message), _) if message.contains("login_key") => {
            IdentityError::Taken { field: "login", value: login.into() }
        }
        (Some(_), _) => StoreError::Invalid(format!("the id of {login} is taken")).into(),
        (None, _) => Fail::from(error).into(),
    }
}
