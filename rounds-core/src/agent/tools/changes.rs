use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::arguments::{parse, spec, stretch};
use super::{Answer, Run, Tool};
use crate::access::Action;
use crate::ports::{Query, ToolSpec};
use crate::time::Timestamp;

/// What changed.
pub(super) struct ChangesList;

fn two_hours() -> u32 {
    120
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    /// How many minutes; 120 when left out.
    #[serde(default = "two_hours")]
    minutes: u32,
    /// Up to this moment (RFC 3339, UTC); now when left out.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Only in this namespace.
    #[serde(default)]
    namespace: Option<String>,
}

#[async_trait]
impl Tool for ChangesList {
    fn spec(&self) -> ToolSpec {
        spec::<Arguments>(
            "changes_list",
            "Lists recent changes: what Rounds' own plans did, deployments, configuration and feature flags that were recorded, \
             what datasources of changes know, and rollouts that connectors remember. A source that could not be asked is \
             named in a warning and rules nothing out. Changes that none of them knows are seen with `run_command`.",
        )
    }

    fn action(&self) -> Action {
        Action::ConnectorsRead
    }

    fn reads(&self) -> bool {
        true
    }

    async fn call(&self, run: &Run<'_>, arguments: &Value) -> Answer {
        let asked = parse::<Arguments>(arguments).and_then(|asked| {
            let (start, end) = stretch(run.tools.now(), asked.minutes, asked.until)?;
            Ok((None, Query::Changes { start, end, namespace: asked.namespace }))
        });
        Answer::of_query(run, "changes", asked).await
    }
}
