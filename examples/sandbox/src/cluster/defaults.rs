//! What the API server fills in, and what it refuses.

use serde_json::{Value, json};

use super::{
    kinds::Kind,
    obj::{self, at, default, put, text},
};
use crate::api::{selectors, status::ApiError};

/// Fills in defaults, so that two ways of writing the same thing are stored alike.
pub(crate) fn apply(kind: &Kind, v: &mut Value) {
    drop_nulls(v);
    match kind.plural {
        "deployments" => {
            default(v, "/spec/replicas", json!(1));
            default(v, "/spec/revisionHistoryLimit", json!(10));
            default(v, "/spec/progressDeadlineSeconds", json!(600));
            default(v, "/spec/strategy/type", json!("RollingUpdate"));
            if text(v, "/spec/strategy/type") == "RollingUpdate" {
                default(v, "/spec/strategy/rollingUpdate/maxUnavailable", json!("25%"));
                default(v, "/spec/strategy/rollingUpdate/maxSurge", json!("25%"));
            } else {
                obj::remove(v, "/spec/strategy/rollingUpdate");
            }
        }
        "replicasets" => default(v, "/spec/replicas", json!(1)),
        "statefulsets" => {
            default(v, "/spec/replicas", json!(1));
            default(v, "/spec/revisionHistoryLimit", json!(10));
            default(v, "/spec/podManagementPolicy", json!("OrderedReady"));
            default(v, "/spec/updateStrategy/type", json!("RollingUpdate"));
        }
        "daemonsets" => {
            default(v, "/spec/revisionHistoryLimit", json!(10));
            default(v, "/spec/updateStrategy/type", json!("RollingUpdate"));
            if text(v, "/spec/updateStrategy/type") == "RollingUpdate" {
                default(v, "/spec/updateStrategy/rollingUpdate/maxUnavailable", json!(1));
            }
        }
        "jobs" => {
            default(v, "/spec/parallelism", json!(1));
            default(v, "/spec/completions", json!(1));
            default(v, "/spec/backoffLimit", json!(6));
        }
        "cronjobs" => default(v, "/spec/suspend", json!(false)),
        "services" => {
            default(v, "/spec/type", json!("ClusterIP"));
            if text(v, "/spec/clusterIP").is_empty() {
                put(v, "/spec/clusterIP", json!(format!("10.96.{}.{}", rand::random::<u8>(), rand::random::<u8>())));
            }
            if let Some(ports) = v.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
                for port in ports {
                    default(port, "/protocol", json!("TCP"));
                    let number = port["port"].clone();
                    default(port, "/targetPort", number);
                }
            }
        }
        "namespaces" => {
            default(v, "/status/phase", json!("Active"));
            let name = obj::name(v).to_owned();
            default(v, "/metadata/labels/kubernetes.io~1metadata.name", json!(name));
        }
        "pods" => {
            default(v, "/status/phase", json!("Pending"));
            pod_spec(v, "/spec");
        }
        "secrets" => {
            default(v, "/type", json!("Opaque"));
            use base64::Engine as _;
            if let Some(plain) = obj::remove(v, "/stringData").and_then(|p| p.as_object().cloned()) {
                for (key, value) in plain {
                    let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
                    put(v, &format!("/data/{}", key.replace('~', "~0").replace('/', "~1")), json!(encoded));
                }
            }
        }
        _ => {}
    }
    if kind.group == "apps" && at(v, "/spec/template").is_object() {
        pod_spec(v, "/spec/template/spec");
    }
}

