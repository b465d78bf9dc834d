//! Daemon sets, in a simple form: a pod on every node, replaced one at a time.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    create_pod, delete_pod, live, pod_active, pod_available, pod_from, pod_ready, pods_of,
    statefulset::{REVISION_LABEL, record_revision},
};
use crate::cluster::{
    Cluster,
    kinds::{DAEMONSETS, NODES},
    obj::{self, at, put, text},
};

const COMPONENT: &str = "daemonset-controller";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for set in live(c, &DAEMONSETS) {
        step(c, set, now);
    }
}

fn step(c: &mut Cluster, mut set: Value, now: DateTime<Utc>) {
    let name = record_revision(c, &set);
    let hash = name.rsplit('-').next().unwrap_or_default().to_owned();
    let current = |p: &Value| at(p, "/metadata/labels")[REVISION_LABEL] == json!(hash);
    let wanted_labels = at(&set, "/spec/template/spec/nodeSelector").as_object().cloned().unwrap_or_default();
    let nodes: Vec<String> = c
        .store
        .list(&NODES, None)
        .iter()
        .filter(|n| wanted_labels.iter().all(|(k, v)| at(n, "/metadata/labels").get(k) == Some(v)))
        .map(|n| obj::name(n).to_owned())
        .collect();
    let pods: Vec<Value> = pods_of(c, &set);
    for node in &nodes {
        if pods.iter().any(|p| text(p, "/spec/nodeName") == node) {
            continue;
        }
        let mut pod = pod_from(&set, at(&set, "/spec/template"), &format!("{}-", obj::name(&set)));
        put(&mut pod, &format!("/metadata/labels/{REVISION_LABEL}"), json!(hash));
        put(&mut pod, "/spec/nodeName", json!(node));
        create_pod(c, &set, COMPONENT, pod, now);
    }
    for pod in pods.iter().filter(|p| pod_active(p)) {
        if !nodes.iter().any(|n| n == text(pod, "/spec/nodeName")) {
            delete_pod(c, &set, COMPONENT, pod, now);
        }
    }
    let steady = pods.iter().all(|p| pod_ready(p) || !current(p));
    if steady
        && text(&set, "/spec/updateStrategy/type") == "RollingUpdate"
        && let Some(stale) = pods.iter().find(|p| pod_active(p) && !current(p))
        && !pods.iter().any(obj::deleting)
    {
        delete_pod(c, &set, COMPONENT, stale, now);
    }
    let pods: Vec<Value> = pods_of(c, &set).into_iter().filter(pod_active).collect();
    let available = pods.iter().filter(|p| pod_available(c, p, &set, now)).count();
    for (field, n) in [
        ("desiredNumberScheduled", nodes.len()),
        ("currentNumberScheduled", pods.len()),
        ("numberReady", pods.iter().filter(|p| pod_ready(p)).count()),
        ("numberAvailable", available),
        ("numberUnavailable", nodes.len().saturating_sub(available)),
        ("updatedNumberScheduled", pods.iter().filter(|p| current(p)).count()),
        ("numberMisscheduled", 0),
    ] {
        put(&mut set, &format!("/status/{field}"), json!(n));
    }
    let generation = at(&set, "/metadata/generation").clone();
    put(&mut set, "/status/observedGeneration", generation);
    c.store.write(&DAEMONSETS, set);
}
