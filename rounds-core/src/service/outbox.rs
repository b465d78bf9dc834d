//! The outbox: routes notices to channels and delivers each at least once, with backoff and dead letters.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::guard::{SLACK, guarded};
use super::observe::woken;
use super::shared::Shared;
use crate::connector::Connector;
use crate::id::NoticeId;
use crate::plugin::Role;
use crate::ports::CallContext;
use crate::ports::store::{
    ClaimQuery, Commit, Key, Lease, NoticeStatus, OutboxNotice, RecordKind, StoreExt, Versioned, WorkerId,
};
use crate::time::after_ms;

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let worker = WorkerId::unique("outbox");
    let mut wakes = shared.store.wakes();
    loop {
        match next(&shared, &worker).await {
            // There may be more.
            Ok(true) if !stop.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a notice could not be sent on its way; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = woken(&mut wakes, RecordKind::Notice) => {}
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
}

/// Takes one notice a step further; false when none is due.
async fn next(shared: &Shared, worker: &WorkerId) -> Result<bool, Error> {
    let claimed = shared
        .store
        .claim(&ClaimQuery {
            kind: RecordKind::Notice,
            statuses: vec!["pending".into()],
            due_by: shared.now(),
            worker: worker.clone(),
            // One delivery is bounded by the query timeout.
            ttl: shared.settings.lease_ttl + shared.settings.query_timeout + SLACK,
        })
        .await?;
    let Some((record, lease)) = claimed else { return Ok(false) };
    let found = record.try_map(OutboxNotice::try_from)?;
    match found.value.channel {
        None => route(shared, found, &lease).await?,
        Some(_) => deliver(shared, found, &lease).await?,
    }
    shared.store.release(&lease).await?;
    Ok(true)
}

async fn route(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let channels: Vec<Connector> = shared
        .store
        .connectors(&found.value.notice.org_id)
        .await?
        .into_iter()
        .map(|channel| channel.value)
        .filter(|channel| channel.role == Role::Notifier)
        .collect();
    let mut commit = Commit::new().under(lease);
    for channel in channels {
        let delivery = OutboxNotice { id: NoticeId::new(), channel: Some(channel.id), ..found.value.clone() };
        commit = commit.insert(delivery);
    }
    let key = Key::new(RecordKind::Notice, found.value.id.as_uuid());
    shared.store.commit(commit.delete(key, found.version)).await?;
    Ok(())
}

async fn deliver(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let Some(channel) = found.value.channel else { return Ok(()) };
    let key = Key::new(RecordKind::Notice, found.value.id.as_uuid());
    let store = shared.store.as_ref();
    let result = match shared.live.notifier(store, &found.value.notice.org_id, channel).await {
        Ok(live) => {
            let cx = CallContext::with_timeout(shared.settings.query_timeout);
            match guarded(shared, cx.timeout + SLACK, live.port.send(&cx, &found.value.notice)).await {
                Ok(sent) => sent.map_err(|error| (error.is_transient(), error.to_string())),
                Err(broken) => Err((true, format!("the channel did not answer: {broken}"))),
            }
        }
        Err(Error::Store(error)) => return Err(error.into()),
        Err(error) => Err((false, error.to_string())),
    };
    let commit = Commit::new().under(lease);
    let commit = match result {
        Ok(()) => commit.delete(key, found.version),
        Err((transient, error)) => {
            let mut next = found.value;
            next.attempts += 1;
            let dead = !transient || next.attempts >= shared.settings.notice_attempts;
            if dead {
                next.status = NoticeStatus::Dead;
                tracing::error!(notice = %next.id, %error, "a notice could not be delivered; it is a dead letter");
            }
            // 1 s, 2 s, 4 s, … at most 5 min.
            let wait = 1000u64.saturating_mul(1 << next.attempts.min(12).saturating_sub(1)).min(300_000);
            next.next_attempt_at = after_ms(shared.now(), wait);
            next.last_error = Some(error);
            commit.update(next, found.version)
        }
    };
    shared.store.commit(commit).await?;
    Ok(())
}
