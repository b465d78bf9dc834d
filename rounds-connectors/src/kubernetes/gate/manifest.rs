//! Layer 5: manifests. Read in full, flattened to single objects, each checked like an object on the command line,
//! and kept as JSON with its namespace filled in. That JSON is what is shown, digested and sent.

use rounds_core::step::Refusal;
use serde_json::{Map, Value};

use super::command::{ManifestObject, ObjectRef};
use super::kinds::{self, Kind, Scope};
use super::policy::Policy;
use super::refusal::{Rule, quote, refuse};
use super::{documents, names, parse, pods, targets};

const MAX_OBJECTS: usize = 50;

/// Reads and checks a manifest for one namespace.
pub(super) fn read(text: &str, namespace: &str, policy: &Policy) -> Result<Vec<ManifestObject>, Refusal> {
    let mut values = Vec::new();
    for document in documents::read(text)? {
        flatten(document, &mut values, 0)?;
    }
    if values.is_empty() {
        return Err(refuse(Rule::MissingStdin, "the manifest holds no object"));
    }
    let mut objects: Vec<ManifestObject> = Vec::new();
    for (i, value) in values.into_iter().enumerate() {
        let object =
            check(value, namespace, policy).map_err(|refusal| refusal.about(format_args!("object {}", i + 1)))?;
        let same = |known: &&ManifestObject| {
            known.object.kind.kind == object.object.kind.kind && known.object.name == object.object.name
        };
        if objects.iter().find(same).is_some() {
            return Err(refuse(
                Rule::BadManifest,
                format!("{} is there twice; write each object once", super::render::object(&object.object)),
            ));
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Takes lists apart. kubectl takes anything with a top-level `items` for a list, so nothing else may carry one.
fn flatten(value: Value, into: &mut Vec<Value>, depth: u8) -> Result<(), Refusal> {
    let Value::Object(mut map) = value else {
        return Err(refuse(Rule::BadManifest, "a manifest is a mapping with apiVersion, kind and metadata"));
    };
    let is_list = map.get("kind").and_then(Value::as_str) == Some("List")
        && map.get("apiVersion").and_then(Value::as_str) == Some("v1");
    if !is_list {
        if map.keys().any(|key| key.eq_ignore_ascii_case("items")) {
            return Err(refuse(
                Rule::BadManifest,
                "a top-level `items` makes kubectl unpack the object as a list; only kind List may have it",
            ));
        }
        if into.len() >= MAX_OBJECTS {
            return Err(refuse(Rule::TooLarge, format!("more than {MAX_OBJECTS} objects in one manifest")));
        }
        into.push(Value::Object(map));
        return Ok(());
    }
    if depth > 0 {
        return Err(refuse(Rule::BadManifest, "a List inside a List; write the objects in one"));
    }
    if let Some(key) = map.keys().find(|key| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "items")) {
        return Err(refuse(Rule::BadManifest, format!("a List has no {}", quote(key))));
    }
    match map.remove("items") {
        Some(Value::Array(items)) => items.into_iter().try_for_each(|item| flatten(item, into, depth + 1)),
        _ => Err(refuse(Rule::BadManifest, "a List needs its objects under `items`")),
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str, Refusal> {
    map.get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| refuse(Rule::BadManifest, format!("`{key}` is missing or not text")))
}

fn check(value: Value, namespace: &str, policy: &Policy) -> Result<ManifestObject, Refusal> {
    let Value::Object(mut map) = value else {
        return Err(refuse(Rule::BadManifest, "not a mapping"));
    };
    let api_version = text(&map, "apiVersion")?;
    if api_version.starts_with('/') {
        return Err(refuse(Rule::BadManifest, "`apiVersion` is VERSION or GROUP/VERSION, such as v1 or apps/v1"));
    }
    let kind = kinds::of_manifest(api_version, text(&map, "kind")?, policy)?;
    targets::writable(&kind.kind, policy)?;
    if kind.kind.scope == Scope::Cluster {
        return Err(refuse(Rule::ClusterScoped, format!("{} belongs to the whole cluster", kind.kind.canonical())));
    }
    // What `kubectl create --dry-run=client -o yaml` leaves behind, such as `status: {loadBalancer: {}}`.
    if map.get("status").is_some_and(says_nothing) {
        map.remove("status");
    }
    known_fields(&map, &kind.kind)?;
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else {
        return Err(refuse(Rule::BadManifest, "`metadata` is missing"));
    };
    if metadata.get("creationTimestamp").is_some_and(Value::is_null) {
        metadata.remove("creationTimestamp");
    }
    for key in metadata.keys() {
        let why = match key.as_str() {
            "name" | "namespace" | "labels" | "annotations" | "finalizers" => continue,
            // Left by `get -o yaml`, and ignored by the server or harmful on the way back.
            "generateName" => "objects are applied by name",
            "ownerReferences" => "it makes the garbage collector delete objects",
            _ => "it is set by the server",
        };
        return Err(refuse(Rule::DeniedField, format!("metadata.{key} is refused: {why}; leave it out")));
    }
    let name = names::name(
        metadata
            .get("name")
            .and_then(Value::as_str)
            .ok_or_else(|| refuse(Rule::MissingName, "`metadata.name` is missing or not text"))?,
    )?;
    match metadata.get("namespace") {
        None => {
            metadata.insert("namespace".into(), namespace.into());
        }
        Some(Value::String(named)) if named == namespace => {}
        Some(other) => {
            return Err(refuse(
                Rule::NamespaceConflict,
                format!(
                    "metadata.namespace is {}, but the command names `{namespace}`",
                    quote(other.as_str().unwrap_or("not text"))
                ),
            ));
        }
    }
    pods::metadata(&Value::Object(metadata.clone()))?;
    check_body(&map, &kind.kind, policy)?;
    Ok(ManifestObject { object: ObjectRef { kind, name }, value: Value::Object(map) })
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(says_nothing),
        Value::Array(items) => items.iter().all(says_nothing),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Null => true,
        Value::String(_) | Value::Bool(_) => false,
    }
}

/// Whether objects of a kind have a top-level field.
pub(super) fn has_field(kind: &Kind, field: &str) -> bool {
    match field {
        _ if kind.is_custom() => true,
        "apiVersion" | "kind" | "metadata" | "status" => true,
        "spec" => !matches!(
            &*kind.kind,
            "ConfigMap" | "ServiceAccount" | "Role" | "RoleBinding" | "Endpoints" | "EndpointSlice"
        ),
        "data" | "binaryData" | "immutable" => kind.kind == "ConfigMap",
        "template" => kind.kind == "PodTemplate",
        "rules" => kind.kind == "Role",
        "subjects" | "roleRef" => kind.kind == "RoleBinding",
        "imagePullSecrets" | "automountServiceAccountToken" | "secrets" => kind.kind == "ServiceAccount",
        "subsets" => kind.kind == "Endpoints",
        "addressType" | "endpoints" | "ports" => kind.kind == "EndpointSlice",
        _ => false,
    }
}

/// Top-level fields that an object of a kind has; `status` is the cluster's to write.
fn known_fields(map: &Map<String, Value>, kind: &Kind) -> Result<(), Refusal> {
    for key in map.keys() {
        let known = key != "status" && has_field(kind, key);
        if !known {
            return Err(refuse(
                Rule::DeniedField,
                format!("{} has no field {} that a manifest may set", kind.canonical(), quote(key)),
            ));
        }
    }
    Ok(())
}

/// Checks that hold for a whole object and for a piece of one in a patch alike.
pub(super) fn check_body(map: &Map<String, Value>, kind: &Kind, policy: &Policy) -> Result<(), Refusal> {
    if kind.is_custom() {
        // Where it keeps a pod template, if it has one, only its controller knows.
        for (_, part) in map.iter().filter(|(key, _)| *key != "metadata") {
            pods::check(part, policy)?;
        }
    }
    if kind.has_pods() {
        for part in ["spec", "template"] {
            map.get(part).map_or(Ok(()), |part| pods::check(part, policy))?;
        }
    }
    let spec = map.get("spec");
    match (&*kind.group, &*kind.kind) {
        ("", "Service") => service(spec)?,
        ("", "PersistentVolumeClaim") => claim(spec)?,
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(spec, policy)?,
        _ => {}
    }
    if kind.scales() {
        match spec.and_then(|spec| spec.get("replicas")) {
            None | Some(Value::Null) => {}
            Some(count) => {
                let count =
                    count.as_i64().ok_or_else(|| refuse(Rule::BadManifest, "spec.replicas is not a whole number"))?;
                parse::replicas(count, policy.max_replicas)?;
            }
        }
    }
    Ok(())
}

fn said<'a>(spec: Option<&'a Value>, path: &str) -> Option<&'a Value> {
    spec.and_then(|spec| spec.pointer(path)).filter(|value| pods::is_set(value))
}

