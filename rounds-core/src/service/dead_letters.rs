//! Dead letters: what could not be delivered, for a person to try again or to discard.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::error::Error;
use super::listed::{Listed, limit};
use super::shared::Shared;
use crate::access::{Action, Denied, Principal, Scope};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{ConnectorId, DeadLetterId, OrgId};
use crate::ports::store::{
    Commit, Cursor, EventLetter, Key, ListQuery, Lookup, NoticeStatus, OutboxNotice, Record, RecordKind, StoreError,
    StoreExt, Versioned,
};
use crate::ports::{Event, EventSubject};
use crate::time::Timestamp;

/// What could not be delivered: notices to channels, and events to sinks. Every method authorizes the principal itself:
/// `connectors:read` to look, `connectors:write` to decide, and no agent decides (rule 8).
pub struct DeadLetters<'a> {
    pub(crate) shared: &'a Shared,
}

/// Where something was to be delivered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Recipient {
    /// A notification channel.
    Channel(ConnectorId),
    /// A sink of events, by its name.
    Sink(String),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(id) => write!(f, "channel {id}"),
            Self::Sink(name) => write!(f, "sink {name}"),
        }
    }
}

/// Something that could not be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The letter.
    pub id: DeadLetterId,
    /// Where it was to go.
    pub to: Recipient,
    /// What it told of: a kind of notice, such as `plan_proposed`, or the name of an event.
    pub what: String,
    /// One line for a person.
    pub title: String,
    /// The page of what it is about, as a path; `None`: it has none.
    pub link: Option<String>,
    /// What its receiver deduplicates by.
    pub idempotency_key: String,
    /// When it happened.
    pub happened_at: Timestamp,
    /// Whether it is on its way again: a person asked for it.
    pub status: NoticeStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried last; of one that is on its way again, when it is tried next.
    pub tried_at: Timestamp,
    /// What the last try said.
    pub last_error: Option<String>,
}

/// Which dead letters are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadLetterFilter {
    /// To this recipient.
    pub to: Option<Recipient>,
    /// After this one, in the order of the list (newest first).
    pub after: Option<DeadLetterId>,
    /// At most this many; 0 is 100, and more than 100 is 100.
    pub limit: u32,
}

/// How much waits for a recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// What is on its way. For a sink: the events that it has not been given.
    pub pending: u64,
    /// What a person has to look at.
    pub dead: u64,
}

/// How many records a backlog is counted from, of each kind: it is asked for often, and an outage makes many.
const COUNTED: usize = 10_000;
/// How many letters are decided on in one commit.
const AT_ONCE: usize = 50;

#[allow(clippy::large_enum_variant, reason = "a page of them at a time, and each is about to be shown or stored")]
/// A letter as it is stored.
#[derive(Debug, Clone)]
enum Letter {
    Notice(OutboxNotice),
    Event(EventLetter),
}

impl Letter {
    fn org(&self) -> &OrgId {
        match self {
            Self::Notice(notice) => &notice.notice.org_id,
            Self::Event(letter) => &letter.event.org_id,
        }
    }

    /// What a person sees; `None`: a notice that is not routed yet is nobody's letter.
    fn view(&self) -> Option<DeadLetter> {
        Some(match self {
            Self::Notice(letter) => DeadLetter {
                id: DeadLetterId::from(letter.id.as_uuid()),
                to: Recipient::Channel(letter.channel?),
                what: word(&letter.notice.kind),
                title: letter.notice.title.clone(),
                link: Some(letter.notice.link.clone()).filter(|link| !link.is_empty()),
                idempotency_key: letter.notice.idempotency_key.clone(),
                happened_at: letter.notice.at,
                status: letter.status,
                attempts: letter.attempts,
                tried_at: letter.next_attempt_at,
                last_error: letter.last_error.clone(),
            },
            Self::Event(letter) => DeadLetter {
                id: letter.id,
                to: Recipient::Sink(letter.sink.clone()),
                what: letter.event.name.clone(),
                title: format!("{} {}: {}", word(&letter.event.subject), letter.event.subject_id, letter.event.name),
                link: link(&letter.event),
                idempotency_key: letter.event.idempotency_key(),
                happened_at: letter.event.at,
                status: letter.status,
                attempts: letter.attempts,
                tried_at: letter.next_attempt_at,
                last_error: letter.last_error.clone(),
            },
        })
    }

