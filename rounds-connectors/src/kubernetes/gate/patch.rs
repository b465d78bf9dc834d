//! Layer 5 for patches: the body is read strictly, held to the same rules as a manifest, and kept as JSON.

use rounds_core::ports::Refusal;
use serde_json::{Map, Value};

use super::command::{ObjectRef, PatchType, Place};
use super::kinds::Kind;
use super::policy::Policy;
use super::refusal::{Rule, quote, refuse};
use super::{deny, documents, manifest, pods};

fn bad(message: impl Into<String>) -> Refusal {
    refuse(Rule::BadPatch, message)
}

/// Reads and checks the body of a patch.
pub(super) fn read(
    text: &str,
    patch_type: PatchType,
    object: &ObjectRef,
    place: &Place,
    policy: &Policy,
) -> Result<Value, Refusal> {
    let mut documents = documents::read(text)?;
    let (Some(body), true) = (documents.pop(), documents.is_empty()) else {
        return Err(bad("the patch is one JSON or YAML document"));
    };
    match patch_type {
        PatchType::Strategic | PatchType::Merge => {
            let Value::Object(map) = &body else {
                return Err(bad("a strategic or merge patch is a mapping, such as {\"spec\":{…}}"));
            };
            partial(&without_identity(map, object, place)?, object.kind.kind, policy)?;
        }
        PatchType::Json => {
            let Value::Array(operations) = &body else { return Err(bad("a JSON patch is a list of operations")) };
            for (i, operation) in operations.iter().enumerate() {
                self::operation(operation, object.kind.kind, policy).map_err(|refusal| Refusal {
                    message: format!("operation {}: {}", i + 1, refusal.message),
                    ..refusal
                })?;
            }
        }
    }
    Ok(body)
}

/// A patch may say again which object it is for, as long as it says the same.
fn without_identity(
    map: &Map<String, Value>,
    object: &ObjectRef,
    place: &Place,
) -> Result<Map<String, Value>, Refusal> {
    let mut rest = map.clone();
    let same = |map: &mut Map<String, Value>, key: &str, fits: &dyn Fn(&str) -> bool| match map.remove(key) {
        Some(value) if !value.as_str().is_some_and(fits) => {
            Err(bad(format!("`{key}` in the patch is not that of {}; leave it out", super::render::object(object))))
        }
        _ => Ok(()),
    };
    let kind = object.kind.kind;
    same(&mut rest, "kind", &|text| text == kind.kind)?;
    same(&mut rest, "apiVersion", &|text| text.split_once('/').map_or("", |(group, _)| group) == kind.group)?;
    if let Some(Value::Object(metadata)) = rest.get_mut("metadata") {
        same(metadata, "name", &|text| text == object.name)?;
        same(metadata, "namespace", &|text| matches!(place, Place::Namespace(namespace) if namespace == text))?;
    }
    Ok(rest)
}

/// A piece of an object, laid over it.
fn partial(map: &Map<String, Value>, kind: &Kind, policy: &Policy) -> Result<(), Refusal> {
    for (key, value) in map {
        match key.as_str() {
            "metadata" => metadata(value)?,
            "spec"
            | "data"
            | "binaryData"
            | "immutable"
            | "template"
            | "rules"
            | "subjects"
            | "roleRef"
            | "subsets"
            | "endpoints"
            | "ports"
            | "addressType"
            | "imagePullSecrets"
            | "automountServiceAccountToken"
            | "secrets" => {}
            "apiVersion" | "kind" => return Err(bad(format!("`{key}` is not patched; leave it out"))),
            "status" => return Err(refuse(Rule::DeniedField, "`status` is the cluster's to write")),
            _ => {
                return Err(refuse(
                    Rule::DeniedField,
                    format!(
                        "{} is not a field that is patched; accepted: metadata.labels, metadata.annotations, metadata.finalizers, spec, data",
                        quote(key)
                    ),
                ));
            }
        }
    }
    if kind.scales() && map.get("spec").and_then(|spec| spec.get("replicas")).is_some_and(Value::is_null) {
        return Err(bad("spec.replicas: null would set one replica; write the number"));
    }
    if kind.has_pods() {
        map.values().try_for_each(pods::names_its_account)?;
    }
    manifest::check_body(map, kind, policy)
}

