use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::investigation::{Prices, Usage};
use crate::ports::{
    CallContext, CheckReport, Completion, CompletionRequest, Model, ModelInfo, PortError, PortErrorKind, ToolCall,
};

type Turn = Box<dyn Fn(&CompletionRequest) -> Result<Completion, PortError> + Send + Sync>;

/// A model that says what a test wrote for it, turn by turn, and remembers what it was asked. When its script is over it
/// fails.
///
/// ```
/// use rounds_core::testing::ScriptedModel;
/// use serde_json::json;
///
/// let model = ScriptedModel::default()
///     .calls([("run_command", json!({ "argv": ["get", "app/web"] }))])
///     .calls([("complete", json!({ "summary": "It hangs." }))]);
/// ```
#[derive(Clone)]
pub struct ScriptedModel {
    info: ModelInfo,
    usage: Usage,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    turns: VecDeque<Turn>,
    asked: Vec<CompletionRequest>,
    called: usize,
}

impl Default for ScriptedModel {
    fn default() -> Self {
        let info = ModelInfo::new("scripted").with_prices(Some(Prices::new(1.0, 10.0)));
        Self { info, usage: Usage::new(1_000, 100), state: Arc::default() }
    }
}

impl ScriptedModel {
    /// The same, described otherwise.
    #[must_use]
    pub fn with_info(mut self, info: ModelInfo) -> Self {
        self.info = info;
        self
    }

    /// The same; each of its answers costs this.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// And then does whatever this says.
    #[must_use]
    pub fn does(
        self,
        turn: impl Fn(&CompletionRequest) -> Result<Completion, PortError> + Send + Sync + 'static,
    ) -> Self {
        self.lock().turns.push_back(Box::new(turn));
        self
    }

    /// And then calls these tools, all in one answer.
    #[must_use]
    pub fn calls<S: Into<String>>(self, calls: impl IntoIterator<Item = (S, Value)>) -> Self {
        let first = self.lock().called;
        let calls: Vec<ToolCall> = (first..)
            .zip(calls)
            .map(|(number, (name, arguments))| ToolCall::new(format!("call-{number}"), name, arguments))
            .collect();
        self.lock().called += calls.len();
        let usage = self.usage;
        self.does(move |_| Ok(Completion::new("", calls.clone(), usage)))
    }

    /// And then says this, without a tool.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        let (text, usage) = (text.to_owned(), self.usage);
        self.does(move |_| Ok(Completion::new(text.clone(), Vec::new(), usage)))
    }

    /// And then fails.
    #[must_use]
    pub fn fails(self, kind: PortErrorKind, message: &str) -> Self {
        let message = message.to_owned();
        self.does(move |_| Err(PortError::new(kind, message.clone())))
    }

    /// Everything it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<CompletionRequest> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Model for ScriptedModel {
    fn describe(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("it follows its script"))
    }

    async fn complete(&self, _cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let mut state = self.lock();
        state.asked.push(request.clone());
        match state.turns.pop_front() {
            Some(turn) => turn(request),
            None => Err(PortError::new(PortErrorKind::Invalid, "the script is over")),
        }
    }
}
