//! The verifier: watches the alert of a completed plan until it is settled whether it recovered.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::observe::woken;
use super::shared::{Shared, millis};
use crate::plan::{AlertView, Plan, PlanStatus, VerificationStatus, verify};
use crate::ports::store::{Commit, ListQuery, RecordKind, StoreError, StoreExt as _, Versioned};

/// How long an alert that another evaluates must stay over.
const EXTERNAL_STABLE_MS: u64 = 600_000;

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut wakes = shared.store.wakes();
    loop {
        if let Err(error) = look(&shared).await {
            tracing::warn!(%error, "completed plans could not be verified; trying again");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = woken(&mut wakes, RecordKind::AlertInstance) => {}
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
}

async fn look(shared: &Shared) -> Result<(), Error> {
    // Only a plan that is being watched is due while it is completed.
    let watched: Vec<Versioned<Plan>> = shared
        .store
        .all(ListQuery {
            statuses: vec![PlanStatus::Completed.as_str().into()],
            due_by: Some(shared.now()),
            ..ListQuery::new(RecordKind::Plan)
        })
        .await?;
    for found in watched {
        let mut next = found.value.clone();
        let mut stable_ms = millis(shared.settings.verification_stable);
        let mut deadline_ms = millis(shared.settings.verification_deadline);
        let alert = shared.alert_of(&next).await?.map(|(rule, instance)| {
            // A rule that is asked seldom needs the time for the samples that settle it.
            let samples_ms = millis(rule.interval()).saturating_mul(3);
            deadline_ms = deadline_ms.max(stable_ms.saturating_add(samples_ms));
            if rule.source.is_some() {
                // Its source says at the earliest after its group interval that it fires again: Alertmanager's is 5 min.
                stable_ms = stable_ms.max(EXTERNAL_STABLE_MS);
                deadline_ms = deadline_ms.max(stable_ms.saturating_mul(2));
            }
            let condition = serde_json::json!([rule.condition, rule.datasource_id, rule.series]).to_string();
            (AlertView::at(&rule, &instance, shared.now()), condition)
        });
        let (alert, condition) = alert.unzip();
        if let Some(condition) = condition {
            next.verification = next.verification.of_condition(condition, shared.now());
        }
        next.verification = verify(&next.verification, alert.as_ref(), shared.now(), stable_ms, deadline_ms);
        if next.verification == found.value.verification {
            continue;
        }
        let mut commit = Commit::new();
        if next.verification.status != VerificationStatus::Watching {
            tracing::info!(plan = %next.id, verification = next.verification.status.as_str(), "verification settled");
            commit = commit.event(shared.plan_event(&next, "verified"));
        }
        match shared.store.commit(commit.update(next, found.version)).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
