use rounds_core::Timestamp;
use rounds_core::investigation::ReadingId;

use super::{Diagnosis, Remedy, brief, count_of};
use crate::playbook::kube::Pod;
use crate::playbook::observe::Observed;
use crate::playbook::surroundings::{evicted_by_taint, may_be_lost};

/// A pod whose node is gone, with who says so.
struct Lost<'a> {
    pod: &'a Pod,
    node: &'a str,
    says: String,
    since: Option<Timestamp>,
    reading: ReadingId,
    /// The node or its controller says so, rather than what the node leaves undone.
    said: bool,
}

/// Pods on a node that does not report any more. The node itself is read when the connector may; else what the node
/// controller wrote into the pods and their events has to do.
pub(super) fn diagnose(observed: &Observed) -> Option<Diagnosis> {
    let workload = &observed.workload;
    if workload.ready >= workload.desired.unwrap_or_default() {
        return None;
    }
    let suspects = observed.pods.iter().flatten().filter(|pod| may_be_lost(pod, observed.now));
    let lost: Vec<Lost<'_>> = suspects.filter_map(|pod| lost(observed, pod)).collect();
    let first = lost.first()?;
    // Pods that fail elsewhere for a reason of their own are not explained by a node.
    let explained = |pod: &&Pod| lost.iter().any(|lost| lost.pod.name == pod.name) || only_waits(pod);
    if !observed.failing().iter().all(explained) {
        return None;
    }
    let object = workload.object();
    let mut nodes: Vec<&str> = lost.iter().map(|lost| lost.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let on = if nodes.len() == 1 { format!("node {}", nodes[0]) } else { format!("nodes {}", nodes.join(", ")) };
    let mut citations = vec![workload.reading];
    citations.extend(lost.iter().flat_map(|lost| [lost.pod.reading, lost.reading]));
    citations.sort_unstable();
    citations.dedup();
    let mut findings: Vec<(String, Vec<ReadingId>)> = lost
        .iter()
        .take(4)
        .map(|lost| {
            let text = format!("Pod {} on node {}: {}.", lost.pod.name, lost.node, lost.says);
            (text, vec![lost.pod.reading, lost.reading])
        })
        .collect();
    let waiting = observed.failing().into_iter().filter(|pod| pod.unschedulable.is_some()).collect::<Vec<_>>();
    if let Some(pod) = waiting.first() {
        let why = brief(pod.unschedulable.as_deref().unwrap_or_default());
        let text = format!("{} of its pods find no room elsewhere meanwhile: {why}", waiting.len());
        findings.push((text, vec![pod.reading]));
    }
    let mut advice = vec![
        format!(
            "Look at {on} with whoever runs the cluster (kubectl describe node {}): kubelet, disk, memory, network, or a \
             machine that was taken away.",
            nodes[0]
        ),
        "Unless the node comes back, pods that may run elsewhere are made anew about five minutes after it was lost \
         (tolerationSeconds of the not-ready and unreachable taints)."
            .to_owned(),
    ];
    if workload.ordered {
        advice.push(format!(
            "{object} makes no second pod of a name while the first may still run: when the machine is known to be off \
             for good, delete the node object or force the deletion of the pod; not before, its volume may still be in use."
        ));
    }
    let state = match (nodes.len(), lost.iter().any(|lost| lost.said)) {
        (1, true) => "is not ready",
        (_, true) => "are not ready",
        (1, false) => "seems to be lost",
        (_, false) => "seem to be lost",
    };
    Some(Diagnosis {
        signature: "node_not_ready",
        cause: format!("{on} {state}, with {} of {object}", count_of(lost.len())),
        citations,
        findings,
        since: lost.iter().filter_map(|lost| lost.since).min().or(first.since),
        remedy: Remedy::None(
            "nodes are not Rounds' to repair, and what runs on them is replaced by the cluster".into(),
        ),
        advice,
    })
}

/// A pod that is still being placed or started.
fn only_waits(pod: &Pod) -> bool {
    let starts = pod.containers.iter().all(|container| {
        container.last_end().is_none_or(|end| container.init && end.exit_code == Some(0))
            && (container.waiting.is_none() || container.waits_for(&["ContainerCreating", "PodInitializing"]))
    });
    pod.unschedulable.is_some() || (starts && pod.phase == "Pending")
}

fn lost<'a>(observed: &'a Observed, pod: &'a Pod) -> Option<Lost<'a>> {
    let node = pod.node.as_deref()?;
    let found = |says: String, since, reading| Some(Lost { pod, node, says, since, reading, said: true });
    let inferred = |message: &str, since, reading| {
        let says = format!("it was to be ended ({}) and its node does not do so", brief(message));
        Some(Lost { pod, node, says, since, reading, said: false })
    };
    if let Some(read) = observed.around.nodes.iter().find(|read| read.name == node) {
        // What the node says of itself counts more than what was written into pods.
        let ready = read.ready().filter(|_| !read.is_ready())?;
        let says =
            format!("the node's Ready condition is {} ({}): {}", ready.status, ready.reason, brief(&ready.message));
        return found(says, ready.since, read.reading);
    }
    if pod.reason == "NodeLost" {
        return found(format!("the pod is marked NodeLost: {}", brief(&pod.message)), None, pod.reading);
    }
    let fresh = |at: Option<Timestamp>| at.is_some_and(|at| at >= observed.fresh_since());
    if let Some(event) = observed.events_about(&pod.name, "NodeNotReady").find(|event| fresh(event.last)) {
        return found(format!("the node controller says: {}", brief(&event.message)), event.first, event.reading);
    }
    let by_node = observed
        .events_about(&pod.name, "TaintManagerEviction")
        .find(|event| fresh(event.last) && event.message.starts_with("Marking for deletion"));
    let condition = evicted_by_taint(pod).filter(|target| fresh(target.since));
    // A taint that a person set ends pods just as well, but then the kubelet ends them in time.
    let overdue = pod.deleted_at.is_some_and(|at| at < observed.now);
    if !overdue {
        return None;
    }
    match (condition, by_node) {
        (Some(target), _) => inferred(&target.message, target.since, pod.reading),
        (None, Some(event)) => inferred(&event.message, event.first, event.reading),
        (None, None) => None,
    }
}
