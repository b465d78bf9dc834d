//! The four ways of changing an object: JSON patch, merge patch, strategic merge patch and apply.

use serde_json::{Map, Value, json};

use super::status::ApiError;
use crate::cluster::obj;

/// Applies a patch by its content type. `None` for a type that is not a patch.
pub(crate) fn apply(content_type: &str, target: &Value, body: &[u8]) -> Result<Option<Value>, ApiError> {
    let bad = |e: String| ApiError::bad(format!("error decoding patch: {e}"));
    let json = || serde_json::from_slice::<Value>(body).map_err(|e| bad(e.to_string()));
    Ok(Some(match content_type {
        "application/json-patch+json" => json_patch(target, &json()?)?,
        "application/merge-patch+json" => {
            let mut out = target.clone();
            merge(&mut out, &json()?);
            out
        }
        "application/strategic-merge-patch+json" => {
            let mut out = target.clone();
            strategic(&mut out, &json()?);
            out
        }
        "application/apply-patch+yaml" => {
            let mut out = target.clone();
            strategic(&mut out, &yaml(body)?);
            out
        }
        _ => return Ok(None),
    }))
}

/// A YAML or JSON document as JSON.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, ApiError> {
    if let Ok(v) = serde_json::from_slice(body) {
        return Ok(v);
    }
    if body.starts_with(b"k8s\0") {
        // Typed clients of some versions send writes so; kubectl's generic commands all use JSON.
        return Err(ApiError::new(
            415,
            "the sandbox reads bodies in JSON and YAML, not in application/vnd.kubernetes.protobuf; send the object with apply -f or create -f",
        ));
    }
    let text = std::str::from_utf8(body).map_err(|e| ApiError::bad(e.to_string()))?;
    serde_saphyr::from_str(text).map_err(|e| ApiError::bad(format!("error decoding YAML: {e}")))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902.
fn json_patch(target: &Value, patch: &Value) -> Result<Value, ApiError> {
    let mut out = target.clone();
    let ops =
        patch.as_array().ok_or_else(|| ApiError::bad("error decoding patch: a JSON patch is a list of operations"))?;
    for op in ops {
        let path = obj::text(op, "/path");
        let from = obj::text(op, "/from");
        let failed = |why: &str| {
            ApiError::new(422, format!("the server rejected our request due to an error in our request: {why}: {path}"))
        };
        match obj::text(op, "/op") {
            "add" => add(&mut out, path, op["value"].clone())
                .ok_or_else(|| failed("add operation does not apply: doc is missing path"))?,
            "replace" => {
                let slot = out
                    .pointer_mut(path)
                    .ok_or_else(|| failed("replace operation does not apply: doc is missing key"))?;
                *slot = op["value"].clone();
            }
            "remove" => {
                take(&mut out, path).ok_or_else(|| failed("remove operation does not apply: doc is missing key"))?;
            }
            "move" => {
                let v = take(&mut out, from)
                    .ok_or_else(|| failed("move operation does not apply: doc is missing from path"))?;
                add(&mut out, path, v).ok_or_else(|| failed("move operation does not apply"))?;
            }
            "copy" => {
                let v = out.pointer(from).cloned().ok_or_else(|| failed("copy operation does not apply"))?;
                add(&mut out, path, v).ok_or_else(|| failed("copy operation does not apply"))?;
            }
            "test" => {
                if out.pointer(path).unwrap_or(&Value::Null) != &op["value"] {
                    return Err(failed("testing value failed"));
                }
            }
            other => return Err(ApiError::bad(format!("error decoding patch: unexpected kind: {other}"))),
        }
    }
    Ok(out)
}

fn add(doc: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *doc = value;
        return Some(());
    }
    let (parent, key) = path.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    match doc.pointer_mut(parent)? {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) => {
            let i = if key == "-" { list.len() } else { key.parse().ok()? };
            if i > list.len() {
                return None;
            }
            list.insert(i, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(doc: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = path.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    match doc.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&key),
        Value::Array(list) => {
            let i: usize = key.parse().ok()?;
            (i < list.len()).then(|| list.remove(i))
        }
        _ => None,
    }
}

