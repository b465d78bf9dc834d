//! Label and field selectors, as query parameters and as objects.

use serde_json::Value;

use super::status::ApiError;
use crate::cluster::obj;

#[derive(Debug, Clone)]
enum Test {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Both selectors of a list or watch request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Test>,
    fields: Vec<(String, bool, String)>,
}

impl Selector {
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Selector, ApiError> {
        let mut out = Selector::default();
        for part in split_outside_parentheses(labels) {
            out.labels.push(parse_label(part.trim())?);
        }
        for part in fields.split(',').filter(|p| !p.trim().is_empty()) {
            let (field, equal, value) = if let Some((f, v)) = part.split_once("!=") {
                (f, false, v)
            } else if let Some((f, v)) = part.split_once("==") {
                (f, true, v)
            } else if let Some((f, v)) = part.split_once('=') {
                (f, true, v)
            } else {
                return Err(ApiError::bad(format!("invalid field selector \"{part}\"")));
            };
            out.fields.push((field.trim().to_owned(), equal, value.trim().to_owned()));
        }
        Ok(out)
    }

    pub(crate) fn matches(&self, v: &Value) -> bool {
        let labels = obj::at(v, "/metadata/labels");
        self.labels.iter().all(|t| t.matches(labels))
            && self.fields.iter().all(|(field, equal, value)| (field_text(v, field) == *value) == *equal)
    }
}

/// Fields are addressed by their path; the few that are named otherwise are mapped.
fn field_text(v: &Value, field: &str) -> String {
    let path = match field {
        "source" => "source.component",
        other => other,
    };
    match obj::at(v, &format!("/{}", path.replace('.', "/"))) {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn split_outside_parentheses(s: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (i, c) in s.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&s[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(&s[from..]);
    out.retain(|p| !p.trim().is_empty());
    out
}

fn parse_label(s: &str) -> Result<Test, ApiError> {
    let bad = || ApiError::bad(format!("unable to parse requirement: {s}"));
    if let Some((key, rest)) = s.split_once('(') {
        let values = rest.trim_end_matches(')').split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = key.split_whitespace();
        let (Some(key), Some(op)) = (words.next(), words.next()) else { return Err(bad()) };
        return match op {
            "in" => Ok(Test::In(key.to_owned(), values)),
            "notin" => Ok(Test::NotIn(key.to_owned(), values)),
            _ => Err(bad()),
        };
    }
    let one = |v: &str| vec![v.trim().to_owned()];
    if let Some((k, v)) = s.split_once("!=") {
        return Ok(Test::NotIn(k.trim().to_owned(), one(v)));
    }
    if let Some((k, v)) = s.split_once("==").or_else(|| s.split_once('=')) {
        return Ok(Test::In(k.trim().to_owned(), one(v)));
    }
    if let Some(key) = s.strip_prefix('!') {
        return Ok(Test::Absent(key.trim().to_owned()));
    }
    if s.contains(char::is_whitespace) { Err(bad()) } else { Ok(Test::Exists(s.to_owned())) }
}

impl Test {
    fn matches(&self, labels: &Value) -> bool {
        let get = |key: &str| labels.get(key).and_then(Value::as_str);
        match self {
            Test::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Test::Exists(key) => get(key).is_some(),
            Test::Absent(key) => get(key).is_none(),
        }
    }
}

/// A `spec.selector` object against labels. An empty selector matches nothing here, since no workload
/// may select everything.
pub(crate) fn matches_labels(selector: &Value, labels: &Value) -> bool {
    let exact = obj::at(selector, "/matchLabels").as_object();
    let expressions = obj::items(selector, "/matchExpressions");
    if exact.is_none_or(serde_json::Map::is_empty) && expressions.is_empty() {
        return false;
    }
    exact.is_none_or(|m| m.iter().all(|(k, v)| labels.get(k) == Some(v)))
        && expressions.iter().all(|e| {
            let key = obj::text(e, "/key").to_owned();
            let values = obj::items(e, "/values").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
            match obj::text(e, "/operator") {
                "In" => Test::In(key, values).matches(labels),
                "NotIn" => Test::NotIn(key, values).matches(labels),
                "Exists" => Test::Exists(key).matches(labels),
                "DoesNotExist" => Test::Absent(key).matches(labels),
                _ => false,
            }
        })
}
