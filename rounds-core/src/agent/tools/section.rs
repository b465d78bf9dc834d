use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{Cite, cited, parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::ports::ToolSpec;

/// A part of the report.
pub(super) struct AddSection;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    /// The heading: what was found, in a few words.
    title: String,
    /// The text: what was seen and what follows from it.
    body: String,
    /// The readings it rests on, such as ["R2", "R5"].
    #[serde(default)]
    citations: Vec<Cite>,
}

#[async_trait]
impl Tool for AddSection {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "add_section",
            "Adds a section to the report. People see it at once. Cite the readings it rests on; only readings of this run can \
             be cited.",
        )
    }

    fn action(&self) -> Action {
        Action::InvestigationsCreate
    }

    fn reads(&self) -> bool {
        false
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let evidence = run.tools.evidence();
        let added = parse::<Arguments>(arguments)
            .and_then(|asked| run.desk().add_section(&asked.title, &asked.body, cited(&asked.citations), &evidence));
        match added {
            Ok(()) => Answer::said("added"),
            Err(error) => Answer::refused(error),
        }
    }
}
