//! The series: those of kube-state-metrics and the kubelet, and request metrics of each workload.

use std::collections::BTreeMap;

use serde_json::Value;

use super::history::Labels;
use crate::{
    api::usage::{self, Readiness},
    cluster::{
        Cluster,
        kinds::{DAEMONSETS, DEPLOYMENTS, HPAS, NODES, PODS, REPLICASETS, STATEFULSETS},
        obj::{self, at, int, items, quantity, text},
    },
    controllers::pod_ready,
};

struct Scrape(Vec<(Labels, f64)>);

impl Scrape {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], v: f64) {
        let mut map: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        map.insert("__name__".to_owned(), name.to_owned());
        self.0.push((map, v));
    }
}

/// Lets counters grow by a stretch of time.
pub(crate) fn advance(c: &mut Cluster, seconds: f64) {
    let ready = Readiness::of(c);
    for (workload, traffic) in &mut c.traffic {
        traffic.elapse(ready.pods(workload), seconds);
    }
    let used: BTreeMap<String, f64> =
        c.store.list(&PODS, None).iter().map(|p| (obj::uid(p).to_owned(), usage::cpu(c, &ready, p))).collect();
    for (uid, rt) in &mut c.pods {
        for container in rt.containers.iter_mut().filter(|k| k.running()) {
            container.cpu_seconds += used.get(uid).copied().unwrap_or(0.0) * seconds;
        }
    }
}

pub(crate) fn collect(c: &Cluster) -> Vec<(Labels, f64)> {
    let mut out = Scrape(Vec::new());
    out.add("up", &[("job", "kube-state-metrics")], 1.0);
    out.add("process_start_time_seconds", &[("job", "sandbox")], c.started.timestamp_millis() as f64 / 1000.0);
    let ready = Readiness::of(c);
    workloads(c, &mut out);
    pods(c, &ready, &mut out);
    for node in c.store.list(&NODES, None) {
        let name = obj::name(&node);
        out.add("kube_node_info", &[("node", name)], 1.0);
        let ready = obj::condition_is(&node, "Ready", "True");
        for (status, value) in [("true", ready), ("false", !ready), ("unknown", false)] {
            let labels = [("node", name), ("condition", "Ready"), ("status", status)];
            out.add("kube_node_status_condition", &labels, f64::from(u8::from(value)));
        }
    }
    autoscalers(c, &mut out);
    traffic(c, &ready, &mut out);
    out.0
}

fn n(v: &Value, ptr: &str) -> f64 {
    int(v, ptr).unwrap_or(0) as f64
}

