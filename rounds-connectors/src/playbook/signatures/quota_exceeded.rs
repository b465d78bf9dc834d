use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;

use super::{Diagnosis, Remedy, brief};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;
use crate::playbook::surroundings::quota_of;

/// Pods that are not even created because a quota of the namespace is used up, or demands what they do not say.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let (message, reading, since) = refused(observed)?;
    let name = quota_of(&message)?;
    let object = observed.workload.object();
    let live = observed.pods.iter().flatten().filter(|pod| pod.is_live()).count();
    let wanted = observed.workload.desired.unwrap_or_default();
    let mut citations = vec![observed.workload.reading, reading];
    let mut findings = vec![(format!("The controller says: {}", brief(&message)), vec![reading])];
    if let Some(quota) = observed.around.quotas.iter().find(|quota| quota.name == name) {
        let rows: Vec<String> =
            quota.rows.iter().map(|(resource, used, hard)| format!("{resource}: {used} of {hard} used")).collect();
        findings.push((format!("Quota {name} now:\n- {}", rows.join("\n- ")), vec![quota.reading]));
        citations.push(quota.reading);
    }
    findings.push((
        format!("{live} of {wanted} pods exist. Each asks for: {}.", super::requests(observed)),
        vec![observed.workload.reading],
    ));
    let (cause, mut advice) = if message.contains("failed quota") {
        (
            format!("quota {name} refuses pods of {object}, because they do not say what they ask for"),
            vec!["Give every container the requests and limits that the message names; a LimitRange can set them by default.".to_owned()],
        )
    } else {
        (
            format!("quota {name} is used up, so pods of {object} cannot be created ({live} of {wanted} exist)"),
            vec!["Decide which has to give way: another workload of the namespace, what these pods ask for, or the quota.".to_owned()],
        )
    };
    if rollout::is_unfinished(observed) {
        advice.push(
            "A rollout needs room for its surge while old pods still run: with maxSurge 0 it replaces them one by one \
             within the quota."
                .into(),
        );
    }
    Some(Diagnosis {
        signature: "quota_exceeded",
        cause,
        citations,
        findings,
        since,
        remedy: Remedy::None(
            "a quota is a decision about who may use how much: neither raising it nor ending other pods is Rounds' to choose"
                .into(),
        ),
        advice,
    })
}

/// The newest refusal by a quota, in an event or, when those are gone, in the deployment's condition. The event names
/// what is used now, so it comes first.
fn refused(observed: &Observed) -> Option<(String, ReadingId, Option<Timestamp>)> {
    let workload = &observed.workload;
    if workload.ready >= workload.desired.unwrap_or_default() && workload.condition("ReplicaFailure").is_none() {
        return None;
    }
    let fresh = |at: Option<Timestamp>| at.is_some_and(|at| at >= observed.fresh_since());
    let event = observed
        .events
        .iter()
        .rev()
        .filter(|event| event.reason == "FailedCreate" && fresh(event.last))
        .find(|event| quota_of(&event.message).is_some());
    let condition = workload
        .condition("ReplicaFailure")
        .filter(|condition| condition.status == "True" && quota_of(&condition.message).is_some());
    event
        .map(|event| (event.message.clone(), event.reading, event.first))
        .or_else(|| condition.map(|condition| (condition.message.clone(), workload.reading, condition.since)))
}
