//! The values of a Secret that got into output all the same, whole or in part: as YAML, as JSON, or as JSON inside a
//! string, the way `kubectl apply` keeps it in an annotation.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// `"data":{"a":"b"}` and `"stringData"`, perhaps cut off; the quotes perhaps escaped.
static JSON_DATA: LazyLock<Vec<(Option<Regex>, Option<Regex>)>> = LazyLock::new(|| {
    vec![
        (
            Regex::new(r#""(?:data|stringData)"\s*:\s*\{(?:[^{}"]|"(?:[^"\\]|\\.)*(?:"|\z))*"#).ok(),
            Regex::new(r#"(:\s*)"(?:[^"\\]|\\.)*(?:"|\z)"#).ok(),
        ),
        (
            Regex::new(r#"\\"(?:data|stringData)\\":\{(?:[^{}"\\]|\\"(?:[^"\\]|\\\\.)*\\")*"#).ok(),
            Regex::new(r#"(:)\\"(?:[^"\\]|\\\\.)*\\""#).ok(),
        ),
    ]
});

static JSON_KIND: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\\?"kind\\?"\s*:\s*\\?"Secret(?:List)?\\?""#).ok());

pub(super) fn redact(text: String, mark: &str) -> String {
    if !text.contains("Secret") {
        return text;
    }
    json(yaml(text, mark), mark)
}

fn json(text: String, mark: &str) -> String {
    if !JSON_KIND.as_ref().is_some_and(|kind| kind.is_match(&text)) {
        return text;
    }
    let mut text = text;
    for (i, (block, value)) in JSON_DATA.iter().enumerate() {
        let (Some(block), Some(value)) = (block, value) else { continue };
        let quote = if i == 0 { "\"" } else { "\\\"" };
        let values = |found: &Captures<'_>| {
            let with = |value: &Captures<'_>| format!("{}{quote}{mark}{quote}", &value[1]);
            // The first colon is that of the block itself: no string stands right behind it.
            value.replace_all(&found[0], with).into_owned()
        };
        text = block.replace_all(&text, values).into_owned();
    }
    text
}

/// Documents with a line `kind: Secret` lose the values of every `data:` and `stringData:` of the same indentation.
fn yaml(text: String, mark: &str) -> String {
    let kind = |line: &str| matches!(key_value(line), Some((_, "kind", "Secret" | "\"Secret\"" | "'Secret'")));
    if !text.lines().any(kind) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    let mut document: Vec<&str> = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            self::document(&document, mark, &mut shown);
            document.clear();
        }
        document.push(line);
    }
    self::document(&document, mark, &mut shown);
    shown
}

fn document(lines: &[&str], mark: &str, shown: &mut String) {
    let indents: std::collections::BTreeSet<usize> = lines
        .iter()
        .filter_map(|line| key_value(line))
        .filter(|(_, key, value)| *key == "kind" && value.trim_matches(['"', '\'']) == "Secret")
        .map(|(indent, ..)| indent)
        .collect();
    // The block that is being emptied: its indentation, and that of its keys.
    let mut block: Option<(usize, Option<usize>)> = None;
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let ended = block.is_some_and(|(outer, _)| !line.trim().is_empty() && indent <= outer);
        if ended {
            block = None;
        }
        if let Some((_, keys)) = &mut block {
            let keys = *keys.get_or_insert(indent);
            // Deeper lines belong to a value of several lines.
            if let (true, Some((_, key, value))) = (indent == keys, key_value(line))
                && !value.is_empty()
            {
                shown.push_str(&format!("{:indent$}{key}: {mark}", ""));
                shown.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            continue;
        }
        if let Some((indent, "data" | "stringData", value)) = key_value(line)
            && indents.contains(&indent)
        {
            if value.is_empty() {
                block = Some((indent, None));
            } else {
                shown.push_str(&format!("{:indent$}data: {mark}\n", ""));
                continue;
            }
        }
        shown.push_str(line);
    }
}

/// Indentation, key and value of a line such as `  kind: Secret`; the dash of a list counts as indentation.
fn key_value(line: &str) -> Option<(usize, &str, &str)> {
    let body = line.trim_start_matches([' ', '-']);
    let (key, value) = body.split_once(':')?;
    (value.is_empty() || value.starts_with([' ', '\n', '\r'])).then(|| (line.len() - body.len(), key, value.trim()))
}

#[cfg(test)]
mod tests {
    use crate::redact::redact;

    #[test]
    fn rule_12_the_values_of_a_secret_are_taken_out_of_yaml() {
        let text = "apiVersion: v1\ndata:\n  user: YWRtaW4=\n  note: |-\n    line one\n    line two\n  cert: Yg==\nkind: Secret\nmetadata:\n  name: db\ntype: Opaque\n---\napiVersion: v1\ndata:\n  mode: fast\nkind: ConfigMap\n";
        let shown = redact(text, &[]);
        assert_eq!(
            shown,
            "apiVersion: v1\ndata:\n  user: [redacted]\n  note: [redacted]\n  cert: [redacted]\nkind: Secret\nmetadata:\n  name: db\ntype: Opaque\n---\napiVersion: v1\ndata:\n  mode: fast\nkind: ConfigMap\n"
        );
        let list = "items:\n- apiVersion: v1\n  data:\n    user: YWRtaW4=\n  kind: Secret\n- kind: Secret\n  stringData: {user: admin}\n";
        let shown = redact(list, &[]);
        assert!(!shown.contains("YWRtaW4") && !shown.contains("admin"), "{shown}");
    }

    #[test]
    fn rule_12_the_values_of_a_secret_are_taken_out_of_json() {
        for text in [
            r#"{"apiVersion":"v1","data":{"user":"YWRtaW4=","x":"a}b"},"kind":"Secret"}"#,
            "{\n    \"data\": {\n        \"user\": \"YWRtaW4=\"\n    },\n    \"kind\": \"Secret\"\n}",
            r#"{"kind":"SecretList","items":[{"data":{"user":"YWRtaW4="}}]}"#,
            r#"last-applied: {\"data\":{\"user\":\"YWRtaW4=\"},\"kind\":\"Secret\"}"#,
            r#"{"kind":"Secret","data":{"user":"YWRtaW4="#,
        ] {
            let shown = redact(text, &[]);
            assert!(!shown.contains("YWRtaW4"), "{shown}");
        }
    }

    #[test]
    fn what_only_speaks_of_secrets_is_left_alone() {
        for text in [
            "kind: ConfigMap\ndata:\n  kind: Secretary\n  a: b\n",
            "the kind: Secret is not read\n",
            "volumes:\n- secret:\n    secretName: web-tls\n",
            "{\"kind\":\"ConfigMap\",\"data\":{\"a\":\"Secret\"}}",
        ] {
            assert_eq!(redact(text, &[]), text);
        }
    }
}