fn workloads(c: &Cluster, out: &mut Scrape) {
    for d in c.store.list(&DEPLOYMENTS, None) {
        let labels = [("namespace", obj::ns(&d)), ("deployment", obj::name(&d))];
        for (metric, ptr) in [
            ("kube_deployment_spec_replicas", "/spec/replicas"),
            ("kube_deployment_status_replicas", "/status/replicas"),
            ("kube_deployment_status_replicas_ready", "/status/readyReplicas"),
            ("kube_deployment_status_replicas_available", "/status/availableReplicas"),
            ("kube_deployment_status_replicas_unavailable", "/status/unavailableReplicas"),
            ("kube_deployment_status_replicas_updated", "/status/updatedReplicas"),
            ("kube_deployment_status_observed_generation", "/status/observedGeneration"),
            ("kube_deployment_metadata_generation", "/metadata/generation"),
        ] {
            out.add(metric, &labels, n(&d, ptr));
        }
        let paused = at(&d, "/spec/paused").as_bool().unwrap_or(false);
        out.add("kube_deployment_spec_paused", &labels, f64::from(u8::from(paused)));
        for condition in items(&d, "/status/conditions") {
            for status in ["true", "false", "unknown"] {
                let value = text(condition, "/status").eq_ignore_ascii_case(status);
                let labels = [labels[0], labels[1], ("condition", text(condition, "/type")), ("status", status)];
                out.add("kube_deployment_status_condition", &labels, f64::from(u8::from(value)));
            }
        }
    }
    for rs in c.store.list(&REPLICASETS, None) {
        let labels = [("namespace", obj::ns(&rs)), ("replicaset", obj::name(&rs))];
        out.add("kube_replicaset_spec_replicas", &labels, n(&rs, "/spec/replicas"));
        out.add("kube_replicaset_status_ready_replicas", &labels, n(&rs, "/status/readyReplicas"));
        if let Some((kind, name, _)) = obj::controller(&rs) {
            let labels = [labels[0], labels[1], ("owner_kind", kind), ("owner_name", name)];
            out.add("kube_replicaset_owner", &labels, 1.0);
        }
    }
    for s in c.store.list(&STATEFULSETS, None) {
        let labels = [("namespace", obj::ns(&s)), ("statefulset", obj::name(&s))];
        out.add("kube_statefulset_replicas", &labels, n(&s, "/spec/replicas"));
        out.add("kube_statefulset_status_replicas", &labels, n(&s, "/status/replicas"));
        out.add("kube_statefulset_status_replicas_ready", &labels, n(&s, "/status/readyReplicas"));
        out.add("kube_statefulset_status_replicas_updated", &labels, n(&s, "/status/updatedReplicas"));
    }
    for s in c.store.list(&DAEMONSETS, None) {
        let labels = [("namespace", obj::ns(&s)), ("daemonset", obj::name(&s))];
        let desired = n(&s, "/status/desiredNumberScheduled");
        out.add("kube_daemonset_status_desired_number_scheduled", &labels, desired);
        out.add("kube_daemonset_status_number_ready", &labels, n(&s, "/status/numberReady"));
        out.add("kube_daemonset_status_number_unavailable", &labels, n(&s, "/status/numberUnavailable"));
    }
}

fn pods(c: &Cluster, readiness: &Readiness, out: &mut Scrape) {
    for p in c.store.list(&PODS, None) {
        let labels = [("namespace", obj::ns(&p)), ("pod", obj::name(&p)), ("uid", obj::uid(&p))];
        let (kind, owner, _) = obj::controller(&p).unwrap_or(("<none>", "<none>", ""));
        let node = text(&p, "/spec/nodeName");
        let mut info = labels.to_vec();
        info.extend([
            ("node", node),
            ("created_by_kind", kind),
            ("created_by_name", owner),
            ("pod_ip", text(&p, "/status/podIP")),
        ]);
        out.add("kube_pod_info", &info, 1.0);
        let owner_labels = [labels[0], labels[1], ("owner_kind", kind), ("owner_name", owner)];
        out.add("kube_pod_owner", &owner_labels, 1.0);
        for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown"] {
            let value = text(&p, "/status/phase") == phase;
            out.add(
                "kube_pod_status_phase",
                &[labels[0], labels[1], labels[2], ("phase", phase)],
                f64::from(u8::from(value)),
            );
        }
        let ready = pod_ready(&p);
        for (condition, value) in [("true", ready), ("false", !ready)] {
            let labels = [labels[0], labels[1], labels[2], ("condition", condition)];
            out.add("kube_pod_status_ready", &labels, f64::from(u8::from(value)));
        }
        if obj::condition_is(&p, "PodScheduled", "False") {
            out.add("kube_pod_status_unschedulable", &labels, 1.0);
        }
        for spec in items(&p, "/spec/containers") {
            for list in ["limits", "requests"] {
                for (resource, unit) in [("cpu", "core"), ("memory", "byte")] {
                    if let Some(v) = quantity(&at(spec, &format!("/resources/{list}"))[resource]) {
                        let labels = [
                            labels[0],
                            labels[1],
                            ("container", text(spec, "/name")),
                            ("node", node),
                            ("resource", resource),
                            ("unit", unit),
                        ];
                        out.add(&format!("kube_pod_container_resource_{list}"), &labels, v);
                    }
                }
            }
        }
        let Some(rt) = c.pods.get(obj::uid(&p)) else { continue };
        let cores = usage::cpu(c, readiness, &p);
        for k in &rt.containers {
            let own = [labels[0], labels[1], labels[2], ("container", k.name.as_str())];
            out.add("kube_pod_container_status_restarts_total", &own, f64::from(k.restarts));
            out.add("kube_pod_container_status_running", &own, f64::from(u8::from(k.running())));
            out.add("kube_pod_container_status_ready", &own, f64::from(u8::from(ready)));
            let image = [own[0], own[1], own[3], ("image", k.image.as_str()), ("image_spec", k.image.as_str())];
            out.add("kube_pod_container_info", &image, 1.0);
            if let Some(reason) = k.waiting_reason() {
                out.add("kube_pod_container_status_waiting", &own, 1.0);
                let labels = [own[0], own[1], own[2], own[3], ("reason", reason)];
                out.add("kube_pod_container_status_waiting_reason", &labels, 1.0);
            }
            if let Some(reason) = k.last_reason() {
                let labels = [own[0], own[1], own[2], own[3], ("reason", reason)];
                out.add("kube_pod_container_status_last_terminated_reason", &labels, 1.0);
            }
            let cadvisor = [own[0], own[1], own[3], ("node", node)];
            out.add("container_cpu_usage_seconds_total", &cadvisor, k.cpu_seconds);
            if k.running() {
                out.add("container_memory_working_set_bytes", &cadvisor, k.memory);
                out.add("container_cpu_usage_cores", &cadvisor, cores);
            }
        }
    }
}

