//! An answer of the Gemini API, put together from its chunks.

use std::ops::ControlFlow;

use rounds_core::ports::{Completion, PortErrorKind, StopReason, ToolCall, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::models::call::Assemble;
use crate::models::fault::{Fault, object};
use crate::models::tools::{Ids, arguments, estimate};

/// A chunk of a stream, or the answer in one piece.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u64,
    content: Option<Content>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

/// Tokens so far; `prompt_token_count` has the cached ones in it, `candidates_token_count` leaves out the thoughts.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Counts {
    prompt_token_count: u64,
    cached_content_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
    tool_use_prompt_token_count: u64,
}

/// An answer in the making.
pub(super) struct Answer {
    ids: Ids,
    request_bytes: usize,
    text: String,
    calls: Vec<ToolCall>,
    /// What goes back: every part as it came, texts without a signature joined.
    parts: Vec<Value>,
    /// Whether something among them cannot be made again from text and calls.
    needed: bool,
    written: usize,
    counts: Option<Counts>,
    finish: Option<(String, String)>,
    blocked: Option<String>,
}

impl Answer {
    pub(super) fn new(ids: Ids, body: &Value) -> Self {
        Self {
            ids,
            request_bytes: body.to_string().len(),
            text: String::new(),
            calls: Vec::new(),
            parts: Vec::new(),
            needed: false,
            written: 0,
            counts: None,
            finish: None,
            blocked: None,
        }
    }

    fn chunk(&mut self, value: Value) -> Result<(), Fault> {
        if value.get("candidates").is_none()
            && let Some(fault) = Fault::in_stream(&value)
        {
            return Err(fault);
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| Fault::json(&error))?;
        self.counts = chunk.usage_metadata.or(self.counts.take());
        if let Some(PromptFeedback { block_reason: Some(reason), block_reason_message: message }) =
            chunk.prompt_feedback
        {
            self.blocked = Some(said(&reason, message.as_deref().unwrap_or_default()));
        }
        for candidate in chunk.candidates.into_iter().filter(|candidate| candidate.index == 0) {
            for part in candidate.content.into_iter().flat_map(|content| content.parts) {
                self.part(part)?;
            }
            if let Some(reason) = candidate.finish_reason {
                self.finish = Some((reason, candidate.finish_message.unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Map<String, Value>) -> Result<(), Fault> {
        let signed = part.contains_key("thoughtSignature");
        let thought = part.get("thought").is_some_and(|thought| thought == &Value::Bool(true));
        self.needed |= signed;
        if let Some(call) = part.get("functionCall") {
            let name = call.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| Fault::protocol("the answer calls a tool without saying which"))?.to_owned();
            let args = match call.get("args") {
                None | Some(Value::Null) => arguments(""),
                Some(Value::Object(args)) => Value::Object(args.clone()),
                Some(other) => arguments(&other.to_string()),
            };
            self.written += name.len() + args.to_string().len();
            let given = call.get("id").and_then(Value::as_str).unwrap_or_default();
            let id = self.ids.unique(given);
            let mut part = part.clone();
            let sent = part.get_mut("functionCall").and_then(Value::as_object_mut);
            if let Some(sent) = sent.filter(|_| !given.is_empty()) {
                // The result will name the id that Rounds knows the call by.
                sent.insert("id".into(), id.clone().into());
                self.needed = true;
            }
            self.parts.push(Value::Object(part));
            self.calls.push(ToolCall::new(id, name, args));
            return Ok(());
        }
        let Some(text) = part.get("text").and_then(Value::as_str) else {
            self.needed = true;
            self.parts.push(Value::Object(part));
            return Ok(());
        };
        self.written += text.len();
        if thought {
            // A summary for people; what the model wants back is in the signatures.
            if signed {
                self.parts.push(Value::Object(part));
            }
            return Ok(());
        }
        self.text.push_str(text);
        match self.parts.last_mut().and_then(Value::as_object_mut) {
            // A signature belongs to its own part: what carries one is never joined with another.
            Some(last) if !signed && last.len() == 1 && part.len() == 1 && last.contains_key("text") => {
                if let Some(Value::String(before)) = last.get_mut("text") {
                    before.push_str(text);
                }
            }
            _ if text.is_empty() && !signed => {}
            _ => self.parts.push(Value::Object(part)),
        }
        Ok(())
    }
}

impl Assemble for Answer {
    /// There is no last event: the stream ends.
    fn event(&mut self, data: &str) -> Result<ControlFlow<()>, Fault> {
        self.chunk(object(data)?)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Without `alt=sse`, which a proxy may drop, the chunks come as a list.
    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        match serde_json::from_str(body) {
            Ok(Value::Array(chunks)) => chunks.into_iter().try_for_each(|chunk| self.chunk(chunk)),
            _ => self.chunk(object(body)?),
        }
    }

    fn finish(self) -> Result<Completion, Fault> {
        let usage = self.counts.map_or_else(
            || estimate(self.request_bytes, self.written),
            |counts| {
                let input = counts.prompt_token_count.saturating_add(counts.tool_use_prompt_token_count);
                let output = counts.candidates_token_count.saturating_add(counts.thoughts_token_count);
                Usage::new(input, output).with_cache(counts.cached_content_token_count, 0)
            },
        );
        if let Some(blocked) = self.blocked {
            return Ok(Completion::new(blocked, Vec::new(), usage).with_stop(StopReason::Refused));
        }
        let Some((reason, message)) = self.finish else { return Err(Fault::cut_off()) };
        let stop = match reason.as_str() {
            "STOP" | "FINISH_REASON_UNSPECIFIED" => StopReason::Finished,
            "MAX_TOKENS" => StopReason::Length,
            // The model slipped; it seldom does so twice.
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "OTHER" => {
                let message = format!("the model's answer could not be used: {}", said(&reason, &message));
                return Err(Fault::new(PortErrorKind::Unavailable, message));
            }
            "MISSING_THOUGHT_SIGNATURE" => {
                return Err(Fault::new(PortErrorKind::Invalid, said(&reason, &message)));
            }
            // Safety and its siblings, of which there are more every year: the answer was stopped on purpose.
            _ => StopReason::Refused,
        };
        let text =
            if stop == StopReason::Refused && self.text.is_empty() { said(&reason, &message) } else { self.text };
        let opaque = self.needed.then(|| json!({ "gemini": self.parts }));
        Ok(Completion::new(text, self.calls, usage).with_stop(stop).with_opaque(opaque))
    }
}

fn said(reason: &str, message: &str) -> String {
    if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }
}
