//! Identifiers. Every record's id is a UUID v7, so ids sort by creation.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The text was not an identifier of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {what} id: a UUID such as 018f4e1c-7b2a-7c3d-9e4f-0a1b2c3d4e5f is expected")]
pub struct InvalidId {
    what: &'static str,
    found: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id. Ids made later sort later.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default id would hide that each is new")]
            pub fn new() -> Self {
                Self(fresh())
            }

            /// The id as a UUID.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidId { what: $what, found: text.chars().take(80).collect() })
            }
        }
    )*};
}

ids! {
    /// An alert rule.
    AlertRuleId = "alert rule";
    /// One instance of an alert rule: today one per rule.
    AlertInstanceId = "alert instance";
    /// An investigation.
    InvestigationId = "investigation";
    /// A remediation plan.
    PlanId = "plan";
    /// A step of a plan.
    StepId = "step";
    /// An approval request on a plan or on one step.
    RequestId = "approval request";
    /// A configured connector.
    ConnectorId = "connector";
    /// A user or a service account.
    PrincipalId = "principal";
    /// A team of users.
    TeamId = "team";
    /// An API token.
    TokenId = "token";
    /// A silence over alert rules.
    SilenceId = "silence";
    /// A row of an alert's history.
    HistoryId = "alert history";
    /// A notice waiting in the outbox.
    NoticeId = "notice";
    /// What could not be delivered: a notice to a channel, or an event to a sink.
    DeadLetterId = "dead letter";
    /// A recorded change.
    ChangeId = "change";
}

impl PrincipalId {
    /// The id of the account that the embedder knows by this name, such as `u-17` or a login: always the same for the same
    /// organisation and name, so that nothing has to be kept. A UUID v8 made of their SHA-256.
    #[must_use]
    pub fn named(org: &OrgId, name: &str) -> Self {
        let mut hash = Sha256::new();
        // No organisation's id ends where another's name begins.
        hash.update((org.as_str().len() as u64).to_be_bytes());
        hash.update(org.as_str());
        hash.update(name);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// A new UUID v7.
#[cfg(not(test))]
pub(crate) fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// A new UUID v7, or the next of the seed's while a simulation runs on this thread: some decisions hang on ids, such as
/// when a rule is due, and one seed must always be one run.
#[cfg(test)]
pub(crate) fn fresh() -> Uuid {
    crate::simulation::next_id().unwrap_or_else(Uuid::now_v7)
}

/// An organisation. Every record belongs to exactly one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OrgId(String);

impl OrgId {
    /// An organisation's id, as the embedder names it.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for OrgId {
    /// `main`, the organisation of an installation that has only one.
    fn default() -> Self {
        Self("main".into())
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_sort_later() {
        let first = PlanId::new();
        let second = PlanId::new();
        assert!(first < second);
    }

    #[test]
    fn a_named_principal_is_the_same_each_time_and_no_other() {
        let (main, org) = (OrgId::default(), OrgId::new("mainu"));
        assert_eq!(PrincipalId::named(&main, "u-17"), PrincipalId::named(&main, "u-17"));
        assert_ne!(PrincipalId::named(&main, "u-17"), PrincipalId::named(&main, "u-18"));
        assert_ne!(PrincipalId::named(&main, "u-17"), PrincipalId::named(&org, "-17"));
    }

    #[test]
    fn a_bad_id_is_named_with_what_was_expected() {
        let error = "plan-7".parse::<PlanId>().unwrap_err().to_string();
        assert!(error.contains("`plan-7` is not a plan id"), "{error}");
    }
}
