use super::{Diagnosis, Remedy, brief};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Pods that find no node, or that may not be created: capacity and quotas are a person's decision, so this is a
/// report.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let object = observed.workload.object();
    let failing = observed.failing();
    let unplaced: Vec<&Pod> = failing.into_iter().filter(|pod| pod.unschedulable.is_some()).collect();
    if let Some(pod) = unplaced.first() {
        let message = brief(pod.unschedulable.as_deref().unwrap_or_default());
        let mut citations: Vec<_> = unplaced.iter().map(|pod| pod.reading).collect();
        citations.dedup();
        return Some(Diagnosis {
            signature: "pending",
            cause: format!("{} pods of {object} find no node: {message}", unplaced.len()),
            findings: vec![(format!("The scheduler says of pod {}: {message}", pod.name), citations.clone())],
            citations,
            since: rollout::onset(observed, &unplaced),
            remedy: Remedy::None("whether to add nodes, free some or ask for less is a person's decision".into()),
            advice: vec![
                "Compare what the pods ask for (resources, node selector, affinity, tolerations, volumes) with what the \
                 nodes offer."
                    .into(),
            ],
        });
    }
    let refused = observed.events.iter().rev().find(|event| event.reason == "FailedCreate");
    let condition = observed.workload.condition("ReplicaFailure").filter(|condition| condition.status == "True");
    let (message, reading, since) = match (condition, refused) {
        (Some(condition), _) => (&condition.message, observed.workload.reading, condition.since),
        (None, Some(event)) if observed.workload.ready < observed.workload.desired.unwrap_or_default() => {
            (&event.message, event.reading, event.first)
        }
        _ => return None,
    };
    let message = brief(message);
    Some(Diagnosis {
        signature: "pending",
        cause: format!("pods of {object} cannot be created: {message}"),
        citations: vec![reading],
        findings: vec![(format!("The controller says: {message}"), vec![reading])],
        since,
        remedy: Remedy::None(
            "what refuses the pods (a quota, an admission rule, a missing account) is not Rounds' to change".into(),
        ),
        advice: vec!["Raise the quota, or put right what the admission rule objects to.".into()],
    })
}
