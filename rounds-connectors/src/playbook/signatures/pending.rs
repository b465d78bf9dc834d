use super::{Diagnosis, Remedy, brief, count_of};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Pods that fit no node for another reason than room or storage (selectors, taints, ports, volumes of another zone), or
/// that something refuses to create: a report.
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
            cause: format!("no node is fit for {} of {object}: {message}", count_of(unplaced.len())),
            findings: vec![(format!("The scheduler says of pod {}: {message}", pod.name), citations.clone())],
            citations,
            since: rollout::onset(observed, &unplaced),
            remedy: Remedy::None("where pods may run is a person's decision".into()),
            advice: vec![
                "Compare what the pods demand (node selector, affinity, tolerations, ports, the zone of their volumes) with \
                 what the nodes offer."
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
            "what refuses the pods (an admission rule, a limit range, a missing account) is not Rounds' to change"
                .into(),
        ),
        advice: vec!["Put right what the message objects to; if a webhook refuses, ask its owner.".into()],
    })
}
