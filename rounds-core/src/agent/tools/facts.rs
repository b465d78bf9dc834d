use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{parse, spec};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::investigation::{Findings, Proposal, ReadingId};
use crate::ports::ToolSpec;

/// What an investigator without a model recognises.
pub(super) struct KnownFailures;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {}

#[async_trait]
impl Tool for KnownFailures {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "known_failures",
            "Looks for known signatures of failures around the alert, by code and without a model, and says what it read. Worth \
             repeating only after something has changed.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        run.playbook.is_some()
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        if let Err(error) = parse::<Arguments>(arguments) {
            return Answer::refused(error);
        }
        let Some(playbook) = run.playbook else { return Answer::refused("there is no playbook in this installation") };
        let before = run.tools.evidence().len();
        match playbook.investigate(run.tools, run.alert).await {
            Ok(findings) => {
                let mut answer = Answer::said(run.fenced("What known signatures say", &told(&findings)));
                answer.readings = run.tools.evidence().iter().skip(before).map(|reading| reading.id).collect();
                answer
            }
            Err(error) => Answer::refused(format!("the playbook could not look: {error}")),
        }
    }
}

/// Findings as text: facts for a model, with the readings they rest on.
pub(in super::super) fn told(findings: &Findings) -> String {
    let mut text = findings.summary.clone();
    if let Some(cause) = &findings.root_cause {
        text.push_str(&format!("\nCause: {} [{}]", cause.summary, ids(&cause.citations)));
    }
    for section in &findings.sections {
        text.push_str(&format!("\n\n{}\n{} [{}]", section.title, section.body, ids(&section.citations)));
    }
    for unknown in &findings.unknowns {
        text.push_str(&format!("\nNot known: {unknown}"));
    }
    if let Some(plan) = &findings.plan {
        text.push_str(&format!("\n\nIts plan would be: {}", steps(plan)));
    }
    text
}

fn ids(citations: &[ReadingId]) -> String {
    citations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn steps(plan: &Proposal) -> String {
    let mut text = plan.summary.clone();
    for step in &plan.steps {
        text.push_str(&format!("\n- {}", crate::canonical::to_string(&step.spec.params)));
    }
    text
}