fn autoscalers(c: &Cluster, out: &mut Scrape) {
    for h in c.store.list(&HPAS, None) {
        let labels = [("namespace", obj::ns(&h)), ("horizontalpodautoscaler", obj::name(&h))];
        for (metric, ptr) in [
            ("kube_horizontalpodautoscaler_spec_min_replicas", "/spec/minReplicas"),
            ("kube_horizontalpodautoscaler_spec_max_replicas", "/spec/maxReplicas"),
            ("kube_horizontalpodautoscaler_status_current_replicas", "/status/currentReplicas"),
            ("kube_horizontalpodautoscaler_status_desired_replicas", "/status/desiredReplicas"),
        ] {
            out.add(metric, &labels, n(&h, ptr));
        }
    }
}

fn traffic(c: &Cluster, ready: &Readiness, out: &mut Scrape) {
    for (workload, traffic) in &c.traffic {
        let (plural, ns, name) = workload;
        let kind = plural.trim_end_matches('s');
        let labels = [("namespace", ns.as_str()), (kind, name.as_str()), ("service", name.as_str())];
        let load = traffic.load(ready.pods(workload));
        let with_code = |code| [labels[0], labels[1], labels[2], ("code", code)];
        out.add("http_requests_total", &with_code("200"), traffic.served_total);
        out.add("http_requests_total", &with_code("503"), traffic.failed_total);
        out.add("http_request_errors_ratio", &labels, load.error_ratio());
        out.add("http_requests_per_second", &labels, traffic.rps);
        out.add("workload_saturation_ratio", &labels, load.saturation);
        // Queueing: close to saturation each request waits for those before it.
        let seconds = 0.02 / (1.0 - load.saturation.min(0.98));
        out.add("http_request_duration_seconds_avg", &labels, seconds);
    }
}

/// The text format.
pub(crate) fn render(scrape: &[(Labels, f64)]) -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (labels, v) in scrape {
        let name = labels.get("__name__").map_or("", String::as_str);
        let inner: Vec<String> = labels
            .iter()
            .filter(|(k, _)| *k != "__name__")
            .map(|(k, v)| format!("{k}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")))
            .collect();
        groups.entry(name).or_default().push(format!("{name}{{{}}} {v}", inner.join(",")));
    }
    let mut out = String::new();
    for (name, lines) in groups {
        out.push_str(&format!("# TYPE {name} {}\n{}\n", kind_of(name), lines.join("\n")));
    }
    out
}

pub(crate) fn kind_of(name: &str) -> &'static str {
    if name.ends_with("_total") { "counter" } else { "gauge" }
}
