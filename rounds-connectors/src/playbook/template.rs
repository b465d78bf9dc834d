//! What differs between two pod templates, in words that show no value that may be secret: images, labels,
//! resources and probe settings with their values, everything else by its name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::kube::{items, text};

/// What differs; nothing differs exactly when this is empty.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for list in ["initContainers", "containers"] {
        let pointer = format!("/spec/{list}");
        let (old, new) = (named(items(before, &pointer), "/name"), named(items(after, &pointer), "/name"));
        for (name, container) in &new {
            let at = format!("{list}[{name}]");
            match old.get(name) {
                None => found.push(format!("{at} is new")),
                Some(other) => container_changes(&at, other, container, &mut found),
            }
        }
        found.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{list}[{name}] is gone")));
    }
    let (old, new) = (before.get("spec").unwrap_or(&Value::Null), after.get("spec").unwrap_or(&Value::Null));
    for key in keys(old, new) {
        match key.as_str() {
            "containers" | "initContainers" => {}
            "volumes" => entries("spec.volumes", "/name", items(old, "/volumes"), items(new, "/volumes"), &mut found),
            _ => found.push(format!("spec.{key}")),
        }
    }
    for part in ["labels", "annotations"] {
        let pointer = format!("/metadata/{part}");
        let (old, new) = (before.pointer(&pointer).unwrap_or(&Value::Null), after.pointer(&pointer));
        // These differ between any two revisions, or say only when somebody asked for a restart.
        let own = ["pod-template-hash", "controller-revision-hash", "kubectl.kubernetes.io/restartedAt"];
        let named = keys(old, new.unwrap_or(&Value::Null)).into_iter().filter(|key| !own.contains(&key.as_str()));
        found.extend(named.map(|key| match part {
            "labels" => {
                let value = |labels: Option<&Value>| labels.and_then(|labels| labels.get(&key)).cloned();
                let (old, new) = (value(Some(old)), value(new));
                format!("metadata.labels[{key}]: {}", turned(old.as_ref(), new.as_ref()))
            }
            _ => format!("metadata.{part}[{key}]"),
        }));
    }
    found
}

fn container_changes(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    for key in keys(old, new) {
        let place = format!("{at}.{key}");
        match key.as_str() {
            "image" => found.push(format!("{place}: {}", turned(old.get("image"), new.get("image")))),
            "env" => entries(&place, "/name", items(old, "/env"), items(new, "/env"), found),
            "volumeMounts" => {
                entries(&place, "/mountPath", items(old, "/volumeMounts"), items(new, "/volumeMounts"), found);
            }
            "resources" | "readinessProbe" | "livenessProbe" | "startupProbe" => {
                leaves(&place, old.get(&key), new.get(&key), found);
            }
            // Their words may carry secrets.
            _ => found.push(place),
        }
    }
}

/// Lists whose entries have names: which came, went or changed, without what they hold.
fn entries(place: &str, name: &str, old: &[Value], new: &[Value], found: &mut Vec<String>) {
    let (before, after) = (named(old, name), named(new, name));
    let mut words = Vec::new();
    for (name, value) in &after {
        match before.get(name) {
            None => words.push(format!("{name} is new")),
            Some(other) if other != value => words.push(format!("{name} differs")),
            Some(_) => {}
        }
    }
    words.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} is gone")));
    let words = if words.is_empty() { "its order or form".to_owned() } else { words.join(", ") };
    found.push(format!("{place}: {words}"));
}

/// Every value that differs below a place, with its values; headers and commands of a probe without them.
fn leaves(place: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    if old == new {
        return;
    }
    if ["httpHeaders", "command"].iter().any(|part| place.ends_with(part)) {
        return found.push(place.to_owned());
    }
    match (old.and_then(Value::as_object), new.and_then(Value::as_object)) {
        (None, None) => found.push(format!("{place}: {}", turned(old, new))),
        (before, after) => {
            let empty = Map::new();
            let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            if keys.is_empty() {
                return found.push(place.to_owned());
            }
            for key in keys {
                leaves(&format!("{place}.{key}"), before.get(key), after.get(key), found);
            }
        }
    }
}

fn turned(old: Option<&Value>, new: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "unset".to_owned(),
        Some(Value::String(text)) => text.chars().take(200).collect(),
        Some(other) => other.to_string().chars().take(200).collect(),
    };
    format!("{} → {}", shown(old), shown(new))
}

fn named<'a>(list: &'a [Value], name: &str) -> BTreeMap<String, &'a Value> {
    list.iter().map(|item| (text(item, name).unwrap_or_default(), item)).collect()
}

/// The keys whose values differ.
fn keys(before: &Value, after: &Value) -> Vec<String> {
    let empty = Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut keys: Vec<String> = old
        .iter()
        .filter(|(key, value)| new.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .chain(new.keys().filter(|key| !old.contains_key(*key)).cloned())
        .filter(|key| key != "$patch")
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(container: Value) -> Value {
        json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [container] } })
    }

    #[test]
    fn a_change_is_named_and_values_that_may_be_secret_are_not_shown() {
        let before = template(json!({
            "name": "main", "image": "shop:1", "command": ["serve", "--key=hunter1"],
            "env": [{ "name": "TOKEN", "value": "hunter1" }, { "name": "OLD", "value": "1" }],
            "resources": { "limits": { "memory": "256Mi" } },
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": 80,
                                             "httpHeaders": [{ "name": "Authorization", "value": "hunter1" }] } },
        }));
        let after = template(json!({
            "name": "main", "image": "shop:2", "command": ["serve", "--key=hunter2"],
            "env": [{ "name": "TOKEN", "value": "hunter2" }, { "name": "NEW", "value": "1" }],
            "resources": { "limits": { "memory": "64Mi", "cpu": "1" } },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 80,
                                             "httpHeaders": [{ "name": "Authorization", "value": "hunter2" }] } },
        }));
        let found = changes(&before, &after);
        assert_eq!(
            found,
            [
                "containers[main].command",
                "containers[main].env: NEW is new, TOKEN differs, OLD is gone",
                "containers[main].image: shop:1 → shop:2",
                "containers[main].readinessProbe.httpGet.httpHeaders",
                "containers[main].readinessProbe.httpGet.path: /healthz → /ready",
                "containers[main].resources.limits.cpu: unset → 1",
                "containers[main].resources.limits.memory: 256Mi → 64Mi",
            ]
        );
        assert!(!format!("{found:?}").contains("hunter"));
        assert!(changes(&before, &before).is_empty());
    }

    #[test]
    fn any_difference_is_a_change_even_an_odd_one() {
        let odd = template(json!({ "name": "main", "resources": {} }));
        assert_eq!(changes(&odd, &template(json!({ "name": "main" }))), ["containers[main].resources"]);
        let two = template(json!({ "name": "main", "env": [{ "name": "A" }, { "name": "B" }] }));
        let swapped = template(json!({ "name": "main", "env": [{ "name": "B" }, { "name": "A" }] }));
        assert_eq!(changes(&two, &swapped), ["containers[main].env: its order or form"]);
    }
}
