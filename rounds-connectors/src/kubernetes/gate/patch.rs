//! Layer 5 for patches: the body is read strictly, held to the same rules as a manifest, and kept as JSON.

use rounds_core::step::Refusal;
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
            partial(&without_identity(map, object, place)?, &object.kind.kind, policy)?;
        }
        PatchType::Json => {
            let Value::Array(operations) = &body else { return Err(bad("a JSON patch is a list of operations")) };
            for (i, operation) in operations.iter().enumerate() {
                self::operation(operation, &object.kind.kind, policy)
                    .map_err(|refusal| refusal.about(format_args!("operation {}", i + 1)))?;
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
    let kind = &object.kind.kind;
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
            "apiVersion" | "kind" => return Err(bad(format!("`{key}` is not patched; leave it out"))),
            "status" => return Err(refuse(Rule::DeniedField, "`status` is the cluster's to write")),
            field if manifest::has_field(kind, field) => {}
            _ => {
                return Err(refuse(
                    Rule::DeniedField,
                    format!(
                        "{} has no field {} that is patched; accepted: metadata.labels, metadata.annotations, metadata.finalizers and the kind's own, such as spec",
                        kind.canonical(),
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
    let Value::Object(map) = value else {
        return Err(bad("`metadata` is a mapping of which one label, annotation or the finalizers are patched"));
    };
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
    if let [first, field, rest @ ..] = segments.as_slice()
        && first == "metadata"
        && matches!(field.as_str(), "labels" | "annotations")
        && !rest.is_empty()
    {
        // A key may look like an index, and then the piece is no mapping.
        let [key] = rest else { return Err(bad(format!("metadata.{field} has keys and no deeper fields"))) };
        let value = fields.get("value").unwrap_or(&Value::Null);
        return pods::metadata(&Value::Object(Map::from_iter([(
            field.clone(),
            Value::Object(Map::from_iter([(key.clone(), value.clone())])),
        )])));
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
        [field, _, ..] if kind.is_custom() && !matches!(*field, "metadata" | "status") => Ok(()),
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

#[cfg(test)]
mod tests {
    use rounds_core::step::{Mode, StepSpec};
    use serde_json::{Value, json};

    use crate::kubernetes::{Gate, Policy};

    fn rule(kind: &str, patch_type: &str, body: &Value) -> String {
        let body = body.to_string();
        let argv = ["patch", kind, "-n", "app", "--type", patch_type, "-p", &body];
        let reviewed = Gate::new(Policy::for_namespaces(["app"])).review(&StepSpec::command(argv), Mode::Write);
        reviewed.map_or_else(|refusal| refusal.rule, |step| format!("allowed: {}", step.command_text))
    }

    #[test]
    fn a_json_patch_writes_no_metadata_but_labels_annotations_and_finalizers() {
        for path in [
            "/metadata",
            "/metadata/ownerReferences",
            "/metadata/ownerReferences/-",
            "/metadata/ownerReferences/0",
            "/metadata/ownerReferences/0/uid",
            "/metadata/managedFields/0/manager",
            "/metadata/name",
            "/metadata/namespace",
            "/metadata/uid",
            "/metadata/labels/a/b",
            "/metadata/Labels/a",
            "/Metadata/labels/a",
            "/metadata/finalizers/0/a/b",
            "/metadata/0",
            "/status/replicas",
            "/kind",
            "/apiVersion",
        ] {
            for value in [json!("x"), json!({"uid": "x"}), json!([{"uid": "x"}])] {
                let found = rule("deploy/web", "json", &json!([{"op": "add", "path": path, "value": value}]));
                assert!(!found.starts_with("allowed"), "{path}: {found}");
            }
            let found = rule("deploy/web", "json", &json!([{"op": "remove", "path": path}]));
            assert!(!found.starts_with("allowed"), "{path}: {found}");
        }
        for (path, value) in [
            ("/metadata/labels/a", json!("b")),
            ("/metadata/labels/0", json!("b")),
            ("/metadata/labels", json!({"a": "b"})),
            ("/metadata/annotations/example.com~1a", json!("b")),
            ("/metadata/finalizers/-", json!("a/b")),
            ("/metadata/finalizers", json!([])),
        ] {
            let found = rule("deploy/web", "json", &json!([{"op": "add", "path": path, "value": value}]));
            assert!(found.starts_with("allowed"), "{path}: {found}");
        }
    }

    #[test]
    fn a_patch_is_held_to_the_rules_of_manifests() {
        for (kind, body) in [
            ("svc/web", json!({"spec": {"type": "ExternalName"}})),
            ("pvc/data", json!({"spec": {"volumeName": "pv"}})),
            ("hpa/web", json!({"spec": {"scaleTargetRef": {"kind": "Widget"}}})),
            ("deploy/web", json!({"metadata": {"ownerReferences": [{"uid": "x"}]}})),
            ("deploy/web", json!({"metadata": {"labels": {"a": 1}}})),
        ] {
            for patch_type in ["strategic", "merge"] {
                let found = rule(kind, patch_type, &body);
                assert!(!found.starts_with("allowed"), "{body}: {found}");
            }
        }
        let operation = json!([{"op": "replace", "path": "/spec/type", "value": "ExternalName"}]);
        assert_eq!(rule("svc/web", "json", &operation), "denied_field");
        let operation = json!([{"op": "replace", "path": "/spec/scaleTargetRef/kind", "value": "Widget"}]);
        assert_eq!(rule("hpa/web", "json", &operation), "unsupported_kind");
    }
}
