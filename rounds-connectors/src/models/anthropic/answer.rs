//! An answer of the Messages API, put together from its events.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rounds_core::ports::{Completion, StopReason, ToolCall, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::models::call::Assemble;
use crate::models::fault::{Fault, object};
use crate::models::tools::{Ids, arguments, as_object, estimate};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Head,
    },
    ContentBlockStart {
        index: u64,
        content_block: Map<String, Value>,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: End,
        #[serde(default)]
        usage: Option<Counts>,
    },
    MessageStop,
    Error,
    /// Pings, and what the API will have one day.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    stop_reason: Option<String>,
}

/// A message in one piece.
#[derive(Deserialize)]
struct Whole {
    content: Vec<Map<String, Value>>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    /// Citations, and what the API will have one day.
    #[serde(other)]
    Other,
}

/// Tokens; `input_tokens` leaves out what went through the cache. A later count replaces an earlier one.
#[derive(Deserialize, Default)]
struct Counts {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Counts {
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }
}

/// A content block as it grows.
#[derive(Default)]
struct Block {
    /// As it began: type, id, name, and whatever else must be sent back.
    start: Map<String, Value>,
    /// The text, the thoughts, or the arguments.
    grown: String,
    signature: String,
    stopped: bool,
}

impl Block {
    fn kind(&self) -> &str {
        self.start.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    fn field(&self, name: &str) -> String {
        self.start.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// What began in the start itself and went on in deltas.
    fn text(&self, name: &str) -> String {
        self.field(name) + &self.grown
    }

    /// The arguments as they were written; a block that came in one piece has an object.
    fn arguments(&self) -> Value {
        match self.start.get("input") {
            Some(Value::Object(input)) if self.grown.is_empty() => Value::Object(input.clone()),
            Some(input) if self.grown.is_empty() && !input.is_null() => arguments(&input.to_string()),
            _ => arguments(&self.grown),
        }
    }
}

/// An answer in the making.
pub(super) struct Answer {
    ids: Ids,
    request_bytes: usize,
    blocks: BTreeMap<u64, Block>,
    counts: Option<Counts>,
    stop: Option<String>,
    complete: bool,
}

impl Answer {
    pub(super) fn new(ids: Ids, body: &Value) -> Self {
        let request_bytes = body.to_string().len();
        Self { ids, request_bytes, blocks: BTreeMap::new(), counts: None, stop: None, complete: false }
    }

    fn count(&mut self, counts: Option<Counts>) {
        if let Some(counts) = counts {
            self.counts.get_or_insert_default().update(counts);
        }
    }

    fn block(&mut self, index: u64) -> Result<&mut Block, Fault> {
        let block = self.blocks.get_mut(&index).filter(|block| !block.stopped);
        block.ok_or_else(|| Fault::protocol(format!("the answer goes on with block {index}, which is not open")))
    }
}

impl Assemble for Answer {
    fn event(&mut self, data: &str) -> Result<ControlFlow<()>, Fault> {
        let event = match serde_json::from_str(data) {
            Ok(Event::Error) | Err(_) => {
                let value = object(data)?;
                if let Some(fault) = Fault::in_stream(&value) {
                    return Err(fault);
                }
                serde_json::from_value(value).map_err(|error| Fault::json(&error))?
            }
            Ok(event) => event,
        };
        match event {
            Event::MessageStart { message } => self.count(message.usage),
            Event::ContentBlockStart { index, content_block } => {
                let block = Block { start: content_block, ..Block::default() };
                if self.blocks.insert(index, block).is_some() {
                    return Err(Fault::protocol(format!("the answer begins block {index} twice")));
                }
            }
            Event::ContentBlockDelta { index, delta } => {
                let block = self.block(index)?;
                match delta {
                    Delta::Text { text: more }
                    | Delta::InputJson { partial_json: more }
                    | Delta::Thinking { thinking: more } => block.grown.push_str(&more),
                    Delta::Signature { signature } => block.signature.push_str(&signature),
                    Delta::Other => {}
                }
            }
            Event::ContentBlockStop { index } => self.block(index)?.stopped = true,
            Event::MessageDelta { delta, usage } => {
                self.count(usage);
                self.stop = delta.stop_reason.or(self.stop.take());
            }
            Event::MessageStop => {
                self.complete = true;
                return Ok(ControlFlow::Break(()));
            }
            Event::Error => return Err(Fault::protocol("the answer is an error that does not say which")),
            Event::Other => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn whole(&mut self, body: &str) -> Result<(), Fault> {
        let value = object(body)?;
        if let Some(fault) = Fault::in_stream(&value) {
            return Err(fault);
        }
        let whole: Whole = serde_json::from_value(value).map_err(|error| Fault::json(&error))?;
        let blocks = whole.content.into_iter().map(|start| Block { start, stopped: true, ..Block::default() });
        self.blocks = (0..).zip(blocks).collect();
        self.count(whole.usage);
        (self.stop, self.complete) = (whole.stop_reason, true);
        Ok(())
    }

    fn finish(mut self) -> Result<Completion, Fault> {
        if !self.complete {
            return Err(Fault::cut_off());
        }
        let stop = match self.stop.as_deref() {
            None => return Err(Fault::protocol("the answer ends without a stop reason")),
            Some("refusal") => StopReason::Refused,
            // `pause_turn`: the provider's own tools reached their limit, and the answer is not done.
            Some("max_tokens" | "model_context_window_exceeded" | "pause_turn") => StopReason::Length,
            Some(_) => StopReason::Finished,
        };
        let (mut text, mut calls, mut back, mut bytes) = (String::new(), Vec::new(), Vec::new(), 0);
        let mut needed = false;
        for block in self.blocks.values() {
            bytes += block.grown.len();
            match block.kind() {
                "text" => {
                    let part = block.text("text");
                    text.push_str(&part);
                    // The API gives empty texts and refuses them.
                    if !part.trim().is_empty() {
                        back.push(json!({ "type": "text", "text": part }));
                    }
                }
                "tool_use" => {
                    let name = block.field("name");
                    if name.is_empty() {
                        return Err(Fault::protocol("the answer calls a tool without saying which"));
                    }
                    let call = ToolCall::new(self.ids.unique(&block.field("id")), name, block.arguments());
                    let input = as_object(&call.arguments);
                    back.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
                    calls.push(call);
                }
                "thinking" => {
                    let signature = block.field("signature") + &block.signature;
                    // Thoughts that the output limit cut have none, and cannot be sent back.
                    if !signature.is_empty() {
                        needed = true;
                        let thinking = block.text("thinking");
                        back.push(json!({ "type": "thinking", "thinking": thinking, "signature": signature }));
                    }
                }
                // Redacted thoughts, and what the API will have one day: it wants back what it gave.
                _ => {
                    needed = true;
                    back.push(Value::Object(block.start.clone()));
                }
            }
        }
        let usage = self.counts.map_or_else(
            || estimate(self.request_bytes, bytes),
            |counts| {
                let read = counts.cache_read_input_tokens.unwrap_or_default();
                let written = counts.cache_creation_input_tokens.unwrap_or_default();
                let input = counts.input_tokens.unwrap_or_default().saturating_add(read).saturating_add(written);
                Usage::new(input, counts.output_tokens.unwrap_or_default()).with_cache(read, written)
            },
        );
        // Without thoughts, text and calls say it all.
        let opaque = needed.then(|| json!({ "anthropic": back }));
        Ok(Completion::new(text, calls, usage).with_stop(stop).with_opaque(opaque))
    }
}
