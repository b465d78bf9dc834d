use chrono::TimeDelta;

use super::{Diagnosis, Remedy, brief, count_of};
use crate::playbook::kube::{Event, Pod};
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Pods whose volume cannot be attached to their node, most often because it still is at another one. Taking it away
/// from there by force can destroy what is on it.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let waits = |pod: &&Pod| pod.phase == "Pending" && pod.containers.iter().all(|container| !container.running);
    let found: Vec<(&Pod, &Event)> = observed
        .failing()
        .into_iter()
        .filter(waits)
        .filter_map(|pod| failed(observed, pod).map(|event| (pod, event)))
        .collect();
    let (pod, event) = *found.first()?;
    let pods: Vec<&Pod> = found.iter().map(|(pod, _)| *pod).collect();
    let object = observed.workload.object();
    let elsewhere = event.message.contains("Multi-Attach error");
    let why = if elsewhere { "it is still attached to another node" } else { "its storage refuses" };
    let claims = if pod.claims.is_empty() { String::new() } else { format!(" (claim {})", pod.claims.join(", ")) };
    let mut citations: Vec<_> = found.iter().flat_map(|(pod, event)| [pod.reading, event.reading]).collect();
    citations.sort_unstable();
    citations.dedup();
    let mut advice = Vec::new();
    if elsewhere {
        advice.push(
            "Find the pod that holds the volume. If its node is lost, it is let go about six minutes after the pod is gone, \
             or when the node is known to be off and says so (taint node.kubernetes.io/out-of-service)."
                .to_owned(),
        );
        if rollout::is_unfinished(observed) && !observed.workload.ordered {
            advice.push(
                "With a ReadWriteOnce volume a rolling update waits for itself: the strategy Recreate ends the old pod first."
                    .to_owned(),
            );
        }
    } else {
        advice.push("Look at the storage driver and at what it says of this volume.".to_owned());
    }
    Some(Diagnosis {
        signature: "volume_not_attached",
        cause: format!("{} of {object} waits for a volume{claims}: {why}", count_of(found.len())),
        citations,
        findings: vec![(
            format!("The cluster says of pod {}: {}", pod.name, brief(&event.message)),
            vec![pod.reading, event.reading],
        )],
        since: event.first.or_else(|| rollout::onset(observed, &pods)),
        remedy: Remedy::None("detaching a volume that may be in use can destroy data".into()),
        advice,
    })
}

fn failed<'a>(observed: &'a Observed, pod: &'a Pod) -> Option<&'a Event> {
    let lately = observed.now - TimeDelta::minutes(10);
    observed.events_about(&pod.name, "FailedAttachVolume").find(|event| event.last.is_some_and(|last| last >= lately))
}
