use async_trait::async_trait;
use serde_json::Value;

use super::arguments::{Written, connector, parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::ports::ToolSpec;
use crate::step::StepOutput;

/// A command in read mode, through the same gate as the steps of plans.
pub(super) struct RunCommand;

#[async_trait]
impl Tool for RunCommand {
    fn spec(&self) -> ToolSpec {
        spec::<Written>(
            "run_command",
            "Runs a command that only reads on a connector. The gate refuses everything else, and says why: take that as an \
             answer.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        !run.tools.connectors().is_empty()
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let prepared = parse::<Written>(arguments).and_then(|asked| {
            let connector = connector(run.tools, asked.connector.as_deref())?;
            Ok((connector, asked.spec()?))
        });
        let (connector, step) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Answer::refused(error),
        };
        let reading = run.tools.read(connector.id, step).await;
        Answer::of(run, "output of the command", reading.id, reading.answer.map(|output| said(&output)))
    }
}

fn said(output: &StepOutput) -> String {
    let mut text = output.output.clone();
    if !output.error_output.trim().is_empty() {
        text.push_str("\n[error output]\n");
        text.push_str(&output.error_output);
    }
    if text.trim().is_empty() {
        text.push_str("(no output)");
    }
    text
}
