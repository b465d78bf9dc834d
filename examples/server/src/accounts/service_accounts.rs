//! Service accounts, and the tokens of programs and people.

use chrono::{DateTime, Utc};
use rounds_core::access::{Action, ActorType, OrgRole, Principal};
use rounds_core::time::after_ms;
use rounds_core::{OrgId, PrincipalId, TokenId};
use rounds_store::SqlIdentity;
use rounds_store::identity::{Account, AccountChange, NewServiceAccount, NewToken, Subject, TokenInfo};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Accounts, at_most_own_role, missing, same_org};
use crate::error::ApiError;

/// A service account.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServiceAccount")]
pub struct ServiceAccountView {
    /// The account.
    pub id: PrincipalId,
    /// Its organisation.
    pub org_id: OrgId,
    /// What it is known by.
    pub login: String,
    /// The name to show.
    pub name: String,
    /// Its role in the organisation.
    pub role: OrgRole,
    /// Whether it is shut out.
    pub is_disabled: bool,
    /// Whether it is an agent: it proposes and never decides.
    pub is_agent: bool,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed, as far as is known.
    pub updated: DateTime<Utc>,
    /// When one of its tokens was last used.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// How many of its tokens are live.
    pub tokens: usize,
}

/// What changes about a service account; absent fields stay.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountChange {
    /// The name to show.
    #[serde(default)]
    pub name: Option<String>,
    /// Its role in the organisation.
    #[serde(default)]
    pub role: Option<OrgRole>,
    /// Whether it is shut out.
    #[serde(default)]
    pub is_disabled: Option<bool>,
}

/// A token that was just minted.
#[derive(Clone)]
pub struct TokenMinted {
    /// The token.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// Its text, shown this once.
    pub key: SecretString,
    /// When it ends.
    pub expires: Option<DateTime<Utc>>,
}

/// What is known of a token.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Token")]
pub struct TokenView {
    /// The token.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// The role of its account.
    pub role: OrgRole,
    /// When it was minted.
    pub created: DateTime<Utc>,
    /// Who minted it.
    pub created_by: String,
    /// When it last changed: minted or revoked.
    pub updated: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it ends.
    pub expires: Option<DateTime<Utc>>,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// Whether its time is over.
    pub has_expired: bool,
}

impl Accounts {
    /// Every service account of the organisation.
    ///
    /// # Errors
    /// `serviceaccounts:read` is missing.
    pub async fn service_accounts(&self, who: &Principal) -> Result<Vec<ServiceAccountView>, ApiError> {
        self.may(who, Action::ServiceAccountsRead).await?;
        let mut views = Vec::new();
        for account in self.identity.service_accounts(&who.org_id).await? {
            views.push(self.view(account).await?);
        }
        Ok(views)
    }

    /// One service account.
    ///
    /// # Errors
    /// `serviceaccounts:read` is missing, or there is none.
    pub async fn service_account(&self, who: &Principal, id: PrincipalId) -> Result<ServiceAccountView, ApiError> {
        self.may(who, Action::ServiceAccountsRead).await?;
        let found = self.program(who, id).await?;
        self.view(found).await
    }

    /// Makes a service account with the login `sa-<name>`.
    ///
    /// # Errors
    /// `serviceaccounts:write` is missing, the role is above one's own, the name is taken or does not hold, or an agent
    /// is asked for by somebody who is no server admin.
    pub async fn create_service_account(
        &self,
        who: &Principal,
        name: &str,
        role: OrgRole,
        is_agent: bool,
    ) -> Result<ServiceAccountView, ApiError> {
        self.may(who, Action::ServiceAccountsWrite).await?;
        if is_agent && !who.server_admin {
            return Err(missing(who, Action::ServiceAccountsWrite, "agents".into()).into());
        }
        at_most_own_role(who, role, Action::ServiceAccountsWrite)?;
        let id = PrincipalId::new();
        let login = format!("sa-{}", slug(name));
        let new = NewServiceAccount {
            id,
            org_id: who.org_id.clone(),
            login: login.clone(),
            name: name.to_owned(),
            role,
            is_agent,
        };
        let entry = self.entry(who, "serviceaccount.create", ("service_account", id.to_string()));
        let entry = entry.with("login", login).with("role", role.to_string()).with("isAgent", is_agent);
        let made = self.identity.create_service_account(new, self.now(), &[entry]).await?;
        self.view(made).await
    }

