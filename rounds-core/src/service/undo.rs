//! The way back from a plan whose investigator gave none: made of what is there before anything runs, not guessed.

use super::error::Error;
use super::guard::{SLACK, guarded};
use super::shared::Shared;
use crate::id::OrgId;
use crate::investigation::{Proposal, ProposedStep};
use crate::plan::Step;
use crate::ports::{CallContext, Inverse};
use crate::step::{StepSpec, Tier};

/// A rescue for a plan; `None` when no step of it has a known way back.
pub(crate) async fn proposal(
    shared: &Shared,
    org: &OrgId,
    summary: &str,
    plan: &[Step],
) -> Result<Option<Proposal>, Error> {
    let (mut steps, mut left) = (Vec::new(), Vec::new());
    for step in plan.iter().rev().filter(|step| step.review.tier != Tier::Read) {
        match inverse(shared, org, step).await? {
            Inverse::NotNeeded => {}
            Inverse::Unknown => left.push((step.ordinal + 1).to_string()),
            Inverse::Steps(back) => steps.extend(back.into_iter().map(|spec| taking_back(step, spec))),
        }
    }
    if steps.is_empty() {
        return Ok(None);
    }
    let mut text = format!("Take back: {summary}");
    if !left.is_empty() {
        left.reverse();
        text.push_str(&format!("\nNo way back is known for step {}.", left.join(", ")));
    }
    text.truncate(text.floor_char_boundary(super::prepare::MAX_TEXT));
    Ok(Some(Proposal { summary: text, steps }))
}

fn taking_back(step: &Step, spec: StepSpec) -> ProposedStep {
    let mut command = step.review.command_text.clone();
    command.truncate(command.floor_char_boundary(200));
    ProposedStep {
        connector_id: step.connector_id,
        spec,
        continue_on_error: false,
        risk_note: Some(format!(
            "Takes back step {} (`{command}`): brings back what was there when the plan was made.",
            step.ordinal + 1
        )),
    }
}

async fn inverse(shared: &Shared, org: &OrgId, step: &Step) -> Result<Inverse, Error> {
    let live = match shared.live.adapter(shared.store.as_ref(), org, step.connector_id).await {
        Ok(live) => live,
        Err(error @ Error::Store(_)) => return Err(error),
        Err(_) => return Ok(Inverse::Unknown),
    };
    let cx = CallContext::with_timeout(shared.settings.query_timeout);
    let said = match guarded(shared, cx.timeout + SLACK, live.port.inverse(&cx, &step.review)).await {
        Ok(Ok(inverse)) => return Ok(inverse),
        Ok(Err(error)) => error.to_string(),
        Err(broken) => broken,
    };
    tracing::warn!(command = %step.review.command_text, error = %said, "the way back from a step could not be found out");
    Ok(Inverse::Unknown)
}
