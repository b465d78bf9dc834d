//! The sweeper: marks plans whose time is over, and forgets changes that are past theirs. Expiry itself is a fact, swept
//! or not (rule 7).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::changes;
use super::error::Error;
use super::intake;
use super::plans::follow_up;
use super::shared::Shared;
use crate::access::Actor;
use crate::audit::{AuditEntry, Outcome};
use crate::plan::{Plan, PlanEvent, PlanStatus, transition};
use crate::ports::store::{ClaimQuery, Commit, Lease, RecordKind, StoreError, Versioned, WorkerId};

/// How many plans that cannot be read are passed over in one sweep.
const UNREADABLE: u32 = 100;

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let worker = WorkerId::unique("sweeper");
    loop {
        if let Err(error) = sweep(&shared, &worker, &stop).await {
            tracing::warn!(%error, "expired plans could not be swept; trying again");
        }
        if !shared.settings.alert_evaluator
            && let Err(error) = intake::sweep(&shared).await
        {
            tracing::warn!(%error, "alerts that others evaluate could not be looked after; trying again");
        }
        if let Err(error) = changes::forget(&shared).await {
            tracing::warn!(%error, "old changes could not be forgotten; trying again");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = shared.clock.sleep(shared.settings.plan_expiry_sweep) => {}
        }
    }
}

/// Claims what is past its time, one plan after the other: with several replicas each is swept by one of them.
async fn sweep(shared: &Shared, worker: &WorkerId, stop: &CancellationToken) -> Result<(), Error> {
    let query = |due_by| ClaimQuery {
        kind: RecordKind::Plan,
        statuses: vec![PlanStatus::PendingApproval.as_str().into()],
        due_by,
        worker: worker.clone(),
        ttl: shared.settings.lease_ttl,
    };
    let mut unreadable = 0;
    while !stop.is_cancelled() {
        let claimed = match shared.store.claim(&query(shared.now())).await {
            Ok(claimed) => claimed,
            Err(StoreError::Corrupt { what, message }) if unreadable < UNREADABLE => {
                // It stays leased for its time, so that those behind it come next.
                unreadable += 1;
                tracing::error!(%what, %message, "a plan cannot be read");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some((record, lease)) = claimed else { return Ok(()) };
        let found = record.try_map(Plan::try_from)?;
        // One plan that cannot be swept keeps no other from it: its lease runs out by itself.
        if let Err(error) = expire(shared, &found, &lease).await {
            tracing::warn!(plan = %found.value.id, %error, "an expired plan could not be swept; trying again");
        }
    }
    Ok(())
}

async fn expire(shared: &Shared, found: &Versioned<Plan>, lease: &Lease) -> Result<(), Error> {
    let at = shared.now();
    // Were the lease given back, the same plan would be claimed again at once.
    let Ok(next) = transition(&found.value, &PlanEvent::Expire { at }) else { return Ok(()) };
    let target = (AuditEntry::TARGET_PLAN, next.id.to_string());
    let system = Actor::system();
    let entry = AuditEntry::new(at, &next.org_id, &system, "approval.expire", target, Outcome::Success)
        .with("digest", next.digest.clone());
    let commit = Commit::new()
        .event(shared.plan_event(&next, "expire"))
        .audit(entry)
        .update(next.clone(), found.version)
        .releasing(lease);
    let commit = follow_up(shared, commit, &next, found.version + 1).await?;
    match shared.store.commit(commit).await {
        Ok(_) => Ok(()),
        // Somebody decided in the same moment; the next look sees what.
        Err(StoreError::Conflict { .. }) => Ok(shared.store.release(lease).await?),
        Err(error) => Err(error.into()),
    }
}