/// What identifies an element of a list, where lists are merged rather than replaced.
fn merge_key(field: &str, sample: &Value) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "ports" if sample.get("containerPort").is_some() => "containerPort",
        "ports" => "port",
        "conditions" | "addresses" => "type",
        "hostAliases" | "podIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        "taints" => "key",
        _ => return None,
    })
}

fn strategic(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = strip(patch);
            return;
        }
        Some("delete") => {
            *target = Value::Null;
            return;
        }
        _ => {}
    }
    if !target.is_object() {
        *target = json!({});
    }
    let Some(map) = target.as_object_mut() else { return };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| kept.iter().any(|k| k == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|v| !gone.contains(v));
            }
        } else if key.starts_with('$') {
            // Orders and retained keys are dealt with around this loop.
        } else if value.is_null() {
            map.remove(key);
        } else if let Some(list) = value.as_array() {
            let slot = map.entry(key.clone()).or_insert(Value::Null);
            merge_list(key, slot, list);
        } else {
            let slot = map.entry(key.clone()).or_insert(Value::Null);
            strategic(slot, value);
            if slot.is_null() {
                map.remove(key);
            }
        }
    }
    for (key, order) in patch {
        if let (Some(field), Some(order)) = (key.strip_prefix("$setElementOrder/"), order.as_array())
            && let Some(list) = map.get_mut(field).and_then(Value::as_array_mut)
        {
            reorder(field, list, order);
        }
    }
}

fn merge_list(field: &str, slot: &mut Value, patch: &[Value]) {
    if field == "finalizers" {
        let mut list = slot.as_array().cloned().unwrap_or_default();
        for v in patch {
            if !list.contains(v) {
                list.push(v.clone());
            }
        }
        *slot = Value::Array(list);
        return;
    }
    let sample = patch.iter().find(|v| v.get("$patch").is_none()).or(patch.first()).unwrap_or(&Value::Null);
    let whole = patch.iter().any(|v| v["$patch"] == "replace" && v.as_object().is_some_and(|m| m.len() == 1));
    let key = merge_key(field, sample).filter(|_| patch.iter().all(Value::is_object) && !whole);
    let Some(key) = key else {
        *slot = Value::Array(patch.iter().filter(|v| v.get("$patch").is_none()).map(clean).collect());
        return;
    };
    let mut list = slot.as_array().cloned().unwrap_or_default();
    for element in patch {
        let at = list.iter().position(|v| v.get(key) == element.get(key));
        match (element["$patch"].as_str(), at) {
            (Some("delete"), Some(i)) => {
                list.remove(i);
            }
            (Some("delete"), None) => {}
            (_, Some(i)) => strategic(&mut list[i], element),
            (_, None) => list.push(clean(element)),
        }
    }
    *slot = Value::Array(list);
}

fn reorder(field: &str, list: &mut [Value], order: &[Value]) {
    let Some(key) = merge_key(field, order.first().unwrap_or(&Value::Null)) else { return };
    // Elements the order does not name keep their place after those it does.
    list.sort_by_key(|v| order.iter().position(|o| o.get(key) == v.get(key)).unwrap_or(usize::MAX));
}

fn strip(map: &Map<String, Value>) -> Value {
    Value::Object(
        map.iter().filter(|(k, v)| !k.starts_with('$') && !v.is_null()).map(|(k, v)| (k.clone(), clean(v))).collect(),
    )
}

/// A new element without directives meant for an old one.
fn clean(v: &Value) -> Value {
    match v {
        Value::Object(map) => strip(map),
        Value::Array(list) => Value::Array(list.iter().map(clean).collect()),
        other => other.clone(),
    }
}
