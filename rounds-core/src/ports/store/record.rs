use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EventCursor, EventLetter, StoreError};
use crate::alert::{AlertInstance, AlertRule, HistoryRow, Silence};
use crate::change::ChangeRecord;
use crate::connector::{Connector, StoredSecret};
use crate::id::{AlertInstanceId, ConnectorId, NoticeId, OrgId, PlanId, RequestId};
use crate::investigation::{Investigation, InvestigationStatus, Spending};
use crate::plan::{NextStep, Plan, PlanStatus, RequestKind, VerificationStatus, next_step};
use crate::ports::Notice;
use crate::time::Timestamp;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($type:ty) = $name:literal;)*) => {
        /// The kinds of records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum RecordKind {
            $($(#[$doc])* $variant,)*
        }

        impl RecordKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind's name, for tables and messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        /// Everything that is kept, as values.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Record {
            $($(#[$doc])* $variant(Box<$type>),)*
        }

        impl Record {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> RecordKind {
                match self {
                    $(Self::$variant(_) => RecordKind::$variant,)*
                }
            }

            /// Its body as text, for the store to keep as it is. An inline secret is not in it ([`Record::secret`]).
            ///
            /// # Errors
            /// It cannot be written as JSON.
            pub fn encode(&self) -> Result<String, StoreError> {
                match self {
                    $(Self::$variant(value) => serde_json::to_string(value),)*
                }
                .map_err(|error| StoreError::Invalid(format!("{} cannot be encoded: {error}", self.key())))
            }

            /// Reads a body back.
            ///
            /// # Errors
            /// The text is not the body of such a record.
            pub fn decode(kind: RecordKind, body: &str) -> Result<Self, StoreError> {
                match kind {
                    $(RecordKind::$variant => serde_json::from_str(body).map(Self::$variant),)*
                }
                .map_err(|error| StoreError::Corrupt { what: format!("a {kind}"), message: error.to_string() })
            }
        }

        $(impl From<$type> for Record {
            fn from(value: $type) -> Self {
                Self::$variant(Box::new(value))
            }
        }

        impl TryFrom<Record> for $type {
            type Error = StoreError;
            #[allow(unreachable_patterns, reason = "the pattern is reachable as soon as there are two kinds")]
            fn try_from(record: Record) -> Result<Self, StoreError> {
                match record {
                    Record::$variant(value) => Ok(*value),
                    other => Err(StoreError::Corrupt {
                        what: other.key().to_string(),
                        message: concat!("a ", $name, " was expected").into(),
                    }),
                }
            }
        })*
    };
}

kinds! {
    /// A rule.
    AlertRule(AlertRule) = "alert_rule";
    /// What a rule watches, and its state.
    AlertInstance(AlertInstance) = "alert_instance";
    /// A change of an alert's state.
    AlertHistory(HistoryRow) = "alert_history";
    /// A silence.
    Silence(Silence) = "silence";
    /// An investigation with its report.
    Investigation(Investigation) = "investigation";
    /// A plan with its steps and requests.
    Plan(Plan) = "plan";
    /// A connector; its secret travels beside its body.
    Connector(Connector) = "connector";
    /// A notice on its way to a channel.
    Notice(OutboxNotice) = "notice";
    /// A place under a cap that holds over all replicas.
    WorkSlot(WorkSlot) = "work_slot";
    /// How far a sink got in the events of an organisation.
    EventCursor(EventCursor) = "event_cursor";
    /// An event that a sink could not be given.
    EventLetter(EventLetter) = "event_letter";
    /// What a rule, or an organisation, spent on investigations today.
    Spending(Spending) = "spending";
    /// What changed outside of Rounds.
    Change(ChangeRecord) = "change";
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id.
    pub id: Uuid,
}

impl Key {
    /// A record of a kind.
    #[must_use]
    pub fn new(kind: RecordKind, id: Uuid) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// A value with the version it was read at. The first version is 1; each update adds one.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The version to expect when it is written back.
    pub version: u64,
}

impl<T> Versioned<T> {
    /// The same version of something made from the value.
    ///
    /// # Errors
    /// What `f` says.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Versioned<U>, E> {
        Ok(Versioned { value: f(self.value)?, version: self.version })
    }
}