    /// Changes a service account.
    ///
    /// # Errors
    /// `serviceaccounts:write` is missing, the role is above one's own, or there is none.
    pub async fn change_service_account(
        &self,
        who: &Principal,
        id: PrincipalId,
        change: ServiceAccountChange,
    ) -> Result<ServiceAccountView, ApiError> {
        self.may(who, Action::ServiceAccountsWrite).await?;
        let found = self.program(who, id).await?;
        at_most_own_role(who, change.role.unwrap_or(found.role).max(found.role), Action::ServiceAccountsWrite)?;
        let mut entry = self.entry(who, "serviceaccount.update", ("service_account", id.to_string()));
        entry = entry.with("login", found.login);
        if let Some(role) = change.role {
            entry = entry.with("role", role.to_string());
        }
        if let Some(disabled) = change.is_disabled {
            entry = entry.with("isDisabled", disabled);
        }
        let change = AccountChange {
            name: change.name,
            role: change.role,
            is_disabled: change.is_disabled,
            ..AccountChange::default()
        };
        let changed = self.identity.change_account(id, change, &[entry]).await?;
        self.view(changed).await
    }

    /// Deletes a service account with its tokens. The seeded agent stays: it can be disabled.
    ///
    /// # Errors
    /// `serviceaccounts:write` is missing, there is none, or it is the seeded one.
    pub async fn delete_service_account(&self, who: &Principal, id: PrincipalId) -> Result<(), ApiError> {
        self.may(who, Action::ServiceAccountsWrite).await?;
        let found = self.program(who, id).await?;
        if found.login == SqlIdentity::AGENT_LOGIN {
            let message = format!("{} runs the investigations: disable it instead", found.login);
            return Err(ApiError::new(axum::http::StatusCode::CONFLICT, "seeded", message));
        }
        at_most_own_role(who, found.role, Action::ServiceAccountsWrite)?;
        let entry = self.entry(who, "serviceaccount.delete", ("service_account", id.to_string()));
        Ok(self.identity.delete_account(id, &[entry.with("login", found.login)]).await?)
    }

    /// The tokens of a service account, newest first.
    ///
    /// # Errors
    /// `serviceaccounts:read` is missing, or there is no such service account.
    pub async fn tokens(&self, who: &Principal, id: PrincipalId) -> Result<Vec<TokenView>, ApiError> {
        self.may(who, Action::ServiceAccountsRead).await?;
        let account = self.program(who, id).await?;
        self.tokens_of(&account).await
    }

    /// Mints a token of a service account, audited to whoever clicked.
    ///
    /// # Errors
    /// `serviceaccounts:write` is missing, the account's role is above one's own, something was granted to it that one does
    /// not hold, or there is none.
    pub async fn mint_token(
        &self,
        who: &Principal,
        id: PrincipalId,
        name: &str,
        seconds_to_live: Option<u64>,
    ) -> Result<TokenMinted, ApiError> {
        self.may(who, Action::ServiceAccountsWrite).await?;
        let account = self.program(who, id).await?;
        at_most_own_role(who, account.role, Action::ServiceAccountsWrite)?;
        self.at_most_own_grants(who, Subject::Account(id)).await?;
        self.mint(who, &account, name, seconds_to_live).await
    }

    /// Revokes a token of a service account: it is dead at once.
    ///
    /// # Errors
    /// `serviceaccounts:write` is missing, or there is no such token.
    pub async fn revoke_token(&self, who: &Principal, id: PrincipalId, token: TokenId) -> Result<(), ApiError> {
        self.may(who, Action::ServiceAccountsWrite).await?;
        let account = self.program(who, id).await?;
        at_most_own_role(who, account.role, Action::ServiceAccountsWrite)?;
        self.revoke(who, &account, token).await
    }

    /// One's own tokens.
    ///
    /// # Errors
    /// It is gone meanwhile.
    pub async fn my_tokens(&self, who: &Principal) -> Result<Vec<TokenView>, ApiError> {
        let account = self.myself(who).await?;
        self.tokens_of(&account).await
    }

