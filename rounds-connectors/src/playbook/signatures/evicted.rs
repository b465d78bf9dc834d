use rounds_core::Timestamp;

use super::{Diagnosis, Remedy, brief, count_of};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;

/// Pods that the kubelet ended because their node ran short of something, or because they used more disk than they
/// may: room on nodes and limits are a person's decision.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    let fresh = |pod: &&Pod| when(pod).is_some_and(|at| at >= observed.fresh_since());
    let mut pods: Vec<&Pod> = observed
        .pods
        .iter()
        .flatten()
        .filter(|pod| pod.phase == "Failed" && pod.reason == "Evicted")
        .filter(fresh)
        .collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(when(pod)));
    let last = *pods.first()?;
    // One pod that was moved and replaced is how a cluster keeps its nodes alive.
    if pods.len() < 2 && workload.ready >= workload.desired.unwrap_or_default() {
        return None;
    }
    let object = workload.object();
    let short = short_of(&last.message);
    let (why, advice) = match &short {
        Some(resource) => (
            format!("the node was low on {resource}"),
            format!(
                "Find what uses up {resource} on the node; it may be another workload. Requests that match what the pods \
                 use keep them from being ended first (these ask for: {}).",
                super::requests(observed)
            ),
        ),
        None => (
            "they used more local storage than they may".to_owned(),
            "Find what the pods write (logs, caches, emptyDir volumes), then bound it or raise the ephemeral-storage limit \
             in the manifest."
                .to_owned(),
        ),
    };
    let mut citations: Vec<_> = pods.iter().map(|pod| pod.reading).collect();
    citations.push(workload.reading);
    citations.sort_unstable();
    citations.dedup();
    let mut nodes: Vec<&str> = pods.iter().filter_map(|pod| pod.node.as_deref()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let on = if nodes.is_empty() { String::new() } else { format!(" on {}", nodes.join(", ")) };
    let mut findings =
        vec![(format!("Pod {}{on} was evicted: {}", last.name, brief(last.message.trim_end())), vec![last.reading])];
    if let Some(pod) = observed.failing().into_iter().find(|pod| pod.unschedulable.is_some()) {
        let message = brief(pod.unschedulable.as_deref().unwrap_or_default());
        findings.push((format!("Its successor {} finds no node: {message}", pod.name), vec![pod.reading]));
    }
    Some(Diagnosis {
        signature: "evicted",
        cause: format!("{} of {object} evicted{on}: {why}", count_of(pods.len())),
        citations,
        findings,
        since: pods.iter().filter_map(|pod| when(pod)).min(),
        remedy: Remedy::None("room on the nodes and how much the pods may use is a person's decision".into()),
        advice: vec![advice],
    })
}

/// What the node was short of: `The node was low on resource: memory. …`, `The node had condition: [DiskPressure]. `
fn short_of(message: &str) -> Option<String> {
    if let Some((_, rest)) = message.split_once("low on resource: ") {
        return Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect());
    }
    let (_, rest) = message.split_once("The node had condition: [")?;
    Some(brief(rest.split(']').next()?))
}

fn when(pod: &Pod) -> Option<Timestamp> {
    let target = pod.condition("DisruptionTarget").and_then(|target| target.since);
    let ended = pod.containers.iter().filter_map(|container| container.ended.as_ref()).filter_map(|end| end.at).max();
    target.or(ended).or(pod.created)
}
