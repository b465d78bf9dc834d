//! The part of the OpenAPI documents that clients look at before a dry run: which kinds can be
//! patched, and that `dryRun` and `fieldValidation` are among the parameters.

use serde_json::{Map, Value, json};

use crate::cluster::kinds::{KINDS, Kind, group_versions};

const PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

fn path_of(kind: &Kind, version: &str) -> String {
    let root =
        if kind.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", kind.group) };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{root}{scope}/{}/{{name}}", kind.plural)
}

fn patchable() -> impl Iterator<Item = (&'static Kind, &'static str)> {
    KINDS.iter().copied().filter(|k| !k.read_only).flat_map(|k| k.versions.iter().map(move |v| (k, *v)))
}

fn gvk(kind: &Kind, version: &str) -> Value {
    json!({"group": kind.group, "kind": kind.kind, "version": version})
}

fn operation(kind: &Kind, version: &str, schema_inside: bool) -> Value {
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .map(|name| {
            if schema_inside {
                json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
            } else {
                json!({"name": name, "in": "query", "type": "string", "uniqueItems": true})
            }
        })
        .collect();
    json!({"patch": {
        "operationId": format!("patch{}{}", version, kind.kind), "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk(kind, version),
    }})
}

pub(crate) fn v2_json() -> Value {
    let paths: Map<String, Value> = patchable().map(|(k, v)| (path_of(k, v), operation(k, v, false))).collect();
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.33.1"}, "paths": paths, "definitions": {}})
}

pub(crate) fn v3_index() -> Value {
    let paths: Map<String, Value> = group_versions()
        .into_iter()
        .map(|(g, v)| {
            let path = if g.is_empty() { format!("api/{v}") } else { format!("apis/{g}/{v}") };
            let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=1")});
            (path, url)
        })
        .collect();
    json!({"paths": paths})
}

/// The document of one group and version, by its path (`apis/apps/v1`).
pub(crate) fn v3(path: &str) -> Option<Value> {
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", v] => (String::new(), (*v).to_owned()),
        ["apis", g, v] => ((*g).to_owned(), (*v).to_owned()),
        _ => return None,
    };
    if !group_versions().contains(&(group.as_str(), version.as_str())) {
        return None;
    }
    let paths: Map<String, Value> = patchable()
        .filter(|(k, v)| k.group == group && *v == version)
        .map(|(k, v)| (path_of(k, v), operation(k, v, true)))
        .collect();
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.1"}, "paths": paths,
        "components": {"schemas": {}},
    }))
}

/// The version 2 document as a protobuf message, the only form older clients ask for. Field numbers
/// are those of the gnostic `openapi.v2.Document` schema.
pub(crate) fn v2_protobuf() -> Vec<u8> {
    let mut paths = Vec::new();
    for (kind, version) in patchable() {
        let mut op = Vec::new();
        for name in PARAMETERS {
            let mut query = Vec::new();
            field(&mut query, 2, b"query");
            field(&mut query, 4, name.as_bytes());
            field(&mut query, 6, b"string");
            // NonBodyParameter.query, Parameter.non_body, ParametersItem.parameter.
            let non_body = wrap(3, &query);
            let parameter = wrap(2, &non_body);
            field(&mut op, 8, &wrap(1, &parameter));
        }
        let mut extension = Vec::new();
        field(&mut extension, 1, b"x-kubernetes-group-version-kind");
        let yaml = format!("group: \"{}\"\nkind: {}\nversion: {version}\n", kind.group, kind.kind);
        field(&mut extension, 2, &wrap(2, yaml.as_bytes()));
        field(&mut op, 13, &extension);
        let mut item = Vec::new();
        field(&mut item, 1, path_of(kind, version).as_bytes());
        field(&mut item, 2, &wrap(8, &op));
        field(&mut paths, 2, &item);
    }
    let mut info = Vec::new();
    field(&mut info, 1, b"Kubernetes");
    field(&mut info, 2, b"v1.33.1");
    let mut doc = Vec::new();
    field(&mut doc, 1, b"2.0");
    field(&mut doc, 2, &info);
    field(&mut doc, 8, &paths);
    doc
}

fn wrap(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, number, bytes);
    out
}

/// One length-delimited field.
fn field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number << 3 | 2));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