fn metadata(value: &Value) -> Result<(), Refusal> {
    let Value::Object(map) = value else { return Err(bad("`metadata` is a mapping")) };
    for key in map.keys() {
        if !matches!(key.as_str(), "labels" | "annotations" | "finalizers") {
            return Err(refuse(
                Rule::DeniedField,
                format!("metadata.{} is not patched; accepted: labels, annotations, finalizers", quote(key)),
            ));
        }
    }
    pods::metadata(value)
}

/// One operation of a JSON patch, checked by building the piece of an object that it describes.
fn operation(operation: &Value, kind: &Kind, policy: &Policy) -> Result<(), Refusal> {
    let Value::Object(fields) = operation else { return Err(bad("not a mapping")) };
    if let Some(key) = fields.keys().find(|key| !matches!(key.as_str(), "op" | "path" | "value")) {
        return Err(bad(format!("the field {} is refused; accepted: op, path, value", quote(key))));
    }
    let op = fields.get("op").and_then(Value::as_str).unwrap_or_default();
    let needs_value = match op {
        "add" | "replace" | "test" => true,
        "remove" => false,
        other => return Err(bad(format!("op {} is refused; accepted: add, replace, remove, test", quote(other)))),
    };
    if needs_value != fields.contains_key("value") {
        return Err(bad(format!("op {op} {} a value", if needs_value { "needs" } else { "takes no" })));
    }
    let path = fields.get("path").and_then(Value::as_str).unwrap_or_default();
    let segments = pointer(path)?;
    if op == "remove" {
        return removal(&segments, kind);
    }
    let mut piece = fields.get("value").cloned().unwrap_or(Value::Null);
    for segment in segments.iter().rev() {
        let is_index = segment == "-" || segment.bytes().all(|c| c.is_ascii_digit());
        piece = if is_index && !segment.is_empty() {
            Value::Array(vec![piece])
        } else {
            Value::Object(Map::from_iter([(segment.clone(), piece)]))
        };
    }
    let Value::Object(map) = &piece else { return Err(bad("the path starts with a field name")) };
    if segments[0].eq_ignore_ascii_case("metadata") {
        if segments.len() < 2 {
            return Err(refuse(
                Rule::DeniedField,
                "metadata is not replaced as a whole; name a label, an annotation or the finalizers",
            ));
        }
        if segments.len() > 2 && segments[1] != "finalizers" {
            return deny::metadata_key(&segments[2]);
        }
        if segments[1] == "finalizers" {
            return Ok(());
        }
    }
    partial(map, kind, policy)
}

fn removal(segments: &[String], kind: &Kind) -> Result<(), Refusal> {
    for window in segments.windows(3) {
        if window[0] == "metadata" && matches!(window[1].as_str(), "labels" | "annotations") {
            deny::metadata_key(&window[2])?;
        }
    }
    if let Some(last) = segments.last().filter(|last| kind.has_pods() && pods::is_account(last)) {
        return Err(pods::account_removed(last));
    }
    match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["metadata", "labels" | "annotations" | "finalizers"]
        | ["metadata", "labels" | "annotations" | "finalizers", _] => Ok(()),
        ["spec", "replicas"] if kind.scales() => {
            Err(bad("removing spec.replicas would set one replica; write the number"))
        }
        ["spec" | "data" | "binaryData" | "template", _, ..] => Ok(()),
        _ => Err(refuse(
            Rule::DeniedField,
            "only what is under metadata.labels, metadata.annotations, metadata.finalizers, spec or data is removed",
        )),
    }
}

fn pointer(path: &str) -> Result<Vec<String>, Refusal> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(bad("`path` is missing or does not start with /"));
    };
    rest.split('/')
        .map(|segment| {
            let plain = segment.replace("~1", "/").replace("~0", "~");
            let escaped = plain.replace('~', "~0").replace('/', "~1") == segment;
            if escaped && !segment.is_empty() {
                Ok(plain)
            } else {
                Err(bad(format!("the path {} is malformed", quote(path))))
            }
        })
        .collect()
}
