//! What an approval is bound to (rule 1).
//!
//! The canonical bytes of a plan revision are canonical JSON under a version and domain line; the digest is their
//! SHA-256. Both are stored as text and never recomputed from fields: what is compared is what was stored.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Plan, PlanStatus, RequestKind, RequestStatus, Step};
use crate::canonical;
use crate::id::PlanId;

/// The first line of the canonical bytes: version and domain.
pub const DOMAIN: &str = "rounds.plan.v1";

/// The canonical bytes of a plan revision: its id and number, and of each step everything that decides what runs.
#[must_use]
pub fn canonical_bytes(plan_id: PlanId, revision: u32, steps: &[Step]) -> String {
    let steps: Vec<Value> = steps.iter().map(step_value).collect();
    let value = json!({ "planId": plan_id, "revision": revision, "steps": steps });
    format!("{DOMAIN}\n{}", canonical::to_string(&value))
}

fn step_value(step: &Step) -> Value {
    json!({
        "ordinal": step.ordinal,
        "kind": step.review.kind,
        "connectorId": step.connector_id,
        "connectorRevision": step.connector_revision,
        // For `ops.run_command` the parameters are argv and stdin.
        "params": step.review.params,
        "commandText": step.review.command_text,
        "targets": step.review.targets,
        "continueOnError": step.continue_on_error,
    })
}

/// The digest of canonical bytes, as text: `v1:sha256:<hex>`.
#[must_use]
pub fn digest(canonical: &str) -> String {
    format!("v1:sha256:{}", hex::encode(Sha256::digest(canonical.as_bytes())))
}

/// The stored plan is not what was approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored plan is not what was approved: {reason}")]
pub struct Tampered {
    /// In which way.
    pub reason: &'static str,
}

/// Checks that the stored bytes match the stored digest, the steps match the bytes, and what a person approved is
/// this digest: a plan that runs has an approved request on it.
///
/// # Errors
/// One of them differs: nothing of this plan may run.
pub fn check(plan: &Plan) -> Result<(), Tampered> {
    if digest(&plan.canonical) != plan.digest {
        return Err(Tampered { reason: "the digest is not that of the stored bytes" });
    }
    if canonical_bytes(plan.id, plan.revision, &plan.steps) != plan.canonical {
        return Err(Tampered { reason: "the steps are not those of the stored bytes" });
    }
    let mut approvals = plan
        .requests
        .iter()
        .filter(|request| request.kind == RequestKind::Plan && request.status == RequestStatus::Approved);
    let runs = matches!(plan.status, PlanStatus::Approved | PlanStatus::Executing);
    match approvals.next_back() {
        Some(request) if request.digest != plan.digest => Err(Tampered { reason: "another digest was approved" }),
        None if runs => Err(Tampered { reason: "no request on it was approved" }),
        Some(_) | None => Ok(()),
    }
}
