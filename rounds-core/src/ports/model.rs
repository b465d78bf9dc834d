//! Language models: the [`Model`] port.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallContext, CheckReport, PortError};
use crate::investigation::{Prices, Usage};

/// One part of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
#[non_exhaustive]
pub enum Message {
    /// What Rounds says.
    User {
        /// The text.
        text: String,
    },
    /// What the model said.
    Assistant {
        /// The text, perhaps empty.
        text: String,
        /// The tools it wants to use.
        tool_calls: Vec<ToolCall>,
        /// What the provider wants back word for word with this message (signatures of its reasoning, say): see
        /// [`Completion::opaque`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Value>,
    },
    /// What a tool answered.
    ToolResult {
        /// Which call.
        call_id: String,
        /// The answer. It is data: whatever it says, it is not an instruction.
        content: String,
        /// Whether the call failed.
        is_error: bool,
    },
}

impl Message {
    /// How many bytes it has, near enough to estimate its tokens.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::User { text } => text.len(),
            Self::Assistant { text, tool_calls, opaque } => {
                let calls: usize =
                    tool_calls.iter().map(|call| call.name.len() + call.arguments.to_string().len()).sum();
                text.len() + calls + opaque.as_ref().map_or(0, |opaque| opaque.to_string().len())
            }
            Self::ToolResult { content, .. } => content.len(),
        }
    }
}

/// A tool that a model wants to use. Nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id, as the model gave it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments; checked against the tool's schema by code. What the model wrote that is no JSON stands here as a
    /// text, so that it can be told; a provider that wants an object back is given an empty one.
    pub arguments: Value,
}

impl ToolCall {
    /// A call.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        Self { id: id.into(), name: name.into(), arguments }
    }
}

/// A tool that a model may use.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub schema: Value,
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompletionRequest {
    /// The standing instructions.
    pub system: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools it may use.
    pub tools: Vec<ToolSpec>,
    /// At most this many tokens back.
    pub max_output_tokens: u32,
}

impl CompletionRequest {
    /// A conversation without tools.
    pub fn new(system: impl Into<String>, messages: Vec<Message>, max_output_tokens: u32) -> Self {
        Self { system: system.into(), messages, tools: Vec::new(), max_output_tokens }
    }

    /// The same with tools that the model may use.
    #[must_use]
    pub fn with_tools(mut self, tools: Vec<ToolSpec>) -> Self {
        self.tools = tools;
        self
    }
}

/// What a model is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name, as its provider writes it.
    pub name: String,
    /// How many tokens a conversation may have, answer included; `None`: not known.
    pub context_tokens: Option<u32>,
    /// What it costs; `None`: not configured, and then no money can be counted.
    pub prices: Option<Prices>,
}

impl ModelInfo {
    /// A model of which nothing but its name is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), context_tokens: None, prices: None }
    }

    /// The same, with how many tokens a conversation may have.
    #[must_use]
    pub fn with_context_tokens(mut self, tokens: Option<u32>) -> Self {
        self.context_tokens = tokens;
        self
    }

    /// The same, with what it costs.
    #[must_use]
    pub fn with_prices(mut self, prices: Option<Prices>) -> Self {
        self.prices = prices;
        self
    }
}

/// Why a model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// It was done, or waits for its tools.
    Finished,
    /// The output limit, or the end of its context, was reached.
    Length,
    /// It, or its provider's filter, will not answer this.
    Refused,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The tools it wants to use.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost.
    pub usage: Usage,
    /// Why it stopped.
    pub stop: StopReason,
    /// What the provider wants back word for word when the conversation goes on, beside text and tool calls; Rounds
    /// hands it back in [`Message::Assistant`] and does not look into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Value>,
}

impl Completion {
    /// An answer that ended by itself.
    pub fn new(text: impl Into<String>, tool_calls: Vec<ToolCall>, usage: Usage) -> Self {
        Self { text: text.into(), tool_calls, usage, stop: StopReason::Finished, opaque: None }
    }

    /// The same, stopped for another reason.
    #[must_use]
    pub fn with_stop(mut self, stop: StopReason) -> Self {
        self.stop = stop;
        self
    }

    /// The same, with what the provider wants back.
    #[must_use]
    pub fn with_opaque(mut self, opaque: Option<Value>) -> Self {
        self.opaque = opaque;
        self
    }
}

/// One language model behind one API.
///
/// **Implemented by** connector authors. **Called by** the investigating agent. An implementation MUST keep to
/// the timeout, MUST NOT retry by itself (the agent does, within its budgets, when [`PortError::is_transient`]) and MUST
/// answer whole or not at all: an answer that was cut off on its way is an error of kind
/// [`Unavailable`](super::PortErrorKind::Unavailable), never a shorter answer. Two tool calls of one answer have two ids.
/// Errors never hold the key. Cancel safe; a dropped or failed call may still cost.
#[async_trait]
pub trait Model: Send + Sync {
    /// What it is, for reports and costs.
    fn describe(&self) -> ModelInfo;

    /// Tests the connection, the key and the model's name, spending as little as the API allows.
    ///
    /// # Errors
    /// What was tried and what went wrong.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;

    /// One completion.
    ///
    /// # Errors
    /// The model could not be reached, is overloaded, refused the key, or answered what the protocol does not allow.
    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError>;
}
