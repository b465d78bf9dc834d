//! What happened, for pages and embedders.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::OrgId;
use crate::time::Timestamp;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventSubject {
    /// A plan, one of its steps or its requests.
    Plan,
    /// An alert rule or its state.
    Alert,
    /// An investigation.
    Investigation,
    /// A connector.
    Connector,
}

/// One thing that happened. Events are committed with what they tell of, and numbered by the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its place in the organisation's order, from 1, without gaps; 0 until the store has numbered it.
    #[serde(default)]
    pub seq: u64,
    /// The organisation.
    pub org_id: OrgId,
    /// What it is about.
    pub subject: EventSubject,
    /// The id of what it is about.
    pub subject_id: String,
    /// What happened, such as `step_finished`.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Facts worth showing without another read.
    pub data: Value,
}

/// Hears of events after they are committed: metrics, a message bus, an embedder's own pages.
///
/// **Called by** the runtime, in order, once per process for each event that this process committed or saw. It
/// MUST return quickly; it cannot veto. Whoever needs every event reads [`Store::events`](super::Store::events).
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Hears of one event.
    async fn event(&self, event: &Event);
}
