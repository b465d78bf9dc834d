//! From a JSON Schema to the fields of a form, and from what was typed back to JSON. Core checks the result against
//! the real type: here only texts become numbers, lists and booleans.

use serde_json::{Map, Number, Value};

use crate::pages::form::{Fields, crop};

/// How a value is typed.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pages) enum Input {
    /// One line.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// One of these.
    Choice(Vec<String>),
    /// Texts, one per line.
    Lines,
    /// Anything else, as JSON.
    Json,
}

/// One field of a form.
#[derive(Debug, Clone)]
pub(in crate::pages) struct Field {
    pub(in crate::pages) name: String,
    pub(in crate::pages) label: String,
    pub(in crate::pages) help: String,
    pub(in crate::pages) input: Input,
    pub(in crate::pages) required: bool,
    pub(in crate::pages) value: String,
    pub(in crate::pages) wrong: Option<String>,
}

impl Field {
    /// The name its input is sent under.
    pub(in crate::pages) fn key(&self) -> String {
        format!("config.{}", self.name)
    }

    /// Shows what was typed; a field that was not sent keeps its default, unless it is a box that was not ticked.
    pub(in crate::pages) fn fill(&mut self, typed: &Fields) {
        let key = self.key();
        if typed.0.is_empty() {
            return;
        }
        if self.input == Input::Flag {
            self.value = if typed.ticked(&key) { "true".into() } else { String::new() };
        } else if typed.ticked(&key) {
            self.value = typed.get(&key).to_owned();
        } else {
            self.value.clear();
        }
    }

    pub(in crate::pages) fn is_on(&self) -> bool {
        self.value == "true"
    }

    pub(in crate::pages) fn is(&self, choice: &str) -> bool {
        self.value == choice
    }

    /// What its kind of input is called in markup.
    pub(in crate::pages) fn step(&self) -> &'static str {
        if self.input == Input::Integer { "1" } else { "any" }
    }
}

/// The fields of a config's schema, needed ones first.
pub(super) fn fields(schema: &Value) -> Vec<Field> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(name, property)| {
            let property = resolve(schema, property);
            let help = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let input = input(schema, &property);
            let value = property.get("default").map(|value| text(&input, value)).unwrap_or_default();
            Field {
                label: label(name),
                help: help.split_whitespace().collect::<Vec<_>>().join(" "),
                required: required.iter().any(|known| known == name),
                name: name.clone(),
                input,
                value,
                wrong: None,
            }
        })
        .collect();
    fields.sort_by_key(|field| !field.required);
    fields
}

/// `allowedNamespaces` → `Allowed namespaces`.
pub(in crate::pages) fn label(name: &str) -> String {
    let mut label = String::new();
    for (place, letter) in name.chars().enumerate() {
        match letter {
            letter if place == 0 => label.extend(letter.to_uppercase()),
            '_' | '-' => label.push(' '),
            letter if letter.is_uppercase() => {
                label.push(' ');
                label.extend(letter.to_lowercase());
            }
            letter => label.push(letter),
        }
    }
    label
}

/// Follows one reference, or the one that is not null of several; what stands beside it (help, default) wins.
fn resolve(schema: &Value, property: &Value) -> Value {
    let mut found = property.clone();
    for _ in 0..4 {
        let inner = ["anyOf", "allOf", "oneOf"].iter().find_map(|key| {
            let choices = found.get(*key)?.as_array()?;
            let real: Vec<&Value> =
                choices.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).collect();
            (real.len() == 1).then(|| real[0].clone())
        });
        let inner = inner.or_else(|| {
            let pointer = found.get("$ref")?.as_str()?.strip_prefix('#')?;
            schema.pointer(pointer).cloned()
        });
        let Some(Value::Object(mut inner)) = inner else { break };
        for key in ["description", "default"] {
            if let Some(value) = found.get(key) {
                inner.insert(key.into(), value.clone());
            }
        }
        found = Value::Object(inner);
    }
    found
}

fn input(schema: &Value, property: &Value) -> Input {
    if let Some(choices) = choices(property) {
        return Input::Choice(choices);
    }
    match kind(property) {
        Some("string") => Input::Text,
        Some("integer") => Input::Integer,
        Some("number") => Input::Number,
        Some("boolean") => Input::Flag,
        Some("array") => {
            let items = property.get("items").map(|items| resolve(schema, items)).unwrap_or_default();
            if kind(&items) == Some("string") { Input::Lines } else { Input::Json }
        }
        _ => Input::Json,
    }
}

/// The type that is not null.
fn kind(property: &Value) -> Option<&str> {
    match property.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        _ => None,
    }
}

/// The words of an enumeration: `enum`, or `oneOf` with a `const` each (variants with help).
fn choices(property: &Value) -> Option<Vec<String>> {
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        return words.iter().filter(|word| !word.is_null()).map(|word| word.as_str().map(str::to_owned)).collect();
    }
    let variants = property.get("oneOf")?.as_array()?;
    variants.iter().map(|variant| variant.get("const").and_then(Value::as_str).map(str::to_owned)).collect()
}

