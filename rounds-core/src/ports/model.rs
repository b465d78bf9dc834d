//! Language models: the [`Model`] port.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallContext, CheckReport, PortError};

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

/// A tool that a model wants to use. Nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id, as the model gave it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments; checked against the tool's schema by code.
    pub arguments: Value,
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

/// What a call cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The tools it wants to use.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost.
    pub usage: Usage,
    /// Whether it stopped because the output limit was reached.
    pub truncated: bool,
}

impl Completion {
    /// An answer that ended by itself.
    pub fn new(text: impl Into<String>, tool_calls: Vec<ToolCall>, usage: Usage) -> Self {
        Self { text: text.into(), tool_calls, usage, truncated: false }
    }

    /// The same, cut off at the output limit.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }
}

/// One language model behind one API.
///
/// **Implemented by** connector authors. **Called by** the investigating agent. An implementation MUST keep to
/// the timeout and MUST NOT retry by itself. Cancel safe; a dropped call may still cost.
#[async_trait]
pub trait Model: Send + Sync {
    /// The model's name, for reports and costs.
    fn name(&self) -> &str;

    /// Tests the connection and the key, spending as little as the API allows.
    ///
    /// # Errors
    /// What was tried and what went wrong.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;

    /// One completion.
    ///
    /// # Errors
    /// The model could not be reached, refused the key, or answered what the protocol does not allow.
    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError>;
}
