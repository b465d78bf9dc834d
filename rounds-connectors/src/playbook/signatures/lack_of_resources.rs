use super::{Diagnosis, Remedy, brief, count_of, requests};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::rollout;

/// Pods that no node has room for: capacity is a person's decision.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let no_room = |pod: &&Pod| pod.unschedulable.as_deref().is_some_and(|message| !short_of(message).is_empty());
    let pods: Vec<&Pod> = observed.failing().into_iter().filter(no_room).collect();
    let pod = *pods.first()?;
    let message = pod.unschedulable.as_deref().unwrap_or_default();
    let object = observed.workload.object();
    let mut citations: Vec<_> = pods.iter().map(|pod| pod.reading).collect();
    citations.push(observed.workload.reading);
    citations.sort_unstable();
    citations.dedup();
    let findings = vec![
        (format!("The scheduler says of pod {}: {}", pod.name, brief(message)), vec![pod.reading]),
        (format!("Each pod asks for: {}.", requests(observed)), vec![observed.workload.reading]),
    ];
    let mut advice = vec![
        "Compare what the pods ask for with what they use: requests above their use keep nodes empty that are counted as \
         full."
            .to_owned(),
    ];
    if message.contains("untolerated taint") {
        advice.push("Some nodes are left out for taints: see whether these are meant to be.".into());
    }
    if rollout::is_unfinished(observed) {
        advice.push("A rollout needs room for its surge while old pods still run; maxSurge 0 does without it.".into());
    }
    Some(Diagnosis {
        signature: "lack_of_resources",
        cause: format!(
            "{} of {object} found no room: no node has enough {}",
            count_of(pods.len()),
            short_of(message).join(" and ")
        ),
        citations,
        findings,
        since: rollout::onset(observed, &pods),
        remedy: Remedy::None("whether to add nodes, free some or ask for less is a person's decision".into()),
        advice,
    })
}

/// What the nodes have too little of: `0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. …`. What
/// follows is about preemption.
fn short_of(message: &str) -> Vec<String> {
    let nodes = message.split(" preemption: ").next().unwrap_or_default();
    let mut found: Vec<String> = Vec::new();
    for part in nodes.split(", ").flat_map(|part| part.split(": ")) {
        let words: Vec<&str> = part.trim_end().trim_end_matches('.').split_whitespace().collect();
        let resource = match words.as_slice() {
            [_, "Insufficient", resource, ..] => brief(resource),
            [_, "Too", "many", "pods"] => "room for more pods".to_owned(),
            _ => continue,
        };
        if !found.contains(&resource) {
            found.push(resource);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_words_name_what_is_short() {
        let message = "0/5 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 \
                       Insufficient memory, 3 Insufficient cpu. preemption: 0/5 nodes are available: 1 Preemption is not \
                       helpful for scheduling, 4 No preemption victims found for incoming pod.";
        assert_eq!(short_of(message), ["memory", "cpu"]);
        assert_eq!(short_of("0/1 nodes are available: 1 Too many pods."), ["room for more pods"]);
        assert_eq!(short_of("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), ["nvidia.com/gpu"]);
        for other in ["", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."] {
            assert!(short_of(other).is_empty(), "{other}");
        }
    }
}
