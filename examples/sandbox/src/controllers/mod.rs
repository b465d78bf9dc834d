//! What a cluster's controllers do, in small: each tick moves every object one step.

pub(crate) mod container;
pub(crate) mod daemonset;
pub(crate) mod deployment;
pub(crate) mod endpoints;
pub(crate) mod garbage;
pub(crate) mod hpa;
pub(crate) mod job;
pub(crate) mod pod;
pub(crate) mod replicaset;
pub(crate) mod scheduler;
pub(crate) mod statefulset;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    api::selectors,
    cluster::{
        Cluster,
        kinds::{Kind, PODS},
        obj::{self, at, deleting, put, text},
    },
};

/// One round of every controller. Pods move each time; the rest only when something was written or a
/// deadline may have passed.
pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>, seen: &mut u64, idle_ticks: &mut u32) {
    *idle_ticks += 1;
    pod::tick(c, now);
    if c.store.version() == *seen && *idle_ticks < 10 {
        return;
    }
    *idle_ticks = 0;
    *seen = c.store.version();
    garbage::tick(c, now);
    hpa::tick(c, now);
    deployment::tick(c, now);
    statefulset::tick(c, now);
    daemonset::tick(c, now);
    replicaset::tick(c, now);
    job::tick(c, now);
    scheduler::tick(c, now);
    endpoints::tick(c);
}

/// A short stable hash of a pod template, in the alphabet of generated names.
pub(crate) fn template_hash(template: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    template.to_string().hash(&mut hasher);
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut n = hasher.finish();
    let mut out = String::new();
    for _ in 0..10 {
        out.push(char::from(ALPHABET[(n % ALPHABET.len() as u64) as usize]));
        n /= ALPHABET.len() as u64;
    }
    out
}

/// A pod from a workload's template, controlled by it. The name is a prefix when it ends in a dash.
pub(crate) fn pod_from(owner: &Value, template: &Value, name: &str) -> Value {
    let mut metadata = at(template, "/metadata").clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["namespace"] = json!(obj::ns(owner));
    metadata[if name.ends_with('-') { "generateName" } else { "name" }] = json!(name);
    metadata["ownerReferences"] = json!([owner_reference(owner)]);
    obj::remove(&mut metadata, "/creationTimestamp");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": at(template, "/spec")})
}

pub(crate) fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": obj::name(owner), "uid": obj::uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Pods this object controls, and orphans its selector matches, which it adopts.
pub(crate) fn pods_of(c: &mut Cluster, owner: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    for pod in c.store.list(&PODS, Some(obj::ns(owner))) {
        if obj::owned_by(&pod, obj::uid(owner)) {
            out.push((*pod).clone());
        } else if obj::controller(&pod).is_none()
            && !deleting(&pod)
            && selectors::matches_labels(at(owner, "/spec/selector"), at(&pod, "/metadata/labels"))
        {
            let mut adopted = (*pod).clone();
            put(&mut adopted, "/metadata/ownerReferences", json!([owner_reference(owner)]));
            c.store.write(&PODS, adopted.clone());
            out.push(adopted);
        }
    }
    out
}

pub(crate) fn pod_active(pod: &Value) -> bool {
    !deleting(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

pub(crate) fn pod_ready(pod: &Value) -> bool {
    !deleting(pod) && obj::condition_is(pod, "Ready", "True")
}

/// Ready for at least `minReadySeconds`.
pub(crate) fn pod_available(c: &Cluster, pod: &Value, owner: &Value, now: DateTime<Utc>) -> bool {
    if !pod_ready(pod) {
        return false;
    }
    let min = obj::int(owner, "/spec/minReadySeconds").unwrap_or(0);
    min == 0
        || obj::items(pod, "/status/conditions")
            .iter()
            .find(|k| k["type"] == "Ready")
            .and_then(|k| obj::time(k, "/lastTransitionTime"))
            .is_some_and(|t| t + c.delay(min as f64 * 1000.0) <= now)
}

/// Creates a pod and says so, or says why not.
pub(crate) fn create_pod(c: &mut Cluster, owner: &Value, component: &str, pod: Value, now: DateTime<Utc>) -> bool {
    match c.create(&PODS, pod, false) {
        Ok(created) => {
            let message = format!("Created pod: {}", obj::name(&created));
            c.event(owner, component, "Normal", "SuccessfulCreate", &message, now);
            true
        }
        Err(e) => {
            let message = format!("Error creating: {}", e.message());
            c.event(owner, component, "Warning", "FailedCreate", &message, now);
            false
        }
    }
}

/// Deletes a pod and says so.
pub(crate) fn delete_pod(c: &mut Cluster, owner: &Value, component: &str, pod: &Value, now: DateTime<Utc>) {
    if c.delete(&PODS, obj::ns(pod), obj::name(pod), &json!({}), false).is_ok() {
        let message = format!("Deleted pod: {}", obj::name(pod));
        c.event(owner, component, "Normal", "SuccessfulDelete", &message, now);
    }
}

/// Objects of a kind that are not on their way out.
pub(crate) fn live(c: &Cluster, kind: &Kind) -> Vec<Value> {
    c.store.list(kind, None).iter().filter(|v| !deleting(v)).map(|v| (**v).clone()).collect()
}
