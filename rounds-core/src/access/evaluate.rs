use super::{Action, Principal, Scope};

/// A refusal, naming what is missing so that somebody can grant it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Neither the role nor a grant holds the action on the scope.
    #[error("{login} needs {action} on {scope}")]
    Missing {
        /// Who asked.
        login: String,
        /// The action.
        action: Action,
        /// The scope that nothing covers.
        scope: Scope,
    },
    /// Agents never decide, whatever their role and grants (rule 8).
    #[error("{login} is an agent: it may propose plans, and a person decides on them ({action} on {scope})")]
    AgentsNeverDecide {
        /// The agent.
        login: String,
        /// What it asked to do.
        action: Action,
        /// On what.
        scope: Scope,
    },
}

impl Denied {
    /// What a principal lacks: for an [`Authorizer`](crate::ports::Authorizer) of one's own.
    #[must_use]
    pub fn missing(principal: &Principal, action: Action, scope: &Scope) -> Self {
        Self::Missing { login: principal.login.clone(), action, scope: scope.clone() }
    }

    /// The action that is missing.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Missing { action, .. } | Self::AgentsNeverDecide { action, .. } => *action,
        }
    }

    /// The scope it is missing on.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Missing { scope, .. } | Self::AgentsNeverDecide { scope, .. } => scope,
        }
    }
}

/// Whether a granted scope covers a wanted one.
#[must_use]
pub fn covers(granted: &Scope, wanted: &Scope) -> bool {
    match granted {
        Scope::All { kind } => kind == wanted.kind(),
        narrower => narrower == wanted,
    }
}

/// Whether `principal` may do `action` on `scope`: by organisation role, by server admin, or by a grant.
///
/// # Errors
/// [`Denied`] names the missing action and scope.
///
/// ```
/// use rounds_core::access::{Action, OrgRole, Principal, Scope, evaluate};
/// use rounds_core::OrgId;
///
/// let viewer = Principal::user(OrgId::default(), "vera", OrgRole::Viewer);
/// assert!(evaluate(&viewer, Action::PlansRead, &Scope::all("plans")).is_ok());
/// let denied = evaluate(&viewer, Action::PlansApprove, &Scope::all("plans")).unwrap_err();
/// assert_eq!(denied.to_string(), "vera needs plans:approve on plans:*");
/// ```
pub fn evaluate(principal: &Principal, action: Action, scope: &Scope) -> Result<(), Denied> {
    if principal.is_agent && matches!(action, Action::PlansApprove | Action::PlansAutoEdit) {
        return Err(Denied::AgentsNeverDecide { login: principal.login.clone(), action, scope: scope.clone() });
    }
    let info = action.info();
    let by_role = info.default_role.is_some_and(|role| principal.role >= role);
    let by_server = principal.server_admin && (info.server_admin || info.default_role.is_some());
    let by_grant = principal.grants.iter().any(|grant| grant.action == action && covers(&grant.scope, scope));
    if by_role || by_server || by_grant { Ok(()) } else { Err(Denied::missing(principal, action, scope)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::OrgRole;
    use crate::id::OrgId;

    fn principal(role: OrgRole) -> Principal {
        Principal::user(OrgId::default(), "ada", role)
    }

    #[test]
    fn every_action_is_held_from_its_default_role_upwards_and_by_nobody_below() {
        for row in Action::table() {
            for role in [OrgRole::Viewer, OrgRole::Editor, OrgRole::Admin] {
                let expected = row.default_role.is_some_and(|least| role >= least);
                let allowed = evaluate(&principal(role), row.action, &Scope::all("any")).is_ok();
                assert_eq!(allowed, expected, "{} as {role}", row.name);
            }
        }
    }

    #[test]
    fn a_server_admin_holds_everything_but_auto_edit() {
        let mut admin = principal(OrgRole::Viewer);
        admin.server_admin = true;
        for row in Action::table() {
            let allowed = evaluate(&admin, row.action, &Scope::all("any")).is_ok();
            assert_eq!(allowed, row.action != Action::PlansAutoEdit, "{}", row.name);
        }
    }

    #[test]
    fn rule_8_agents_never_decide_whatever_their_role_and_grants() {
        let mut agent = Principal::agent(OrgId::default(), "@syntropize/rounds")
            .with_grant(Action::PlansApprove, Scope::all("plans"))
            .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
        agent.role = OrgRole::Admin;
        agent.server_admin = true;
        for action in [Action::PlansApprove, Action::PlansAutoEdit] {
            let denied = evaluate(&agent, action, &Scope::all("plans")).unwrap_err();
            assert!(matches!(denied, Denied::AgentsNeverDecide { .. }));
        }
        assert!(evaluate(&agent, Action::PlansPropose, &Scope::all("plans")).is_ok());
    }
}
