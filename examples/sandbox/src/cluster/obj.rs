//! Reading and writing JSON objects by pointer, since every kind is stored as JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

static NULL: Value = Value::Null;

pub(crate) fn at<'a>(v: &'a Value, ptr: &str) -> &'a Value {
    v.pointer(ptr).unwrap_or(&NULL)
}

pub(crate) fn text<'a>(v: &'a Value, ptr: &str) -> &'a str {
    at(v, ptr).as_str().unwrap_or_default()
}

pub(crate) fn int(v: &Value, ptr: &str) -> Option<i64> {
    at(v, ptr).as_i64()
}

pub(crate) fn items<'a>(v: &'a Value, ptr: &str) -> &'a [Value] {
    at(v, ptr).as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn name(v: &Value) -> &str {
    text(v, "/metadata/name")
}

pub(crate) fn ns(v: &Value) -> &str {
    text(v, "/metadata/namespace")
}

pub(crate) fn uid(v: &Value) -> &str {
    text(v, "/metadata/uid")
}

pub(crate) fn deleting(v: &Value) -> bool {
    !at(v, "/metadata/deletionTimestamp").is_null()
}

pub(crate) fn annotation<'a>(v: &'a Value, key: &str) -> &'a str {
    at(v, "/metadata/annotations").get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Sets a value, making the objects on the way to it.
pub(crate) fn put(v: &mut Value, ptr: &str, new: Value) {
    let mut cursor = v;
    let parts: Vec<String> = ptr.split('/').skip(1).map(|p| p.replace("~1", "/").replace("~0", "~")).collect();
    for part in parts {
        if !cursor.is_object() {
            *cursor = json!({});
        }
        let Some(map) = cursor.as_object_mut() else { return };
        cursor = map.entry(part).or_insert(Value::Null);
    }
    *cursor = new;
}

/// Sets a value only where there is none, as the API server's defaulting does.
pub(crate) fn default(v: &mut Value, ptr: &str, new: Value) {
    if at(v, ptr).is_null() {
        put(v, ptr, new);
    }
}

pub(crate) fn remove(v: &mut Value, ptr: &str) -> Option<Value> {
    let (parent, key) = ptr.rsplit_once('/')?;
    let parent = if parent.is_empty() { Some(v) } else { v.pointer_mut(parent) };
    parent?.as_object_mut()?.remove(&key.replace("~1", "/").replace("~0", "~"))
}

pub(crate) fn set_annotation(v: &mut Value, key: &str, value: &str) {
    if !at(v, "/metadata/annotations").is_object() {
        put(v, "/metadata/annotations", json!({}));
    }
    if let Some(map) = v.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        map.insert(key.to_owned(), Value::String(value.to_owned()));
    }
}

/// The API's time format: RFC 3339 in whole seconds.
pub(crate) fn stamp(t: DateTime<Utc>) -> String {
    t.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(crate) fn time(v: &Value, ptr: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text(v, ptr)).ok().map(|t| t.with_timezone(&Utc))
}

/// The owner that controls this object, as (kind, name, uid).
pub(crate) fn controller(v: &Value) -> Option<(&str, &str, &str)> {
    items(v, "/metadata/ownerReferences")
        .iter()
        .find(|o| o["controller"].as_bool().unwrap_or(false))
        .map(|o| (text(o, "/kind"), text(o, "/name"), text(o, "/uid")))
}

pub(crate) fn owned_by(v: &Value, owner_uid: &str) -> bool {
    controller(v).is_some_and(|(_, _, uid)| uid == owner_uid)
}

/// Sets one entry of `status.conditions`; the transition time moves only when the status does.
pub(crate) fn condition(v: &mut Value, kind: &str, status: bool, reason: &str, message: &str, now: DateTime<Utc>) {
    let status = if status { "True" } else { "False" };
    if !at(v, "/status/conditions").is_array() {
        put(v, "/status/conditions", json!([]));
    }
    let Some(list) = v.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    let mut entry = json!({"type": kind, "status": status, "lastTransitionTime": stamp(now)});
    if !reason.is_empty() {
        entry["reason"] = json!(reason);
    }
    if !message.is_empty() {
        entry["message"] = json!(message);
    }
    if let Some(old) = list.iter_mut().find(|c| c["type"] == kind) {
        if old["status"] == status {
            entry["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
        for key in ["lastUpdateTime", "lastProbeTime"] {
            if let Some(t) = old.get(key) {
                entry[key] = t.clone();
            }
        }
        *old = entry;
    } else {
        list.push(entry);
    }
}

pub(crate) fn condition_is(v: &Value, kind: &str, status: &str) -> bool {
    items(v, "/status/conditions").iter().any(|c| c["type"] == kind && c["status"] == status)
}

/// A Kubernetes quantity ("250m", "128Mi", 2) as a number.
pub(crate) fn quantity(v: &Value) -> Option<f64> {
    if let Some(n) = v.as_f64() {
        return Some(n);
    }
    let s = v.as_str()?.trim();
    let split = s.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(s.len());
    let (number, suffix) = s.split_at(split);
    let scale = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        _ => return s.parse().ok(),
    };
    number.parse::<f64>().ok().map(|n| n * scale)
}

/// `25%` of a total or a plain number, as `maxSurge` (up) and `maxUnavailable` (down) round it.
pub(crate) fn int_or_percent(v: &Value, total: i64, up: bool) -> i64 {
    if let Some(n) = v.as_i64() {
        return n;
    }
    let Some(percent) = v.as_str().and_then(|s| s.strip_suffix('%')?.parse::<i64>().ok()) else {
        return 0;
    };
    let product = percent * total;
    if up { (product + 99) / 100 } else { product / 100 }
}
