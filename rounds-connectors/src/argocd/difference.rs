//! What differs between an object as it is and as it should be: a line for each field, bounded, without secret data.

use std::collections::{BTreeMap, BTreeSet};

use rounds_core::redact::redact;
use serde_json::{Map, Value};

use super::api::one_line;

/// The most lines for one object.
const MAX_LINES: usize = 40;
/// The most characters of one value.
const MAX_VALUE: usize = 200;
/// How deep objects are looked into.
const MAX_DEPTH: usize = 40;

/// What nobody decides, and what the server counts.
const NOISE: [&str; 8] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/tracking-id",
];

/// The lines, such as `spec.replicas: 2 → 3`; empty: nothing differs.
pub(super) fn lines(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Found { lines: Vec::new(), most: MAX_LINES, left_out: 0 };
    found.walk("", "", before, after, 0);
    if found.left_out > 0 {
        found.lines.push(format!("… and {} more fields", found.left_out));
    }
    found.lines
}

/// Whether anything differs: the same without its words, which cost the most.
pub(super) fn differ(before: &Value, after: &Value) -> bool {
    let mut found = Found { lines: Vec::new(), most: 0, left_out: 0 };
    found.walk("", "", before, after, 0);
    found.left_out > 0
}

/// The elements of a list by their names; `None`: not all of them have one of their own.
pub(super) fn by_name(list: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: BTreeMap<&str, &Value> = list.iter().filter_map(|one| Some((one["name"].as_str()?, one))).collect();
    (named.len() == list.len()).then_some(named)
}

struct Found {
    lines: Vec<String>,
    most: usize,
    left_out: usize,
}

impl Found {
    /// `hint` is the name by which a value is known, such as that of an environment variable.
    fn walk(&mut self, path: &str, hint: &str, before: &Value, after: &Value, depth: usize) {
        if before == after {
            return;
        }
        match (before, after) {
            (Value::Object(old), Value::Object(new)) if depth < MAX_DEPTH => self.objects(path, hint, old, new, depth),
            (Value::Array(old), Value::Array(new)) if depth < MAX_DEPTH => self.lists(path, hint, old, new, depth),
            _ => self.say(path, hint, before, after),
        }
    }

    fn objects(&mut self, path: &str, hint: &str, old: &Map<String, Value>, new: &Map<String, Value>, depth: usize) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            if NOISE.contains(&key.as_str()) || (depth == 0 && key == "status") {
                continue;
            }
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // A value beside a name is known by that name.
            let hint = if key == "value" && !hint.is_empty() { hint } else { key };
            let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
            self.walk(&at, hint, old, new, depth + 1);
        }
    }

    /// Elements with names (containers, variables, ports) are compared by name, others by place.
    fn lists(&mut self, path: &str, hint: &str, old: &[Value], new: &[Value], depth: usize) {
        if let (Some(old), Some(new)) = (by_name(old), by_name(new)) {
            let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
            for name in names {
                let of =
                    |list: &BTreeMap<&str, &'_ Value>| list.get(name).map_or(Value::Null, |value| (*value).clone());
                self.walk(&format!("{path}[{name}]"), name, &of(&old), &of(&new), depth + 1);
            }
            return;
        }
        for at in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(at).unwrap_or(&Value::Null), new.get(at).unwrap_or(&Value::Null));
            self.walk(&format!("{path}[{at}]"), hint, old, new, depth + 1);
        }
    }

    fn say(&mut self, path: &str, hint: &str, before: &Value, after: &Value) {
        if self.lines.len() >= self.most {
            self.left_out += 1;
            return;
        }
        let (before, after) = (shown(hint, before), shown(hint, after));
        self.lines.push(one_line(&format!("{path}: {before} → {after}"), 2 * MAX_VALUE + 200));
    }
}

/// A value as people may see it: not when its name or its looks say that it is a credential.
fn shown(hint: &str, value: &Value) -> String {
    if value.is_null() {
        return "(none)".into();
    }
    // Enough to see what it is; no more of it is shown.
    let text: String = value.to_string().chars().take(10 * MAX_VALUE).collect();
    let known = format!("{hint}: {text}");
    if redact(&known, &[]) != known {
        return "(not shown)".into();
    }
    one_line(&text, MAX_VALUE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_by_name_and_what_servers_count_is_left_out() {
        let before = json!({
            "metadata": { "uid": "1", "labels": { "a": "b" } }, "status": { "replicas": 1 },
            "spec": { "replicas": 2, "containers": [{ "name": "app", "image": "web:1" }, { "name": "side", "image": "s:1" }], "args": ["a"] },
        });
        let after = json!({
            "metadata": { "uid": "2", "labels": {} }, "status": { "replicas": 3 },
            "spec": { "replicas": 3, "containers": [{ "name": "side", "image": "s:1" }, { "name": "app", "image": "web:2" }], "args": ["a", "b"] },
        });
        assert_eq!(
            lines(&before, &after),
            [
                "metadata.labels.a: \"b\" → (none)",
                "spec.args[1]: (none) → \"b\"",
                "spec.containers[app].image: \"web:1\" → \"web:2\"",
                "spec.replicas: 2 → 3",
            ]
        );
        assert!(lines(&before, &before).is_empty());
    }

    #[test]
    fn what_is_named_like_a_credential_is_not_shown_on_either_side() {
        let env = |value: &str| json!({ "env": [{ "name": "DB_PASSWORD", "value": value }], "data": { "apiToken": value }, "plain": value });
        let shown = lines(&env("hunter2-old"), &env("hunter2-new"));
        assert_eq!(shown.len(), 3);
        assert_eq!(shown[0], "data.apiToken: (not shown) → (not shown)");
        assert_eq!(shown[1], "env[DB_PASSWORD].value: (not shown) → (not shown)");
        assert_eq!(shown[2], "plain: \"hunter2-old\" → \"hunter2-new\"");
        // A whole variable that is new.
        let new = lines(&json!({ "env": [] }), &json!({ "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }] }));
        assert!(!new.join("").contains("hunter2"), "{new:?}");
    }

    #[test]
    fn a_difference_has_bounds() {
        let many: Value = (0..1000).map(|n| (format!("k{n}"), json!("x".repeat(1000)))).collect::<Map<_, _>>().into();
        let shown = lines(&json!({}), &many);
        assert_eq!(shown.len(), MAX_LINES + 1);
        assert!(shown.iter().all(|line| line.chars().count() < 700) && shown[MAX_LINES].contains("960 more"));
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert_eq!(lines(&json!([]), &deep).len(), 1);
    }
}
