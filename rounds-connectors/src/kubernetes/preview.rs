//! What a dry-run shows: the difference between the object as it is and as the server says it would be.

use std::fmt::Write;

use serde_json::Value;

/// Lines of unchanged text around a change.
const CONTEXT: usize = 3;
/// Beyond this many cells of the comparison the difference is not computed.
const MAX_CELLS: usize = 4_000_000;

/// Removes what the server counts and what nobody decides.
pub(crate) fn clean(object: &mut Value) {
    let Value::Object(map) = object else { return };
    map.remove("status");
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else { return };
    for noise in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
        metadata.remove(noise);
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// The objects of an answer: one, or the items of a list.
pub(crate) fn objects(answer: Value) -> Vec<Value> {
    match answer {
        Value::Object(mut map) if map.get("kind").and_then(Value::as_str) == Some("List") => {
            match map.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// `apps/v1 Deployment web`: to match an object before with the one after.
pub(crate) fn label(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

/// The difference between two values, as text; `None`: there is none, or it is too large to show.
pub(crate) fn difference(title: &str, before: Option<&Value>, after: &Value) -> Option<String> {
    let mut old = Vec::new();
    if let Some(before) = before {
        lines(before, 0, &mut old);
    }
    let mut new = Vec::new();
    lines(after, 0, &mut new);
    let changes = compare(&old, &new)?;
    if changes.iter().all(|(sign, _)| *sign == ' ') {
        return None;
    }
    let mut text =
        format!("--- {title} {}\n+++ {title} (dry-run)\n", if before.is_some() { "(now)" } else { "(does not exist)" });
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        changes[from..(at + CONTEXT + 1).min(changes.len())].iter().any(|(sign, _)| *sign != ' ')
    };
    let mut skipped = false;
    for (at, (sign, line)) in changes.iter().enumerate() {
        if near(at) {
            if skipped {
                text.push_str("@@\n");
            }
            skipped = false;
            let _infallible = writeln!(text, "{sign}{line}");
        } else {
            skipped = at > 0;
        }
    }
    Some(text)
}

/// A value in lines that read like YAML, keys sorted.
fn lines(value: &Value, depth: usize, into: &mut Vec<String>) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            for key in keys {
                entry(&format!("{pad}{key}:"), &map[key], depth, into);
            }
        }
        Value::Array(items) => {
            for item in items {
                entry(&format!("{pad}-"), item, depth, into);
            }
        }
        scalar => into.push(format!("{pad}{scalar}")),
    }
}

fn entry(head: &str, value: &Value, depth: usize, into: &mut Vec<String>) {
    match value {
        Value::Object(map) if map.is_empty() => into.push(format!("{head} {{}}")),
        Value::Array(items) if items.is_empty() => into.push(format!("{head} []")),
        Value::Object(_) | Value::Array(_) => {
            into.push(head.to_owned());
            lines(value, depth + 1, into);
        }
        Value::String(text) if !text.is_empty() && text.trim() == text && !text.contains('\n') => {
            into.push(format!("{head} {text}"))
        }
        scalar => into.push(format!("{head} {scalar}")),
    }
}

/// The longest common subsequence, line by line.
fn compare<'a>(old: &'a [String], new: &'a [String]) -> Option<Vec<(char, &'a str)>> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, right) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let width = right.len() + 1;
    if (left.len() + 1).checked_mul(width)? > MAX_CELLS {
        return None;
    }
    let mut common = vec![0_u32; (left.len() + 1) * width];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i * width + j] = if left[i] == right[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let mut changes: Vec<(char, &str)> = old[..start].iter().map(|line| (' ', line.as_str())).collect();
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            changes.push((' ', &left[i]));
            i += 1;
            j += 1;
        } else if i < left.len() && (j == right.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            changes.push(('-', &left[i]));
            i += 1;
        } else {
            changes.push(('+', &right[j]));
            j += 1;
        }
    }
    changes.extend(old[old.len() - end..].iter().map(|line| (' ', line.as_str())));
    Some(changes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_difference_shows_what_changes_and_a_little_around_it() {
        let before = json!({"spec": {"replicas": 2, "template": {"containers": [{"name": "web", "image": "nginx:1"}]}}, "kind": "Deployment"});
        let mut after = before.clone();
        after["spec"]["template"]["containers"][0]["image"] = json!("nginx:2");
        let text = difference("Deployment/web", Some(&before), &after).unwrap();
        assert!(text.contains("-        image: nginx:1\n+        image: nginx:2\n"), "{text}");
        assert_eq!(difference("x", Some(&before), &before), None);
    }
}
