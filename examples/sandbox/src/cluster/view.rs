//! Showing a stored object under another version of its kind.

use serde_json::{Value, json};

use super::{
    kinds::{EVENTS_V1, HPAS, Kind},
    obj::{self, at, put},
};

/// The object as `version` of `kind` states it.
pub(crate) fn present(kind: &Kind, version: &str, object: &Value) -> Value {
    let mut v = object.clone();
    put(&mut v, "/apiVersion", json!(kind.api_version(version)));
    put(&mut v, "/kind", json!(kind.kind));
    if kind.id() == HPAS.id() && version == "v1" {
        let target = obj::items(&v, "/spec/metrics")
            .iter()
            .find(|m| m["resource"]["name"] == "cpu")
            .map(|m| at(m, "/resource/target/averageUtilization").clone());
        let current = obj::items(&v, "/status/currentMetrics")
            .iter()
            .find(|m| m["resource"]["name"] == "cpu")
            .map(|m| at(m, "/resource/current/averageUtilization").clone());
        for key in ["/spec/metrics", "/spec/behavior", "/status/currentMetrics", "/status/conditions"] {
            obj::remove(&mut v, key);
        }
        if let Some(target) = target {
            put(&mut v, "/spec/targetCPUUtilizationPercentage", target);
        }
        if let Some(current) = current {
            put(&mut v, "/status/currentCPUUtilizationPercentage", current);
        }
    }
    if kind.id() == EVENTS_V1.id() {
        let at = |ptr: &str| at(object, ptr).clone();
        let source = at("/source");
        v = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": at("/metadata"),
            "regarding": at("/involvedObject"), "reason": at("/reason"), "note": at("/message"), "type": at("/type"),
            "deprecatedSource": source, "reportingController": at("/reportingComponent"), "reportingInstance": "",
            "deprecatedFirstTimestamp": at("/firstTimestamp"), "deprecatedLastTimestamp": at("/lastTimestamp"),
            "deprecatedCount": at("/count"), "eventTime": null,
        });
    }
    v
}

/// The object as it is stored, from what a client sent under `version`.
pub(crate) fn store(kind: &Kind, version: &str, mut v: Value) -> Value {
    if kind.id() == HPAS.id()
        && version == "v1"
        && let Some(target) = obj::remove(&mut v, "/spec/targetCPUUtilizationPercentage")
    {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        put(&mut v, "/spec/metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    v
}