/// A null is an absent field: clients written in Go send `creationTimestamp: null` in templates.
fn drop_nulls(v: &mut Value) {
    match v {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn pod_spec(v: &mut Value, root: &str) {
    let Some(spec) = v.pointer_mut(root) else { return };
    if !spec.is_object() {
        return;
    }
    default(spec, "/restartPolicy", json!("Always"));
    default(spec, "/terminationGracePeriodSeconds", json!(30));
    default(spec, "/dnsPolicy", json!("ClusterFirst"));
    default(spec, "/securityContext", json!({}));
    default(spec, "/schedulerName", json!("default-scheduler"));
    for list in ["/initContainers", "/containers"] {
        let Some(containers) = spec.pointer_mut(list).and_then(Value::as_array_mut) else { continue };
        for c in containers {
            default(c, "/resources", json!({}));
            default(c, "/terminationMessagePath", json!("/dev/termination-log"));
            default(c, "/terminationMessagePolicy", json!("File"));
            let image = text(c, "/image").to_owned();
            let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
            let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
            default(c, "/imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
            if let Some(ports) = c.pointer_mut("/ports").and_then(Value::as_array_mut) {
                for port in ports {
                    default(port, "/protocol", json!("TCP"));
                }
            }
        }
    }
}

/// Refuses what a real API server refuses and a typical mistake contains.
pub(crate) fn validate(kind: &Kind, v: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let name = obj::name(v);
    let bad = |field: &str, why: &str| Err(ApiError::invalid(kind, name, field, why));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if kind.group != "rbac.authorization.k8s.io" && kind.plural != "events" && !name.chars().all(allowed) {
        return bad(
            "metadata.name",
            &format!(
                "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
            ),
        );
    }
    for map in ["labels", "annotations"] {
        if let Some(entries) = at(v, "/metadata").get(map).and_then(Value::as_object)
            && let Some((key, _)) = entries.iter().find(|(_, value)| !value.is_string())
        {
            return Err(ApiError::bad(format!(
                "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal a value of metadata.{map}.{key} into Go struct field of type string",
                kind.kind, kind.versions[0], kind.kind
            )));
        }
    }
    if let Some(replicas) = v.pointer("/spec/replicas").filter(|_| kind.scale) {
        match replicas.as_i64() {
            None => {
                return Err(ApiError::bad(format!(
                    "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal {replicas} into Go struct field spec.replicas of type int32",
                    kind.kind, kind.versions[0], kind.kind
                )));
            }
            Some(n) if n < 0 => {
                return bad("spec.replicas", &format!("Invalid value: {n}: must be greater than or equal to 0"));
            }
            Some(_) => {}
        }
    }
    let workload = matches!(kind.plural, "deployments" | "replicasets" | "statefulsets" | "daemonsets");
    if workload {
        if !at(v, "/spec/selector").is_object() {
            return bad("spec.selector", "Required value");
        }
        if !selectors::matches_labels(at(v, "/spec/selector"), at(v, "/spec/template/metadata/labels")) {
            return bad(
                "spec.template.metadata.labels",
                &format!(
                    "Invalid value: {}: `selector` does not match template `labels`",
                    at(v, "/spec/template/metadata/labels")
                ),
            );
        }
        if let Some(old) = old
            && at(old, "/spec/selector") != at(v, "/spec/selector")
        {
            return bad("spec.selector", &format!("Invalid value: {}: field is immutable", at(v, "/spec/selector")));
        }
    }
    let root = match kind.plural {
        "pods" => "/spec",
        _ if workload || kind.plural == "jobs" => "/spec/template/spec",
        _ => return Ok(()),
    };
    let dotted = root[1..].replace('/', ".");
    let containers = obj::items(v, &format!("{root}/containers"));
    if containers.is_empty() {
        return bad(&format!("{dotted}.containers"), "Required value");
    }
    for (i, c) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if text(c, &format!("/{field}")).is_empty() {
                return bad(&format!("{dotted}.containers[{i}].{field}"), "Required value");
            }
        }
        if containers[..i].iter().any(|other| other["name"] == c["name"]) {
            return bad(&format!("{dotted}.containers[{i}].name"), &format!("Duplicate value: {}", c["name"]));
        }
        for list in ["limits", "requests"] {
            let Some(map) = at(c, "/resources").get(list).and_then(Value::as_object) else { continue };
            for (resource, amount) in map {
                if obj::quantity(amount).is_none() {
                    return Err(ApiError::bad(format!(
                        "{} in version \"{}\" cannot be handled as a {}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$' ({resource}: {amount})",
                        kind.kind, kind.versions[0], kind.kind
                    )));
                }
            }
        }
    }
    if kind.plural == "pods"
        && let Some(old) = old
    {
        let strip = |v: &Value| {
            let mut spec = at(v, "/spec").clone();
            for list in ["/containers", "/initContainers"] {
                if let Some(containers) = spec.pointer_mut(list).and_then(Value::as_array_mut) {
                    for c in containers {
                        obj::remove(c, "/image");
                    }
                }
            }
            for free in ["/tolerations", "/activeDeadlineSeconds", "/terminationGracePeriodSeconds", "/nodeName"] {
                obj::remove(&mut spec, free);
            }
            spec
        };
        if strip(old) != strip(v) {
            return Err(ApiError::invalid(
                kind,
                name,
                "spec",
                "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)",
            ));
        }
    }
    Ok(())
}
