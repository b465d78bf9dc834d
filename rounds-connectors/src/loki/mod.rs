//! Loki, as a datasource of logs.
//!
//! **Asks** `GET /loki/api/v1/query_range` (backwards, with a limit), `/labels`, `/label/<name>/values` and
//! `/status/buildinfo`: the HTTP API of Loki 2 and 3. `/ready` is not asked: gateways do not pass it on, and it says nothing
//! of tenant and credentials. The credential needs to read logs, nothing else; where Loki runs with `auth_enabled`, every
//! request needs a tenant.
//!
//! **Answers** queries for lines, with the labels of their streams, what a parser of the query found, and structured
//! metadata; and the names and values of labels, of the last six hours as Loki has it. LogQL for numbers (`rate(…)`) is
//! refused: a stream selector comes first. Lines are the newest of the stretch, oldest first.
//!
//! **Limits**: `maxLines` (Loki's `max_entries_limit_per_query` is 5000 by default), `maxLineBytes`, `maxBodyBytes`,
//! `timeoutSec`. What is cut off is said.

mod answer;
mod config;
mod logql;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, PortError, PortErrorKind, Query,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::answer::{Bounds, Envelope, QueryData};
use crate::http::status_kind;
pub use crate::source::Auth;
use crate::source::{Answer, Api, Credentials, check_stretch, invalid, one_line, timeout_of};
pub use config::LokiConfig;

/// Names or values of labels kept of one answer.
const NAMES: usize = 10_000;

/// What a 404 that says nothing means.
const NO_API: &str =
    ": there is no Loki here; `url` is the address before /loki/api/v1, with the path prefix when the server has one";

/// A Loki, as a [`Datasource`].
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::loki::{Loki, LokiConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::SecretHandle;
///
/// let config = serde_json::json!({ "url": "http://loki-gateway.logging", "tenant": "team-a" });
/// let config: LokiConfig = serde_json::from_value(config)?;
/// let cx = BuildContext::new("logs", SecretHandle::none(), Arc::new(Host::default()));
/// let loki = Loki::new(cx, config)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loki {
    api: Api,
    bounds: Bounds,
    timeout: Duration,
}

rounds_core::register_connector! {
    kind: "loki",
    title: "Loki",
    role: Datasource,
    secret: Optional("What `auth` needs: the password, the token, or a JSON object of secret headers."),
    config: LokiConfig,
    build: Loki::new,
}

