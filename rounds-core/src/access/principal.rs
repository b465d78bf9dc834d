use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, OrgRole, Scope};
use crate::id::{OrgId, PrincipalId, TeamId};

/// Whether a person or a program acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// A person.
    User,
    /// A program, with an account of its own.
    ServiceAccount,
    /// Rounds itself: expiry, recovery.
    System,
}

/// Who did something, as rows remember it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// A person, a program, or Rounds itself.
    #[serde(rename = "type")]
    pub kind: ActorType,
    /// The principal's id; `system` for Rounds itself.
    pub id: String,
    /// The login at that time, for people who read the row.
    pub login: String,
}

impl Actor {
    /// Rounds itself.
    #[must_use]
    pub fn system() -> Self {
        Self { kind: ActorType::System, id: "system".into(), login: "system".into() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.login)
    }
}

/// One permission beyond the organisation role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// What is permitted.
    pub action: Action,
    /// On what.
    pub scope: Scope,
}

impl Grant {
    /// `action` on `scope`.
    #[must_use]
    pub fn new(action: Action, scope: Scope) -> Self {
        Self { action, scope }
    }
}

/// Who acts, with everything that access decisions need: resolved once per request by
/// [`Identity`](crate::ports::Identity).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub id: PrincipalId,
    /// The organisation it acts in.
    pub org_id: OrgId,
    /// A person or a program.
    pub kind: ActorType,
    /// The login.
    pub login: String,
    /// The name to show.
    pub name: String,
    /// Its role in the organisation.
    pub role: OrgRole,
    /// Whether it administers the server.
    pub server_admin: bool,
    /// Whether it is an agent: agents propose and never decide, whatever their role (rule 8).
    pub is_agent: bool,
    /// The teams it is in.
    pub teams: Vec<TeamId>,
    /// What was granted to it and to its teams, fixed roles unfolded.
    pub grants: Vec<Grant>,
}

impl Principal {
    /// A person with a role and nothing else: the usual start for embedders with users of their own. The same login in the
    /// same organisation is the same principal, today and tomorrow ([`PrincipalId::named`]); set `id` for another.
    ///
    /// ```
    /// use rounds_core::{OrgId, access::{OrgRole, Principal}};
    /// let ada = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    /// assert_eq!(ada.id, Principal::user(OrgId::default(), "ada", OrgRole::Viewer).id);
    /// assert_ne!(ada.id, Principal::agent(OrgId::default(), "ada").id);
    /// ```
    #[must_use]
    pub fn user(org_id: OrgId, login: &str, role: OrgRole) -> Self {
        Self {
            id: PrincipalId::named(&org_id, login),
            org_id,
            kind: ActorType::User,
            login: login.into(),
            name: login.into(),
            role,
            server_admin: false,
            is_agent: false,
            teams: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// A program that is no agent: one that sets up its connectors and rules at its start, or calls the API with a token. It is
    /// another principal than the person with that login, if there is one.
    #[must_use]
    pub fn service_account(org_id: OrgId, login: &str, role: OrgRole) -> Self {
        // No login has a NUL in it.
        let id = PrincipalId::named(&org_id, &format!("service account\0{login}"));
        Self { id, kind: ActorType::ServiceAccount, ..Self::user(org_id, login, role) }
    }

    /// An agent's service account: Editor, so that it can read and propose; never deciding (rule 8).
    #[must_use]
    pub fn agent(org_id: OrgId, login: &str) -> Self {
        Self { is_agent: true, ..Self::service_account(org_id, login, OrgRole::Editor) }
    }

    /// The same principal as an administrator of the server, who also reads the audit log and manages users.
    #[must_use]
    pub fn with_server_admin(mut self) -> Self {
        self.server_admin = true;
        self
    }

    /// The same principal with one more grant.
    #[must_use]
    pub fn with_grant(mut self, action: Action, scope: Scope) -> Self {
        self.grants.push(Grant::new(action, scope));
        self
    }

    /// Who this is, as rows remember it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor { kind: self.kind, id: self.id.to_string(), login: self.login.clone() }
    }
}