/// Where a notice is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeStatus {
    /// It waits to be delivered.
    Pending,
    /// It was tried as often as the settings allow, or cannot be delivered: a person looks.
    Dead,
    /// It gathers the notices of a group for a channel, until they are told as one.
    Gathering,
    /// It reminds a channel, again and again, while what it was told of lasts.
    Recurring,
}

impl NoticeStatus {
    /// The word that rows and queries use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
            Self::Gathering => "gathering",
            Self::Recurring => "recurring",
        }
    }
}

/// A notice on its way: first unrouted, then one per channel. A delivered one is deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxNotice {
    /// This delivery.
    pub id: NoticeId,
    /// What is told.
    pub notice: Notice,
    /// The channel; `None`: not yet routed.
    pub channel: Option<ConnectorId>,
    /// What it is about: the plan, or the alert rule. A channel is told of one thing in the order in which it happened.
    #[serde(default)]
    pub about: Option<Uuid>,
    /// Its place in that order: the version of what it is about. No clock says it, so no two clocks can disagree.
    #[serde(default)]
    pub place: u64,
    /// Where it is.
    pub status: NoticeStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; of a dead one, when it was tried last.
    pub next_attempt_at: Timestamp,
    /// What the last try said.
    pub last_error: Option<String>,
    /// What has to last for it to be told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Lasts>,
    /// Of one that gathers: the group, one row a channel and group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What it has gathered, or tells of as one. Then `about` is nothing in particular: each of these is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// What lasts: an alert that fires, or a request that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Lasts {
    /// An episode of an alert.
    Alert {
        /// The instance.
        instance_id: AlertInstanceId,
        /// Since when it fires.
        firing_since: Timestamp,
    },
    /// A request for a decision.
    Request {
        /// The plan.
        plan_id: PlanId,
        /// The request.
        request_id: RequestId,
    },
}

/// One of the notices that are told as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// What is told.
    pub notice: Notice,
    /// As in [`OutboxNotice::about`].
    pub about: Option<Uuid>,
    /// As in [`OutboxNotice::place`].
    pub place: u64,
    /// As in [`OutboxNotice::lasts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Lasts>,
}

impl OutboxNotice {
    /// The unique key of what gathers a group for a channel.
    pub(crate) fn gathering_key(channel: ConnectorId, group: &str) -> String {
        format!("gather/{channel}/{group}")
    }

    /// The unique key of a notice on its way to a channel.
    pub(crate) fn delivery_key(idempotency_key: &str, channel: ConnectorId) -> String {
        format!("{idempotency_key}/{channel}")
    }

    /// What no two of these may share.
    fn unique_key(&self) -> String {
        let key = &self.notice.idempotency_key;
        match (self.status, self.channel) {
            (NoticeStatus::Gathering, Some(channel)) => {
                Self::gathering_key(channel, self.group.as_deref().unwrap_or_default())
            }
            (NoticeStatus::Recurring, Some(channel)) => format!("recurring/{}", Self::delivery_key(key, channel)),
            (_, Some(channel)) => Self::delivery_key(key, channel),
            (_, None) => key.clone(),
        }
    }
}

/// Work that is capped over all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Work {
    /// Running an investigation.
    Investigation,
}

impl Work {
    /// The word that rows and queries use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Investigation => "investigation",
        }
    }
}

/// A place under a cap that holds over all replicas: whoever holds its lease may do one piece of the work. A cap of
/// four is four of these, and a replica that dies gives its places back when their leases end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkSlot {
    /// The place.
    pub id: Uuid,
    /// Which work.
    pub work: Work,
    /// Which of the places, from 0. A replica with a smaller cap takes only the first ones.
    pub number: u32,
}

impl WorkSlot {
    /// The due time of a place: so many microseconds after 1970 as its number says. Asking for what is due by the time
    /// of the last place under a cap claims only the places under it.
    #[must_use]
    pub fn due(number: u32) -> Timestamp {
        chrono::DateTime::from_timestamp_micros(number.into()).unwrap_or_default()
    }
}