/// A Service leads to pods of its namespace, and nowhere else.
fn service(spec: Option<&Value>) -> Result<(), Refusal> {
    for field in ["externalIPs", "externalName"] {
        if said(spec, &format!("/{field}")).is_some() {
            return Err(refuse(
                Rule::DeniedField,
                format!("spec.{field} of a Service draws traffic to or from other addresses and is refused"),
            ));
        }
    }
    if said(spec, "/type").is_some_and(|kind| kind == "ExternalName") {
        return Err(refuse(
            Rule::DeniedField,
            "spec.type ExternalName sends a Service's clients to another address and is refused",
        ));
    }
    Ok(())
}

/// A claim gets a volume of its own: one that is named may hold what another namespace left in it.
fn claim(spec: Option<&Value>) -> Result<(), Refusal> {
    if said(spec, "/volumeName").is_some() {
        return Err(refuse(
            Rule::DeniedField,
            "spec.volumeName of a claim takes a volume that may hold another namespace's data; leave it out",
        ));
    }
    if said(spec, "/dataSourceRef/namespace").is_some() {
        return Err(refuse(
            Rule::DeniedField,
            "spec.dataSourceRef.namespace copies the data of another namespace; name a source in this one",
        ));
    }
    Ok(())
}

/// An autoscaler writes the scale of what it names, so that must be something a change may scale.
fn autoscaler(spec: Option<&Value>, policy: &Policy) -> Result<(), Refusal> {
    for field in ["minReplicas", "maxReplicas"] {
        if let Some(count) = spec.and_then(|spec| spec.get(field)).and_then(Value::as_i64) {
            parse::replicas(count, policy.max_replicas)?;
        }
    }
    let scalable = ["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"];
    match said(spec, "/scaleTargetRef/kind") {
        Some(kind) if !kind.as_str().is_some_and(|kind| scalable.contains(&kind)) => Err(refuse(
            Rule::UnsupportedKind,
            format!(
                "spec.scaleTargetRef.kind {} is not scaled; accepted: {}",
                quote(kind.as_str().unwrap_or("of another type")),
                scalable.join(", ")
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
