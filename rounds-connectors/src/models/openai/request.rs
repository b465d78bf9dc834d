//! A conversation as chat completions want it.

use rounds_core::ports::{CompletionRequest, Message};
use serde_json::{Value, json};

use super::OpenAi;
use crate::models::config::merge;
use crate::models::tools::as_object;

/// The body of the request.
pub(super) fn body(model: &OpenAi, request: &CompletionRequest) -> Value {
    let max_tokens = model.max_output_tokens.unwrap_or(u32::MAX).min(request.max_output_tokens);
    let system = Some(&request.system).filter(|text| !text.is_empty());
    let system = system.map(|text| json!({ "role": "system", "content": text }));
    let messages: Value = system.into_iter().chain(request.messages.iter().filter_map(message)).collect();
    let mut body = json!({
        "model": model.info.name,
        "messages": messages,
        "stream": true,
        // Without it, a stream does not tell what it cost.
        "stream_options": { "include_usage": true },
    });
    body[model.token_limit_field.name()] = max_tokens.into();
    // An empty list is refused by some.
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
            json!({ "type": "function", "function": function })
        });
        body["tools"] = tools.collect();
    }
    merge(&mut body, &model.extra_body);
    body
}

fn message(message: &Message) -> Option<Value> {
    Some(match message {
        Message::User { text } => json!({ "role": "user", "content": text }),
        Message::ToolResult { call_id, content, is_error } => {
            // There is no field for it, and a model should not take a failure for a reading.
            let content = if *is_error { format!("The tool failed: {content}") } else { content.clone() };
            json!({ "role": "tool", "tool_call_id": call_id, "content": content })
        }
        Message::Assistant { text, tool_calls, opaque } => {
            let mut message = json!({ "role": "assistant", "content": text });
            if !tool_calls.is_empty() {
                let calls = tool_calls.iter().map(|call| {
                    let arguments = as_object(&call.arguments).to_string();
                    json!({
                        "id": call.id,
                        "type": "function",
                        "function": { "name": call.name, "arguments": arguments },
                    })
                });
                message["tool_calls"] = calls.collect();
                // DeepSeek wants its thoughts back with every message that calls tools (400 without), and older models
                // of it refuse them with any other.
                let thoughts = opaque.as_ref().and_then(|opaque| opaque.pointer("/openai/reasoning_content"));
                if let Some(thoughts) = thoughts {
                    message["reasoning_content"] = thoughts.clone();
                }
            }
            message
        }
        // `Message` will grow; what is not known cannot be said.
        _ => return None,
    })
}
