//! `unit-journal`: what units said, for investigations.

use async_trait::async_trait;
use reqwest::Method;
use rounds_core::Timestamp;
use rounds_core::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, Line, PortError, PortErrorKind, Query,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::protocol::{Ask, Manager};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JournalConfig {
    /// The service manager's address, such as `http://127.0.0.1:9000`.
    url: String,
}

rounds_core::register_connector! {
    kind: "unit-journal",
    title: "Journal of a service manager",
    role: Datasource,
    secret: Required("The service manager's API token."),
    config: JournalConfig,
    build: |cx, config| Ok(Journal(Manager::new(&cx, &config.url)?)),
}

struct Journal(Manager);

/// An answer, as the service manager writes it.
#[derive(Deserialize)]
struct Entries {
    entries: Vec<Entry>,
    more: bool,
}

#[derive(Deserialize)]
struct Entry {
    at: Timestamp,
    text: String,
}

#[async_trait]
impl Datasource for Journal {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::logs("the name of a unit")
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let invalid = |why: &str| Err(PortError::new(PortErrorKind::Invalid, why));
        let Query::Logs { expr, start, end, limit } = query else {
            return invalid("found another kind of query; one of logs is accepted");
        };
        if expr.trim().is_empty() || start > end {
            return invalid("the name of a unit is accepted, and an end that is not before its start");
        }
        let range = [("start", start.to_rfc3339()), ("end", end.to_rfc3339()), ("limit", limit.to_string())];
        let answer = self.0.call(cx, Method::GET, &["journal", expr], Ask::About(&range)).await?;
        let found: Entries = Manager::json(&answer)?;
        let lines = found
            .entries
            .into_iter()
            .map(|entry| Line::new(entry.at, [("unit".into(), expr.clone())].into(), entry.text));
        Ok(DataSet::of_lines(lines.collect()).with_truncated(found.more))
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new(self.0.version(cx).await?))
    }
}
