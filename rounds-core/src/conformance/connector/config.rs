//! The config: its schema is the form that operators fill in, and what does not fit is refused by name.

use serde_json::{Map, Value, json};

use super::servers::Behaviour;
use super::{Bench, Skipped};
use crate::plugin::BuildError;
use crate::ports::SecretHandle;

/// A field that no connector has.
const UNKNOWN: &str = "conformanceUnknown";

type Held = Result<(), Skipped>;

/// The schema's own fields, of the config itself.
fn fields(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

/// The schema of the config is an object that takes no other fields than its own.
pub async fn the_config_schema_is_an_object_that_takes_nothing_else(bench: Bench) -> Held {
    let schema = bench.connector().registration().schema();
    assert_eq!(schema["type"], "object", "a config is an object, so that it can be a form: {schema}");
    let mut open = Vec::new();
    objects(&schema, "the config", &mut |place, object| {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            open.push(place.to_owned());
        }
    });
    assert!(open.is_empty(), "these take fields that are not known (`deny_unknown_fields` is missing): {open:?}");
    Ok(())
}

/// Every field of the config has a description: it is the help of the form.
pub async fn every_config_field_is_explained(bench: Bench) -> Held {
    let schema = bench.connector().registration().schema();
    let mut unexplained = Vec::new();
    objects(&schema, "the config", &mut |place, object| {
        for (name, field) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let help = field["description"].as_str().unwrap_or_default().trim();
            if help.len() < 8 && field["const"].is_null() {
                unexplained.push(format!("{name} of {place}"));
            }
        }
    });
    assert!(unexplained.is_empty(), "these fields have no help (a doc comment on each): {unexplained:?}");
    Ok(())
}

/// Every object with fields within a schema.
fn objects(schema: &Value, place: &str, look: &mut impl FnMut(&str, &Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) {
                look(place, object);
            }
            for (key, inner) in object {
                // What an example or a default holds is no schema.
                if !["default", "examples", "const", "enum"].contains(&key.as_str()) {
                    objects(inner, if key == "properties" { place } else { key }, look);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| objects(inner, place, look)),
        _ => {}
    }
}

/// What the documentation shows as a config is one.
pub async fn the_documented_config_is_built(bench: Bench) -> Held {
    let config = bench.connector().documented();
    let mut host = bench.connector().host();
    host.outbound = crate::plugin::Outbound::anything();
    match bench.build(config, SecretHandle::none(), host) {
        Ok(_) | Err(BuildError::Host { .. }) => Ok(()),
        Err(error) => panic!("the documented config is refused: {error}"),
    }
}

/// Builds with a config of the subject's that was changed.
fn refused(bench: &Bench, what: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Option<String> {
    let mut setup = bench.connector().connector("http://127.0.0.1:9", &bench.secret);
    bench.built(&setup);
    change(setup.config.as_object_mut().expect("a config is an object"));
    let secret = setup.secret.map_or_else(SecretHandle::none, |secret| SecretHandle::inline(secret.into()));
    match bench.build(setup.config, secret, bench.connector().host()) {
        Ok(_) => None,
        Err(BuildError::Config { message }) => {
            assert!(!message.contains(&bench.secret), "{what}: the secret is in the error: {message}");
            Some(message)
        }
        Err(BuildError::Host { message }) => panic!("{what} is no fault of the host, and yet: {message}"),
    }
}

/// A field that is not known is refused, and named.
pub async fn an_unknown_config_field_is_refused_by_name(bench: Bench) -> Held {
    let message = refused(&bench, UNKNOWN, |config| {
        config.insert(UNKNOWN.into(), json!(1));
    });
    let message = message.unwrap_or_else(|| panic!("the config takes a field that nothing knows: `{UNKNOWN}`"));
    assert!(message.contains(UNKNOWN), "the error does not name the field that it refuses: {message}");
    Ok(())
}

/// A value that is of another type than the schema says is refused, and its field named.
pub async fn a_config_value_of_another_type_is_refused_with_its_field(bench: Bench) -> Held {
    let schema = bench.connector().registration().schema();
    for (name, field) in fields(&schema) {
        for wrong in [json!([[{ "odd": [7] }]]), json!({ "odd": { "odd": 7 } }), json!("\u{1}odd"), json!(-7.5)] {
            if !excluded(&schema, &field, &wrong) {
                continue;
            }
            let what = format!("{name} = {wrong}");
            let message = refused(&bench, &what, |config| {
                config.insert(name.clone(), wrong.clone());
            });
            let message = message.unwrap_or_else(|| panic!("{what} is accepted, and the schema says {field}"));
            assert!(message.contains(name.as_str()), "{what}: the error does not name the field: {message}");
        }
    }
    Ok(())
}

/// Whether a schema excludes a value by its type alone, as far as that is easily seen.
fn excluded(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return reference
            .strip_prefix('#')
            .and_then(|path| root.pointer(path))
            .is_some_and(|schema| excluded(root, schema, value));
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(word).and_then(Value::as_array) {
            return choices.iter().all(|choice| excluded(root, choice, value));
        }
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
        return true;
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        return true;
    }
    let is = |name: &str| match name {
        "array" => value.is_array(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::String(name)) => !is(name),
        Some(Value::Array(names)) => !names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

/// A field that the schema requires and that is not there is refused, and named.
pub async fn a_required_config_field_that_is_missing_is_named(bench: Bench) -> Held {
    let schema = bench.connector().registration().schema();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let message = refused(&bench, name, |config| {
            config.remove(name);
        });
        let message = message.unwrap_or_else(|| panic!("`{name}` is required by the schema and can be left out"));
        assert!(message.contains(name), "the error does not name the missing field `{name}`: {message}");
    }
    Ok(())
}

/// Building checks the config, and connects to nothing.
pub async fn building_connects_to_nothing(bench: Bench) -> Held {
    let server = bench.hostile(Behaviour::Silent).await;
    for _ in 0..3 {
        drop(bench.at(&server.address));
    }
    assert_eq!(server.connections(), 0, "it was built, and somebody called the server");
    Ok(())
}
