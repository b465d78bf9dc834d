use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chain;
use crate::access::{Actor, ActorType};
use crate::id::OrgId;
use crate::time::Timestamp;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not, or nobody knows (an interrupted step is a failure).
    Failure,
}

impl Outcome {
    /// The word that rows and filters use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// One thing that was done or attempted, as core hands it to the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The organisation.
    pub org_id: OrgId,
    /// What: `agent.plan_step`, `approval.approve`.
    pub action: String,
    /// A person, a program or Rounds itself.
    pub actor_type: ActorType,
    /// Who.
    pub actor_id: String,
    /// The login at that time.
    pub actor_login: String,
    /// What kind of thing it was done to: `remediation_plan_step`.
    pub target_type: String,
    /// Which one.
    pub target_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The rest, as an object. Never a secret.
    pub metadata: Map<String, Value>,
}

impl AuditEntry {
    /// The action of a step attempt.
    pub const PLAN_STEP: &'static str = "agent.plan_step";
    /// The target type of a step; its target id is `<plan id>:<ordinal>`.
    pub const TARGET_STEP: &'static str = "remediation_plan_step";
    /// The target type of a plan.
    pub const TARGET_PLAN: &'static str = "remediation_plan";
    /// The target type of an approval request.
    pub const TARGET_REQUEST: &'static str = "approval_request";

    /// An entry by an actor about a target.
    pub fn new(
        at: Timestamp,
        org_id: &OrgId,
        actor: &Actor,
        action: impl Into<String>,
        target: (&str, impl Into<String>),
        outcome: Outcome,
    ) -> Self {
        Self {
            at,
            org_id: org_id.clone(),
            action: action.into(),
            actor_type: actor.kind,
            actor_id: actor.id.clone(),
            actor_login: actor.login.clone(),
            target_type: target.0.into(),
            target_id: target.1.into(),
            outcome,
            metadata: Map::new(),
        }
    }

    /// The same entry with one more fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

impl AuditRow {
    /// The row of an entry after the row with number `last`, whose hash is `previous` (0 and [`chain::GENESIS`] before the
    /// first), and the text that was hashed: stores keep both, and verify by the text.
    #[must_use]
    pub fn after(last: u64, previous: &str, entry: AuditEntry, key: &[u8]) -> (Self, String) {
        let (seq, text) = (last + 1, chain::entry_text(&entry));
        let hash = chain::hash(key, &entry.org_id, seq, previous, &text);
        (Self { seq, previous: previous.to_owned(), hash, entry }, text)
    }
}

/// An entry with its place in the organisation's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRow {
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// The hash of the row before, as hex; of the organisation's genesis for the first.
    pub previous: String,
    /// This row's hash, as hex.
    pub hash: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}
