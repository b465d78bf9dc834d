use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{Cite, parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::investigation::EvidenceSource;
use crate::ports::ToolSpec;

/// A reading that was shortened, once more.
pub(super) struct ReadAgain;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    /// Which reading, such as R3.
    reading: Cite,
}

#[async_trait]
impl Tool for ReadAgain {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "read_again",
            "Shows what was kept of an earlier reading of this run, without asking its source again.",
        )
    }

    fn action(&self) -> Action {
        Action::InvestigationsRead
    }

    fn reads(&self) -> bool {
        true
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = match parse::<Arguments>(arguments) {
            Ok(asked) => asked.reading.0,
            Err(error) => return Answer::refused(error),
        };
        let evidence = run.tools.evidence();
        let Some(found) = evidence.iter().find(|reading| reading.id == asked) else {
            let last = evidence.last().map_or_else(|| "none".to_owned(), |last| format!("R1 to {}", last.id));
            return Answer::refused(format!("there is no reading {asked} in this run (readings: {last})"));
        };
        let source = match &found.source {
            EvidenceSource::Query { expr, .. } => expr,
            EvidenceSource::Command { command, .. } => command,
        };
        let cut = if found.truncated { "\n[truncated: only the beginning was kept]" } else { "" };
        let text = format!("{source}\n{}{cut}", found.excerpt);
        Answer::said(run.fenced(&format!("{} · as it was read at {}", found.id, found.at.to_rfc3339()), &text))
    }
}