    /// The same, to be tried at once and as often as a new one.
    fn again(self, now: Timestamp) -> Self {
        match self {
            Self::Notice(letter) => Self::Notice(OutboxNotice {
                status: NoticeStatus::Pending,
                attempts: 0,
                next_attempt_at: now,
                ..letter
            }),
            Self::Event(letter) => {
                Self::Event(EventLetter { status: NoticeStatus::Pending, attempts: 0, next_attempt_at: now, ..letter })
            }
        }
    }
}

impl TryFrom<Record> for Letter {
    type Error = StoreError;

    fn try_from(record: Record) -> Result<Self, StoreError> {
        match record {
            Record::Notice(notice) => Ok(Self::Notice(*notice)),
            other => EventLetter::try_from(other).map(Self::Event),
        }
    }
}

impl From<Letter> for Record {
    fn from(letter: Letter) -> Self {
        match letter {
            Letter::Notice(notice) => notice.into(),
            Letter::Event(letter) => letter.into(),
        }
    }
}

/// The word that serde writes for a value without fields.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn link(event: &Event) -> Option<String> {
    let place = match event.subject {
        EventSubject::Plan => "plans",
        EventSubject::Alert => "alerts",
        EventSubject::Investigation => "investigations",
        EventSubject::Connector | EventSubject::DeadLetter | EventSubject::Change => return None,
    };
    Some(format!("/{place}/{}", event.subject_id))
}

/// Facts about a letter, for the audit log and for events.
fn facts(letter: &DeadLetter) -> Value {
    let (to, name) = match &letter.to {
        Recipient::Channel(id) => ("channelId", id.to_string()),
        Recipient::Sink(name) => ("sink", name.clone()),
    };
    json!({
        to: name, "what": letter.what, "title": letter.title, "idempotencyKey": letter.idempotency_key,
        "attempts": letter.attempts, "lastError": letter.last_error,
    })
}

/// The event of a notice that has just become a dead letter: pages show it without being asked. None tells of an event
/// that could not be delivered: it would have to be delivered too.
pub(crate) fn died(shared: &Shared, notice: &OutboxNotice) -> Option<Event> {
    let letter = Letter::Notice(notice.clone()).view()?;
    let org = &notice.notice.org_id;
    Some(shared.event(org, EventSubject::DeadLetter, letter.id, "dead", facts(&letter)))
}

