//! The OpenAPI 3.1 document, generated from the table of routes.

use std::sync::OnceLock;

use axum::Json;
use axum::http::Method;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::table::{Answer, Op};
use super::{Api, api};
use crate::error::ErrorBody;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/openapi.json", "This description").open().answers::<Value>(), serve)
}

async fn serve() -> Json<&'static Value> {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    Json(DOCUMENT.get_or_init(|| document(api().ops())))
}

/// The document of these operations.
#[must_use]
pub fn document(ops: &[Op]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for op in ops {
        let path = paths.entry(op.path).or_insert_with(|| json!({}));
        path[op.method.as_str().to_ascii_lowercase()] = operation(&mut generator, op, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rounds",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Auto-remediation with a human in control.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": crate::auth::SESSION_COOKIE,
                    "description": "Writes echo the cookie rounds_csrf in the header x-csrf-token.",
                },
            },
        },
        "security": [{ "bearer": [] }, { "session": [] }],
    })
}

fn operation(generator: &mut SchemaGenerator, op: &Op, error: &Schema) -> Value {
    let mut parameters: Vec<Value> = placeholders(op.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": path_schema(name) }))
        .collect();
    if let Some(query) = op.query {
        parameters.extend(query_parameters(generator, query));
    }
    let mut answer = json!({ "description": "It was done." });
    let text = json!({ "schema": { "type": "string" } });
    let content = match op.answer {
        Answer::Nothing => Value::Null,
        Answer::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
        Answer::Events => json!({ "text/event-stream": text }),
        Answer::Lines => json!({ "application/x-ndjson": text, "text/csv": text }),
        Answer::Text => json!({ "text/plain": text }),
    };
    if !content.is_null() {
        answer["content"] = content;
    }
    let mut responses = Map::new();
    if let Some(other) = op.or_status {
        let mut other_answer = answer.clone();
        other_answer["description"] = json!("It had been done before, and is as it was.");
        responses.insert(other.to_string(), other_answer);
    }
    responses.insert(op.status.to_string(), answer);
    for (status, description) in refusals(op) {
        let content = json!({ "application/json": { "schema": error } });
        responses.insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    let mut described = json!({
        "summary": op.summary,
        "operationId": operation_id(op),
        "tags": [tag(op.path)],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = op.body {
        described["requestBody"] = json!({ "content": { "application/json": { "schema": body(generator) } } });
    }
    if op.open {
        described["security"] = json!([]);
    }
    described
}

fn path_schema(name: &str) -> Value {
    match name {
        "ordinal" => json!({ "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX }),
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}

/// The statuses of what is not done, each where it can come. There is no `default`: an answer with a status that is not
/// here is a fault, and `make fuzz-api` finds it.
fn refusals(op: &Op) -> Vec<(u16, &'static str)> {
    let writes = op.method != Method::GET;
    let has_input = op.body.is_some() || op.query.is_some();
    let names = has_input || placeholders(op.path).next().is_some();
    let all = [
        (400, writes || has_input || !op.open, "What was sent does not hold; the message says what would."),
        (401, writes || !op.open, "Nobody is signed in."),
        (403, writes || !op.open, "It may not be done by whoever is signed in; the details name the missing action."),
        (404, names || op.path == "/metrics", "There is no such thing."),
        (408, op.body.is_some(), "The body did not come in time."),
        (409, writes, "It changed or was decided meanwhile, or its state does not allow it."),
        (413, op.body.is_some(), "The body is too large."),
        (415, op.body.is_some(), "The body is not JSON."),
        (422, writes && op.body.is_some(), "The gate refuses a step; the details list why."),
        (429, writes || !op.open, "Too many attempts; Retry-After says when to try again."),
        (500, true, "A fault of the server; its log says why."),
        (502, writes && !op.open, "The system behind a connector did not answer, or answered with an error."),
        (503, true, "The server cannot do it now; Retry-After says when to try again."),
    ];
    let possible = all.into_iter().filter(|(_, can_come, _)| *can_come);
    possible.map(|(status, _, description)| (status, description)).collect()
}

/// The fields of a query string's type, one parameter each.
fn query_parameters(generator: &mut SchemaGenerator, schema: fn(&mut SchemaGenerator) -> Schema) -> Vec<Value> {
    let reference = schema(generator).to_value();
    let name = reference.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    // Its fields stand among the parameters, so the type itself is not listed.
    let object = name.and_then(|name| generator.definitions_mut().remove(name)).unwrap_or(reference);
    let fields = object.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    fields
        .into_iter()
        .map(|(name, schema)| {
            let must = required.contains(&Value::String(name.clone()));
            json!({ "name": name, "in": "query", "required": must, "schema": schema })
        })
        .collect()
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn operation_id(op: &Op) -> String {
    let parts = op.path.trim_start_matches("/api").split(['/', '-', '.']).filter(|part| !part.is_empty());
    let mut id = op.method.as_str().to_ascii_lowercase();
    for part in parts {
        let part = part.trim_matches(['{', '}']);
        let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id
}

fn tag(path: &str) -> &str {
    path.trim_start_matches("/api").split('/').find(|part| !part.is_empty()).unwrap_or("api")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_once_and_every_reference_leads_somewhere() {
        let api = api();
        let document = document(api.ops());
        let described: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, api.ops().len());
        let ids: BTreeSet<String> = api.ops().iter().map(operation_id).collect();
        assert_eq!(ids.len(), api.ops().len(), "operation ids repeat");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
        }
    }
}
