//! The outbox: routes notices to channels and delivers each at least once, with backoff and dead letters.
//!
//! A channel is told of one plan, or of one alert, in the order in which it happened: while an earlier notice about the
//! same thing is on its way to it, by whichever replica, a later one waits. A dead letter holds nothing up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dead_letters::died;
use super::digest::digest;
use super::error::Error;
use super::gathering::{addressed, ahead, flush, is_told};
use super::guard::{SLACK, guarded};
use super::hearing::{hearing, labelled};
use super::observe::woken;
use super::reminding::{lasts, remind, reminded};
use super::shared::{Shared, backoff_ms, millis};
use crate::connector::Connector;
use crate::connector::Role;
use crate::id::{ConnectorId, NoticeId};
use crate::ports::store::{
    ClaimQuery, Commit, Key, Lease, NoticeStatus, OutboxNotice, RecordKind, StoreError, StoreExt, Versioned, WorkerId,
};
use crate::ports::{CallContext, Notice, PortError, PortErrorKind};
use crate::time::{Timestamp, after_ms};

/// How many notices are on their way at a time.
const AT_A_TIME: usize = 8;
/// The longest that a channel is left alone because it asks for it.
const LEFT_ALONE: Duration = Duration::from_secs(15 * 60);
/// How many notices of a busy channel wait here for their turn; more are claimed again when their lease is over.
const WAITING: usize = 256;
/// How often a notice is routed anew because a group of a channel changed meanwhile.
const ROUTE_TRIES: u32 = 16;

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let (ended, mut over) = tokio::sync::mpsc::unbounded_channel();
    let mut wakes = shared.store.wakes();
    let mut outbox = Outbox {
        shared: Arc::clone(&shared),
        worker: WorkerId::unique("outbox"),
        busy: HashMap::new(),
        under_way: 0,
        deliveries: TaskTracker::new(),
        ended,
    };
    loop {
        if let Err(error) = outbox.take_up(&stop).await {
            tracing::warn!(%error, "a notice could not be sent on its way; trying again");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(channel) = over.recv() => outbox.next_of(channel).await,
            () = woken(&mut wakes, RecordKind::Notice) => {}
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
    // What is on its way is delivered, or fails, within the query timeout; what waits is given back.
    outbox.deliveries.close();
    outbox.deliveries.wait().await;
    for (_, lease) in outbox.busy.into_values().flatten() {
        if let Err(error) = shared.store.release(&lease).await {
            tracing::debug!(%error, "a lease could not be given back; it runs out by itself");
        }
    }
}

/// A notice that was claimed.
type Claimed = (Versioned<OutboxNotice>, Lease);

struct Outbox {
    shared: Arc<Shared>,
    worker: WorkerId,
    /// The channels that are being told something, each with what waits for it: one that is slow or down takes one
    /// place, and not all of them.
    busy: HashMap<ConnectorId, VecDeque<Claimed>>,
    under_way: usize,
    deliveries: TaskTracker,
    ended: UnboundedSender<ConnectorId>,
}

/// Says that a delivery is over, however it ended.
struct Ended(UnboundedSender<ConnectorId>, ConnectorId);

impl Drop for Ended {
    fn drop(&mut self) {
        // The receiver is gone only when the outbox stops.
        let _ = self.0.send(self.1);
    }
}

impl Outbox {
    /// Takes what is due, until nothing is or enough is on its way.
    async fn take_up(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        while self.under_way < AT_A_TIME && !stop.is_cancelled() {
            let Some((found, lease)) = claim(&self.shared, &self.worker).await? else { return Ok(()) };
            let Some(channel) = found.value.channel else {
                route(&self.shared, found, &lease).await?;
                continue;
            };
            match found.value.status {
                NoticeStatus::Gathering => {
                    flush(&self.shared, found, &lease).await?;
                    continue;
                }
                NoticeStatus::Recurring => {
                    remind(&self.shared, found, &lease).await?;
                    continue;
                }
                NoticeStatus::Pending | NoticeStatus::Dead => {}
            }
            match self.busy.entry(channel) {
                Entry::Occupied(mut waiting) => {
                    if waiting.get().len() < WAITING {
                        waiting.get_mut().push_back((found, lease));
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(VecDeque::new());
                    self.send(channel, found, lease);
                }
            }
        }
        Ok(())
    }

    /// A delivery to this channel is over: the next one has its turn.
    async fn next_of(&mut self, channel: ConnectorId) {
        self.under_way = self.under_way.saturating_sub(1);
        while let Some((found, lease)) = self.busy.get_mut(&channel).and_then(VecDeque::pop_front) {
            // It may have waited for longer than its lease; then somebody claims it anew.
            match self.shared.store.renew(&lease, ttl(&self.shared)).await {
                Ok(()) => return self.send(channel, found, lease),
                Err(error) => {
                    tracing::debug!(notice = %found.value.id, %error, "a notice waited too long for its turn")
                }
            }
        }
        self.busy.remove(&channel);
    }

    fn send(&mut self, channel: ConnectorId, found: Versioned<OutboxNotice>, lease: Lease) {
        self.under_way += 1;
        let (shared, ended) = (Arc::clone(&self.shared), Ended(self.ended.clone(), channel));
        self.deliveries.spawn(async move {
            let _ended = ended;
            if let Err(error) = in_turn(&shared, found, &lease).await {
                tracing::warn!(%error, "a notice could not be sent on its way; trying again");
            }
        });
    }
}

/// One delivery is bounded by the query timeout.
fn ttl(shared: &Shared) -> Duration {
    shared.settings.lease_ttl + shared.settings.query_timeout + SLACK
}

async fn claim(shared: &Shared, worker: &WorkerId) -> Result<Option<Claimed>, Error> {
    let claimed = shared
        .store
        .claim(&ClaimQuery {
            kind: RecordKind::Notice,
            statuses: [NoticeStatus::Pending, NoticeStatus::Gathering, NoticeStatus::Recurring]
                .map(|status| status.as_str().into())
                .to_vec(),
            due_by: shared.now(),
            worker: worker.clone(),
            ttl: ttl(shared),
        })
        .await?;
    let Some((record, lease)) = claimed else { return Ok(None) };
    Ok(Some((record.try_map(OutboxNotice::try_from)?, lease)))
}

async fn route(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let connectors: Vec<Connector> = shared
        .store
        .connectors(&found.value.notice.org_id)
        .await?
        .into_iter()
        .map(|connector| connector.value)
        .collect();
    let mut told = found.value.clone();
    for place in told.notice.asked.iter_mut().flat_map(|asked| &mut asked.places) {
        let named = connectors.iter().find(|connector| connector.id == place.connector_id);
        place.connector = named.map(|connector| connector.name.clone());
    }
    labelled(shared, &mut told).await?;
    let channels = connectors.iter().filter(|connector| connector.role == Role::Notifier).collect();
    let channels = hearing(&told.notice, channels);
    if channels.is_empty() {
        tracing::debug!(notice = %told.id, title = told.notice.title, "no channel hears of a notice");
    }
    let key = Key::new(RecordKind::Notice, found.value.id.as_uuid());
    let mut tries = 0;
    loop {
        let mut commit = Commit::new().releasing(lease);
        for channel in &channels {
            let delivery = OutboxNotice { id: NoticeId::new(), channel: Some(channel.id), ..told.clone() };
            commit = reminded(shared, commit, channel, &delivery);
            commit = addressed(shared, commit, channel, delivery).await?;
        }
        match shared.store.commit(commit.delete(key, found.version)).await {
            Ok(_) => return Ok(()),
            // A group of a channel changed, or began, in this moment.
            Err(StoreError::Conflict { .. } | StoreError::Duplicate { .. }) if tries < ROUTE_TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::task::yield_now().await;
    }
}

/// Delivers a notice, or puts it off while the channel has not been told what came before.
async fn in_turn(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let ahead = match (found.value.channel, found.value.about) {
        (Some(channel), Some(about)) => ahead(shared, channel, about, found.value.place).await?,
        // What tells of several things was in order when it was gathered, and waits for nothing: two such could wait for
        // each other.
        _ => Vec::new(),
    };
    if ahead.is_empty() {
        return deliver(shared, found, lease).await;
    }
    // Soon, or when the one before it is tried again.
    let (now, soon) = (shared.now(), after_ms(shared.now(), millis(shared.settings.lease_ttl / 10).max(1)));
    let (groups, others): (Vec<_>, Vec<_>) =
        ahead.into_iter().partition(|other| other.value.status == NoticeStatus::Gathering);
    let gathers = groups.iter().find(|group| group.value.next_attempt_at > now);
    let mut next = found.value;
    next.next_attempt_at = others.iter().map(|other| other.value.next_attempt_at).fold(soon, Timestamp::max);
    let put_off = Commit::new().update(next, found.version).releasing(lease);
    if let Some(group) = gathers {
        // Nobody waits for a group to be complete: it is told now, and this right after it.
        let hastened = OutboxNotice { next_attempt_at: now, ..group.value.clone() };
        match shared.store.commit(put_off.clone().update(hastened, group.version)).await {
            Ok(_) => return Ok(()),
            // It changed in this moment; this one looks again soon.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    shared.store.commit(put_off).await?;
    Ok(())
}

/// What is left to tell right before it is sent, and `None` when nothing is: nobody is reminded of what is over.
async fn left(shared: &Shared, found: &OutboxNotice) -> Result<Option<Notice>, StoreError> {
    if let (Some(what), true) = (&found.lasts, found.notice.repeat > 0) {
        return Ok(lasts(shared, what).await?.map(|_| found.notice.clone()));
    }
    let mut members = Vec::new();
    for member in &found.members {
        if is_told(shared, member).await? {
            members.push(member.clone());
        }
    }
    match members.len() == found.members.len() {
        true => Ok(Some(found.notice.clone())),
        false => {
            let left = digest(&found.notice.idempotency_key, &members, found.notice.at, &shared.live.host);
            let delivered = found.notice.delivered.clone();
            Ok(left.map(|notice| Notice { delivered, ..notice }))
        }
    }
}

async fn deliver(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let Some(channel) = found.value.channel else { return Ok(()) };
    let key = Key::new(RecordKind::Notice, found.value.id.as_uuid());
    let store = shared.store.as_ref();
    let Some(notice) = left(shared, &found.value).await? else {
        shared.store.commit(Commit::new().delete(key, found.version).releasing(lease)).await?;
        return Ok(());
    };
    let failed = |kind, why: String| PortError::new(kind, why);
    let result = match shared.live.notifier(store, &found.value.notice.org_id, channel).await {
        Ok(live) => {
            let cx = CallContext::with_timeout(shared.settings.query_timeout);
            match guarded(shared, cx.timeout + SLACK, live.port.send(&cx, &notice)).await {
                Ok(sent) => sent,
                Err(broken) => Err(failed(PortErrorKind::Unavailable, format!("the channel did not answer: {broken}"))),
            }
        }
        Err(Error::Store(error)) if error.is_transient() => return Err(error.into()),
        // A row that cannot be read may be mended (another key): tried again, and not for ever.
        Err(Error::Store(error)) => Err(failed(PortErrorKind::Unavailable, error.to_string())),
        Err(error) => Err(failed(PortErrorKind::Invalid, error.to_string())),
    };
    let commit = Commit::new().releasing(lease);
    let commit = match result {
        Ok(()) => commit.delete(key, found.version),
        Err(error) => {
            let mut next = found.value;
            next.attempts += 1;
            let dead = !error.is_transient() || next.attempts >= shared.settings.notice_attempts;
            if dead {
                next.status = NoticeStatus::Dead;
                tracing::error!(notice = %next.id, %error, "a notice could not be delivered; it is a dead letter");
            }
            // Whoever asks to be left alone is, and not for ever.
            let asked = error.retry_after.map_or(0, |asked| millis(asked.min(LEFT_ALONE)));
            let wait = if dead { 0 } else { backoff_ms(next.attempts).max(asked) };
            next.next_attempt_at = after_ms(shared.now(), wait);
            next.last_error = Some(error.message);
            // Committed with what is left to do: after a restart, and after a person's retry, they are not told again.
            next.notice.delivered.extend(error.delivered);
            let told = if dead { died(shared, &next) } else { None };
            let commit = told.into_iter().fold(commit, Commit::event);
            commit.update(next, found.version)
        }
    };
    shared.store.commit(commit).await?;
    Ok(())
}
