//! Stateful sets, in a simple form: ordered names, one pod at a time, revisions by template hash.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    create_pod, delete_pod, live, owner_reference, pod_active, pod_available, pod_from, pod_ready, pods_of,
    template_hash,
};
use crate::cluster::{
    Cluster,
    kinds::{CONTROLLERREVISIONS, STATEFULSETS},
    obj::{self, at, deleting, int, put, text},
};

const COMPONENT: &str = "statefulset-controller";
pub(super) const REVISION_LABEL: &str = "controller-revision-hash";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for set in live(c, &STATEFULSETS) {
        step(c, set, now);
    }
}

/// Stores the template as a `ControllerRevision` and returns the revision's name, for stateful and daemon sets.
pub(super) fn record_revision(c: &mut Cluster, owner: &Value) -> String {
    let name = format!("{}-{}", obj::name(owner), template_hash(at(owner, "/spec/template")));
    let all: Vec<Value> = c
        .store
        .list(&CONTROLLERREVISIONS, Some(obj::ns(owner)))
        .iter()
        .filter(|r| obj::owned_by(r, obj::uid(owner)))
        .map(|r| (**r).clone())
        .collect();
    let newest = all.iter().filter_map(|r| r["revision"].as_i64()).max().unwrap_or(0);
    match all.into_iter().find(|r| obj::name(r) == name) {
        Some(mut found) => {
            if found["revision"].as_i64() != Some(newest) {
                found["revision"] = json!(newest + 1);
                put(&mut found, "/metadata/managedFields", managed(crate::clock::now()));
                c.store.write(&CONTROLLERREVISIONS, found);
            }
        }
        None => {
            let mut template = at(owner, "/spec/template").clone();
            template["$patch"] = json!("replace");
            // The owner's annotations come along, its change-cause among them.
            let mut revision = json!({
                "metadata": {
                    "name": name, "namespace": obj::ns(owner), "labels": at(owner, "/spec/template/metadata/labels"),
                    "ownerReferences": [owner_reference(owner)], "managedFields": managed(crate::clock::now()),
                },
                "data": {"spec": {"template": template}}, "revision": newest + 1,
            });
            let annotations = at(owner, "/metadata/annotations");
            if annotations.is_object() {
                put(&mut revision, "/metadata/annotations", annotations.clone());
            }
            // The name was just looked for, and a namespace that is going away needs no revision.
            let _refused = c.create(&CONTROLLERREVISIONS, revision, false);
        }
    }
    name
}

/// What a controller manager owns of a revision, since when it is as it is.
fn managed(now: DateTime<Utc>) -> Value {
    let fields = json!({ "f:data": {}, "f:metadata": { "f:ownerReferences": {} }, "f:revision": {} });
    json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "time": obj::stamp(now),
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }])
}

fn ordinal(pod: &Value) -> i64 {
    obj::name(pod).rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(-1)
}

fn step(c: &mut Cluster, mut set: Value, now: DateTime<Utc>) {
    let wanted = int(&set, "/spec/replicas").unwrap_or(1);
    let revision = record_revision(c, &set);
    let pods = pods_of(c, &set);
    let parallel = text(&set, "/spec/podManagementPolicy") == "Parallel";
    let mut blocked = false;
    for i in 0..wanted {
        let name = format!("{}-{i}", obj::name(&set));
        match pods.iter().find(|p| obj::name(p) == name) {
            Some(pod) if pod_ready(pod) => {}
            Some(_) => blocked = true,
            None => {
                let mut pod = pod_from(&set, at(&set, "/spec/template"), &name);
                put(&mut pod, &format!("/metadata/labels/{REVISION_LABEL}"), json!(revision));
                put(&mut pod, "/metadata/labels/statefulset.kubernetes.io~1pod-name", json!(name));
                put(&mut pod, "/spec/hostname", json!(name));
                create_pod(c, &set, COMPONENT, pod, now);
                blocked = true;
            }
        }
        if blocked && !parallel {
            break;
        }
    }
    let leaving = pods.iter().any(deleting);
    let mut by_ordinal: Vec<&Value> = pods.iter().filter(|p| pod_active(p)).collect();
    by_ordinal.sort_by_key(|p| std::cmp::Reverse(ordinal(p)));
    if let Some(extra) = by_ordinal.iter().find(|p| ordinal(p) >= wanted).filter(|_| !leaving) {
        delete_pod(c, &set, COMPONENT, extra, now);
    } else if !leaving && text(&set, "/spec/updateStrategy/type") == "RollingUpdate" {
        let partition = int(&set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
        let stale = by_ordinal
            .iter()
            .find(|p| ordinal(p) >= partition && at(p, "/metadata/labels")[REVISION_LABEL] != json!(revision));
        // One at a time: the newer ones must be ready before the next is replaced.
        let healthy = by_ordinal
            .iter()
            .filter(|p| at(p, "/metadata/labels")[REVISION_LABEL] == json!(revision))
            .all(|p| pod_ready(p));
        if let Some(pod) = stale.filter(|_| healthy) {
            delete_pod(c, &set, COMPONENT, pod, now);
        }
    }
    let pods: Vec<Value> = pods_of(c, &set).into_iter().filter(pod_active).collect();
    let current = pods.iter().filter(|p| at(p, "/metadata/labels")[REVISION_LABEL] == json!(revision)).count();
    let done = current == pods.len() && pods.len() as i64 == wanted;
    let old = text(&set, "/status/currentRevision").to_owned();
    let available = pods.iter().filter(|p| pod_available(c, p, &set, now)).count();
    put(&mut set, "/status/replicas", json!(pods.len()));
    put(&mut set, "/status/readyReplicas", json!(pods.iter().filter(|p| pod_ready(p)).count()));
    put(&mut set, "/status/availableReplicas", json!(available));
    put(&mut set, "/status/updatedReplicas", json!(current));
    put(&mut set, "/status/currentReplicas", json!(if done { current } else { pods.len() - current }));
    put(&mut set, "/status/updateRevision", json!(revision));
    put(&mut set, "/status/currentRevision", json!(if done || old.is_empty() { revision } else { old }));
    let generation = at(&set, "/metadata/generation").clone();
    put(&mut set, "/status/observedGeneration", generation);
    c.store.write(&STATEFULSETS, set);
}