impl Loki {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: LokiConfig) -> Result<Self, BuildError> {
        config.check_bounds()?;
        let bounds = Bounds { lines: config.max_lines, line_bytes: config.max_line_bytes };
        let (timeout, _) = timeout_of(config.timeout_sec);
        Ok(Self { api: Api::new(&cx, &config.setup())?, bounds, timeout })
    }

    async fn answer(&self, query: &Query) -> Result<DataSet, PortError> {
        match query {
            Query::Logs { expr, start, end, limit } => self.logs(expr, *start, *end, *limit).await,
            Query::Labels { label, matchers } => self.labels(label.as_deref(), matchers).await,
            other => Err(invalid(format!(
                "a Loki datasource answers queries for logs and labels; found a query for {}: ask a datasource that has \
                 them",
                match other {
                    Query::Instant { .. } | Query::Range { .. } => "metrics",
                    Query::Changes { .. } => "changes",
                    _ => "something else",
                }
            ))),
        }
    }

    async fn logs(&self, expr: &str, start: Timestamp, end: Timestamp, limit: u32) -> Result<DataSet, PortError> {
        logql::check(expr)?;
        check_stretch(start, end)?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        if wanted == 0 {
            return Err(invalid("limit: found 0; at least one line is expected"));
        }
        let bounds = Bounds { lines: wanted.min(self.bounds.lines), ..self.bounds };
        let parameters = [
            ("query", expr.to_owned()),
            ("start", nanos(start, 0)?),
            // Loki leaves the end out of the stretch; a query's last moment belongs to it.
            ("end", nanos(end, 1)?),
            ("limit", bounds.lines.to_string()),
            ("direction", "backward".to_owned()),
        ];
        let path = ["query_range"];
        let envelope: Envelope<QueryData> = self.get(&path, &parameters).await?;
        let notes = envelope.warnings.unwrap_or_default();
        match envelope.data {
            Some(QueryData::Streams(streams)) => {
                answer::lines(streams, notes, bounds).map_err(|malformed| self.malformed(&path, &malformed.0))
            }
            Some(_) => Err(invalid("the query answers numbers; a LogQL query for lines is expected")),
            None => Err(self.malformed(&path, "a success without `data`")),
        }
    }

    async fn labels(&self, label: Option<&str>, matchers: &[String]) -> Result<DataSet, PortError> {
        let parameters = match matchers {
            [] => Vec::new(),
            [selector] => {
                logql::check(selector)?;
                vec![("query", selector.clone())]
            }
            several => {
                let found = several.len();
                return Err(invalid(format!(
                    "found {found} selectors; Loki takes one: {{namespace=\"shop\", app=\"web\"}}"
                )));
            }
        };
        let envelope: Envelope<Vec<String>> = match label {
            None => self.get(&["labels"], &parameters).await?,
            Some(label) => {
                if label.is_empty() || label.contains('/') || matches!(label, "." | "..") {
                    return Err(invalid("the name of a label is expected, such as `namespace`"));
                }
                self.get(&["label", label, "values"], &parameters).await?
            }
        };
        let mut names = envelope.data.unwrap_or_default();
        names.sort_unstable();
        names.dedup();
        let found = names.len();
        names.truncate(NAMES);
        let mut set = DataSet::of_names(names).with_warnings(envelope.warnings.unwrap_or_default());
        if found > NAMES {
            set.truncated = true;
            set.warnings.push(format!("{found} names were found, the first {NAMES} are kept"));
        }
        Ok(set)
    }

    async fn exchange(&self, path: &[&str], parameters: &[(&str, String)]) -> Result<(Answer, Credentials), PortError> {
        let credentials = self.api.credentials().await?;
        let parameters: Vec<(String, String)> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let answer = self.api.exchange(Method::GET, path, &parameters, &credentials).await?;
        if answer.status.is_success() { Ok((answer, credentials)) } else { Err(failure(&answer, &credentials)) }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        parameters: &[(&str, String)],
    ) -> Result<Envelope<T>, PortError> {
        let (answer, credentials) = self.exchange(path, parameters).await?;
        let envelope: Envelope<T> =
            serde_json::from_slice(&answer.body).map_err(|error| answer.odd("Loki's", &error, &credentials))?;
        if envelope.status != "success" {
            let status = one_line(&credentials.redact(&envelope.status), 40);
            return Err(self.malformed(path, &format!("the status \"{status}\"")));
        }
        Ok(envelope)
    }

    fn malformed(&self, path: &[&str], found: &str) -> PortError {
        let url = self.api.endpoint(path);
        PortError::new(PortErrorKind::Protocol, format!("{url} does not answer as Loki does: found {found}"))
    }

    /// What the server says it is; `None`: it does not say. Refused credentials and unreachable servers are final.
    async fn version(&self) -> Result<Option<String>, PortError> {
        match self.exchange(&["status", "buildinfo"], &[]).await {
            Ok((answer, credentials)) => {
                let info: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let version = info["version"].as_str().or_else(|| info["data"]["version"].as_str());
                Ok(version
                    .map(|version| one_line(&credentials.redact(version), 60))
                    .filter(|version| !version.is_empty()))
            }
            Err(error) if matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A moment in nanoseconds since 1970, and a few more.
fn nanos(at: Timestamp, more: i64) -> Result<String, PortError> {
    let nanos = at.timestamp_nanos_opt().and_then(|nanos| nanos.checked_add(more));
    nanos.map(|nanos| nanos.to_string()).ok_or_else(|| invalid(format!("Loki knows no time as far away as {at}")))
}

/// Loki explains itself in plain text, some gateways in JSON.
fn failure(answer: &Answer, credentials: &Credentials) -> PortError {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let field = |name: &str| json.as_ref().and_then(|json| json[name].as_str());
    let said = match field("message").or_else(|| field("error")) {
        Some(said) => said.to_owned(),
        None if answer.content_type.starts_with("text/plain") => String::from_utf8_lossy(&answer.body).into_owned(),
        None => String::new(),
    };
    let said = one_line(&credentials.redact(&said), 500);
    let (url, code) = (&answer.url, answer.status.as_u16());
    let kind = status_kind(answer.status);
    // It is the one thing that every new installation meets.
    if said.contains("no org id") {
        let message = format!("{url} answered HTTP {code}: {said}: this Loki has tenants, so set `tenant`");
        return PortError::new(PortErrorKind::Unauthorized, message);
    }
    let error = match (kind, said.is_empty()) {
        (PortErrorKind::Invalid, false) if answer.status != StatusCode::NOT_FOUND => {
            PortError::new(kind, format!("the query was refused: {said}"))
        }
        (PortErrorKind::Unavailable | PortErrorKind::Timeout | PortErrorKind::RateLimited, false) => {
            PortError::new(kind, format!("{url} answered HTTP {code}: {said}"))
        }
        _ => answer.failure(NO_API, credentials),
    };
    answer.asked_to_wait(error)
}

#[async_trait]
impl Datasource for Loki {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::logs("LogQL")
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let what = format!("Loki at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, async {
            let version = self.version().await?;
            let labels = self.labels(None, &[]).await?.names.len();
            let named = version.as_ref().map_or_else(
                || "a Loki that does not tell its version".to_owned(),
                |version| format!("version {version}"),
            );
            let mut facts = self.api.facts();
            facts.extend(version.map(|version| ("version".to_owned(), version)));
            facts.insert("labels".to_owned(), labels.to_string());
            if labels == 0 {
                facts
                    .entry("warning".to_owned())
                    .or_insert_with(|| "nothing was logged in the last hours: is `tenant` the right one?".to_owned());
            }
            Ok(CheckReport::new(format!("{what} answers queries: {named}, {labels} labels")).with_facts(facts))
        })
        .await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let what = format!("Loki at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, self.answer(query)).await
    }
}