impl DeadLetters<'_> {
    /// Dead letters of the principal's organisation, newest first.
    ///
    /// # Errors
    /// `connectors:read` is missing.
    pub async fn list(
        &self,
        who: &Principal,
        filter: &DeadLetterFilter,
    ) -> Result<Listed<DeadLetter, DeadLetterId>, Error> {
        self.may_read(who).await?;
        let limit = limit(filter.limit, 100) as usize;
        let mut found = Vec::new();
        for kind in kinds(filter.to.as_ref()) {
            let mut after = filter.after;
            // One more than wanted says whether there are more.
            let mut wanted = limit + 1;
            while wanted > 0 {
                let (page, next) = self.page(who, *kind, true, after).await?;
                let matching = page.into_iter().filter_map(|found| found.value.view());
                let matching = matching.filter(|letter| filter.to.as_ref().is_none_or(|to| letter.to == *to));
                let matching: Vec<DeadLetter> = matching.take(wanted).collect();
                wanted -= matching.len();
                found.extend(matching);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        // Ids are in the order of creation, whatever the kind.
        found.sort_by_key(|letter| std::cmp::Reverse(letter.id));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|letter| letter.id).filter(|_| more);
        Ok(Listed::new(found, next))
    }

    /// How many there are.
    ///
    /// # Errors
    /// `connectors:read` is missing.
    pub async fn count(&self, who: &Principal) -> Result<u64, Error> {
        self.may_read(who).await?;
        let mut count = 0;
        for kind in kinds(None) {
            let counts = self.shared.store.count(*kind, Some(&who.org_id)).await?;
            count += counts.get(NoticeStatus::Dead.as_str()).copied().unwrap_or_default();
        }
        Ok(count)
    }

    /// Puts one on its way again, at once and with as many tries as a new one has. A notice takes its old place: what the
    /// channel was not told since waits for it. What the channel was told since, it was told first.
    ///
    /// # Errors
    /// `connectors:write` is missing, the principal is an agent, there is no such letter, or it is on its way already.
    pub async fn retry(&self, who: &Principal, id: DeadLetterId) -> Result<DeadLetter, Error> {
        self.may_write(who).await?;
        self.retry_one(who, id).await
    }

    /// Gives one up for good. The audit log keeps what it told of.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub async fn discard(&self, who: &Principal, id: DeadLetterId) -> Result<(), Error> {
        self.may_write(who).await?;
        let mut tries = 0;
        loop {
            let (found, letter) = self.dead(who, id).await?;
            let commit = self.told(who, &letter, "discard").delete(Record::from(found.value).key(), found.version);
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(());
            }
        }
    }

    /// Puts every dead letter to a recipient on its way again, oldest first, and says how many those were: after a channel
    /// was mended.
    ///
    /// # Errors
    /// `connectors:write` is missing, or the principal is an agent.
    pub async fn retry_all(&self, who: &Principal, to: &Recipient) -> Result<u64, Error> {
        self.may_write(who).await?;
        let mut count = 0;
        for kind in kinds(Some(to)) {
            // Each is met once: one that dies again meanwhile is behind this place.
            let mut after = None;
            loop {
                let (page, next) = self.page(who, *kind, false, after).await?;
                let of_recipient = page.into_iter().filter(|found| found.value.view().is_some_and(|l| l.to == *to));
                let letters: Vec<Versioned<Letter>> = of_recipient.collect();
                for some in letters.chunks(AT_ONCE) {
                    count += self.retry_some(who, some).await?;
                }
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(count)
    }

    async fn retry_some(&self, who: &Principal, letters: &[Versioned<Letter>]) -> Result<u64, Error> {
        let mut commit = Commit::new();
        for found in letters {
            commit = self.retrying(who, commit, found);
        }
        match self.shared.store.commit(commit).await {
            Ok(_) => return Ok(letters.len() as u64),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Somebody decided on one of them in this moment: one by one, without it.
        let mut count = 0;
        for id in letters.iter().filter_map(|found| found.value.view()).map(|letter| letter.id) {
            match self.retry_one(who, id).await {
                Ok(_) => count += 1,
                Err(Error::NotFound { .. } | Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    async fn retry_one(&self, who: &Principal, id: DeadLetterId) -> Result<DeadLetter, Error> {
        let mut tries = 0;
        loop {
            let (found, letter) = self.dead(who, id).await?;
            let commit = self.retrying(who, Commit::new(), &found);
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(found.value.again(self.shared.now()).view().unwrap_or(letter));
            }
        }
    }

    fn retrying(&self, who: &Principal, commit: Commit, found: &Versioned<Letter>) -> Commit {
        let Some(letter) = found.value.view() else { return commit };
        let told = self.told(who, &letter, "retry");
        let commit = told.audit.into_iter().fold(commit, Commit::audit);
        let commit = told.events.into_iter().fold(commit, Commit::event);
        commit.update(found.value.clone().again(self.shared.now()), found.version)
    }

    /// The dead letter with an id, as it is stored and as it is shown.
    async fn dead(&self, who: &Principal, id: DeadLetterId) -> Result<(Versioned<Letter>, DeadLetter), Error> {
        for kind in kinds(None) {
            let key = Lookup::Key(Key::new(*kind, id.as_uuid()));
            let Some(found) = self.shared.store.get::<Letter>(key).await? else { continue };
            let Some(letter) = found.value.view().filter(|_| *found.value.org() == who.org_id) else { continue };
            return match letter.status {
                NoticeStatus::Dead => Ok((found, letter)),
                // Not a letter, but what makes some.
                NoticeStatus::Gathering | NoticeStatus::Recurring => Err(Error::not_found("dead letter", id)),
                NoticeStatus::Pending => Err(Error::Conflict {
                    code: "already_retried",
                    message: format!("{id} is on its way: it can be decided on again if that fails"),
                }),
            };
        }
        Err(Error::not_found("dead letter", id))
    }

    async fn page(
        &self,
        who: &Principal,
        kind: RecordKind,
        newest_first: bool,
        after: Option<DeadLetterId>,
    ) -> Result<(Vec<Versioned<Letter>>, Option<DeadLetterId>), Error> {
        let query = ListQuery {
            org: Some(who.org_id.clone()),
            statuses: vec![NoticeStatus::Dead.as_str().into()],
            newest_first,
            after: after.map(|id| Cursor(id.as_uuid())),
            ..ListQuery::new(kind)
        };
        let page = self.shared.store.list(&query).await?;
        let found: Result<Vec<_>, StoreError> =
            page.records.into_iter().map(|record| record.try_map(Letter::try_from)).collect();
        Ok((found?, page.next.map(|cursor| DeadLetterId::from(cursor.0))))
    }

    fn told(&self, who: &Principal, letter: &DeadLetter, name: &str) -> Commit {
        let org = &who.org_id;
        let target = ("dead_letter", letter.id.to_string());
        let entry = AuditEntry::new(
            self.shared.now(),
            org,
            &who.actor(),
            format!("dead_letter.{name}"),
            target,
            Outcome::Success,
        );
        let facts = facts(letter);
        let pairs = facts.as_object().cloned().unwrap_or_default();
        let entry = pairs.into_iter().fold(entry, |entry, (name, value)| entry.with(&name, value));
        Commit::new().audit(entry).event(self.shared.event(org, EventSubject::DeadLetter, letter.id, name, facts))
    }

    async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::ConnectorsRead, &[Scope::all("connectors")]).await?)
    }

    async fn may_write(&self, who: &Principal) -> Result<(), Error> {
        let (action, scope) = (Action::ConnectorsWrite, Scope::all("connectors"));
        if who.is_agent {
            return Err(Denied::AgentsNeverDecide { login: who.login.clone(), action, scope }.into());
        }
        Ok(self.shared.authorize(who, action, &[scope]).await?)
    }
}

/// The kinds of records that letters to a recipient are; those of all recipients for none.
fn kinds(to: Option<&Recipient>) -> &'static [RecordKind] {
    match to {
        None => &[RecordKind::Notice, RecordKind::EventLetter],
        Some(Recipient::Channel(_)) => &[RecordKind::Notice],
        Some(Recipient::Sink(_)) => &[RecordKind::EventLetter],
    }
}

/// What waits for each recipient; under `None` what is not routed yet.
pub(crate) async fn backlog(shared: &Shared, org: &OrgId) -> Result<BTreeMap<Option<Recipient>, Backlog>, Error> {
    let mut backlog: BTreeMap<Option<Recipient>, Backlog> = BTreeMap::new();
    let mut count = |to: Option<Recipient>, status: NoticeStatus| {
        let backlog = backlog.entry(to).or_default();
        match status {
            NoticeStatus::Pending => backlog.pending += 1,
            NoticeStatus::Dead => backlog.dead += 1,
            // What waits in these is counted once it is on its way.
            NoticeStatus::Gathering | NoticeStatus::Recurring => {}
        }
    };
    for kind in kinds(None) {
        let mut query = ListQuery { org: Some(org.clone()), limit: 1000, ..ListQuery::new(*kind) };
        for _ in 0..COUNTED / 1000 {
            let page = shared.store.list(&query).await?;
            for record in page.records {
                match Letter::try_from(record.value)? {
                    Letter::Notice(notice) => count(notice.channel.map(Recipient::Channel), notice.status),
                    Letter::Event(letter) => count(Some(Recipient::Sink(letter.sink)), letter.status),
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    let last = super::feed::last(shared, org).await?;
    let cursors = ListQuery { org: Some(org.clone()), ..ListQuery::new(RecordKind::EventCursor) };
    for cursor in shared.store.all::<crate::ports::store::EventCursor>(cursors).await? {
        let behind = last.saturating_sub(cursor.value.seq);
        backlog.entry(Some(Recipient::Sink(cursor.value.sink))).or_default().pending += behind;
    }
    Ok(backlog)
}
