use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OrgRole;

/// The text names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown action `{found}`; known actions: {known}")]
pub struct UnknownAction {
    found: String,
    known: String,
}

/// One row of the action table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionInfo {
    /// The action.
    pub action: Action,
    /// Its name, as grants and refusals write it.
    pub name: &'static str,
    /// The lowest organisation role that holds it by default; `None`: nobody, it must be granted.
    pub default_role: Option<OrgRole>,
    /// Whether no organisation role holds it: a server admin does, and whoever it is granted to.
    pub server_admin: bool,
    /// What it allows, in a sentence.
    pub help: &'static str,
}

macro_rules! actions {
    ($($variant:ident $name:literal $role:tt $help:literal;)*) => {
        /// Everything that can be permitted. Viewer, Editor and Admin are roles in an organisation, each with what the ones
        /// before it have; Server is a server admin; Nobody: only by a grant.
        /// The table is the only place that maps actions to default roles.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $(#[doc = $help] #[doc = concat!("\n\n`", $name, "`; by default: ", stringify!($role), ".")] $variant,)*
        }

        const TABLE: &[ActionInfo] = &[
            $(ActionInfo {
                action: Action::$variant,
                name: $name,
                default_role: actions!(@role $role),
                server_admin: actions!(@server $role),
                help: $help,
            },)*
        ];
    };
    (@role Viewer) => { Some(OrgRole::Viewer) };
    (@role Editor) => { Some(OrgRole::Editor) };
    (@role Admin) => { Some(OrgRole::Admin) };
    (@role Nobody) => { None };
    (@role Server) => { None };
    (@server Server) => { true };
    (@server $other:tt) => { false };
}

actions! {
    PlansRead "plans:read" Viewer "List and view plans and their steps.";
    PlansPropose "plans:propose" Editor "Propose a plan.";
    PlansApprove "plans:approve" Editor "Decide: approve, reject, modify, cancel, retry a step, submit a rescue plan.";
    PlansAutoEdit "plans:auto_edit" Nobody "Approve a plan so that no step needs an approval of its own.";
    AlertRulesRead "alert.rules:read" Viewer "List and view alert rules, their state, history and silences.";
    AlertRulesWrite "alert.rules:write" Editor "Create, change, enable, disable, silence and delete alert rules.";
    AlertsReceive "alerts:receive" Editor "Hand in alerts that others evaluate, such as Alertmanager's.";
    InvestigationsRead "investigations:read" Viewer "List and view investigations and their reports.";
    InvestigationsCreate "investigations:create" Editor "Start an investigation.";
    ConnectorsRead "connectors:read" Viewer "List and view connectors; never their secrets.";
    ConnectorsWrite "connectors:write" Admin "Create, change, test and delete connectors and their secrets.";
    ChangesRead "changes:read" Viewer "List the changes that were recorded: deployments, configuration, feature flags.";
    ChangesWrite "changes:write" Editor "Record a change: a person or a pipeline's service account; never an agent.";
    ServiceAccountsRead "serviceaccounts:read" Admin "List service accounts and their tokens; never the tokens' text.";
    ServiceAccountsWrite "serviceaccounts:write" Admin "Create and disable service accounts, mint and revoke their tokens.";
    UsersRead "users:read" Admin "List users.";
    UsersWrite "users:write" Server "Create, disable and delete users.";
    TeamsRead "teams:read" Viewer "List teams and their members.";
    TeamsWrite "teams:write" Admin "Create and delete teams and change who is in them.";
    RolesRead "roles:read" Admin "List roles and grants.";
    RolesWrite "roles:write" Admin "Grant and revoke actions.";
    AuditRead "audit:read" Server "Read, export and verify the audit log.";
    SettingsWrite "settings:write" Server "Change settings of the installation.";
}

impl Action {
    /// Every action with its default role, in the order of the table.
    #[must_use]
    pub fn table() -> &'static [ActionInfo] {
        TABLE
    }

    /// This action's row of the table.
    #[must_use]
    pub fn info(self) -> &'static ActionInfo {
        // The macro writes one row per variant, in declaration order.
        &TABLE[self as usize]
    }

    /// Whether an investigation needs it, and so its agent: reading alerts, changes, connectors, plans and investigations, starting an
    /// investigation and proposing a plan. An authorizer that lets agents do less keeps them from investigating; more, an agent
    /// never needs.
    #[must_use]
    pub fn is_for_agents(self) -> bool {
        matches!(
            self,
            Self::AlertRulesRead
                | Self::ChangesRead
                | Self::ConnectorsRead
                | Self::InvestigationsCreate
                | Self::InvestigationsRead
                | Self::PlansPropose
                | Self::PlansRead
        )
    }

    /// Whether it only looks: its name ends in `:read`.
    #[must_use]
    pub fn is_read(self) -> bool {
        self.name().ends_with(":read")
    }

    /// The name that grants and refusals write, such as `plans:approve`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;
    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        TABLE.iter().find(|row| row.name == text).map(|row| row.action).ok_or_else(|| UnknownAction {
            found: text.chars().take(80).collect(),
            known: TABLE.iter().map(|row| row.name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_finds_its_own_row_and_its_own_name() {
        for row in Action::table() {
            assert_eq!(row.action.info(), row);
            assert_eq!(row.name.parse::<Action>().unwrap(), row.action);
        }
    }
}
