//! Who is who, and who may do what.

use async_trait::async_trait;
use secrecy::SecretString;

use super::PortError;
use crate::access::{Action, Denied, Principal, Scope};
use crate::id::{OrgId, PrincipalId, TokenId};
use crate::time::Timestamp;

/// A live token and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// The token's id; the text itself is never kept.
    pub token_id: TokenId,
    /// Whom it stands for.
    pub principal: Principal,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Accounts and their tokens. Users, sessions and teams live behind this port, not in the
/// [`Store`](super::Store): embedders bring their own.
///
/// **Called by** the dispatcher (at each firing) and by front ends. An implementation MUST answer from the live
/// table, not from a cache: a revoked token is dead at once. Cancel safe.
#[async_trait]
pub trait Identity: Send + Sync {
    /// Whom a token stands for; `None` when it is unknown, revoked or expired, or its account is disabled.
    ///
    /// # Errors
    /// The accounts cannot be read.
    async fn authenticate(&self, token: &SecretString, now: Timestamp) -> Result<Option<TokenIdentity>, PortError>;

    /// A principal by id; `None` when there is none or it is disabled.
    ///
    /// # Errors
    /// The accounts cannot be read.
    async fn principal(&self, id: PrincipalId) -> Result<Option<Principal>, PortError>;

    /// The agent's service account of an organisation, with its newest live token; `None` when none is live.
    ///
    /// # Errors
    /// The accounts cannot be read.
    async fn live_agent(&self, org: &OrgId, now: Timestamp) -> Result<Option<TokenIdentity>, PortError>;
}

/// Decides access. [`Rbac`] is the default; an embedder may bring its own.
///
/// Rule 8 (agents never decide) is checked by Rounds before an authorizer is asked, so none can open it.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Whether the principal may do this on every one of these scopes.
    ///
    /// # Errors
    /// [`Denied`] names what is missing.
    async fn authorize(&self, principal: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied>;
}

/// Roles and grants as [`access`](crate::access) defines them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rbac;

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, principal: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        scopes.iter().try_for_each(|scope| crate::access::evaluate(principal, action, scope))
    }
}
