//! Objects that the recording server answers with: whatever is asked for is there, and is as a healthy one would be.

use serde_json::{Value, json};

use super::discovery::{Row, api_version};

/// The newest revision of every workload; the older ones can be gone back to.
const REVISION: u32 = 5;

/// One uid a name: who owns what is told by uid alone, so an owner is found whatever its kind.
fn uid(name: &str) -> String {
    format!("uid-{name}")
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid(name), "controller": true }])
}

fn template(name: &str, revision: u32) -> Value {
    // The containers that commands of the corpus name.
    let containers = ["web", "db", "api", "sidecar"]
        .map(|container| json!({ "name": container, "image": format!("example.com/{container}:{revision}") }));
    json!({
        "metadata": {
            "labels": { "app": name },
            "annotations": { "kubectl.kubernetes.io/default-container": "web", "kubectl.kubernetes.io/default-logs-container": "web" },
        },
        "spec": { "containers": containers },
    })
}

/// A plausible object.
pub(crate) fn object(row: &Row, version: &str, namespace: Option<&str>, name: &str, paused: bool) -> Value {
    let (plural, kind, _, group, ..) = *row;
    let mut object = json!({
        "apiVersion": api_version(group, version), "kind": kind,
        "metadata": {
            "name": name, "uid": uid(name), "resourceVersion": "12345", "generation": 1, "creationTimestamp": "2024-05-01T10:00:00Z",
            "labels": { "app": name }, "annotations": {},
        },
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let selector = json!({ "matchLabels": { "app": name } });
    let (spec, status) = match (group, plural) {
        ("", "pods") => {
            object["metadata"]["annotations"] = template(name, 1)["metadata"]["annotations"].clone();
            object["metadata"]["ownerReferences"] = owner("ReplicaSet", name);
            (
                template(name, 1)["spec"].clone(),
                json!({ "phase": "Running", "podIP": "10.0.0.9", "startTime": "2024-05-01T10:00:00Z", "containerStatuses": [{ "name": "web", "restartCount": 0, "ready": true, "image": "x", "imageID": "x", "state": { "running": {} } }], "conditions": [{ "type": "Ready", "status": "True" }] }),
            )
        }
        ("apps", "deployments") => {
            object["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": REVISION.to_string() });
            (
                json!({ "replicas": 3, "selector": selector, "paused": paused, "template": template(name, REVISION), "strategy": { "type": "RollingUpdate" } }),
                json!({ "observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3 }),
            )
        }
        ("apps", "statefulsets") => (
            json!({ "replicas": 3, "serviceName": name, "selector": selector, "template": template(name, REVISION), "updateStrategy": { "type": "RollingUpdate" } }),
            json!({ "observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "currentRevision": "r", "updateRevision": "r" }),
        ),
        ("apps", "daemonsets") => (
            json!({ "selector": selector, "template": template(name, REVISION), "updateStrategy": { "type": "RollingUpdate" } }),
            json!({ "observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3, "numberReady": 3 }),
        ),
        ("apps", "replicasets") => (
            json!({ "replicas": 3, "selector": selector, "template": template(name, 1) }),
            json!({ "observedGeneration": 1, "replicas": 3 }),
        ),
        ("", "replicationcontrollers") => (
            json!({ "replicas": 3, "selector": { "app": name }, "template": template(name, 1) }),
            json!({ "observedGeneration": 1, "replicas": 3 }),
        ),
        ("batch", "jobs") => (
            json!({ "selector": selector, "template": template(name, 1), "completions": 1 }),
            json!({ "succeeded": 1 }),
        ),
        ("batch", "cronjobs") => (
            json!({ "schedule": "0 0 * * *", "jobTemplate": { "spec": { "template": template(name, 1) } } }),
            json!({}),
        ),
        ("", "services") => (
            json!({ "type": "ClusterIP", "clusterIP": "10.1.1.1", "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080, "protocol": "TCP" }] }),
            json!({ "loadBalancer": {} }),
        ),
        ("networking.k8s.io", "ingresses") => {
            let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
            let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
            (
                json!({ "rules": [{ "host": "shop.example.com", "http": { "paths": paths } }] }),
                json!({ "loadBalancer": {} }),
            )
        }
        ("autoscaling", _) => (
            json!({ "minReplicas": 1, "maxReplicas": 5, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } }),
            json!({ "currentReplicas": 3, "desiredReplicas": 3 }),
        ),
        ("policy", "poddisruptionbudgets") => (
            json!({ "minAvailable": 1, "selector": selector }),
            json!({ "currentHealthy": 3, "desiredHealthy": 1, "disruptionsAllowed": 2, "expectedPods": 3 }),
        ),
        ("", "persistentvolumeclaims") => (
            json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "10Gi" } }, "volumeName": "pv-1" }),
            json!({ "phase": "Bound" }),
        ),
        ("", "resourcequotas") => {
            (json!({ "hard": { "pods": "10" } }), json!({ "hard": { "pods": "10" }, "used": { "pods": "3" } }))
        }
        ("", "limitranges") => (json!({ "limits": [{ "type": "Container", "default": { "cpu": "1" } }] }), Value::Null),
        ("networking.k8s.io", "networkpolicies") => {
            (json!({ "podSelector": {}, "policyTypes": ["Ingress"] }), Value::Null)
        }
        _ => (Value::Null, Value::Null),
    };
    for (field, value) in [("spec", spec), ("status", status)] {
        if !value.is_null() {
            object[field] = value;
        }
    }
    match (group, plural) {
        ("", "configmaps") => object["data"] = json!({ "colour": "blue" }),
        ("", "secrets") => object["data"] = json!({ "password": "aHVudGVyMg==" }),
        ("", "endpoints") => {
            object["subsets"] = json!([{ "addresses": [{ "ip": "10.0.0.9" }], "ports": [{ "port": 8080 }] }])
        }
        ("discovery.k8s.io", _) => {
            object["addressType"] = json!("IPv4");
            object["endpoints"] = json!([{ "addresses": ["10.0.0.9"] }]);
            object["ports"] = json!([{ "name": "", "port": 8080, "protocol": "TCP" }]);
        }
        ("" | "events.k8s.io", "events") => {
            let about = json!({ "kind": "Pod", "name": "web-1", "namespace": namespace, "uid": uid("web-1") });
            object[if group.is_empty() { "involvedObject" } else { "regarding" }] = about;
            object["reason"] = json!("Started");
            object["type"] = json!("Normal");
            object["lastTimestamp"] = json!("2024-05-01T10:00:00Z");
        }
        ("metrics.k8s.io", _) => {
            object["timestamp"] = json!("2024-05-01T10:00:00Z");
            object["window"] = json!("30s");
            object["containers"] = json!([{ "name": "web", "usage": { "cpu": "10m", "memory": "20Mi" } }]);
            object["usage"] = json!({ "cpu": "10m", "memory": "20Mi" });
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => object["rules"] = json!([]),
        ("rbac.authorization.k8s.io", _) => {
            object["roleRef"] = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" });
        }
        _ => {}
    }
    object
}

/// The objects of a list. Behind a selector such as `app=web` are the objects of the workload `web`.
pub(crate) fn items(row: &Row, version: &str, namespace: Option<&str>, workload: &str) -> Vec<Value> {
    let kind = row.1;
    let count = if matches!(kind, "ReplicaSet" | "ControllerRevision") { REVISION } else { 2 };
    (1..=count)
        .map(|i| {
            let mut object = object(row, version, namespace, &format!("{workload}-{i}"), false);
            object["metadata"]["labels"]["app"] = json!(workload);
            match kind {
                "ReplicaSet" => {
                    object["metadata"]["ownerReferences"] = owner("Deployment", workload);
                    object["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": i.to_string() });
                    object["spec"]["template"] = template(workload, i);
                    object["spec"]["replicas"] = json!(if i == REVISION { 3 } else { 0 });
                }
                "ControllerRevision" => {
                    object["metadata"]["ownerReferences"] = owner("StatefulSet", workload);
                    let mut template = template(workload, i);
                    template["$patch"] = json!("replace");
                    object["revision"] = json!(i);
                    object["data"] = json!({ "spec": { "template": template } });
                }
                "Pod" => object["metadata"]["ownerReferences"] = owner("ReplicaSet", workload),
                _ => {}
            }
            object
        })
        .collect()
}
