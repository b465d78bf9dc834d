//! The tools of the model-driven investigator. All of them read, or write to the report; none changes anything else.

mod arguments;
mod changes;
mod command;
mod complete;
mod facts;
mod logs;
mod metrics;
mod propose;
mod read_again;
mod section;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use super::desk::Desk;
use super::untrusted::Fence;
use super::{AgentSettings, render};
use crate::access::Action;
use crate::id::ConnectorId;
use crate::investigation::ReadingId;
use crate::ports::{FiredAlert, Investigator, Query, ToolSpec, Toolbox};

/// What every tool of one run works with.
pub(super) struct Run<'a> {
    pub tools: &'a dyn Toolbox,
    pub alert: &'a FiredAlert,
    pub settings: &'a AgentSettings,
    pub playbook: Option<&'a Arc<dyn Investigator>>,
    pub fence: Fence,
    pub desk: Mutex<Desk>,
}

impl Run<'_> {
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer from elsewhere, fenced and cut to size.
    fn fenced(&self, what: &str, text: &str) -> String {
        self.fence.wrap(what, text, self.settings.tool_output_bytes)
    }
}

/// What a tool answers.
pub(super) struct Answer {
    /// What the model is told.
    pub text: String,
    /// The readings that were made.
    pub readings: Vec<ReadingId>,
    /// Why it did not do what was asked.
    pub error: Option<String>,
}

impl Answer {
    fn said(text: impl Into<String>) -> Self {
        Self { text: text.into(), readings: Vec::new(), error: None }
    }

    /// It was not done; `error` is what the model is told, and what the report keeps.
    pub fn refused(error: impl Into<String>) -> Self {
        let error = error.into();
        Self { text: error.clone(), readings: Vec::new(), error: Some(error) }
    }

    fn with_reading(mut self, id: ReadingId) -> Self {
        self.readings.push(id);
        self
    }

    /// A reading: its answer as text, or why there is none.
    fn of(run: &Run<'_>, what: &str, id: ReadingId, answer: Result<String, String>) -> Self {
        match answer {
            Ok(text) => Self::said(run.fenced(&format!("{id} · {what}"), &text)).with_reading(id),
            Err(error) => {
                let what = format!("{id} · {what} · could not be read, and so rules nothing out");
                let mut answer = Self::said(run.fenced(&what, &error)).with_reading(id);
                answer.error = Some(super::untrusted::clean(&error, 1_000));
                answer
            }
        }
    }

    /// Asks a datasource, when the arguments say what.
    async fn of_query(run: &Run<'_>, what: &str, asked: Result<(Option<ConnectorId>, Query), String>) -> Self {
        let (source, query) = match asked {
            Ok(asked) => asked,
            Err(error) => return Self::refused(error),
        };
        let reading = run.tools.query(source, query).await;
        Self::of(run, what, reading.id, reading.answer.map(|answer| render::data_set(&answer)))
    }
}

/// A tool. Its arguments come from a model: they are checked against its schema by code.
#[async_trait]
pub(super) trait Tool: Send + Sync {
    fn spec(&self) -> ToolSpec;

    /// What the service account must be allowed.
    fn action(&self) -> Action;

    /// Whether it reads elsewhere, and so may run beside others of its kind. What writes to the report keeps its order.
    fn reads(&self) -> bool;

    /// Whether there is anything that it could be used on.
    fn is_of_use(&self, _run: &Run<'_>) -> bool {
        true
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer;
}

/// Every tool, in the order in which a model is shown them.
pub(super) const ALL: &[&dyn Tool] = &[
    &facts::KnownFailures,
    &metrics::Query,
    &metrics::RangeQuery,
    &metrics::Discover,
    &logs::LogsQuery,
    &changes::ChangesList,
    &command::RunCommand,
    &read_again::ReadAgain,
    &section::AddSection,
    &propose::ProposePlan,
    &propose::ProposeRescuePlan,
    &complete::Complete,
];

/// The tools that end a run, for its last turn.
pub(super) fn concludes(name: &str) -> bool {
    matches!(name, "add_section" | "complete")
}

pub(super) use facts::told as facts_told;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_a_name_a_description_and_a_closed_schema() {
        let mut names = Vec::new();
        for tool in ALL {
            let ToolSpec { name, description, schema } = tool.spec();
            assert!(description.len() > 40 && description.ends_with('.'), "{name}");
            assert_eq!(schema["type"], "object", "{name}");
            assert_eq!(schema["additionalProperties"], false, "{name}: what is not known is refused");
            assert!(
                schema.get("$schema").is_none() && schema.get("$defs").is_none(),
                "{name}: not every provider takes them"
            );
            for (field, of) in schema["properties"].as_object().into_iter().flatten() {
                assert!(of["description"].is_string(), "{name}.{field} has a description");
            }
            names.push(name);
        }
        assert_eq!(
            names,
            [
                "known_failures",
                "metrics_query",
                "metrics_range_query",
                "metrics_discover",
                "logs_query",
                "changes_list",
                "run_command",
                "read_again",
                "add_section",
                "propose_plan",
                "propose_rescue_plan",
                "complete"
            ]
        );
    }

    #[test]
    fn no_tool_needs_more_than_what_agents_may() {
        for tool in ALL {
            assert!(tool.action().is_for_agents(), "{}", tool.spec().name);
        }
    }
}
