//! A chat completion, put together from its chunks.

use std::ops::ControlFlow;

use rounds_core::ports::{Completion, PortErrorKind, StopReason, ToolCall, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::models::call::Assemble;
use crate::models::fault::{Fault, object};
use crate::models::tools::{Ids, arguments, estimate};

/// A chunk of a stream, or a completion in one piece: they differ in `delta` and `message`.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    /// A text by the API; some servers give the object itself.
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// A tool call as it grows.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn is_whole(&self) -> bool {
        arguments(&self.arguments).is_object() && !self.arguments.is_empty()
    }
}

/// An answer in the making.
pub(super) struct Answer {
    ids: Ids,
    request_bytes: usize,
    text: String,
    refusal: String,
    /// Present, perhaps empty, when the server sends such a field at all.
    thoughts: Option<String>,
    calls: Vec<Call>,
    counts: Option<Counts>,
    finish: Option<String>,
}

impl Answer {
    pub(super) fn new(ids: Ids, body: &Value) -> Self {
        Self {
            ids,
            request_bytes: body.to_string().len(),
            text: String::new(),
            refusal: String::new(),
            thoughts: None,
            calls: Vec::new(),
            counts: None,
            finish: None,
        }
    }

    fn chunk(&mut self, data: &str) -> Result<(), Fault> {
        let value = object(data)?;
        if value.get("choices").is_none_or(Value::is_null)
            && let Some(fault) = Fault::in_stream(&value)
        {
            return Err(fault);
        }
        // Some gateways put an error beside an empty choice.
        if value.get("error").is_some_and(|error| !error.is_null())
            && let Some(fault) = Fault::in_stream(&value)
        {
            return Err(fault);
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| Fault::json(&error))?;
        self.counts = chunk.usage.or(self.counts.take());
        // One answer is asked for; more would be a mixture.
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
            self.finish = choice.finish_reason.filter(|reason| !reason.is_empty()).or(self.finish.take());
            let Some(delta) = choice.delta else { continue };
            self.text.push_str(&delta.content.unwrap_or_default());
            self.refusal.push_str(&delta.refusal.unwrap_or_default());
            if let Some(more) = delta.reasoning_content {
                self.thoughts.get_or_insert_default().push_str(&more);
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(call);
            }
        }
        Ok(())
    }

    /// Adds to the call that the delta belongs to. Servers number calls, or give every one a new id, or both; some give
    /// all the same number, or nothing at all, and each call whole.
    fn call(&mut self, delta: CallDelta) {
        let id = delta.id.unwrap_or_default();
        let name = delta.function.as_ref().and_then(|function| function.name.as_deref()).unwrap_or_default();
        let written = delta.function.as_ref().and_then(|function| function.arguments.as_ref());
        let has_arguments = written.is_some_and(|written| !written.is_null() && written != "");
        let goes_on = |call: &Call| {
            let number = delta.index.is_none_or(|index| call.index == Some(index));
            let other_id = !id.is_empty() && !call.id.is_empty() && call.id != id;
            // Whoever says a name again and has more arguments where they are already whole begins another call.
            let unmarked = delta.index.is_none() && id.is_empty();
            let begins = !name.is_empty() && (unmarked || (has_arguments && call.is_whole()));
            number && !other_id && !begins
        };
        let at = self.calls.iter().rposition(goes_on).unwrap_or_else(|| {
            self.calls.push(Call { index: delta.index, ..Call::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        let Some(function) = delta.function else { return };
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        match function.arguments {
            Some(Value::String(more)) => call.arguments.push_str(&more),
            None | Some(Value::Null) => {}
            Some(other) => call.arguments.push_str(&other.to_string()),
        }
    }
}

impl Assemble for Answer {
    fn event(&mut self, data: &str) -> Result<ControlFlow<()>, Fault> {
        if data.trim() == "[DONE]" {
            return Ok(ControlFlow::Break(()));
        }
        self.chunk(data)?;
        Ok(ControlFlow::Continue(()))
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        self.chunk(body)
    }

    /// An answer that says why it ended is whole, whether or not the server still says `[DONE]`; some never do.
    fn finish(mut self) -> Result<Completion, Fault> {
        let Some(finish) = self.finish.take() else { return Err(Fault::cut_off()) };
        let mut stop = match finish.as_str() {
            "length" => StopReason::Length,
            "content_filter" => StopReason::Refused,
            // DeepSeek and OpenRouter: the server gave up on it.
            "insufficient_system_resource" | "error" => {
                let message = format!("the server gave up in the middle of the answer ({finish})");
                return Err(Fault::new(PortErrorKind::Unavailable, message));
            }
            _ => StopReason::Finished,
        };
        if !self.refusal.is_empty() {
            stop = StopReason::Refused;
            self.text.push_str(&self.refusal);
        }
        let mut written = self.text.len() + self.thoughts.as_ref().map_or(0, String::len);
        let mut calls = Vec::new();
        for call in self.calls {
            if call.name.is_empty() {
                return Err(Fault::protocol("the answer calls a tool without saying which"));
            }
            written += call.name.len() + call.arguments.len();
            calls.push(ToolCall::new(self.ids.unique(&call.id), call.name, arguments(&call.arguments)));
        }
        let usage = self.counts.map_or_else(
            || estimate(self.request_bytes, written),
            |counts| {
                let cached = counts.prompt_tokens_details.and_then(|details| details.cached_tokens);
                let cached = cached.or(counts.prompt_cache_hit_tokens).unwrap_or_default();
                Usage::new(counts.prompt_tokens, counts.completion_tokens).with_cache(cached, 0)
            },
        );
        let thoughts = self.thoughts.filter(|_| !calls.is_empty());
        let opaque = thoughts.map(|thoughts| json!({ "openai": { "reasoning_content": thoughts } }));
        Ok(Completion::new(self.text, calls, usage).with_stop(stop).with_opaque(opaque))
    }
}