/// A value as its input shows it.
fn text(input: &Input, value: &Value) -> String {
    match (input, value) {
        (_, Value::Null) => String::new(),
        (Input::Lines, Value::Array(lines)) => {
            lines.iter().map(|line| line.as_str().unwrap_or_default()).collect::<Vec<_>>().join("\n")
        }
        (_, Value::String(text)) => text.clone(),
        (Input::Json, value) => serde_json::to_string_pretty(value).unwrap_or_default(),
        (_, value) => value.to_string(),
    }
}

/// A config as if it had been typed. What the schema says of each key is not known here, so lists of texts are lines.
pub(super) fn typed(config: &Value) -> Vec<(String, String)> {
    let Some(config) = config.as_object() else { return Vec::new() };
    let mut typed = Vec::new();
    for (name, value) in config {
        let lines = value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        let shown = text(if lines { &Input::Lines } else { &Input::Json }, value);
        // A box that is not ticked is not sent.
        if *value != Value::Bool(false) {
            typed.push((format!("config.{name}"), shown));
        }
    }
    // Tells a form that is filled from one that nobody touched.
    typed.push(("filled".into(), "1".into()));
    typed
}

/// The config that was typed.
///
/// # Errors
/// The field that cannot be read, and why.
pub(super) fn config(fields: &[Field], typed: &Fields) -> Result<Value, (String, String)> {
    let mut config = Map::new();
    for field in fields {
        let key = field.key();
        let raw = typed.get(&key).replace("\r\n", "\n");
        let text = raw.trim();
        let wrong = |message: String| Err((field.name.clone(), message));
        let value = match &field.input {
            Input::Flag => Value::Bool(typed.ticked(&key)),
            Input::Lines => {
                let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                if lines.is_empty() && !field.required {
                    continue;
                }
                Value::from(lines)
            }
            _ if text.is_empty() => continue,
            Input::Text | Input::Choice(_) => Value::from(text),
            Input::Integer => match text.parse::<i64>() {
                Ok(number) => Value::from(number),
                Err(_) => return wrong(format!("found `{}`; a whole number is expected", crop(text))),
            },
            Input::Number => match text.parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                None => return wrong(format!("found `{}`; a number is expected", crop(text))),
            },
            Input::Json => match serde_json::from_str(text) {
                Ok(value) => value,
                Err(error) => return wrong(format!("this is no JSON: {error}")),
            },
        };
        config.insert(field.name.clone(), value);
    }
    Ok(Value::Object(config))
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Mode {
        /// Fast.
        Quick,
        /// Slow.
        Sure,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Config {
        /// The namespaces that may be touched.
        allowed_namespaces: Vec<String>,
        /// Where it is.
        url: Option<String>,
        #[serde(default)]
        insecure: bool,
        mode: Option<Mode>,
        timeout_sec: u32,
        headers: std::collections::BTreeMap<String, String>,
    }

    #[test]
    fn a_schema_becomes_inputs_and_what_is_typed_becomes_json() {
        let schema = schemars::schema_for!(Config).to_value();
        let fields = fields(&schema);
        let of = |name: &str| fields.iter().find(|field| field.name == name).unwrap();
        assert_eq!(of("allowedNamespaces").input, Input::Lines);
        assert_eq!(of("allowedNamespaces").label, "Allowed namespaces");
        assert_eq!(of("allowedNamespaces").help, "The namespaces that may be touched.");
        assert!(of("allowedNamespaces").required && !of("url").required);
        assert_eq!(of("url").input, Input::Text);
        assert_eq!(of("insecure").input, Input::Flag);
        assert_eq!(of("mode").input, Input::Choice(vec!["Quick".into(), "Sure".into()]));
        assert_eq!(of("timeoutSec").input, Input::Integer);
        assert_eq!(of("headers").input, Input::Json);
        let typed = |pairs: &[(&str, &str)]| {
            Fields(pairs.iter().map(|(name, value)| (format!("config.{name}"), (*value).to_owned())).collect())
        };
        let good = typed(&[("allowedNamespaces", "app\r\n web \n"), ("timeoutSec", "5"), ("headers", "{\"a\":\"b\"}")]);
        assert_eq!(
            config(&fields, &good).unwrap(),
            json!({"allowedNamespaces": ["app", "web"], "insecure": false, "timeoutSec": 5, "headers": {"a": "b"}})
        );
        let bad = typed(&[("timeoutSec", "soon")]);
        assert_eq!(config(&fields, &bad).unwrap_err().0, "timeoutSec");
    }

    #[test]
    fn a_stored_config_reads_back_through_its_own_form() {
        let stored = json!({"allowedNamespaces": ["app"], "insecure": false, "timeoutSec": 5, "headers": {"a": "b"}});
        let mut fields = fields(&schemars::schema_for!(Config).to_value());
        let shown = Fields(typed(&stored));
        fields.iter_mut().for_each(|field| field.fill(&shown));
        assert_eq!(config(&fields, &shown).unwrap(), stored);
    }
}
