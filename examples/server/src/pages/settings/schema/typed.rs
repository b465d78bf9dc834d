//! From what was typed to a config, and back.

use serde_json::{Map, Number, Value};

use super::{Field, Input};
use crate::pages::form::{Fields, crop};

/// A value as its input shows it.
pub(super) fn text(input: &Input, value: &Value) -> String {
    match (input, value) {
        (_, Value::Null) => String::new(),
        (Input::Ticks(_), Value::Array(words)) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
        (Input::Lines, Value::Array(lines)) => {
            // A text that is no line of its own is told as JSON, which is taken as well.
            let is_line = |line: &str| !line.is_empty() && line == line.trim() && !line.contains(['\n', '\r']);
            let texts: Option<Vec<&str>> =
                lines.iter().map(|line| line.as_str().filter(|line| is_line(line))).collect();
            let told = texts.map(|texts| texts.join("\n"));
            told.filter(|told| json_list(told).is_none()).unwrap_or_else(|| json(value))
        }
        (Input::Pairs, Value::Object(pairs)) if pairs.is_empty() => String::new(),
        (Input::Pairs, Value::Object(pairs)) => {
            let plain = |text: &str| text == text.trim() && !text.contains(['\n', '\r']);
            let line = |(name, value): (&String, &Value)| {
                let value = value.as_str().filter(|value| plain(value))?;
                let fits = plain(name) && !name.is_empty() && !name.contains('=') && !name.starts_with('{');
                fits.then(|| format!("{name}={value}"))
            };
            let lines: Option<Vec<String>> = pairs.iter().map(line).collect();
            lines.map_or_else(|| json(value), |lines| lines.join("\n"))
        }
        // Nothing said is the same, and easier on the eye.
        (Input::Json, Value::Object(members)) if members.is_empty() => String::new(),
        (Input::Json, Value::Array(items)) if items.is_empty() => String::new(),
        (_, Value::String(text)) => text.clone(),
        (Input::Json, value) => json(value),
        (_, value) => value.to_string(),
    }
}

fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A list of texts that is written as JSON.
fn json_list(text: &str) -> Option<Vec<String>> {
    text.trim_start().starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A config as if it had been typed.
pub(in crate::pages::settings) fn typed(fields: &[Field], config: &Value) -> Vec<(String, String)> {
    let mut typed = Vec::new();
    write(fields, config, &mut typed);
    // Tells a form that is filled from one that nobody touched.
    typed.push(("filled".into(), "1".into()));
    typed
}

fn write(fields: &[Field], config: &Value, typed: &mut Vec<(String, String)>) {
    for field in fields {
        let key = field.key();
        let value = config.get(field.name()).filter(|value| !value.is_null());
        if field.input == Input::Flag {
            // A box that is not ticked is not sent, and one of which nothing was said is as it is by default: shown as off, it
            // would be switched off by whoever changes something else.
            if value.map_or(field.default == "true", |value| *value == Value::Bool(true)) {
                typed.push((key, "true".into()));
            }
            continue;
        }
        let Some(value) = value else {
            if let Input::Group(fields) | Input::Variants { fields, .. } = &field.input {
                // Their switches stand as they do by default.
                write(fields, &Value::Null, typed);
            }
            continue;
        };
        match &field.input {
            Input::Group(fields) => write(fields, value, typed),
            Input::Variants { tag, fields, .. } => {
                typed.push((key, value.get(tag).and_then(Value::as_str).unwrap_or_default().to_owned()));
                write(fields, value, typed);
            }
            Input::Ticks(_) => {
                let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                typed.extend(words.map(|word| (key.clone(), word.to_owned())));
            }
            input => typed.push((key, text(input, value))),
        }
    }
}

/// The config that was typed.
///
/// # Errors
/// Each field that cannot be read, by its path, and why.
pub(in crate::pages::settings) fn config(fields: &[Field], typed: &Fields) -> Result<Value, Vec<(String, String)>> {
    let mut wrong = Vec::new();
    let config = read(fields, typed, &mut wrong);
    if wrong.is_empty() { Ok(Value::Object(config)) } else { Err(wrong) }
}

fn read(fields: &[Field], typed: &Fields, wrong: &mut Vec<(String, String)>) -> Map<String, Value> {
    let mut config = Map::new();
    for field in fields {
        match value(field, typed, wrong) {
            Ok(Some(value)) => {
                config.insert(field.name().to_owned(), value);
            }
            Ok(None) => {}
            Err(why) => wrong.push((field.path.clone(), why)),
        }
    }
    config
}

/// Whether it is a switch that stands as it does by default.
fn is_default(field: &Field, value: &Value) -> bool {
    field.input == Input::Flag && *value == Value::Bool(field.default == "true")
}

/// What was typed into a field; `None`: nothing, so it is left out.
fn value(field: &Field, typed: &Fields, wrong: &mut Vec<(String, String)>) -> Result<Option<Value>, String> {
    let key = field.key();
    let raw = typed.get(&key).replace("\r\n", "\n");
    let text = raw.trim();
    Ok(Some(match &field.input {
        Input::Group(fields) => {
            let found = read(fields, typed, wrong);
            // A box that is as it is by default says nothing of whether the group is meant.
            let says_nothing = |field: &Field| found.get(field.name()).is_none_or(|value| is_default(field, value));
            if !field.required && fields.iter().all(says_nothing) {
                return Ok(None);
            }
            Value::Object(found)
        }
        Input::Variants { tag, fields, .. } => {
            if text.is_empty() {
                return Ok(None);
            }
            let (ours, others): (Vec<Field>, Vec<Field>) =
                fields.iter().cloned().partition(|field| field.of.iter().any(|of| of == text));
            let said = |other: &&Field| match other.input {
                Input::Flag => typed.ticked(&other.key()) && other.default != "true",
                _ => typed.text(&other.key()).is_some(),
            };
            for other in others.iter().filter(said) {
                let only = other.of.join("` and `");
                wrong.push((
                    other.path.clone(),
                    format!("`{}` has no such setting, `{only}` has: empty this field, or choose that", crop(text)),
                ));
            }
            let mut found = read(&ours, typed, wrong);
            found.insert(tag.clone(), Value::from(text));
            Value::Object(found)
        }
        Input::Flag => Value::Bool(typed.ticked(&key)),
        Input::Ticks(_) => {
            let words = typed.0.iter().filter(|(found, _)| *found == key).map(|(_, word)| word.as_str());
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            if words.is_empty() && !field.required {
                return Ok(None);
            }
            Value::from(words)
        }
        Input::Lines => {
            let lines = json_list(text).unwrap_or_else(|| {
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            });
            if lines.is_empty() && !field.required {
                return Ok(None);
            }
            Value::from(lines)
        }
        _ if text.is_empty() => return Ok(None),
        Input::Text | Input::Area | Input::Choice(_) => Value::from(text),
        Input::YesNo => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(format!("found `{}`; true and false are accepted", crop(text))),
        },
        Input::Integer => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => return Err(format!("found `{}`; a whole number is expected", crop(text))),
        },
        // As JSON first: 3 and 3.0 are told apart there, and a config that nobody changed must stay the same.
        Input::Number => {
            let number = serde_json::from_str::<Number>(text).ok();
            match number.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64)) {
                Some(number) => Value::Number(number),
                None => return Err(format!("found `{}`; a number is expected", crop(text))),
            }
        }
        Input::Pairs if text.starts_with('{') => read_json(text)?,
        Input::Pairs => pairs(text)?,
        Input::Json => read_json(text)?,
    }))
}

fn read_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))
}

