//! What the server says it serves.

use serde_json::{Value, json};

use crate::cluster::kinds::{KINDS, Kind, group_versions};

pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.1", "gitCommit": "sandbox", "gitTreeState": "clean",
        "buildDate": "2025-05-15T00:00:00Z", "goVersion": "go1.24.2", "compiler": "gc", "platform": "linux/amd64",
    })
}

pub(crate) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

fn group(name: &str) -> Option<Value> {
    let versions: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(g, _)| *g == name)
        .map(|(g, v)| json!({"groupVersion": format!("{g}/{v}"), "version": v}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

pub(crate) fn groups() -> Value {
    let mut names: Vec<&str> = group_versions().into_iter().map(|(g, _)| g).filter(|g| !g.is_empty()).collect();
    names.dedup();
    let list: Vec<Value> = names.into_iter().filter_map(group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

pub(crate) fn one_group(name: &str) -> Option<Value> {
    let mut g = group(name)?;
    g["kind"] = json!("APIGroup");
    g["apiVersion"] = json!("v1");
    Some(g)
}

pub(crate) fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> =
        KINDS.iter().copied().filter(|k| k.group == group && k.versions.contains(&version)).collect();
    let first = kinds.first()?;
    let mut list = Vec::new();
    for kind in &kinds {
        let verbs = if kind.review {
            json!(["create"])
        } else if kind.read_only {
            json!(["get", "list", "watch"])
        } else {
            json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
        };
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs,
        });
        if !kind.short.is_empty() {
            entry["shortNames"] = json!(kind.short);
        }
        if kind.all {
            entry["categories"] = json!(["all"]);
        }
        list.push(entry);
        let sub = |name: &str, kind_name: &str, verbs: Value| {
            json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind_name, "verbs": verbs,
            })
        };
        if kind.status {
            let entry = sub("status", kind.kind, json!(["get", "patch", "update"]));
            list.push(entry);
        }
        if kind.scale {
            let mut entry = sub("scale", "Scale", json!(["get", "patch", "update"]));
            entry["group"] = json!("autoscaling");
            entry["version"] = json!("v1");
            list.push(entry);
        }
        if kind.plural == "pods" && !kind.read_only {
            let entry = sub("log", "Pod", json!(["get"]));
            list.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(version), "resources": list,
    }))
}
