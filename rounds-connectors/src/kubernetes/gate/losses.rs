//! What a command takes away, in words for the person who is asked to approve it. A command that takes something away
//! is destructive, and these are the reasons.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::command::{Action, Apply, Cascade, Command, Delete, ObjectRef, Patch, PatchType};
use super::kinds::Kind;
use super::refusal::quote;
use super::render;

/// More than these are counted, not listed.
const LISTED: usize = 20;

const FINALIZER_GOES: &str = "the object may be deleted without its clean-up";

/// Fields of a security context whose absence or `false` protects less than their presence did.
const PROTECTIONS: [&str; 9] = [
    "securityContext",
    "runAsNonRoot",
    "runAsUser",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
    "drop",
];

/// Parts that hold others: replaced as a whole, they lose what the replacement does not name.
const CONTAINERS_OF_PARTS: [&str; 9] =
    ["spec", "template", "containers", "initContainers", "volumes", "securityContext", "data", "binaryData", "env"];

/// Every loss, most of them with the path of the field.
pub(super) fn of(command: &Command) -> Vec<String> {
    let mut losses = match &command.action {
        Action::Scale(scale) if scale.replicas == 0 => scale.objects.iter().map(to_zero).collect(),
        Action::Delete(delete) => deleted(delete),
        Action::Patch(patch) => of_patch(patch),
        Action::Apply(apply) => of_apply(apply),
        Action::Scale(_)
        | Action::Get(_)
        | Action::Describe(_)
        | Action::Logs(_)
        | Action::Top(_)
        | Action::Events(_)
        | Action::Version(_)
        | Action::ApiResources(_)
        | Action::RolloutStatus(_)
        | Action::RolloutHistory(_)
        | Action::RolloutUndo(_)
        | Action::RolloutChange(_)
        | Action::Label(_)
        | Action::Annotate(_) => Vec::new(),
    };
    if losses.len() > LISTED {
        let more = losses.len() - LISTED;
        losses.truncate(LISTED);
        losses.push(format!("and takes away {more} more"));
    }
    losses
}

/// Whether there is any.
pub(super) fn any(command: &Command) -> bool {
    match &command.action {
        Action::Delete(_) => true,
        _ => !of(command).is_empty(),
    }
}

fn to_zero(object: &ObjectRef) -> String {
    format!("scales {} to zero: none of its pods is left running", render::object(object))
}

fn deleted(delete: &Delete) -> Vec<String> {
    let orphans = delete.cascade == Some(Cascade::Orphan);
    let consequence = |kind: &Kind| match (&*kind.group, &*kind.kind) {
        ("", "PersistentVolumeClaim") => "; the data behind it goes with it, unless its volume is retained",
        ("", "Pod") => "; only a controller, if it has one, makes another",
        _ if kind.has_pods() && orphans => "; the objects that it made stay, and nothing looks after them",
        _ if kind.has_pods() && kind.kind != "PodTemplate" => " and the pods that it made",
        _ => "",
    };
    let objects = delete.objects.iter();
    objects.map(|object| format!("deletes {}{}", render::object(object), consequence(&object.kind.kind))).collect()
}

fn of_apply(apply: &Apply) -> Vec<String> {
    let mut losses = Vec::new();
    for object in &apply.objects {
        let before = losses.len();
        counts(&object.object, &object.value, &mut losses);
        match object.value.pointer("/metadata/finalizers") {
            None => {}
            Some(Value::Array(list)) if !list.is_empty() => losses.push(
                "sets metadata.finalizers: deleting the object will wait for each of them, and one that was there \
                 before may be removed"
                    .into(),
            ),
            Some(_) => losses.push(format!("removes finalizers: {FINALIZER_GOES}")),
        }
        if object.object.kind.kind.has_pods() && nulls_a_protection(&object.value) {
            nulled_protections(&object.value, &mut String::new(), &mut losses);
        }
        if apply.objects.len() > 1 {
            let name = render::object(&object.object);
            losses[before..].iter_mut().filter(|loss| !loss.contains(&name)).for_each(|loss| {
                *loss = format!("{name}: {loss}");
            });
        }
    }
    losses
}

