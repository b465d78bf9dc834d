//! A conversation as the Messages API wants it.

use rounds_core::ports::{CompletionRequest, Message};
use serde_json::{Value, json};

use super::Anthropic;
use crate::models::config::merge;
use crate::models::tools::as_object;

/// The body of the request.
pub(super) fn body(model: &Anthropic, request: &CompletionRequest) -> Value {
    let max_tokens = model.max_output_tokens.unwrap_or(u32::MAX).min(request.max_output_tokens);
    let mut body = json!({
        "model": model.info.name,
        "max_tokens": max_tokens,
        "stream": true,
        "messages": turns(&request.messages),
    });
    // Empty texts are refused by the API, wherever they stand.
    if !request.system.trim().is_empty() {
        body["system"] = json!([{ "type": "text", "text": request.system }]);
    }
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema }));
        body["tools"] = tools.collect();
    }
    if model.prompt_caching {
        mark_cached(&mut body);
    }
    merge(&mut body, &model.extra_body);
    body
}

/// Marks where the cache may end: after the tools and the instructions, which stay the same for every investigation, and
/// after the last message, which the next request of this one begins with. The API allows four marks.
fn mark_cached(body: &mut Value) {
    let mark = json!({ "type": "ephemeral" });
    for pointer in ["/tools", "/system"] {
        if let Some(last) = body.pointer_mut(pointer).and_then(Value::as_array_mut).and_then(|list| list.last_mut()) {
            last["cache_control"] = mark.clone();
        }
    }
    let last = body["messages"].as_array_mut().and_then(|turns| turns.last_mut()).filter(|turn| turn["role"] == "user");
    let content = last.and_then(|turn| turn["content"].as_array_mut()).into_iter().flatten();
    // What is empty cannot be marked.
    if let Some(block) = content.rev().find(|block| block["content"] != "") {
        block["cache_control"] = mark;
    }
}

/// The turns: what is said by the same side in a row is one turn, so that all results of one answer's tools stand together.
fn turns(messages: &[Message]) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, content) = match message {
            Message::User { text } => ("user", texts(text)),
            Message::ToolResult { call_id, content, is_error } => {
                let mut result = json!({ "type": "tool_result", "tool_use_id": call_id, "content": content });
                if *is_error {
                    result["is_error"] = true.into();
                }
                ("user", vec![result])
            }
            Message::Assistant { text, tool_calls, .. } => {
                let content = super::blocks(message).cloned().unwrap_or_else(|| {
                    let calls = tool_calls.iter().map(|call| {
                        let input = as_object(&call.arguments);
                        json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input })
                    });
                    texts(text).into_iter().chain(calls).collect()
                });
                ("assistant", content)
            }
            // `Message` will grow; what is not known cannot be said.
            _ => continue,
        };
        match turns.last_mut() {
            Some((last, before)) if *last == role => before.extend(content),
            _ if content.is_empty() => {}
            _ => turns.push((role, content)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

fn texts(text: &str) -> Vec<Value> {
    if text.trim().is_empty() { Vec::new() } else { vec![json!({ "type": "text", "text": text })] }
}
