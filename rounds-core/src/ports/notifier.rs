//! Who is told: the [`Notifier`] port.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Answers, CallContext, CheckReport, PortError};
pub use crate::connector::NoticeKind;
use crate::connector::Topic;
use crate::id::{ConnectorId, NoticeId, OrgId, RequestId, TeamId};
use crate::step::Tier;
use crate::time::Timestamp;

/// What a notice asks people to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Asked {
    /// The request.
    pub request_id: RequestId,
    /// The digest of what is shown: a decision names it, so that it is about this and nothing else.
    pub digest: String,
    /// The step, counted from 0; `None`: the whole plan.
    pub step_ordinal: Option<u32>,
    /// The most harm that what is asked can do, as Rounds computed it.
    pub tier: Tier,
    /// Where it takes place.
    pub places: Vec<Place>,
    /// What runs, verbatim, in order.
    pub commands: Vec<String>,
    /// When it can no longer be approved.
    pub expires_at: Timestamp,
}

impl Asked {
    /// A question without commands and places: what a notifier's own tests ask.
    pub fn new(request_id: RequestId, digest: impl Into<String>, tier: Tier, expires_at: Timestamp) -> Self {
        Self {
            request_id,
            digest: digest.into(),
            step_ordinal: None,
            tier,
            places: Vec::new(),
            commands: Vec::new(),
            expires_at,
        }
    }
}

/// Where something takes place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The connector.
    pub connector_id: ConnectorId,
    /// Its name, when it still has one.
    pub connector: Option<String>,
    /// The namespace, where there is one.
    pub namespace: Option<String>,
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
    /// What it is about, the same in every notice about it: a plan (`plan/<id>`), or one episode of an alert, from firing to
    /// resolved (`alert/<rule>/<instance>/<firing since, in ms>`). Channels put messages in one thread by it, and open and
    /// close incidents. `None`: it was told before there was this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The labels of the alert: of its rule and of its sample, and `alertname`. Of a plan, those of the alert that it is
    /// to end.
    pub labels: BTreeMap<String, String>,
    /// The namespaces of a plan's targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The team it concerns. Rounds has routed by it already: a channel of a team gets what that team owns, and a channel
    /// of nobody in particular gets everything.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
    /// What it asks to decide, when it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Which reminder it is, from 1; 0: it is told for the first time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeat: u32,
    /// What it folds together, oldest first, when the channel gathers notices; `title` and `body` tell of all of it. At
    /// most 100; a notice that asks for a decision is never folded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<Folded>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One of several notices in one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Folded {
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// How bad it is, as in [`Notice::severity`].
    pub severity: String,
    /// The page to open, as a path.
    pub link: String,
    /// What it is about, as in [`Notice::about`]: of several about one thing, the last says how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
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
            about: None,
            labels: BTreeMap::new(),
            namespaces: Vec::new(),
            owner_team_id: None,
            asked: None,
            repeat: 0,
            folded: Vec::new(),
        }
    }

    /// What it is routed by.
    #[must_use]
    pub fn topic(&self) -> Topic<'_> {
        Topic {
            kind: self.kind,
            severity: serde_json::from_value(serde_json::Value::String(self.severity.clone())).ok(),
            labels: &self.labels,
            namespaces: &self.namespaces,
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

    /// The way back, for a channel whose messages can be answered. The default is a channel that only tells.
    fn answers(&self) -> Option<&dyn Answers> {
        None
    }
}
