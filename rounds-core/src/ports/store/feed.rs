//! What a store keeps for sinks of events: how far each got, and what it could not be given.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::NoticeStatus;
use crate::id::{DeadLetterId, OrgId};
use crate::ports::Event;
use crate::time::Timestamp;

/// How far a sink got in the events of an organisation. Whoever holds its lease feeds the sink; there is one per sink and
/// organisation, over all replicas and restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventCursor {
    /// The cursor.
    pub id: Uuid,
    /// Whose events.
    pub org_id: OrgId,
    /// The sink, by the name that it keeps ([`EventSink::name`](crate::ports::EventSink::name)).
    pub sink: String,
    /// The number of the last event that is behind it: the sink took it, or it is a dead letter.
    pub seq: u64,
    /// How often the next event was tried in vain.
    pub attempts: u32,
    /// Not before this moment is it tried again.
    pub next_attempt_at: Timestamp,
    /// What the last try said, while it is tried again.
    pub last_error: Option<String>,
}

impl EventCursor {
    /// What no two cursors share.
    #[must_use]
    pub fn unique(org: &OrgId, sink: &str) -> String {
        // The name has no slash in it, so no two pairs look alike.
        format!("{sink}/{org}")
    }
}

/// An event that a sink could not be given. It holds the event itself, which outlives the log that way. A person retries it
/// or discards it; the sink went on meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLetter {
    /// The letter.
    pub id: DeadLetterId,
    /// The cursor of the sink: whoever holds its lease delivers this too.
    pub cursor: Uuid,
    /// The sink.
    pub sink: String,
    /// The event.
    pub event: Event,
    /// Dead, or pending when a person asked for another try.
    pub status: NoticeStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; of a dead one, when it was tried last.
    pub next_attempt_at: Timestamp,
    /// What the last try said.
    pub last_error: Option<String>,
}
