//! Sinks: each is given every event, at least once and in order, by one replica at a time.
//!
//! How far a sink got is a record. Whoever finds something for it takes the record's lease, gives event after event, and
//! writes down where it is: after a page, after a while, and at the end. What a crash leaves unwritten is given again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Error;
use super::feed;
use super::guard::{SLACK, guarded};
use super::shared::{Shared, backoff_ms};
use crate::id::{DeadLetterId, fresh};
use crate::ports::store::{
    ClaimQuery, Commit, EventCursor, EventLetter, Key, Lease, ListQuery, Lookup, NoticeStatus, RecordKind, StoreError,
    StoreExt, Versioned, WorkerId,
};
use crate::ports::{CallContext, Event, EventSink};
use crate::settings::InvalidSetting;
use crate::time::{Timestamp, after_ms, elapsed};

/// How many events a page is read in, and at most given again after a crash.
const PAGE: u32 = 100;

/// Refuses sinks that the store could not tell apart.
pub(crate) fn check_names(sinks: &[Arc<dyn EventSink>]) -> Result<(), InvalidSetting> {
    let wrong = |message| Err(InvalidSetting { name: "event_sink", message });
    let mut names = BTreeSet::new();
    for name in sinks.iter().map(|sink| sink.name()) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
            let found: String = name.chars().take(80).collect();
            return wrong(format!(
                "found the name `{found}`; 1 to 64 lower-case letters, digits, `.`, `_` and `-` are accepted"
            ));
        }
        if !names.insert(name) {
            return wrong(format!("found two sinks named `{name}`; each has a name of its own"));
        }
    }
    Ok(())
}

