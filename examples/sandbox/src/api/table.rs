//! Server-side printing: the tables behind `kubectl get`.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cluster::{
    kinds::Kind,
    obj::{self, at, int, items, text},
};

/// A column: name, type, and 0 for the narrow table or 1 for `-o wide` only.
type Column = (&'static str, &'static str, u8);

fn columns(kind: &Kind) -> Vec<Column> {
    let s = "string";
    let rest: &[Column] = match kind.plural {
        "pods" if kind.read_only => &[("CPU", "string", 0), ("Memory", "string", 0)],
        "pods" => &[
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            ("Age", "string", 0),
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ],
        "deployments" => &[
            ("Ready", "string", 0),
            ("Up-to-date", "string", 0),
            ("Available", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "replicasets" => &[
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "statefulsets" => {
            &[("Ready", "string", 0), ("Age", "string", 0), ("Containers", "string", 1), ("Images", "string", 1)]
        }
        "daemonsets" => &[
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            ("Up-to-date", "integer", 0),
            ("Available", "integer", 0),
            ("Node Selector", "string", 0),
            ("Age", "string", 0),
            ("Containers", "string", 1),
            ("Images", "string", 1),
            ("Selector", "string", 1),
        ],
        "jobs" => {
            &[("Status", "string", 0), ("Completions", "string", 0), ("Duration", "string", 0), ("Age", "string", 0)]
        }
        "services" => &[
            ("Type", "string", 0),
            ("Cluster-IP", "string", 0),
            ("External-IP", "string", 0),
            ("Port(s)", "string", 0),
            ("Age", "string", 0),
            ("Selector", "string", 1),
        ],
        "endpoints" => &[("Endpoints", "string", 0), ("Age", "string", 0)],
        "configmaps" => &[("Data", "string", 0), ("Age", "string", 0)],
        "secrets" => &[("Type", "string", 0), ("Data", "integer", 0), ("Age", "string", 0)],
        "namespaces" => &[("Status", "string", 0), ("Age", "string", 0)],
        "nodes" if !kind.read_only => &[
            ("Status", "string", 0),
            ("Roles", "string", 0),
            ("Age", "string", 0),
            ("Version", "string", 0),
            ("Internal-IP", "string", 1),
            ("OS-Image", "string", 1),
        ],
        "horizontalpodautoscalers" => &[
            ("Reference", "string", 0),
            ("Targets", "string", 0),
            ("MinPods", "string", 0),
            ("MaxPods", "string", 0),
            ("Replicas", "integer", 0),
            ("Age", "string", 0),
        ],
        "events" => {
            return vec![
                ("Last Seen", s, 0),
                ("Type", s, 0),
                ("Reason", s, 0),
                ("Object", s, 0),
                ("Subobject", s, 1),
                ("Source", s, 1),
                ("Message", s, 0),
                ("First Seen", s, 1),
                ("Count", s, 1),
                ("Name", s, 1),
            ];
        }
        _ => &[("Age", "string", 0)],
    };
    let mut out = vec![("Name", s, 0)];
    out.extend_from_slice(rest);
    out
}

/// Objects as a table. `include` is the `includeObject` parameter.
pub(crate) fn table(kind: &Kind, objects: &[Value], metadata: Value, include: &str, now: DateTime<Utc>) -> Value {
    let definitions: Vec<Value> = columns(kind)
        .iter()
        .map(|(name, kind, priority)| {
            json!({"name": name, "type": kind, "format": if *name == "Name" { "name" } else { "" }, "description": "", "priority": priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|o| {
            let mut row = json!({"cells": cells(kind, o, now)});
            match include {
                "None" => {}
                "Object" => row["object"] = o.clone(),
                _ => {
                    row["object"] = json!({
                        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"],
                    });
                }
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn cells(kind: &Kind, o: &Value, now: DateTime<Utc>) -> Value {
    let name = obj::name(o);
    let age = obj::time(o, "/metadata/creationTimestamp").map_or("<unknown>".to_owned(), |t| duration(now - t));
    let n = |ptr: &str| int(o, ptr).unwrap_or(0);
    let spec = "/spec/template/spec/containers";
    let list = |field: &str| items(o, spec).iter().map(|c| text(c, field)).collect::<Vec<_>>().join(",");
    let selector = |ptr: &str| match at(o, ptr).as_object() {
        Some(m) if !m.is_empty() => {
            m.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
        }
        _ => "<none>".to_owned(),
    };
    match kind.plural {
        "pods" if kind.read_only => {
            let usage = at(o, "/containers/0/usage");
            json!([name, usage["cpu"], usage["memory"]])
        }
        "pods" => pod(o, &age),
        "deployments" => json!([
            name,
            format!("{}/{}", n("/status/readyReplicas"), n("/spec/replicas")),
            n("/status/updatedReplicas").to_string(),
            n("/status/availableReplicas").to_string(),
            age,
            list("/name"),
            list("/image"),
            selector("/spec/selector/matchLabels"),
        ]),
        "replicasets" => json!([
            name,
            n("/spec/replicas"),
            n("/status/replicas"),
            n("/status/readyReplicas"),
            age,
            list("/name"),
            list("/image"),
            selector("/spec/selector/matchLabels"),
        ]),
        "statefulsets" => json!([
            name,
            format!("{}/{}", n("/status/readyReplicas"), n("/spec/replicas")),
            age,
            list("/name"),
            list("/image"),
        ]),
        "daemonsets" => json!([
            name,
            n("/status/desiredNumberScheduled"),
            n("/status/currentNumberScheduled"),
            n("/status/numberReady"),
            n("/status/updatedNumberScheduled"),
            n("/status/numberAvailable"),
            selector("/spec/template/spec/nodeSelector"),
            age,
            list("/name"),
            list("/image"),
            selector("/spec/selector/matchLabels"),
        ]),
        "jobs" => {
            let status = if obj::condition_is(o, "Complete", "True") {
                "Complete"
            } else if obj::condition_is(o, "Failed", "True") {
                "Failed"
            } else {
                "Running"
            };
            let took = obj::time(o, "/status/startTime")
                .map_or(String::new(), |from| duration(obj::time(o, "/status/completionTime").unwrap_or(now) - from));
            json!([name, status, format!("{}/{}", n("/status/succeeded"), n("/spec/completions")), took, age])
        }
        "services" => {
            let ports: Vec<String> = items(o, "/spec/ports")
                .iter()
                .map(|p| format!("{}/{}", int(p, "/port").unwrap_or(0), text(p, "/protocol")))
                .collect();
            json!([
                name,
                text(o, "/spec/type"),
                text(o, "/spec/clusterIP"),
                "<none>",
                ports.join(","),
                age,
                selector("/spec/selector"),
            ])
        }
        "endpoints" => {
            let port = int(o, "/subsets/0/ports/0/port").unwrap_or(0);
            let all: Vec<String> =
                items(o, "/subsets/0/addresses").iter().map(|a| format!("{}:{port}", text(a, "/ip"))).collect();
            json!([name, if all.is_empty() { "<none>".to_owned() } else { all.join(",") }, age])
        }
        "configmaps" => json!([name, at(o, "/data").as_object().map_or(0, serde_json::Map::len).to_string(), age]),
        "secrets" => json!([name, text(o, "/type"), at(o, "/data").as_object().map_or(0, serde_json::Map::len), age]),
        "namespaces" => json!([name, text(o, "/status/phase"), age]),
        "nodes" if !kind.read_only => {
            let mut status = if obj::condition_is(o, "Ready", "True") { "Ready" } else { "NotReady" }.to_owned();
            if at(o, "/spec/unschedulable").as_bool().unwrap_or(false) {
                status.push_str(",SchedulingDisabled");
            }
            json!([
                name,
                status,
                "worker",
                age,
                text(o, "/status/nodeInfo/kubeletVersion"),
                text(o, "/status/addresses/0/address"),
                text(o, "/status/nodeInfo/osImage"),
            ])
        }
        "horizontalpodautoscalers" => {
            let shown = |v: Option<i64>| v.map_or("<unknown>".to_owned(), |n| format!("{n}%"));
            let current = shown(int(o, "/status/currentMetrics/0/resource/current/averageUtilization"));
            let target = shown(int(o, "/spec/metrics/0/resource/target/averageUtilization"));
            json!([
                name,
                format!("{}/{}", text(o, "/spec/scaleTargetRef/kind"), text(o, "/spec/scaleTargetRef/name")),
                format!("cpu: {current}/{target}"),
                int(o, "/spec/minReplicas").unwrap_or(1).to_string(),
                n("/spec/maxReplicas").to_string(),
                n("/status/currentReplicas"),
                age,
            ])
        }
        "events" => event(o, now),
        _ => json!([name, age]),
    }
}

fn event(o: &Value, now: DateTime<Utc>) -> Value {
    // Both event APIs print alike; they only name their fields differently.
    let pick = |a: &str, b: &str| if at(o, a).is_null() { text(o, b).to_owned() } else { text(o, a).to_owned() };
    let since = |a: &str, b: &str| {
        obj::time(o, a).or_else(|| obj::time(o, b)).map_or("<unknown>".to_owned(), |t| duration(now - t))
    };
    let kind = pick("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let object = format!("{kind}/{}", pick("/involvedObject/name", "/regarding/name"));
    let count = int(o, "/count").or(int(o, "/deprecatedCount")).unwrap_or(1);
    let first = since("/firstTimestamp", "/deprecatedFirstTimestamp");
    let mut last = since("/lastTimestamp", "/deprecatedLastTimestamp");
    if count > 1 {
        last = format!("{last} (x{count} over {first})");
    }
    json!([
        last,
        text(o, "/type"),
        text(o, "/reason"),
        object,
        pick("/involvedObject/fieldPath", "/regarding/fieldPath"),
        pick("/source/component", "/deprecatedSource/component"),
        pick("/message", "/note"),
        first,
        count.to_string(),
        obj::name(o),
    ])
}

fn pod(o: &Value, age: &str) -> Value {
    let statuses = items(o, "/status/containerStatuses");
    let ready = statuses.iter().filter(|s| s["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|s| int(s, "/restartCount")).sum();
    let mut status = text(o, "/status/phase").to_owned();
    for s in statuses {
        let waiting = text(s, "/state/waiting/reason");
        let ended = text(s, "/state/terminated/reason");
        if !waiting.is_empty() {
            status = waiting.to_owned();
        } else if !ended.is_empty() {
            status = ended.to_owned();
        }
    }
    if obj::deleting(o) {
        status = "Terminating".to_owned();
    }
    let or_none = |s: &str| if s.is_empty() { "<none>".to_owned() } else { s.to_owned() };
    json!([
        obj::name(o),
        format!("{ready}/{}", items(o, "/spec/containers").len()),
        status,
        restarts.to_string(),
        age,
        or_none(text(o, "/status/podIP")),
        or_none(text(o, "/spec/nodeName")),
        "<none>",
        "<none>",
    ])
}

/// An age as kubectl writes it: `12s`, `3m4s`, `5h`, `2d`.
pub(crate) fn duration(d: chrono::Duration) -> String {
    let s = d.num_seconds().max(0);
    match s {
        0..120 => format!("{s}s"),
        120..600 => {
            let rest = s % 60;
            if rest == 0 { format!("{}m", s / 60) } else { format!("{}m{rest}s", s / 60) }
        }
        600..10_800 => format!("{}m", s / 60),
        10_800..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}
