//! Finding a node for each pod.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cluster::{
    Cluster,
    kinds::{NODES, PODS},
    obj::{self, at, deleting, put, quantity, text},
};

/// What a pod asks for: cores and bytes. A limit stands in for a missing request.
fn requests(pod: &Value) -> [f64; 2] {
    let mut total = [0.0; 2];
    for c in obj::items(pod, "/spec/containers") {
        for (sum, resource) in total.iter_mut().zip(["cpu", "memory"]) {
            let asked = quantity(&at(c, "/resources/requests")[resource])
                .or_else(|| quantity(&at(c, "/resources/limits")[resource]));
            *sum += asked.unwrap_or(0.0);
        }
    }
    total
}

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    let pods = c.store.list(&PODS, None);
    let waiting: Vec<_> =
        pods.iter().filter(|p| text(p, "/spec/nodeName").is_empty() && !deleting(p)).cloned().collect();
    if waiting.is_empty() {
        return;
    }
    let nodes = c.store.list(&NODES, None);
    let mut used: Vec<[f64; 2]> = nodes
        .iter()
        .map(|n| {
            pods.iter()
                .filter(|p| text(p, "/spec/nodeName") == obj::name(n))
                .filter(|p| !matches!(text(p, "/status/phase"), "Succeeded" | "Failed"))
                .map(|p| requests(p))
                .fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]])
        })
        .collect();
    for pod in waiting {
        let asked = requests(&pod);
        let mut reasons: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        let mut best: Option<(usize, f64)> = None;
        for (i, node) in nodes.iter().enumerate() {
            let capacity = |r: &str| quantity(&at(node, "/status/allocatable")[r]).unwrap_or(0.0);
            let free = [capacity("cpu") - used[i][0], capacity("memory") - used[i][1]];
            let mut fits = true;
            let mut refuse = |why: &str| {
                *reasons.entry(why.to_owned()).or_default() += 1;
                fits = false;
            };
            if at(node, "/spec/unschedulable").as_bool().unwrap_or(false) {
                refuse("node(s) were unschedulable");
            } else if let Some(wanted) = at(&pod, "/spec/nodeSelector").as_object()
                && wanted.iter().any(|(k, v)| at(node, "/metadata/labels").get(k) != Some(v))
            {
                refuse("node(s) didn't match Pod's node affinity/selector");
            } else {
                if asked[0] > free[0] {
                    refuse("Insufficient cpu");
                }
                if asked[1] > free[1] {
                    refuse("Insufficient memory");
                }
            }
            if fits && best.is_none_or(|(_, most)| free[0] > most) {
                best = Some((i, free[0]));
            }
        }
        let mut v = (*pod).clone();
        if let Some((i, _)) = best {
            used[i] = [used[i][0] + asked[0], used[i][1] + asked[1]];
            let node = obj::name(&nodes[i]).to_owned();
            put(&mut v, "/spec/nodeName", json!(node));
            obj::condition(&mut v, "PodScheduled", true, "", "", now);
            let message = format!("Successfully assigned {}/{} to {node}", obj::ns(&v), obj::name(&v));
            c.event(&pod, "default-scheduler", "Normal", "Scheduled", &message, now);
        } else {
            let total = nodes.len();
            let why: Vec<String> = reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
            let message = format!(
                "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {total} No preemption victims found for incoming pod.",
                why.join(", ")
            );
            // Said once a state, and again only when the reason changes.
            if obj::items(&pod, "/status/conditions")
                .iter()
                .any(|k| k["type"] == "PodScheduled" && k["message"] == message)
            {
                continue;
            }
            obj::condition(&mut v, "PodScheduled", false, "Unschedulable", &message, now);
            c.event(&pod, "default-scheduler", "Warning", "FailedScheduling", &message, now);
        }
        c.store.write(&PODS, v);
    }
}