    /// Mints a token of one's own: it can what its owner can, until it ends.
    ///
    /// # Errors
    /// Whoever asks is a program, or a field does not hold.
    pub async fn mint_mine(
        &self,
        who: &Principal,
        name: &str,
        seconds_to_live: Option<u64>,
    ) -> Result<TokenMinted, ApiError> {
        let account = self.myself(who).await?;
        if account.kind != ActorType::User {
            return Err(ApiError::bad_request("tokens of service accounts are minted by an admin"));
        }
        self.mint(who, &account, name, seconds_to_live).await
    }

    /// Revokes a token of one's own.
    ///
    /// # Errors
    /// There is no such token.
    pub async fn revoke_mine(&self, who: &Principal, token: TokenId) -> Result<(), ApiError> {
        let account = self.myself(who).await?;
        self.revoke(who, &account, token).await
    }

    async fn mint(
        &self,
        who: &Principal,
        account: &Account,
        name: &str,
        seconds_to_live: Option<u64>,
    ) -> Result<TokenMinted, ApiError> {
        // 0 is how clients of the product say that it does not end.
        let seconds_to_live = seconds_to_live.filter(|seconds| *seconds > 0);
        let now = self.now();
        self.mints.count(&who.id, now).map_err(|too_many| {
            let message = format!("too many tokens were minted lately: try again in {} seconds", too_many.retry_after);
            ApiError::too_many("too_many_tokens", message, too_many)
        })?;
        let expires = seconds_to_live.map(|seconds| after_ms(now, seconds.saturating_mul(1000)));
        let id = TokenId::new();
        let token = NewToken {
            id,
            account: account.id,
            name: name.to_owned(),
            created_by: who.login.clone(),
            expires_at: expires,
        };
        let entry = self.entry(who, "token.create", ("token", id.to_string()));
        let entry = entry.with("name", name).with("account", account.login.clone());
        let key = self.identity.mint_token(token, now, &[entry]).await?;
        Ok(TokenMinted { id, name: name.trim().to_owned(), key, expires })
    }

    async fn revoke(&self, who: &Principal, account: &Account, token: TokenId) -> Result<(), ApiError> {
        let found = self.identity.token(token).await?.filter(|found| found.account == account.id);
        let found = found.ok_or_else(|| ApiError::not_found("token", token))?;
        let entry = self.entry(who, "token.revoke", ("token", token.to_string()));
        let entry = entry.with("name", found.name).with("account", account.login.clone());
        self.identity.revoke_token(token, self.now(), &[entry]).await?;
        Ok(())
    }

    async fn tokens_of(&self, account: &Account) -> Result<Vec<TokenView>, ApiError> {
        let now = self.now();
        let view = |token: TokenInfo| TokenView {
            id: token.id,
            name: token.name,
            role: account.role,
            created: token.created_at,
            created_by: token.created_by,
            updated: token.revoked_at.unwrap_or(token.created_at),
            last_used_at: token.last_used_at,
            expires: token.expires_at,
            is_revoked: token.revoked_at.is_some(),
            has_expired: token.expires_at.is_some_and(|at| at <= now),
        };
        Ok(self.identity.tokens(account.id).await?.into_iter().map(view).collect())
    }

    async fn view(&self, account: Account) -> Result<ServiceAccountView, ApiError> {
        let now = self.now();
        let tokens = self.identity.tokens(account.id).await?;
        Ok(ServiceAccountView {
            id: account.id,
            org_id: account.org_id,
            login: account.login,
            name: account.name,
            role: account.role,
            is_disabled: account.is_disabled,
            is_agent: account.is_agent,
            created: account.created_at,
            updated: account.created_at,
            last_seen_at: tokens.iter().filter_map(|token| token.last_used_at).max(),
            tokens: tokens.iter().filter(|token| token.is_live(now)).count(),
        })
    }

    async fn program(&self, who: &Principal, id: PrincipalId) -> Result<Account, ApiError> {
        let found = self.identity.account(id).await?;
        let is_theirs = |found: &Account| found.kind == ActorType::ServiceAccount && same_org(&found.org_id, who);
        found.filter(is_theirs).ok_or_else(|| ApiError::not_found("service account", id))
    }
}

/// A name as it can stand in a login.
fn slug(name: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c.to_ascii_lowercase() } else { '-' };
    name.trim().chars().map(plain).collect()
}

impl TokenMinted {
    /// As JSON, with the text in it: the only answer that ever has it.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "id": self.id,
            "name": self.name,
            "key": self.key.expose_secret(),
            "expires": self.expires,
        })
    }
}
