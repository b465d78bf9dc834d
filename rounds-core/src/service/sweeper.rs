//! The sweeper: marks plans whose time is over. Expiry itself is a fact, swept or not (rule 7).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::plans::follow_up;
use super::shared::Shared;
use crate::access::Actor;
use crate::audit::{AuditEntry, Outcome};
use crate::plan::{Plan, PlanEvent, PlanStatus, transition};
use crate::ports::store::{Commit, ListQuery, RecordKind, StoreExt, Versioned};

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        if let Err(error) = sweep(&shared).await {
            tracing::warn!(%error, "expired plans could not be swept; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.clock.sleep(shared.settings.plan_expiry_sweep) => {}
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), Error> {
    let due: Vec<Versioned<Plan>> = shared
        .store
        .all(ListQuery {
            statuses: vec![PlanStatus::PendingApproval.as_str().into()],
            due_by: Some(shared.now()),
            ..ListQuery::new(RecordKind::Plan)
        })
        .await?;
    for found in due {
        // One plan that cannot be swept keeps no other from it.
        if let Err(error) = expire(shared, &found).await {
            tracing::warn!(plan = %found.value.id, %error, "an expired plan could not be swept; trying again");
        }
    }
    Ok(())
}

async fn expire(shared: &Shared, found: &Versioned<Plan>) -> Result<(), Error> {
    let at = shared.now();
    let Ok(next) = transition(&found.value, &PlanEvent::Expire { at }) else { return Ok(()) };
    let target = (AuditEntry::TARGET_PLAN, next.id.to_string());
    let system = Actor::system();
    let entry = AuditEntry::new(at, &next.org_id, &system, "approval.expire", target, Outcome::Success)
        .with("digest", next.digest.clone());
    let commit =
        Commit::new().event(shared.plan_event(&next, "expire")).audit(entry).update(next.clone(), found.version);
    let commit = follow_up(shared, commit, &next).await?;
    match shared.store.commit(commit).await.map_err(Error::from) {
        // Somebody decided in the same moment; the next sweep looks again.
        Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
