//! Configured connectors, as rows.

mod check;
mod matcher;
mod routing;

use std::fmt;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::Actor;
use crate::id::{ConnectorId, OrgId, TeamId};
use crate::time::Timestamp;

pub use check::{Ability, CheckReport};
pub use matcher::{InvalidMatcher, Matcher};
pub use routing::{InvalidRouting, NoticeKind, Routing, Topic};

/// Which port a connector implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Runs steps: an [`ExecutionAdapter`](crate::ports::ExecutionAdapter).
    Execution,
    /// Answers queries: a [`Datasource`](crate::ports::Datasource).
    Datasource,
    /// Tells people: a [`Notifier`](crate::ports::Notifier).
    Notifier,
    /// Completes text: a [`Model`](crate::ports::Model).
    Model,
}

/// A connector's secret, as an operator gave it.
#[derive(Clone)]
pub enum StoredSecret {
    /// The secret itself. Stores encrypt it at rest.
    Inline(SecretString),
    /// Where it is: `env://VAR`, `file:///abs/path`, `vault://path#field`.
    Reference(String),
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(redacted)"),
            Self::Reference(reference) => f.debug_tuple("Reference").field(reference).finish(),
        }
    }
}

/// Whether a connector's last test passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectorStatus {
    /// It was never tested, or changed since.
    Unverified,
    /// The last test passed.
    Ok,
    /// The last test failed.
    Error,
}

/// A configured connector. The secret is not part of its JSON: stores keep it apart, encrypted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connector {
    /// The connector.
    pub id: ConnectorId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its kind, such as `kubernetes`.
    pub kind: String,
    /// The port it implements.
    pub role: Role,
    /// The name an operator gave it; unique in the organisation.
    pub name: String,
    /// Its config, as its kind's schema says.
    pub config: Value,
    /// Its secret.
    #[serde(skip)]
    pub secret: Option<StoredSecret>,
    /// Counts changes of config and secret. A plan is approved for one revision (rule 1).
    pub revision: u64,
    /// Whether it is the organisation's default for its role.
    pub is_default: bool,
    /// The team that owns it.
    pub owner_team_id: Option<TeamId>,
    /// Of a notifier: which notices it hears of, and how often. Other roles hear of none.
    #[serde(default, skip_serializing_if = "Routing::is_everything")]
    pub routing: Routing,
    /// Whether its last test passed.
    pub status: ConnectorStatus,
    /// When it was last tested.
    pub last_verified_at: Option<Timestamp>,
    /// What the last test said when it failed.
    pub last_verify_error: Option<String>,
    /// What the last test reported, when the other side answered at all.
    #[serde(default)]
    pub last_check: Option<CheckReport>,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When config, secret or name last changed.
    pub updated_at: Timestamp,
}
