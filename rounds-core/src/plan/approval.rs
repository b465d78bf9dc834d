use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Actor;
use crate::id::RequestId;
use crate::time::Timestamp;

/// What a request asks to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum RequestKind {
    /// The whole plan.
    Plan,
    /// One step.
    Step {
        /// Its place in the plan, counted from 0.
        ordinal: u32,
    },
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Waits for a person.
    Pending,
    /// A person approved.
    Approved,
    /// A person rejected.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// What it asked about is no longer the question: the plan was modified or ended.
    Superseded,
}

impl RequestStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Rejected, Self::Expired, Self::Superseded];

    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

/// A decision that waits for a person, bound to a digest of what is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// The request.
    pub id: RequestId,
    /// What it asks to decide.
    pub kind: RequestKind,
    /// Where it is.
    pub status: RequestStatus,
    /// The digest of the plan revision that is shown.
    pub digest: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it can no longer be approved.
    pub expires_at: Timestamp,
    /// When it was decided.
    pub resolved_at: Option<Timestamp>,
    /// Who decided.
    pub resolved_by: Option<Actor>,
    /// Why, when the person said so.
    pub reason: Option<String>,
}