/// Feeds one sink until it is told to stop.
pub(crate) async fn run(shared: Arc<Shared>, sink: Arc<dyn EventSink>, stop: CancellationToken) {
    let feeder = Feeder { shared: &shared, sink: &*sink, worker: WorkerId::unique("sink"), stop: &stop };
    let mut wakes = shared.store.wakes();
    loop {
        let wait = match feeder.look().await {
            Ok(until) => until.map_or(Duration::MAX, |until| elapsed(shared.now(), until)),
            Err(error) => {
                tracing::warn!(sink = sink.name(), %error, "a sink could not be fed; trying again");
                Duration::MAX
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = something_happened(&mut wakes) => {}
            () = shared.clock.sleep(wait.min(shared.settings.poll_interval)) => {}
        }
    }
}

/// Whatever changed may have brought an event, except where a sink got.
async fn something_happened(wakes: &mut Receiver<RecordKind>) {
    loop {
        match wakes.recv().await {
            Ok(RecordKind::EventCursor) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The store is going away; polling remains.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

struct Feeder<'a> {
    shared: &'a Shared,
    sink: &'a dyn EventSink,
    worker: WorkerId,
    stop: &'a CancellationToken,
}

/// Why a sink did not take an event.
struct Failure {
    is_transient: bool,
    message: String,
}

impl Feeder<'_> {
    /// Gives the sink what there is for it, unless another replica does. Says when to look again at the latest, if it
    /// knows. Where there is nothing, this only reads.
    async fn look(&self) -> Result<Option<Timestamp>, Error> {
        let (shared, store) = (self.shared, &self.shared.store);
        let cursor = self.cursor().await?;
        let now = shared.now();
        if cursor.next_attempt_at > now {
            return Ok(Some(cursor.next_attempt_at));
        }
        let is_new = !store.events(&shared.org, cursor.seq, 1).await?.is_empty();
        if !is_new {
            let letters = self.letters(cursor.id).await?;
            match letters.iter().map(|found| found.value.next_attempt_at).min() {
                None => return Ok(None),
                Some(due) if due > now => return Ok(Some(due)),
                Some(_) => {}
            }
        }
        let claimed = store
            .claim(&ClaimQuery {
                kind: RecordKind::EventCursor,
                statuses: vec![self.sink.name().into()],
                due_by: now,
                worker: self.worker.clone(),
                ttl: shared.settings.lease_ttl,
            })
            .await?;
        let Some((record, lease)) = claimed else { return Ok(None) };
        let found = record.try_map(EventCursor::try_from)?;
        let fed = tokio::select! {
            biased;
            fed = self.feed(found, &lease) => fed,
            () = shared.keep(&lease) => return Err(StoreError::LeaseLost { key: lease.key }.into()),
        };
        if fed.is_err() {
            // What was not written down is given again: by whoever is next, and not only when the lease is over.
            store.release(&lease).await?;
        }
        fed
    }

    /// Where the sink is; a new one is at the end of what has happened.
    async fn cursor(&self) -> Result<EventCursor, Error> {
        let (org, sink) = (&self.shared.org, self.sink.name());
        let lookup = Lookup::Unique(RecordKind::EventCursor, EventCursor::unique(org, sink));
        loop {
            if let Some(found) = self.shared.store.get::<EventCursor>(lookup.clone()).await? {
                return Ok(found.value);
            }
            let cursor = EventCursor {
                id: fresh(),
                org_id: org.clone(),
                sink: sink.into(),
                seq: feed::last(self.shared, org).await?,
                attempts: 0,
                next_attempt_at: self.shared.now(),
                last_error: None,
            };
            match self.shared.store.commit(Commit::new().insert(cursor.clone())).await {
                Ok(_) => return Ok(cursor),
                // Another replica was faster.
                Err(StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The letters that a person wants to be tried again.
    async fn letters(&self, cursor: Uuid) -> Result<Vec<Versioned<EventLetter>>, StoreError> {
        let query = ListQuery {
            parent: Some(cursor),
            statuses: vec![NoticeStatus::Pending.as_str().into()],
            ..ListQuery::new(RecordKind::EventLetter)
        };
        self.shared.store.all(query).await
    }

    /// Under the lease: first what is to be tried again, then what is new. Gives the lease back, unless it fails.
    async fn feed(&self, found: Versioned<EventCursor>, lease: &Lease) -> Result<Option<Timestamp>, Error> {
        let (shared, store) = (self.shared, &self.shared.store);
        let mut again = self.feed_letters(found.value.id, lease).await?;
        let Versioned { value: mut cursor, mut version } = found;
        let (mut saved, mut saved_at) = (cursor.seq, shared.now());
        'pages: while !self.stop.is_cancelled() {
            let page = store.events(&shared.org, cursor.seq, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for event in page {
                let failure = self.give(&event).await.err();
                cursor.attempts = if failure.is_some() { cursor.attempts + 1 } else { 0 };
                cursor.last_error = failure.as_ref().map(|failure| failure.message.clone());
                let mut commit = Commit::new();
                if let Some(failure) = failure {
                    if !self.is_dead(&failure, cursor.attempts) {
                        cursor.next_attempt_at = after_ms(shared.now(), backoff_ms(cursor.attempts));
                        again = earliest(again, Some(cursor.next_attempt_at));
                        break 'pages;
                    }
                    commit = commit.insert(self.letter(&cursor, &event, &failure));
                    (cursor.attempts, cursor.last_error) = (0, None);
                }
                cursor.seq = event.seq;
                let must_save = !commit.changes.is_empty() || cursor.seq - saved >= u64::from(PAGE);
                if must_save || elapsed(saved_at, shared.now()) >= shared.settings.poll_interval {
                    store.commit(commit.update(cursor.clone(), version).under(lease)).await?;
                    version += 1;
                    (saved, saved_at) = (cursor.seq, shared.now());
                }
                if self.stop.is_cancelled() {
                    break;
                }
            }
        }
        store.commit(Commit::new().update(cursor, version).releasing(lease)).await?;
        Ok(again)
    }

    /// Gives what a person wants to be tried again. These come late, so they wait for nothing and hold nothing up.
    async fn feed_letters(&self, cursor: Uuid, lease: &Lease) -> Result<Option<Timestamp>, Error> {
        let mut again = None;
        for Versioned { value: mut letter, version } in self.letters(cursor).await? {
            if self.stop.is_cancelled() {
                break;
            }
            if letter.next_attempt_at > self.shared.now() {
                again = earliest(again, Some(letter.next_attempt_at));
                continue;
            }
            let commit = match self.give(&letter.event).await {
                Ok(()) => Commit::new().delete(Key::new(RecordKind::EventLetter, letter.id.as_uuid()), version),
                Err(failure) => {
                    letter.attempts += 1;
                    let dead = self.is_dead(&failure, letter.attempts);
                    let wait = if dead { 0 } else { backoff_ms(letter.attempts) };
                    letter.next_attempt_at = after_ms(self.shared.now(), wait);
                    letter.last_error = Some(failure.message);
                    if dead {
                        letter.status = NoticeStatus::Dead;
                    } else {
                        again = earliest(again, Some(letter.next_attempt_at));
                    }
                    Commit::new().update(letter, version)
                }
            };
            self.shared.store.commit(commit.under(lease)).await?;
        }
        Ok(again)
    }

    /// One call, which is other people's code: one that hangs or panics has not taken the event.
    async fn give(&self, event: &Event) -> Result<(), Failure> {
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        match guarded(self.shared, cx.timeout + SLACK, self.sink.event(&cx, event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure { is_transient: error.is_transient(), message: error.to_string() }),
            Err(broken) => Err(Failure { is_transient: true, message: format!("the sink did not answer: {broken}") }),
        }
    }

    fn is_dead(&self, failure: &Failure, attempts: u32) -> bool {
        !failure.is_transient || attempts >= self.shared.settings.notice_attempts
    }

    fn letter(&self, cursor: &EventCursor, event: &Event, failure: &Failure) -> EventLetter {
        tracing::error!(
            sink = self.sink.name(),
            event = event.idempotency_key(),
            error = failure.message,
            "an event could not be delivered; it is a dead letter"
        );
        EventLetter {
            id: DeadLetterId::new(),
            cursor: cursor.id,
            sink: cursor.sink.clone(),
            event: event.clone(),
            status: NoticeStatus::Dead,
            attempts: cursor.attempts,
            next_attempt_at: self.shared.now(),
            last_error: Some(failure.message.clone()),
        }
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}
