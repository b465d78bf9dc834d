use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{datasource, parse, spec, stretch};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::ports::{self, ToolSpec};
use crate::time::Timestamp;

/// Points of a range, when the model does not say how far apart.
const POINTS: u64 = 60;

fn has_metrics(run: &Run<'_>) -> bool {
    run.tools.datasources().iter().any(|source| source.info.metrics)
}

/// PromQL at one moment.
pub(super) struct Query;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QueryArguments {
    /// The expression, in PromQL.
    query: String,
    /// At this moment (RFC 3339, UTC); now when left out.
    #[serde(default)]
    at: Option<Timestamp>,
    /// The datasource's name; the rule's own when left out.
    #[serde(default)]
    datasource: Option<String>,
}

#[async_trait]
impl Tool for Query {
    fn spec(&self) -> ToolSpec {
        spec::<QueryArguments>(
            "metrics_query",
            "Evaluates a PromQL expression at one moment. Aggregate (`sum by`, `topk`): long answers are cut.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        has_metrics(run)
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = parse::<QueryArguments>(arguments).and_then(|asked| {
            let source = datasource(run.tools, asked.datasource.as_deref())?;
            Ok((source, ports::Query::Instant { expr: asked.query, at: asked.at }))
        });
        Answer::of_query(run, "answer of the datasource", asked).await
    }
}

/// PromQL over a stretch of time.
pub(super) struct RangeQuery;

fn an_hour() -> u32 {
    60
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RangeArguments {
    /// The expression, in PromQL.
    query: String,
    /// How many minutes; 60 when left out.
    #[serde(default = "an_hour")]
    minutes: u32,
    /// Up to this moment (RFC 3339, UTC); now when left out.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Seconds between two points; a sixtieth of the stretch when left out.
    #[serde(default)]
    step_sec: Option<u64>,
    /// The datasource's name; the rule's own when left out.
    #[serde(default)]
    datasource: Option<String>,
}

#[async_trait]
impl Tool for RangeQuery {
    fn spec(&self) -> ToolSpec {
        spec::<RangeArguments>(
            "metrics_range_query",
            "Evaluates a PromQL expression over a stretch of time, to see since when something is so. Shows extremes and \
             evenly spread points.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        has_metrics(run)
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = parse::<RangeArguments>(arguments).and_then(|asked| {
            let source = datasource(run.tools, asked.datasource.as_deref())?;
            let (start, end) = stretch(run.tools.now(), asked.minutes, asked.until)?;
            let step = asked.step_sec.unwrap_or(u64::from(asked.minutes) * 60 / POINTS).max(1);
            Ok((source, ports::Query::Range { expr: asked.query, start, end, step: Duration::from_secs(step) }))
        });
        Answer::of_query(run, "answer of the datasource", asked).await
    }
}

/// Which labels and metrics there are.
pub(super) struct Discover;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DiscoverArguments {
    /// The label whose values are wanted, `__name__` for the names of metrics; the names of labels when left out.
    #[serde(default)]
    label: Option<String>,
    /// Only of series that match one of these selectors, such as `{namespace="app"}`.
    #[serde(default)]
    matchers: Vec<String>,
    /// The datasource's name; the rule's own when left out.
    #[serde(default)]
    datasource: Option<String>,
}

#[async_trait]
impl Tool for Discover {
    fn spec(&self) -> ToolSpec {
        spec::<DiscoverArguments>(
            "metrics_discover",
            "Lists names of metrics (`label: \"__name__\"`), names of labels, or values of a label. Narrow it with matchers.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_of_use(&self, run: &Run<'_>) -> bool {
        has_metrics(run)
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = parse::<DiscoverArguments>(arguments).and_then(|asked| {
            let source = datasource(run.tools, asked.datasource.as_deref())?;
            Ok((source, ports::Query::Labels { label: asked.label, matchers: asked.matchers }))
        });
        Answer::of_query(run, "names that the datasource knows", asked).await
    }
}
