//! Replica sets: keep that many pods.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{create_pod, delete_pod, live, pod_active, pod_available, pod_from, pod_ready, pods_of};
use crate::cluster::{
    Cluster,
    kinds::REPLICASETS,
    obj::{self, at, int, put, text},
};

const COMPONENT: &str = "replicaset-controller";

pub(crate) fn tick(c: &mut Cluster, now: DateTime<Utc>) {
    for rs in live(c, &REPLICASETS) {
        let wanted = int(&rs, "/spec/replicas").unwrap_or(1).max(0) as usize;
        let mut pods = pods_of(c, &rs);
        pods.retain(pod_active);
        let mut running = pods.len();
        while running < wanted {
            let pod = pod_from(&rs, at(&rs, "/spec/template"), &format!("{}-", obj::name(&rs)));
            if !create_pod(c, &rs, COMPONENT, pod, now) {
                break;
            }
            running += 1;
        }
        if pods.len() > wanted {
            // The least useful go first: unscheduled, then not ready, then the newest.
            pods.sort_by_key(|p| {
                let age = std::cmp::Reverse(text(p, "/metadata/uid").to_owned());
                (!text(p, "/spec/nodeName").is_empty(), pod_ready(p), age)
            });
            for pod in &pods[..pods.len() - wanted] {
                delete_pod(c, &rs, COMPONENT, pod, now);
            }
        }
        report(c, rs, now);
    }
}

fn report(c: &mut Cluster, mut rs: Value, now: DateTime<Utc>) {
    let mut pods = pods_of(c, &rs);
    pods.retain(pod_active);
    let ready = pods.iter().filter(|p| pod_ready(p)).count();
    let available = pods.iter().filter(|p| pod_available(c, p, &rs, now)).count();
    put(&mut rs, "/status/replicas", json!(pods.len()));
    for (field, n) in [("fullyLabeledReplicas", pods.len()), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if n == 0 {
            obj::remove(&mut rs, &format!("/status/{field}"));
        } else {
            put(&mut rs, &format!("/status/{field}"), json!(n));
        }
    }
    let generation = at(&rs, "/metadata/generation").clone();
    put(&mut rs, "/status/observedGeneration", generation);
    c.store.write(&REPLICASETS, rs);
}
