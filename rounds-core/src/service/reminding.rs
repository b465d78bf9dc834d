//! Reminders: a channel is told again, every so often, while an alert still fires or a plan still waits.
//!
//! A row says when the next one is due. It is claimed like any other, so that of several replicas one reminds, and goes
//! away with what it reminds of; each reminder is committed with what it saw, and looked at once more right before it is
//! sent: nothing that has ended is told again.

use super::error::Error;
use super::gathering::addressed;
use super::hearing::hearing;
use super::shared::Shared;
use crate::alert::{AlertInstance, AlertState};
use crate::connector::{Connector, Role};
use crate::id::NoticeId;
use crate::plan::RequestStatus;
use crate::ports::store::{
    Commit, Key, Lasts, Lease, Lookup, NoticeStatus, OutboxNotice, RecordKind, StoreError, StoreExt, Versioned,
};
use crate::time::after_ms;

/// And a row that reminds a channel of what it is told with `one`, when its routing wants that and there is something that
/// can last.
pub(crate) fn reminded(shared: &Shared, commit: Commit, channel: &Connector, one: &OutboxNotice) -> Commit {
    let (Some(every), Some(_)) = (channel.routing.repeat_interval_sec, &one.lasts) else { return commit };
    commit.insert(OutboxNotice {
        id: NoticeId::new(),
        channel: Some(channel.id),
        status: NoticeStatus::Recurring,
        next_attempt_at: after_ms(shared.now(), every.saturating_mul(1000)),
        ..one.clone()
    })
}

/// The record that says that something lasts, with its version; `None`: it is over, or nobody can read that it is not.
pub(crate) async fn lasts(shared: &Shared, what: &Lasts) -> Result<Option<(Key, u64)>, StoreError> {
    match still(shared, what).await {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::warn!(%error, "nobody is reminded of what cannot be read");
            Ok(None)
        }
        found => found,
    }
}

async fn still(shared: &Shared, what: &Lasts) -> Result<Option<(Key, u64)>, StoreError> {
    match what {
        Lasts::Alert { instance_id, firing_since } => {
            let key = Key::new(RecordKind::AlertInstance, instance_id.as_uuid());
            let found = shared.store.get::<AlertInstance>(Lookup::Key(key)).await?;
            let fires =
                |alert: &AlertInstance| alert.state == AlertState::Firing && alert.firing_since == Some(*firing_since);
            Ok(found.filter(|found| fires(&found.value)).map(|found| (key, found.version)))
        }
        Lasts::Request { plan_id, request_id } => {
            let key = Key::new(RecordKind::Plan, plan_id.as_uuid());
            let Some(found) = shared.store.plan(*plan_id).await? else { return Ok(None) };
            let now = shared.now();
            // Expiry is a fact, swept or not (rule 7).
            let waits = found.value.requests.iter().any(|request| {
                request.id == *request_id && request.status == RequestStatus::Pending && now < request.expires_at
            });
            Ok(waits.then_some((key, found.version)))
        }
    }
}

/// Whether a silence covers what is told.
async fn is_silenced(shared: &Shared, what: &Lasts) -> Result<bool, StoreError> {
    let Lasts::Alert { instance_id, .. } = what else { return Ok(false) };
    let key = Key::new(RecordKind::AlertInstance, instance_id.as_uuid());
    let Some(alert) = shared.store.get::<AlertInstance>(Lookup::Key(key)).await? else { return Ok(false) };
    let Some(rule) = shared.store.rule(alert.value.rule_id).await? else { return Ok(false) };
    let silences = shared.store.silences(&rule.value.org_id).await?;
    let now = shared.now();
    Ok(silences.iter().any(|silence| silence.value.covers(&rule.value, &alert.value.last_labels, now)))
}

/// A reminder is due: the channel is told once more, or the row goes.
pub(crate) async fn remind(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let commit = due(shared, &found).await?.releasing(lease);
        match shared.settle(commit, &mut tries).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // Another replica began the same group in this moment.
            Err(Error::Store(StoreError::Duplicate { .. })) if tries < 16 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn due(shared: &Shared, found: &Versioned<OutboxNotice>) -> Result<Commit, Error> {
    let (row, version) = (&found.value, found.version);
    let over = || Commit::new().delete(Key::new(RecordKind::Notice, row.id.as_uuid()), version);
    let (Some(channel), Some(what)) = (row.channel, &row.lasts) else { return Ok(over()) };
    let Some((of, seen)) = lasts(shared, what).await? else { return Ok(over()) };
    // The channels as they are now: this one may have gone, or hear of something else.
    let connectors: Vec<Connector> =
        shared.store.connectors(&row.notice.org_id).await?.into_iter().map(|found| found.value).collect();
    let channels = connectors.iter().filter(|connector| connector.role == Role::Notifier).collect();
    let channel = hearing(&row.notice, channels).into_iter().find(|found| found.id == channel);
    let Some((channel, every)) = channel.and_then(|found| Some((found, found.routing.repeat_interval_sec?))) else {
        return Ok(over());
    };
    let mut next = row.clone();
    next.next_attempt_at = after_ms(shared.now(), every.saturating_mul(1000));
    let numbered = |number: u32| format!("{}/repeat/{number}", row.notice.idempotency_key);
    let mut commit = Commit::new().expect(of, seen);
    // Not while the one before is still on its way; one that could not be delivered makes room for this one, so that a
    // channel that is down for a night leaves one dead letter of it and not a hundred.
    let before = OutboxNotice::delivery_key(&numbered(row.notice.repeat), channel.id);
    let before = shared.store.get::<OutboxNotice>(Lookup::Unique(RecordKind::Notice, before)).await?;
    let is_on_its_way = before.as_ref().is_some_and(|before| before.value.status != NoticeStatus::Dead);
    if !is_on_its_way && !is_silenced(shared, what).await? {
        if let Some(dead) = before {
            commit = commit.delete(Key::new(RecordKind::Notice, dead.value.id.as_uuid()), dead.version);
        }
        next.notice.repeat += 1;
        let mut one = OutboxNotice {
            id: NoticeId::new(),
            status: NoticeStatus::Pending,
            attempts: 0,
            next_attempt_at: shared.now(),
            last_error: None,
            // After everything that happened so far, and before what will.
            place: seen,
            ..next.clone()
        };
        one.notice.id = NoticeId::new();
        one.notice.at = shared.now();
        one.notice.idempotency_key = numbered(next.notice.repeat);
        one.notice.title = format!("Reminder {}: {}", next.notice.repeat, row.notice.title);
        commit = addressed(shared, commit, channel, one).await?;
    }
    Ok(commit.update(next, version))
}