/// Replicas and parallelism of zero, a job that is suspended.
fn counts(object: &ObjectRef, value: &Value, losses: &mut Vec<String>) {
    let spec = |field: &str| value.get("spec").and_then(|spec| spec.get(field));
    let zero = |field: &str| spec(field).is_some_and(|count| count.as_f64() == Some(0.0));
    if zero("replicas") {
        losses.push(to_zero(object));
    }
    if object.kind.kind.kind == "Job" && (zero("parallelism") || spec("suspend") == Some(&Value::Bool(true))) {
        losses.push(format!("stops {}: its running pods are ended", render::object(object)));
    }
}

/// The same as [`nulled_protections`] without their paths, which hardly any manifest needs.
fn nulls_a_protection(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| (value.is_null() && PROTECTIONS.contains(&key.as_str())) || nulls_a_protection(value)),
        Value::Array(items) => items.iter().any(nulls_a_protection),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// `null` in a manifest removes the field from the live object.
fn nulled_protections(value: &Value, path: &mut String, losses: &mut Vec<String>) {
    visit(value, path, &mut |key, value, path| {
        if value.is_null() && PROTECTIONS.contains(&key) {
            losses.push(removed(path, key));
        }
    });
}

/// Calls `each` with every field of a value and its path.
fn visit(value: &Value, path: &mut String, each: &mut impl FnMut(&str, &Value, &str)) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                push(path, key);
                each(key, value, path);
                visit(value, path, each);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                push_item(path, i, item);
                visit(item, path, each);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn of_patch(patch: &Patch) -> Vec<String> {
    let mut losses = Vec::new();
    match (&patch.body, patch.patch_type) {
        (Value::Array(operations), PatchType::Json) => {
            for operation in operations.iter().filter_map(Value::as_object) {
                of_operation(operation, &patch.object, &mut losses);
            }
        }
        (body, _) => {
            counts(&patch.object, body, &mut losses);
            match (body.pointer("/metadata/finalizers"), patch.patch_type) {
                (None, _) => {}
                (Some(Value::Array(list)), PatchType::Strategic) if !list.is_empty() => {
                    losses.push("adds finalizers: deleting the object will wait for each of them".into());
                }
                (Some(Value::Array(list)), _) if !list.is_empty() => losses
                    .push(format!("sets metadata.finalizers, and removes those that are not named: {FINALIZER_GOES}")),
                (Some(_), _) => losses.push(format!("removes every finalizer: {FINALIZER_GOES}")),
            }
            if let Some(map) = body.as_object() {
                let rest: Map<_, _> = map
                    .iter()
                    .filter(|(key, _)| *key != "metadata")
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                removals(&Value::Object(rest), &mut String::new(), patch.patch_type, &mut losses);
            }
        }
    }
    losses
}

