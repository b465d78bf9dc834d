//! Users, sessions, teams, service accounts, tokens and grants: each change authorized with the actions of core's
//! table, and audited in the transaction that makes it. API and pages only translate.

mod access;
#[cfg(feature = "oidc")]
mod oidc;
mod service_accounts;
mod sessions;
mod settings;
mod setup;
mod teams;
mod users;

use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::{Action, Denied, OrgRole, Principal, Scope};
use rounds_core::audit::{AuditEntry, Outcome};
use rounds_core::{OrgId, PrincipalId, Rounds, Timestamp};
use rounds_store::{IdentityError, SqlIdentity};

use crate::auth::Throttle;
use crate::error::ApiError;

pub use access::{GrantDraft, GrantView, PermissionView, RoleView, SubjectDraft};
#[cfg(feature = "oidc")]
pub(crate) use oidc::{Trust, Vouched};
pub use service_accounts::{ServiceAccountChange, ServiceAccountView, TokenMinted, TokenView};
pub use sessions::{SessionLimits, SessionView, SignedIn};
pub use settings::{LlmDraft, LlmView};
pub use setup::{SetupProgress, SetupStep, StepState};
pub use teams::TeamView;
pub use users::{UserChange, UserDraft, UserView};

/// The accounts behind the server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    identity: SqlIdentity,
    rounds: Rounds,
    limits: SessionLimits,
    /// By whoever mints: tokens that nobody could need so many of are not made.
    mints: Arc<Throttle<PrincipalId>>,
}

/// Tokens that one account mints in an hour, for itself and for service accounts.
const MINTS: u32 = 60;

impl Accounts {
    /// The accounts of a store, with access decided by `rounds`.
    #[must_use]
    pub fn new(identity: SqlIdentity, rounds: Rounds) -> Self {
        let mints = Arc::new(Throttle::new(MINTS, Duration::from_secs(3600)));
        Self { identity, rounds, limits: SessionLimits::default(), mints }
    }

    /// The same, with sessions that last as long as this.
    #[must_use]
    pub fn with_session_limits(mut self, limits: SessionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long sessions last.
    #[must_use]
    pub fn session_limits(&self) -> SessionLimits {
        self.limits
    }

    /// The accounts themselves, without authorization.
    #[must_use]
    pub fn identity(&self) -> &SqlIdentity {
        &self.identity
    }

    fn now(&self) -> Timestamp {
        self.rounds.now()
    }

    async fn may(&self, who: &Principal, action: Action) -> Result<(), ApiError> {
        let kind = action.name().split(':').next().unwrap_or_default();
        Ok(self.rounds.authorize(who, action, &[Scope::all(kind)]).await?)
    }

    /// What somebody did to an account or what belongs to one.
    fn entry(&self, who: &Principal, action: &str, target: (&str, String)) -> AuditEntry {
        AuditEntry::new(self.now(), &who.org_id, &who.actor(), action, target, Outcome::Success)
    }
}

/// Nobody hands out more than they hold: a role above their own is refused as what it would take.
fn at_most_own_role(who: &Principal, role: OrgRole, action: Action) -> Result<(), Denied> {
    if who.server_admin || role <= who.role {
        return Ok(());
    }
    Err(missing(who, action, format!("role-{role}")))
}

fn missing(who: &Principal, action: Action, what: String) -> Denied {
    let kind = action.name().split(':').next().unwrap_or_default();
    Denied::Missing { login: who.login.clone(), action, scope: Scope::one(kind, what) }
}

fn same_org(org: &OrgId, who: &Principal) -> bool {
    *org == who.org_id
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        use axum::http::StatusCode;
        let message = error.to_string();
        match error {
            IdentityError::UsersExist => Self::new(StatusCode::CONFLICT, "already_set_up", message),
            IdentityError::Taken { .. } => Self::new(StatusCode::CONFLICT, "name_taken", message),
            IdentityError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            IdentityError::PasswordChanged => Self::new(StatusCode::CONFLICT, "password_changed", message),
            IdentityError::LastAdmin => Self::new(StatusCode::CONFLICT, "last_admin", message),
            IdentityError::Invalid { .. } => Self::bad_request(message),
            IdentityError::Store(error) => error.into(),
            other => Self::internal(other),
        }
    }
}
