//! A conversation as the Gemini API wants it.

use rounds_core::ports::{CompletionRequest, Message, ToolCall};
use serde_json::{Value, json};

use super::Gemini;
use crate::models::config::merge;
use crate::models::tools::as_object;

/// The body of the request.
pub(super) fn body(model: &Gemini, request: &CompletionRequest) -> Value {
    let max_tokens = model.max_output_tokens.unwrap_or(u32::MAX).min(request.max_output_tokens);
    let mut body = json!({
        "contents": contents(&request.messages),
        "generationConfig": { "maxOutputTokens": max_tokens },
    });
    if !request.system.trim().is_empty() {
        body["systemInstruction"] = json!({ "parts": [{ "text": request.system }] });
    }
    if !request.tools.is_empty() {
        // `parametersJsonSchema` takes JSON Schema as it is; `parameters` takes a dialect of its own.
        let declarations = request.tools.iter().map(
            |tool| json!({ "name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema }),
        );
        body["tools"] = json!([{ "functionDeclarations": declarations.collect::<Value>() }]);
    }
    merge(&mut body, &model.extra_body);
    body
}

/// A call that was made: what its result has to name.
struct Made<'a> {
    call: &'a ToolCall,
    /// Whether the id is the API's own. It knows nothing of one that was made here.
    known: bool,
}

fn contents(messages: &[Message]) -> Value {
    let mut contents: Vec<Value> = Vec::new();
    let mut made: Vec<Made<'_>> = Vec::new();
    // Results of one answer's calls belong into one turn, as many as there were calls.
    let mut results: Vec<Value> = Vec::new();
    for message in messages {
        if !matches!(message, Message::ToolResult { .. }) && !results.is_empty() {
            contents.push(json!({ "role": "user", "parts": std::mem::take(&mut results) }));
        }
        match message {
            Message::User { text } if text.trim().is_empty() => {}
            Message::User { text } => contents.push(json!({ "role": "user", "parts": [{ "text": text }] })),
            Message::ToolResult { call_id, content, is_error } => {
                let of = made.iter().rev().find(|made| made.call.id == *call_id);
                let key = if *is_error { "error" } else { "output" };
                let mut response = json!({
                    "name": of.map_or("unknown", |made| made.call.name.as_str()),
                    "response": { key: content },
                });
                if of.is_some_and(|made| made.known) {
                    response["id"] = call_id.as_str().into();
                }
                results.push(json!({ "functionResponse": response }));
            }
            Message::Assistant { text, tool_calls, .. } => {
                let given = parts(message);
                let known =
                    |id: &str| given.is_some_and(|parts| parts.iter().any(|part| part["functionCall"]["id"] == id));
                made.extend(tool_calls.iter().map(|call| Made { call, known: known(&call.id) }));
                let parts = given.cloned().unwrap_or_else(|| {
                    let text = (!text.trim().is_empty()).then(|| json!({ "text": text }));
                    let calls = tool_calls.iter().map(
                        |call| json!({ "functionCall": { "name": call.name, "args": as_object(&call.arguments) } }),
                    );
                    text.into_iter().chain(calls).collect()
                });
                if !parts.is_empty() {
                    contents.push(json!({ "role": "model", "parts": parts }));
                }
            }
            // `Message` will grow; what is not known cannot be said.
            _ => {}
        }
    }
    if !results.is_empty() {
        contents.push(json!({ "role": "user", "parts": results }));
    }
    contents.into()
}

/// What an answer wants back, if it is this provider's and still belongs to the message: the same tools in the same order.
fn parts(message: &Message) -> Option<&Vec<Value>> {
    let Message::Assistant { tool_calls, opaque, .. } = message else { return None };
    let parts = opaque.as_ref()?.get("gemini")?.as_array()?;
    let names = parts.iter().filter_map(|part| part.get("functionCall")).map(|call| call["name"].as_str());
    names.eq(tool_calls.iter().map(|call| Some(call.name.as_str()))).then_some(parts)
}
