//! What pods and nodes use, as the metrics API states it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{
    Cluster,
    kinds::{Kind, NODES, PODS, REPLICASETS},
    obj::{self, at, quantity, stamp, text},
};

/// The workload a pod belongs to, as (plural, name).
pub(crate) fn workload_of(c: &Cluster, pod: &Value) -> Option<(&'static str, String)> {
    let (kind, name, _) = obj::controller(pod)?;
    match kind {
        "ReplicaSet" => {
            let rs = c.store.get(&REPLICASETS, obj::ns(pod), name)?;
            let (kind, owner, _) = obj::controller(&rs)?;
            (kind == "Deployment").then(|| ("deployments", owner.to_owned()))
        }
        "StatefulSet" => Some(("statefulsets", name.to_owned())),
        "DaemonSet" => Some(("daemonsets", name.to_owned())),
        _ => None,
    }
}

/// How many pods of each workload are ready, counted once for a whole scrape.
#[derive(Debug, Default)]
pub(crate) struct Readiness(BTreeMap<(String, String, String), usize>);

impl Readiness {
    pub(crate) fn of(c: &Cluster) -> Readiness {
        let mut out = Readiness::default();
        for p in c.store.list(&PODS, None).iter().filter(|p| crate::controllers::pod_ready(p)) {
            if let Some((plural, name)) = workload_of(c, p) {
                *out.0.entry((plural.to_owned(), obj::ns(p).to_owned(), name)).or_default() += 1;
            }
        }
        out
    }

    /// Ready pods of a workload by (plural, namespace, name).
    pub(crate) fn pods(&self, workload: &(String, String, String)) -> usize {
        self.0.get(workload).copied().unwrap_or(0)
    }
}

/// Cores used by each container of a pod: a little when idle, more with its share of the load.
pub(crate) fn cpu(c: &Cluster, ready: &Readiness, pod: &Value) -> f64 {
    if !crate::controllers::pod_ready(pod) {
        return 0.001;
    }
    let limit = quantity(at(pod, "/spec/containers/0/resources/limits/cpu"))
        .or_else(|| quantity(at(pod, "/spec/containers/0/resources/requests/cpu")))
        .unwrap_or(0.5);
    let saturation = workload_of(c, pod)
        .and_then(|(plural, name)| {
            let workload = (plural.to_owned(), obj::ns(pod).to_owned(), name);
            Some(c.traffic.get(&workload)?.load(ready.pods(&workload)).saturation)
        })
        .unwrap_or(0.0);
    0.003 + limit * saturation.min(1.0)
}

fn amounts(cores: f64, bytes: f64) -> Value {
    json!({"cpu": format!("{}n", (cores * 1e9) as u64), "memory": format!("{}Ki", (bytes / 1024.0) as u64)})
}

pub(crate) fn objects(c: &Cluster, kind: &Kind, ns: Option<&str>) -> Vec<Value> {
    let now = stamp(crate::clock::now());
    let ready = Readiness::of(c);
    let pods = c.store.list(&PODS, if kind.namespaced { ns } else { None });
    let measured = pods.iter().filter_map(|p| {
        let rt = c.pods.get(obj::uid(p))?;
        rt.containers.iter().any(|k| k.running()).then_some((p, rt))
    });
    if kind.plural == "pods" {
        return measured
            .map(|(p, rt)| {
                let containers: Vec<Value> = rt
                    .containers
                    .iter()
                    .filter(|k| k.running())
                    .map(|k| json!({"name": k.name, "usage": amounts(cpu(c, &ready, p), k.memory)}))
                    .collect();
                json!({
                    "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                    "metadata": {
                        "name": obj::name(p), "namespace": obj::ns(p), "labels": at(p, "/metadata/labels"), "creationTimestamp": now,
                    },
                    "timestamp": now, "window": "15s", "containers": containers,
                })
            })
            .collect();
    }
    let measured: Vec<_> = measured.collect();
    c.store
        .list(&NODES, None)
        .iter()
        .map(|n| {
            let (mut cores, mut bytes) = (0.05, 300.0 * 1024.0 * 1024.0);
            for (p, rt) in measured.iter().filter(|(p, _)| text(p, "/spec/nodeName") == obj::name(n)) {
                cores += cpu(c, &ready, p);
                bytes += rt.containers.iter().map(|k| k.memory).sum::<f64>();
            }
            json!({
                "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {"name": obj::name(n), "creationTimestamp": now, "labels": at(n, "/metadata/labels")},
                "timestamp": now, "window": "15s", "usage": amounts(cores, bytes),
            })
        })
        .collect()
}
