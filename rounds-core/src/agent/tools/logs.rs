use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{datasource, parse, spec, stretch};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::ports::{Query, ToolSpec};
use crate::time::Timestamp;

/// The most lines of one answer.
const LINES: u32 = 500;

/// Log lines of a datasource.
pub(super) struct LogsQuery;

fn half_an_hour() -> u32 {
    30
}

fn a_hundred() -> u32 {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    /// The selector, in the datasource's language.
    query: String,
    /// How many minutes; 30 when left out.
    #[serde(default = "half_an_hour")]
    minutes: u32,
    /// Up to this moment (RFC 3339, UTC); now when left out.
    #[serde(default)]
    until: Option<Timestamp>,
    /// At most this many lines, up to 500; 100 when left out.
    #[serde(default = "a_hundred")]
    limit: u32,
    /// The datasource's name; the first one with logs when left out.
    #[serde(default)]
    datasource: Option<String>,
}

#[async_trait]
impl Tool for LogsQuery {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "logs_query",
            "Searches the logs of a datasource of logs. For the log of one container, `run_command` with `logs` is closer.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        run.tools.datasources().iter().any(|source| source.info.logs)
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = parse::<Arguments>(arguments).and_then(|asked| {
            let first = || run.tools.datasources().into_iter().find(|source| source.info.logs).map(|source| source.id);
            let source = datasource(run.tools, asked.datasource.as_deref())?.or_else(first);
            let (start, end) = stretch(run.tools.now(), asked.minutes, asked.until)?;
            Ok((source, Query::Logs { expr: asked.query, start, end, limit: asked.limit.clamp(1, LINES) }))
        });
        Answer::of_query(run, "log lines", asked).await
    }
}
