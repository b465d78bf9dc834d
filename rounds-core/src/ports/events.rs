//! What happened, for pages and embedders.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallContext, PortError};
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
    /// A notice or an event that could not be delivered.
    DeadLetter,
    /// A recorded change.
    Change,
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

impl Event {
    /// The same for every delivery of the same event, and no other's: the organisation and the place in its order.
    /// Receivers deduplicate by it; whoever keeps the highest number that it has handled needs no list.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.org_id, self.seq)
    }
}

/// Is given every event, after it is committed: a message bus, a ticket system, a search index.
///
/// **Implemented by** embedders, and registered with [`Builder::event_sink`](crate::service::Builder::event_sink).
/// **Called by** the feed, which promises: every event of the organisation from the first start with this sink on, **at
/// least once**, **in order**, over restarts and over replicas. The store keeps how far each named sink got, under a
/// lease, so that one replica at a time feeds it; each event is given when the one before it was taken. What fails
/// transiently ([`PortError::is_transient`]), takes longer than [`CallContext::timeout`] or panics is tried again with
/// backoff, and holds up what comes after it; after [`Settings::notice_attempts`](crate::Settings::notice_attempts) tries,
/// or at once when trying again cannot help, the event becomes a
/// [dead letter](crate::service::DeadLetters) and the sink goes on.
///
/// An implementation MUST:
/// - keep its [`name`](Self::name): under another name it is another sink, which starts at what happens from now on;
/// - take a repeat: the same event comes again when its answer got lost, when a replica took over, or when a person retries
///   a dead letter, then after later ones. [`Event::idempotency_key`] tells;
/// - answer `Ok` only once the event is safe where it goes: it is not given again;
/// - not retry by itself, and not wait for what a later event brings.
///
/// It cannot veto: what an event tells of has happened. **Cancel safe**: a call is dropped when its time or the lease is
/// over, or the process stops, and the event is given again.
///
/// For what may miss events, such as a page that is open, [`Rounds::subscribe`](crate::Rounds::subscribe) is lighter.
///
/// ```
/// use async_trait::async_trait;
/// use rounds_core::ports::{CallContext, Event, EventSink, PortError};
///
/// struct Log;
///
/// #[async_trait]
/// impl EventSink for Log {
///     fn name(&self) -> &str {
///         "log"
///     }
///
///     async fn event(&self, _cx: &CallContext, event: &Event) -> Result<(), PortError> {
///         println!("{} {} {}", event.idempotency_key(), event.subject_id, event.name);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Its name in the store: 1 to 64 lower-case letters, digits, `.`, `_` and `-`. No two sinks of a process share one.
    fn name(&self) -> &str;

    /// Takes one event.
    ///
    /// # Errors
    /// It was not taken, or nobody knows.
    async fn event(&self, cx: &CallContext, event: &Event) -> Result<(), PortError>;
}