/// What a record is found by. Stores keep exactly this beside the body, in columns or as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Its organisation.
    pub org: OrgId,
    /// Its status, for kinds that have one: what it is claimed, listed and counted by. The work of a slot and the sink
    /// of a cursor stand here too.
    pub status: Option<Cow<'static, str>>,
    /// What it belongs to: the rule of an instance, history row or investigation; the investigation of a plan; what a
    /// notice is about, or the channel of one about several things; the cursor of the sink that an event could not be given to.
    pub parent: Option<Uuid>,
    /// What no two records of its kind may share.
    pub unique: Option<String>,
    /// When somebody must next look at it; `None`: nobody needs to.
    pub due_at: Option<Timestamp>,
    /// What it contains that is found on its own: the requests of a plan.
    pub children: Vec<ChildIndex>,
    /// What else it is listed by, each once, as `kind:value`: the team of a plan, its connectors, the namespaces it touches.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Index {
    /// The unique key of what has a name of its own in an organisation.
    pub(crate) fn unique_name(org: &OrgId, name: &str) -> String {
        format!("{org}/{name}")
    }
}

/// A part of a record that is found on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildIndex {
    /// The part's id.
    pub id: Uuid,
    /// The part's status.
    pub status: Cow<'static, str>,
}

impl Record {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        let id = match self {
            Self::AlertRule(rule) => rule.id.as_uuid(),
            Self::AlertInstance(instance) => instance.id.as_uuid(),
            Self::AlertHistory(row) => row.id.as_uuid(),
            Self::Silence(silence) => silence.id.as_uuid(),
            Self::Investigation(investigation) => investigation.id.as_uuid(),
            Self::Plan(plan) => plan.id.as_uuid(),
            Self::Connector(connector) => connector.id.as_uuid(),
            Self::Notice(notice) => notice.id.as_uuid(),
            Self::WorkSlot(slot) => slot.id,
            Self::EventCursor(cursor) => cursor.id,
            Self::EventLetter(letter) => letter.id.as_uuid(),
            Self::Spending(spending) => spending.id,
            Self::Change(change) => change.id.as_uuid(),
        };
        Key { kind: self.kind(), id }
    }

    /// What it is found by.
    #[must_use]
    pub fn index(&self) -> Index {
        let bare = |org: &OrgId| Index {
            org: org.clone(),
            status: None,
            parent: None,
            unique: None,
            due_at: None,
            children: Vec::new(),
            tags: Vec::new(),
        };
        match self {
            Self::AlertRule(rule) => Index {
                status: Some(if rule.enabled { "enabled" } else { "disabled" }.into()),
                unique: Some(Index::unique_name(&rule.org_id, &rule.name)),
                ..bare(&rule.org_id)
            },
            Self::AlertInstance(instance) => Index {
                // Rules are counted by state, and a label set is no rule.
                status: Some(match &instance.series {
                    None => instance.state.as_str().into(),
                    Some(_) => format!("series:{}", instance.state.as_str()).into(),
                }),
                parent: Some(instance.rule_id.as_uuid()),
                // One of the rule itself and one of each label set: two evaluators must not make two.
                unique: Some(match &instance.series {
                    None => instance.rule_id.to_string(),
                    Some(key) => format!("{}/{key}", instance.rule_id),
                }),
                due_at: instance.next_evaluation_at,
                ..bare(&instance.org_id)
            },
            Self::AlertHistory(row) => Index {
                status: Some(row.to_state.as_str().into()),
                parent: Some(row.rule_id.as_uuid()),
                ..bare(&row.org_id)
            },
            Self::Silence(silence) => Index { parent: silence.rule_id.map(|id| id.as_uuid()), ..bare(&silence.org_id) },
            Self::Investigation(investigation) => Index {
                status: Some(investigation.status.as_str().into()),
                parent: investigation.rule_id().map(|id| id.as_uuid()),
                unique: investigation.episode_key(),
                due_at: match investigation.status {
                    InvestigationStatus::Queued | InvestigationStatus::Running => Some(investigation.turn()),
                    InvestigationStatus::Completed
                    | InvestigationStatus::Failed
                    | InvestigationStatus::Skipped
                    | InvestigationStatus::Cancelled => None,
                },
                ..bare(&investigation.org_id)
            },
            Self::Plan(plan) => Index {
                status: Some(plan.status.as_str().into()),
                parent: plan.investigation_id.map(|id| id.as_uuid()),
                due_at: plan_due(plan),
                children: plan
                    .requests
                    .iter()
                    .map(|request| ChildIndex { id: request.id.as_uuid(), status: request.status.as_str().into() })
                    .collect(),
                tags: super::PlanTag::of(plan),
                ..bare(&plan.org_id)
            },
            Self::Connector(connector) => Index {
                unique: Some(Index::unique_name(&connector.org_id, &connector.name)),
                ..bare(&connector.org_id)
            },
            Self::Notice(notice) => Index {
                status: Some(notice.status.as_str().into()),
                unique: Some(notice.unique_key()),
                // What is about several things is found by its channel.
                parent: match notice.members.is_empty() && notice.status != NoticeStatus::Gathering {
                    true => notice.about,
                    false => notice.channel.map(|channel| channel.as_uuid()),
                },
                due_at: (notice.status != NoticeStatus::Dead).then_some(notice.next_attempt_at),
                ..bare(&notice.notice.org_id)
            },
            // It belongs to the installation; every record names an organisation.
            Self::WorkSlot(slot) => Index {
                status: Some(slot.work.as_str().into()),
                unique: Some(format!("{}/{}", slot.work.as_str(), slot.number)),
                due_at: Some(WorkSlot::due(slot.number)),
                ..bare(&OrgId::default())
            },
            Self::EventCursor(cursor) => Index {
                // A replica claims the cursors of the sinks that it has, and no others.
                status: Some(cursor.sink.clone().into()),
                unique: Some(EventCursor::unique(&cursor.org_id, &cursor.sink)),
                due_at: Some(cursor.next_attempt_at),
                ..bare(&cursor.org_id)
            },
            Self::EventLetter(letter) => Index {
                status: Some(letter.status.as_str().into()),
                parent: Some(letter.cursor),
                unique: Some(format!("{}/{}", letter.cursor, letter.event.seq)),
                due_at: (letter.status == NoticeStatus::Pending).then_some(letter.next_attempt_at),
                ..bare(&letter.event.org_id)
            },
            Self::Spending(spending) => Index {
                parent: spending.rule_id.map(|id| id.as_uuid()),
                unique: Some(Spending::unique(&spending.org_id, spending.rule_id)),
                ..bare(&spending.org_id)
            },
            Self::Change(change) => Index {
                unique: change.idempotency_key.as_ref().map(|key| Index::unique_name(&change.org_id, key)),
                due_at: Some(change.forget_at),
                ..bare(&change.org_id)
            },
        }
    }

    /// The secret that travels beside the body.
    #[must_use]
    pub fn secret(&self) -> Option<&StoredSecret> {
        match self {
            Self::Connector(connector) => connector.secret.as_ref(),
            _ => None,
        }
    }

    /// Puts the secret back that traveled beside the body.
    pub fn set_secret(&mut self, secret: Option<StoredSecret>) {
        if let Self::Connector(connector) = self {
            connector.secret = secret;
        }
    }
}

/// When somebody must next look at a plan: the executor, the expiry sweep or the verification.
fn plan_due(plan: &Plan) -> Option<Timestamp> {
    match plan.status {
        PlanStatus::PendingApproval => plan.expires_at,
        PlanStatus::Approved => Some(plan.created_at),
        PlanStatus::Executing => match next_step(plan) {
            NextStep::Waiting(ordinal) => {
                plan.open_request(RequestKind::Step { ordinal }).map(|request| request.expires_at)
            }
            // While the lease is held nobody else looks. Whoever takes it over waits until the effect must be over: its
            // deadline is of the store's time, and so nothing to compare with anybody's clock here.
            NextStep::Running(_) | NextStep::Run(_) | NextStep::Ask(_) | NextStep::None => Some(plan.created_at),
        },
        PlanStatus::Completed => {
            plan.verification.since.filter(|_| plan.verification.status == VerificationStatus::Watching)
        }
        PlanStatus::Draft | PlanStatus::Failed | PlanStatus::Rejected | PlanStatus::Expired | PlanStatus::Cancelled => {
            None
        }
    }
}
