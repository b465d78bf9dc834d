//! What changed outside of Rounds: deployments, configuration, feature flags, as pipelines and people tell it. Pure.
//!
//! A change is the first suspect of every incident. It is recorded once, never edited, and forgotten after a while: it is
//! evidence for investigations, not an archive.

mod draft;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use draft::{ChangeDraft, InvalidChange};

use crate::access::Actor;
use crate::id::{ChangeId, OrgId};
use crate::time::Timestamp;

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// Another version of a workload.
    Deployment,
    /// Its configuration.
    Config,
    /// A feature was switched.
    FeatureFlag,
    /// Anything else: a migration, a certificate, a change of the network.
    Other,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Deployment, Self::Config, Self::FeatureFlag, Self::Other];

    /// The word that rows and the API use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Config => "config",
            Self::FeatureFlag => "feature_flag",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChangeKind {
    type Err = InvalidChange;
    fn from_str(text: &str) -> Result<Self, InvalidChange> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            let found: String = text.chars().take(80).collect();
            InvalidChange::new("kind", format!("found `{found}`; one of {known} is accepted"))
        })
    }
}

/// One change, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Change")]
#[non_exhaustive]
pub struct ChangeRecord {
    /// Its id.
    pub id: ChangeId,
    /// The organisation.
    pub org_id: OrgId,
    /// What kind of thing changed.
    pub kind: ChangeKind,
    /// What changed, in a line.
    pub title: String,
    /// Who tells it, such as `github-actions`.
    pub source: Option<String>,
    /// The namespace it is in; `None`: not in one, or in all.
    pub namespace: Option<String>,
    /// The service or workload.
    pub service: Option<String>,
    /// What else there is to say.
    pub labels: BTreeMap<String, String>,
    /// Where people read more.
    pub url: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// What makes it the same change when it is told again.
    pub idempotency_key: Option<String>,
    /// When Rounds was told.
    pub recorded_at: Timestamp,
    /// Who told it.
    pub recorded_by: Actor,
    /// When it is forgotten.
    pub forget_at: Timestamp,
}

impl ChangeRecord {
    /// A change as it is recorded now.
    #[must_use]
    pub fn new(draft: ChangeDraft, org_id: OrgId, by: Actor, now: Timestamp, forget_at: Timestamp) -> Self {
        Self {
            id: ChangeId::new(),
            org_id,
            kind: draft.kind,
            title: draft.title,
            source: draft.source,
            namespace: draft.namespace,
            service: draft.service,
            labels: draft.labels,
            url: draft.url,
            at: draft.at.unwrap_or(now),
            idempotency_key: draft.idempotency_key,
            recorded_at: now,
            recorded_by: by,
            forget_at,
        }
    }

    /// Whether a draft tells this change again. One that does not say when it happened tells it whenever it comes.
    #[must_use]
    pub fn is_told_by(&self, draft: &ChangeDraft) -> bool {
        self.kind == draft.kind
            && self.title == draft.title
            && self.source == draft.source
            && self.namespace == draft.namespace
            && self.service == draft.service
            && self.labels == draft.labels
            && self.url == draft.url
            && draft.at.is_none_or(|at| at == self.at)
    }
}
