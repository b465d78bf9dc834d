//! Who is who, and who may do what.

use async_trait::async_trait;
use secrecy::SecretString;

use super::PortError;
use crate::access::{Action, Denied, Principal, Scope};
use crate::id::{OrgId, TokenId};
use crate::time::Timestamp;

/// A live token and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenIdentity {
    /// The token's id; the text itself is never kept.
    pub token_id: TokenId,
    /// Whom it stands for.
    pub principal: Principal,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl TokenIdentity {
    /// A live token that never ends by itself.
    #[must_use]
    pub fn new(token_id: TokenId, principal: Principal) -> Self {
        Self { token_id, principal, expires_at: None }
    }

    /// The same, ending at a moment.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }
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

    /// The agent's service account of an organisation, with its newest live token; `None` when none is live.
    ///
    /// # Errors
    /// The accounts cannot be read.
    async fn live_agent(&self, org: &OrgId, now: Timestamp) -> Result<Option<TokenIdentity>, PortError>;
}

/// An [`Identity`] with one agent and nothing else, for embedders whose accounts live elsewhere: investigations run as
/// this principal, and no token stands for anybody. Front ends that take Rounds' own tokens need another one.
///
/// ```
/// use rounds_core::{OrgId, access::Principal, ports::SoleAgent};
/// let identity = SoleAgent::new(Principal::agent(OrgId::default(), "@platform/rounds"));
/// ```
#[derive(Debug, Clone)]
pub struct SoleAgent(TokenIdentity);

impl SoleAgent {
    /// This principal. One that is no agent would be refused at the first firing.
    #[must_use]
    pub fn new(agent: Principal) -> Self {
        Self(TokenIdentity::new(TokenId::new(), agent))
    }
}

#[async_trait]
impl Identity for SoleAgent {
    async fn authenticate(&self, _: &SecretString, _: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        Ok(None)
    }

    async fn live_agent(&self, org: &OrgId, _: Timestamp) -> Result<Option<TokenIdentity>, PortError> {
        Ok((self.0.principal.org_id == *org).then(|| self.0.clone()))
    }
}

/// Decides access. [`Rbac`] is the default; an embedder may bring its own.
///
/// **Called by** every facade, once per action, with every scope that the action is about. Decisions on a plan
/// (`plans:approve`, `plans:auto_edit`) name the namespaces that the plan writes to
/// ([`Scope::plan_namespace`]), or where it reads if it only reads, and `plans:*` when one of its steps is in none: an
/// authorizer can tell teams apart by them. The scopes are never none.
/// Everything else names all of its kind: `plans:*`, `connectors:*`. An implementation MUST refuse what it does not know,
/// new actions included, and let agents do what [`Action::is_for_agents`] names, or nothing is investigated
/// ([`SkipReason::AgentDenied`](crate::investigation::SkipReason::AgentDenied)). Rule 8 (agents never decide) is checked by Rounds before an authorizer is asked, so none can open
/// it. Cancel safe.
///
/// ```
/// use async_trait::async_trait;
/// use rounds_core::access::{Action, Denied, Principal, Scope};
/// use rounds_core::ports::Authorizer;
///
/// /// Everybody looks; whoever is on call decides.
/// struct OnCall;
///
/// #[async_trait]
/// impl Authorizer for OnCall {
///     async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
///         let on_call = who.login == "ada";
///         let may = action.is_read() || on_call || (who.is_agent && action.is_for_agents());
///         let refused = scopes.iter().find(|_| !may);
///         refused.map_or(Ok(()), |scope| Err(Denied::missing(who, action, scope)))
///     }
/// }
/// ```
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
        scopes.iter().try_for_each(|scope| crate::access::evaluate(principal, action, scope)).map_err(|denied| {
            // Its default is a role, which no namespace narrows: what is missing is missing everywhere.
            if action == Action::PlansApprove {
                Denied::missing(principal, action, &Scope::all("plans"))
            } else {
                denied
            }
        })
    }
}
