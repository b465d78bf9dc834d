use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One action as somebody proposed it: nothing in it is believed until an adapter has reviewed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// The kind of step, such as `ops.run_command`.
    pub kind: String,
    /// What the kind needs. For `ops.run_command`: `{"argv": [...], "stdin": "..."?}`, without a leading `kubectl`.
    pub params: Value,
}

impl StepSpec {
    /// The step kind of a command line.
    pub const RUN_COMMAND: &'static str = "ops.run_command";

    /// A command without a shell: one string per argument, the program's name left out.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self { kind: Self::RUN_COMMAND.into(), params: serde_json::json!({ "argv": argv }) }
    }

    /// The same command with text on its standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<String>) -> Self {
        if let Value::Object(params) = &mut self.params {
            params.insert("stdin".into(), Value::String(stdin.into()));
        }
        self
    }
}

/// What the caller is about to do with a step: the gate is wider for approved plans than for investigations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// An investigation looks: only reads pass.
    Read,
    /// A plan acts: reads and writes pass.
    Write,
}