/// What a strategic or merge patch removes, replaces or switches off.
fn removals(value: &Value, path: &mut String, patch_type: PatchType, losses: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(directive) = key.strip_prefix('$') {
                    of_directive(directive, value, path, losses);
                    continue;
                }
                push(path, key);
                match value {
                    Value::Null => losses.push(removed(path, key)),
                    Value::Array(items) if patch_type == PatchType::Merge && items.iter().any(Value::is_object) => {
                        losses.push(replaced(path));
                    }
                    _ => weakened(key, value, path, losses),
                }
                removals(value, path, patch_type, losses);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                push_item(path, i, item);
                removals(item, path, patch_type, losses);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `$patch: delete` and its like.
fn of_directive(directive: &str, value: &Value, path: &str, losses: &mut Vec<String>) {
    let path = if path.is_empty() { "the object's fields" } else { path };
    if directive == "patch" {
        match value.as_str() {
            Some("merge") => {}
            Some("delete") => losses.push(format!("removes {path}")),
            _ => losses.push(replaced(path)),
        }
    } else if directive == "retainKeys" {
        losses.push(format!("removes every field of {path} that `$retainKeys` does not name"));
    } else if let Some(list) = directive.strip_prefix("deleteFromPrimitiveList/") {
        losses.push(format!("removes values from {} of {path}", quote(list)));
    }
}

/// A protection that is switched off rather than removed.
fn weakened(key: &str, value: &Value, path: &str, losses: &mut Vec<String>) {
    match (key, value) {
        ("runAsNonRoot" | "readOnlyRootFilesystem", Value::Bool(false)) => {
            losses.push(format!("switches off {path}, which protects the node from the container"));
        }
        ("drop", Value::Array(items)) if items.is_empty() => losses.push(removed(path, key)),
        _ => {}
    }
}

fn of_operation(operation: &Map<String, Value>, object: &ObjectRef, losses: &mut Vec<String>) {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
    let (op, pointer) = (text("op"), text("path"));
    if op == "test" || pointer.starts_with("/metadata/labels") || pointer.starts_with("/metadata/annotations") {
        return;
    }
    let mut path = String::new();
    let mut last = String::new();
    for segment in pointer.split('/').skip(1) {
        last = segment.replace("~1", "/").replace("~0", "~");
        if last == "-" || last.bytes().all(|c| c.is_ascii_digit()) {
            let _ = write!(path, "[{last}]");
        } else {
            push(&mut path, &last);
        }
    }
    if path.starts_with("metadata.finalizers") {
        losses.push(match op {
            "remove" => format!("removes a finalizer: {FINALIZER_GOES}"),
            "add" if last == "-" => "adds a finalizer: deleting the object will wait for it".into(),
            _ => format!("sets metadata.finalizers, and removes those that are not named: {FINALIZER_GOES}"),
        });
        return;
    }
    if op == "remove" {
        losses.push(removed(&path, &last));
        return;
    }
    let value = operation.get("value").unwrap_or(&Value::Null);
    match path.strip_prefix("spec") {
        Some("") => counts(object, &serde_json::json!({ "spec": value }), losses),
        Some(field) if field.starts_with('.') && field == format!(".{last}") => {
            counts(object, &serde_json::json!({ "spec": { last.as_str(): value } }), losses);
        }
        _ => {}
    }
    if matches!(value, Value::Object(_) | Value::Array(_)) && CONTAINERS_OF_PARTS.contains(&last.as_str()) {
        losses.push(replaced(&path));
    }
    if value.is_null() {
        losses.push(removed(&path, &last));
    }
    weakened(&last, value, &path, losses);
    visit(value, &mut path, &mut |key, value, path| weakened(key, value, path, losses));
}

fn removed(path: &str, key: &str) -> String {
    if PROTECTIONS.contains(&key) {
        format!("removes {path}, which protects the node from the container")
    } else {
        format!("removes {path}")
    }
}

fn replaced(path: &str) -> String {
    format!("replaces {path} as a whole: what the patch does not name is lost")
}

fn push(path: &mut String, key: &str) {
    let plain = key.len() <= 80 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !plain {
        let _ = write!(path, "[{}]", quote(key));
    } else if path.is_empty() {
        path.push_str(key);
    } else {
        path.push('.');
        path.push_str(key);
    }
}

/// An item of a list: by its name, when it has one.
fn push_item(path: &mut String, index: usize, item: &Value) {
    match item.get("name").and_then(Value::as_str).filter(|name| super::names::is_dns_subdomain(name)) {
        Some(name) => {
            let _ = write!(path, "[{name}]");
        }
        None => {
            let _ = write!(path, "[{index}]");
        }
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::step::{Mode, StepSpec, Tier};
    use serde_json::json;

    use crate::kubernetes::{Gate, Policy};

    fn notes(step: &StepSpec) -> (Tier, Vec<String>) {
        let reviewed = Gate::new(Policy::for_namespaces(["app"])).review(step, Mode::Write).unwrap();
        let why = reviewed.notes.iter().filter_map(|note| note.strip_prefix("destructive: ")).map(str::to_owned);
        (reviewed.tier, why.collect())
    }

    fn patched(kind: &str, patch_type: &str, body: &serde_json::Value) -> (Tier, Vec<String>) {
        let body = body.to_string();
        notes(&StepSpec::command(["patch", kind, "-n", "app", "--type", patch_type, "-p", &body]))
    }

    fn applied(manifest: &str) -> (Tier, Vec<String>) {
        notes(&StepSpec::command(["apply", "-f", "-", "-n", "app"]).with_stdin(manifest))
    }

    #[test]
    fn a_raised_tier_says_why() {
        let container = |fields: serde_json::Value| json!({"spec": {"template": {"spec": {"containers": [fields]}}}});
        let path = "spec.template.spec.containers";
        for (patch_type, body, why) in [
            (
                "strategic",
                json!({"spec": {"replicas": 0}}),
                "scales deployment.apps/web to zero: none of its pods is left running".to_owned(),
            ),
            (
                "strategic",
                container(json!({"name": "web", "livenessProbe": null})),
                format!("removes {path}[web].livenessProbe"),
            ),
            ("strategic", container(json!({"name": "web", "$patch": "delete"})), format!("removes {path}[web]")),
            (
                "strategic",
                container(json!({"name": "web", "securityContext": {"runAsNonRoot": null}})),
                format!("removes {path}[web].securityContext.runAsNonRoot, which protects the node from the container"),
            ),
            (
                "strategic",
                container(json!({"name": "web", "securityContext": {"readOnlyRootFilesystem": false}})),
                format!(
                    "switches off {path}[web].securityContext.readOnlyRootFilesystem, which protects the node from the container"
                ),
            ),
            (
                "strategic",
                container(json!({"name": "web", "securityContext": {"capabilities": {"drop": []}}})),
                format!(
                    "removes {path}[web].securityContext.capabilities.drop, which protects the node from the container"
                ),
            ),
            (
                "strategic",
                container(json!({"name": "web", "securityContext": {"$patch": "delete"}})),
                format!("removes {path}[web].securityContext"),
            ),
            (
                "strategic",
                json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
                "removes every field of spec.strategy that `$retainKeys` does not name".into(),
            ),
            (
                "merge",
                container(json!({"name": "web", "image": "a:1"})),
                format!("replaces {path} as a whole: what the patch does not name is lost"),
            ),
            (
                "merge",
                json!({"metadata": {"finalizers": null}}),
                "removes every finalizer: the object may be deleted without its clean-up".into(),
            ),
            (
                "merge",
                json!({"metadata": {"finalizers": []}}),
                "removes every finalizer: the object may be deleted without its clean-up".into(),
            ),
            (
                "strategic",
                json!({"metadata": {"finalizers": ["a/b"]}}),
                "adds finalizers: deleting the object will wait for each of them".into(),
            ),
            (
                "json",
                json!([{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}]),
                format!("removes {path}[0].livenessProbe"),
            ),
            (
                "json",
                json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
                "removes a finalizer: the object may be deleted without its clean-up".into(),
            ),
            (
                "json",
                json!([{"op": "remove", "path": "/spec/template/spec/securityContext/seccompProfile"}]),
                "removes spec.template.spec.securityContext.seccompProfile, which protects the node from the container"
                    .into(),
            ),
            (
                "json",
                json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]),
                "scales deployment.apps/web to zero: none of its pods is left running".into(),
            ),
            (
                "json",
                json!([{"op": "replace", "path": "/spec/template/spec/containers", "value": []}]),
                format!("replaces {path} as a whole: what the patch does not name is lost"),
            ),
            (
                "json",
                json!([{"op": "replace", "path": "/spec/template/spec/containers/0/securityContext/runAsNonRoot", "value": false}]),
                format!(
                    "switches off {path}[0].securityContext.runAsNonRoot, which protects the node from the container"
                ),
            ),
        ] {
            assert_eq!(patched("deploy/web", patch_type, &body), (Tier::Destructive, vec![why]), "{body}");
        }
        assert_eq!(
            patched("cm/web", "merge", &json!({"data": {"a.b": null, "c": "d"}})),
            (Tier::Destructive, vec!["removes data[`a.b`]".into()])
        );
        assert_eq!(
            patched("job/x", "merge", &json!({"spec": {"suspend": true}})),
            (Tier::Destructive, vec!["stops job.batch/x: its running pods are ended".into()])
        );
    }

    #[test]
    fn an_everyday_patch_raises_nothing() {
        for (patch_type, body) in [
            ("strategic", json!({"spec": {"replicas": 3}})),
            (
                "strategic",
                json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "a:1", "env": [{"name": "A", "value": ""}]}]}}}}),
            ),
            ("strategic", json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "web"}]}}}})),
            ("merge", json!({"spec": {"paused": false}, "metadata": {"labels": {"a": null}}})),
            (
                "json",
                json!([{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "replace", "path": "/spec/replicas", "value": 2}]),
            ),
            ("json", json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "a:1"}])),
            (
                "json",
                json!([{"op": "add", "path": "/spec/template/spec/containers/0/livenessProbe", "value": {"tcpSocket": {"port": 80}}}]),
            ),
            ("json", json!([{"op": "remove", "path": "/metadata/labels/a"}])),
        ] {
            assert_eq!(patched("deploy/web", patch_type, &body), (Tier::Write, vec![]), "{body}");
        }
    }

    #[test]
    fn a_manifest_that_takes_something_away_says_what() {
        let pod = "spec: {template: {spec: {securityContext: null, containers: [{name: a, image: b}]}}}";
        let manifest = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, finalizers: [a/b]}}\n{pod}\n---\n\
             apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db, finalizers: []}}\nspec: {{replicas: 0}}\n"
        );
        let (tier, why) = applied(&manifest);
        assert_eq!(tier, Tier::Destructive);
        assert_eq!(why.len(), 4, "{why:#?}");
        assert!(why[0].starts_with("deployment.v1.apps/web: sets metadata.finalizers"), "{why:#?}");
        assert!(why[1].contains("removes spec.template.spec.securityContext, which protects"), "{why:#?}");
        assert!(why[2].starts_with("scales statefulset.v1.apps/db to zero"), "{why:#?}");
        assert!(why[3].starts_with("statefulset.v1.apps/db: removes finalizers"), "{why:#?}");
        let template = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1, template: {metadata: {creationTimestamp: null}}}\n";
        assert_eq!(applied(template), (Tier::Write, vec![]));
    }

    #[test]
    fn a_deletion_says_what_goes_with_the_object() {
        let why = |line: &str| notes(&StepSpec::command(line.split(' '))).1;
        assert_eq!(
            why("delete pvc a -n app"),
            ["deletes persistentvolumeclaim/a; the data behind it goes with it, unless its volume is retained"]
        );
        assert_eq!(why("delete deploy a -n app"), ["deletes deployment.apps/a and the pods that it made"]);
        assert_eq!(
            why("delete sts a -n app --cascade=orphan"),
            ["deletes statefulset.apps/a; the objects that it made stay, and nothing looks after them"]
        );
        assert_eq!(why("delete cm a b -n app").len(), 2);
    }

    #[test]
    fn a_long_list_of_losses_is_counted_and_odd_keys_are_escaped() {
        let data: serde_json::Map<_, _> = (0..50).map(|i| (format!("key-{i}"), serde_json::Value::Null)).collect();
        let (_, why) = patched("cm/web", "merge", &json!({ "data": data }));
        assert_eq!((why.len(), why.last().map(String::as_str)), (21, Some("and takes away 30 more")));
        let (_, why) = patched("cm/web", "merge", &json!({"data": {"a\nb": null}}));
        assert_eq!(why, ["removes data[`a\\u{a}b`]"]);
    }
}