/// Lines of name=value.
fn pairs(text: &str) -> Result<Value, String> {
    let mut pairs = Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let found = || format!("found `{}`; one name=value per line is expected, or a JSON object", crop(line));
        let (name, value) = line.split_once('=').ok_or_else(found)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(found());
        }
        if pairs.insert(name.to_owned(), Value::from(value.trim())).is_some() {
            return Err(format!("found `{}` twice", crop(name)));
        }
    }
    Ok(Value::Object(pairs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde_json::json;

    use super::super::{blame, fields, label, rows};
    use super::*;

    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Mode {
        /// Fast.
        Quick,
        /// Slow.
        Sure,
    }

    #[derive(JsonSchema, Default)]
    #[serde(rename_all = "camelCase", tag = "type", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is used")]
    enum Auth {
        /// Nothing is sent.
        #[default]
        None,
        /// The secret is the password.
        Basic {
            /// The user name.
            username: String,
        },
        /// The secret is the token.
        Bearer {},
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Prices {
        input: f64,
        cache_read: Option<f64>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "only its schema is used")]
    struct Request {
        /// Its name.
        name: String,
    }

    fn five() -> u32 {
        5
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
        maybe: Option<bool>,
        mode: Option<Mode>,
        #[serde(default)]
        modes: Vec<Mode>,
        #[serde(default = "five")]
        #[schemars(range(min = 1, max = 60))]
        timeout_sec: u32,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        auth: Auth,
        prices: Option<Prices>,
        #[serde(default)]
        requests: Vec<Request>,
        /// PEM certificates to trust.
        ca_certificate: Option<String>,
    }

    fn form() -> Vec<Field> {
        let mut schema = schemars::schema_for!(Config).to_value();
        // A default is its type's to say, and this one has no values.
        schema["properties"]["auth"]["default"] = json!({ "type": "none" });
        fields(&schema)
    }

    fn sent(pairs: &[(&str, &str)]) -> Fields {
        Fields(pairs.iter().map(|(name, value)| (format!("config.{name}"), (*value).to_owned())).collect())
    }

    #[test]
    fn a_schema_becomes_inputs_with_their_help_and_bounds() {
        let fields = form();
        let of = |name: &str| fields.iter().find(|field| field.path == name).unwrap();
        assert_eq!(of("allowedNamespaces").input, Input::Lines);
        assert_eq!(of("allowedNamespaces").label, "Allowed namespaces");
        assert_eq!(of("allowedNamespaces").help, "The namespaces that may be touched.");
        assert!(of("allowedNamespaces").must && !of("url").must);
        assert_eq!((&of("url").input, &of("insecure").input), (&Input::Text, &Input::Flag));
        assert_eq!((&of("maybe").input, &of("headers").input), (&Input::YesNo, &Input::Pairs));
        let Input::Choice(words) = &of("mode").input else { panic!("{:?}", of("mode")) };
        assert_eq!(
            words.iter().map(|word| (&*word.value, &*word.help)).collect::<Vec<_>>(),
            [("Quick", "Fast."), ("Sure", "Slow.")]
        );
        assert!(matches!(&of("modes").input, Input::Ticks(words) if words.len() == 2));
        let timeout = of("timeoutSec");
        assert_eq!((&timeout.input, &*timeout.value), (&Input::Integer, "5"));
        assert_eq!((timeout.least.as_deref(), timeout.most.as_deref()), (Some("1"), Some("60")));
        // What is pasted has several lines.
        assert_eq!(of("caCertificate").input, Input::Area);
        let Input::Variants { tag, words, fields: inner } = &of("auth").input else { panic!("{:?}", of("auth")) };
        assert_eq!((&**tag, words.len(), &*of("auth").value), ("type", 3, "none"));
        assert_eq!((&*inner[0].path, inner[0].must), ("auth.username", false));
        assert_eq!(inner[0].of, ["basic"]);
        let Input::Group(inner) = &of("prices").input else { panic!("{:?}", of("prices")) };
        assert!(inner.iter().all(|field| !field.must), "it can be left out");
        assert_eq!((&of("requests").input, &*of("requests").parts[0].name), (&Input::Json, "name"));
        let (first, aside) = rows(&fields);
        assert_eq!((first.len(), aside.len()), (15, 2), "the timeout and the certificate are aside");
    }

    #[test]
    fn a_name_becomes_words_that_people_read() {
        for (name, wanted) in [
            ("allowedNamespaces", "Allowed namespaces"),
            ("url", "URL"),
            ("apiUrl", "API URL"),
            ("caCertificate", "CA certificate"),
            ("installationId", "Installation ID"),
            ("timeoutSec", "Timeout, in seconds"),
            ("sec", "Sec"),
            ("snake_case-name", "Snake case name"),
            ("ähnlich", "ähnlich"),
            ("", ""),
        ] {
            assert_eq!(label(name), wanted);
        }
    }

    #[test]
    fn what_is_typed_becomes_the_config_and_what_is_empty_is_left_out() {
        let fields = form();
        let good = sent(&[
            ("allowedNamespaces", "app\r\n web \n"),
            ("timeoutSec", "5"),
            ("maybe", "false"),
            ("modes", "Quick"),
            ("modes", "Sure"),
            ("headers", "a=b\nc = d=e"),
            ("auth.type", "basic"),
            ("auth.username", "ada"),
            ("prices.input", "3"),
            ("requests", "[{\"name\": \"x\"}]"),
            ("caCertificate", "-----BEGIN\r\nx\r\nEND-----\r\n"),
        ]);
        assert_eq!(
            config(&fields, &good).unwrap(),
            json!({
                "allowedNamespaces": ["app", "web"], "insecure": false, "timeoutSec": 5, "maybe": false,
                "modes": ["Quick", "Sure"], "headers": { "a": "b", "c": "d=e" },
                "auth": { "type": "basic", "username": "ada" }, "prices": { "input": 3 },
                "requests": [{ "name": "x" }], "caCertificate": "-----BEGIN\nx\nEND-----",
            })
        );
        let bare = sent(&[("allowedNamespaces", "app"), ("auth.type", "bearer"), ("auth.username", " ")]);
        assert_eq!(
            config(&fields, &bare).unwrap(),
            json!({ "allowedNamespaces": ["app"], "insecure": false, "auth": { "type": "bearer" } })
        );
    }

    #[test]
    fn every_field_that_cannot_be_read_is_named_with_what_was_found() {
        let wrong = sent(&[
            ("timeoutSec", "soon"),
            ("headers", "no pair"),
            ("auth.type", "bearer"),
            ("auth.username", "ada"),
            ("prices.input", "cheap"),
            ("requests", "[{]"),
        ]);
        let wrong = config(&form(), &wrong).unwrap_err();
        let paths: Vec<&str> = wrong.iter().map(|(path, _)| path.as_str()).collect();
        for path in ["auth.username", "headers", "prices.input", "requests", "timeoutSec"] {
            assert!(paths.contains(&path), "{path}: {wrong:?}");
        }
        let why = |path: &str| &wrong.iter().find(|(found, _)| found == path).unwrap().1;
        assert_eq!(why("timeoutSec"), "found `soon`; a whole number is expected");
        assert!(why("auth.username").contains("`bearer` has no such setting, `basic` has"), "{wrong:?}");
    }

    #[test]
    fn a_stored_config_reads_back_through_its_own_form() {
        for stored in [
            json!({
                "allowedNamespaces": ["app"], "insecure": false, "timeoutSec": 5, "maybe": true, "modes": ["Sure"],
                "headers": { "a": "b", "odd=name": "x", "lines": "a\nb" }, "auth": { "type": "basic", "username": "ada" },
                "prices": { "input": 3.0, "cacheRead": 0.3 }, "requests": [{ "name": "x" }], "caCertificate": "a\nb",
            }),
            json!({ "allowedNamespaces": [" a ", "[\"x\"]"], "insecure": true, "auth": { "type": "none" } }),
            json!({ "allowedNamespaces": [], "insecure": false, "headers": { "x": "", "{y": "z" } }),
        ] {
            let mut fields = form();
            let shown = Fields(typed(&fields, &stored));
            fields.iter_mut().for_each(|field| field.fill(&shown));
            assert_eq!(config(&fields, &shown).unwrap(), stored);
        }
    }

    #[test]
    fn a_switch_that_is_on_by_default_is_not_switched_off_by_whoever_changes_something_else() {
        let schema = json!({ "properties": {
            "cached": { "type": "boolean", "default": true }, "odd": { "type": "boolean", "default": false }
        } });
        let fields = fields(&schema);
        let again = |stored: Value| config(&fields, &Fields(typed(&fields, &stored))).unwrap();
        assert_eq!(again(json!({})), json!({ "cached": true, "odd": false }));
        assert_eq!(again(json!({ "cached": false, "odd": true })), json!({ "cached": false, "odd": true }));
    }

    #[test]
    fn nor_is_one_in_a_group_that_may_be_left_out_and_it_puts_no_group_there() {
        let inner = json!({ "ca": { "type": "string" }, "verify": { "type": "boolean", "default": true } });
        let variant = |tag: &str, more: Value| {
            let mut properties = json!({ "type": { "const": tag } });
            properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "type": "object", "properties": properties, "required": ["type"] })
        };
        let schema = json!({ "properties": {
            "tls": { "anyOf": [{ "type": "object", "properties": inner.clone() }, { "type": "null" }] },
            "auth": { "oneOf": [variant("none", json!({})), variant("basic", inner)] },
        } });
        let fields = fields(&schema);
        let again = |stored: Value| config(&fields, &Fields(typed(&fields, &stored))).unwrap();
        for same in [
            json!({}),
            json!({ "tls": { "ca": "x", "verify": true } }),
            json!({ "tls": { "ca": "x", "verify": false } }),
            json!({ "tls": { "verify": false } }),
            json!({ "auth": { "type": "none" } }),
            json!({ "auth": { "type": "basic", "verify": false } }),
        ] {
            assert_eq!(again(same.clone()), same);
        }
        // What says nothing of it is as it is by default.
        assert_eq!(again(json!({ "tls": { "ca": "x" } })), json!({ "tls": { "ca": "x", "verify": true } }));
        let untouched: Vec<_> = all(&fields).filter(|field| field.is_on()).map(|field| &*field.path).collect();
        assert_eq!(untouched, ["auth.verify", "tls.verify"], "a new form shows them on");
    }

    #[test]
    fn what_is_wrong_stands_beside_the_field_that_it_is_about() {
        for (message, wanted) in [
            ("url: found no address", Some("url")),
            ("missing field `allowedNamespaces`", Some("allowedNamespaces")),
            ("auth: missing field `username`", Some("auth.username")),
            ("auth.username: too long", Some("auth.username")),
            ("auth: unknown variant", Some("auth")),
            ("prices: missing field `input`", Some("prices.input")),
            ("requests[0].name: two words", Some("requests")),
            ("headers.X-Y: no header", Some("headers")),
            ("give `url` when there is `auth`", Some("url")),
            ("nobody knows", None),
        ] {
            let mut fields = form();
            assert_eq!(blame(&mut fields, message), wanted.is_some(), "{message}");
            let blamed: Vec<&str> =
                all(&fields).filter(|field| field.wrong.is_some()).map(|field| &*field.path).collect();
            assert_eq!(blamed, wanted.into_iter().collect::<Vec<_>>(), "{message}");
        }
    }

    fn all(fields: &[Field]) -> Box<dyn Iterator<Item = &Field> + '_> {
        Box::new(fields.iter().flat_map(|field| std::iter::once(field).chain(all(field.children()))))
    }
}
