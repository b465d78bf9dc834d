//! Who is told: the [`Notifier`] port.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{CallContext, CheckReport, PortError};
use crate::id::{NoticeId, OrgId, TeamId};
use crate::time::Timestamp;

/// What happened, as somebody is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// An alert fires.
    AlertFiring,
    /// An alert recovered.
    AlertResolved,
    /// A plan waits for a decision.
    PlanProposed,
    /// A step of a plan waits for its own approval.
    StepAwaitingApproval,
    /// A plan ended: completed, failed, rejected, expired or cancelled.
    PlanEnded,
}

/// One message to people. Delivered at least once, so receivers deduplicate by `idempotency_key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Notice {
    /// The notice.
    pub id: NoticeId,
    /// The organisation it concerns.
    pub org_id: OrgId,
    /// The same for every delivery of the same notice.
    pub idempotency_key: String,
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// The rest, as plain text.
    pub body: String,
    /// `critical`, `warning`, `info`, as the rule says it.
    pub severity: String,
    /// The page to open, as a path such as `/plans/018f…`.
    pub link: String,
    /// Labels to route by.
    pub labels: BTreeMap<String, String>,
    /// The team it concerns. Rounds has routed by it already: a channel of a team gets what that team owns, and a channel
    /// of nobody in particular gets everything.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
}

impl Notice {
    /// A notice of the default organisation with nothing but a title: what a notifier's own tests send.
    pub fn new(kind: NoticeKind, idempotency_key: impl Into<String>, at: Timestamp, title: impl Into<String>) -> Self {
        Self {
            id: NoticeId::new(),
            org_id: OrgId::default(),
            idempotency_key: idempotency_key.into(),
            kind,
            at,
            title: title.into(),
            body: String::new(),
            severity: String::new(),
            link: String::new(),
            labels: BTreeMap::new(),
            owner_team_id: None,
        }
    }
}

/// Tells people, through one channel.
///
/// **Implemented by** connector authors. **Called by** the outbox, which retries with backoff what
/// [`PortError::is_transient`] calls so, and keeps the rest as dead letters. An implementation MUST NOT retry by
/// itself, and SHOULD pass the idempotency key on. Cancel safe.
///
/// ```
/// use rounds_core::async_trait;
/// use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError};
///
/// struct Terminal;
///
/// #[async_trait]
/// impl Notifier for Terminal {
///     async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
///         Ok(CheckReport::new("somebody is looking"))
///     }
///
///     async fn send(&self, _: &CallContext, notice: &Notice) -> Result<(), PortError> {
///         println!("[{}] {} {}", notice.idempotency_key, notice.title, notice.link);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tests the channel without disturbing anybody, where it can.
    ///
    /// # Errors
    /// What was tried and what went wrong.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;

    /// Delivers one notice.
    ///
    /// # Errors
    /// It was not delivered, or nobody knows.
    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError>;
}
