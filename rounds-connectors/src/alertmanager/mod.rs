//! Alertmanager, as a datasource: what fires now, beside the alert that is looked into, and who silenced what.
//!
//! **Asks** `GET /api/v2/alerts`, `/api/v2/silences` and `/api/v2/status`: the API v2 of Alertmanager 0.16 and later, and of
//! Mimir's (prefix `/alertmanager`, with a `tenant`). The credential needs to read, nothing else.
//!
//! **Answers**
//! - instant queries with a selector, `ALERTS{namespace="shop", alertstate="firing"}`: a series with the value 1 for each
//!   alert, with the labels of the alert, as Prometheus writes its own. `alertstate` is `firing`, or `suppressed` when a
//!   silence or another alert keeps it quiet. It is no PromQL: no functions, no operators, and only now;
//! - queries for changes: alerts that began in that time and have not ended, and silences that began or ended. Alertmanager
//!   forgets alerts that are resolved, so what began and ended in between is not there, and the answer says so.
//!
//! Matchers of the selector and of the config are applied by the server and again here.

mod answer;
mod config;
mod matcher;

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use reqwest::Method;
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, Clock as _, DataSet, Datasource, DatasourceInfo, Line, PortError, PortErrorKind, Query,
    SystemClock,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::answer::{Alert, Silence, Status};
use self::matcher::{Matcher, STATE};
use crate::http::status_kind;
pub use crate::source::Auth;
use crate::source::{Answer, Api, Credentials, check_stretch, invalid, one_line, timeout_of};
pub use config::AlertmanagerConfig;

/// How far from now a moment may be to count as now.
const NOW: TimeDelta = TimeDelta::minutes(5);

/// Silences looked at for one answer.
const SILENCES: usize = 2_000;

/// What a 404 that says nothing means.
const NO_API: &str = ": there is no Alertmanager here; `url` is the address before /api/v2, with the path prefix when the server has one";

/// An Alertmanager, as a [`Datasource`].
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::alertmanager::{Alertmanager, AlertmanagerConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::SecretHandle;
///
/// let config = serde_json::json!({ "url": "http://alertmanager:9093", "matchers": ["cluster=\"prod\""] });
/// let config: AlertmanagerConfig = serde_json::from_value(config)?;
/// let cx = BuildContext::new("alerts", SecretHandle::none(), Arc::new(Host::default()));
/// let alertmanager = Alertmanager::new(cx, config)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Alertmanager {
    api: Api,
    always: Vec<Matcher>,
    most: usize,
    timeout: Duration,
}

rounds_core::register_connector! {
    kind: "alertmanager",
    title: "Alertmanager",
    role: Datasource,
    secret: Optional("What `auth` needs: the password, the token, or a JSON object of secret headers."),
    config: AlertmanagerConfig,
    build: Alertmanager::new,
}

impl Alertmanager {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: AlertmanagerConfig) -> Result<Self, BuildError> {
        config.check_bounds()?;
        let always = config.always()?;
        let (timeout, _) = timeout_of(config.timeout_sec);
        Ok(Self { api: Api::new(&cx, &config.setup())?, always, most: config.max_alerts, timeout })
    }

    async fn answer(&self, query: &Query) -> Result<DataSet, PortError> {
        match query {
            Query::Instant { expr, at } => self.firing(expr, *at).await,
            Query::Changes { start, end, namespace } => self.changes(*start, *end, namespace.as_deref()).await,
            other => Err(invalid(format!(
                "an Alertmanager datasource answers instant queries such as ALERTS{{namespace=\"shop\"}} and queries for \
                 changes; found a query for {}: ask a datasource that has them",
                match other {
                    Query::Range { .. } => "a range of metrics (Alertmanager keeps no history)",
                    Query::Logs { .. } => "logs",
                    Query::Labels { .. } => "labels",
                    _ => "something else",
                }
            ))),
        }
    }

    async fn firing(&self, expr: &str, at: Option<Timestamp>) -> Result<DataSet, PortError> {
        let matchers = matcher::selector(expr)?;
        let now = SystemClock.now();
        let at = at.unwrap_or(now);
        if (now - at).abs() > NOW {
            return Err(invalid(format!("found the time {at}; Alertmanager knows only what fires now ({now})")));
        }
        let alerts = self.alerts(&matchers).await?;
        let series = alerts.iter().filter(|alert| {
            matchers.iter().filter(|matcher| matcher.name == STATE).all(|matcher| matcher.passes(alert.state()))
        });
        let mut series: Vec<_> = series.map(|alert| alert.series(at)).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let found = series.len();
        series.truncate(self.most);
        Ok(self.cut(DataSet::of_series(series), found, "the first in label order are kept"))
    }

    async fn changes(&self, start: Timestamp, end: Timestamp, namespace: Option<&str>) -> Result<DataSet, PortError> {
        check_stretch(start, end)?;
        let matchers: Vec<Matcher> = namespace.iter().map(|name| Matcher::equal("namespace", name)).collect();
        let alerts = self.alerts(&matchers).await?;
        let began = alerts.iter().filter(|alert| (start..=end).contains(&alert.starts_at)).map(Alert::line);
        let mut silences: Vec<Silence> = self.get("silences", &[]).await?;
        let there_are = silences.len();
        // What cannot be in the answer is not looked at any closer: of each, a pattern may have to be compiled.
        silences.retain(|silence| silence.may_show(start, end));
        silences.sort_by_key(|silence| std::cmp::Reverse(silence.starts_at));
        let relevant = silences.len();
        silences.truncate(SILENCES);
        let silences = silences
            .iter()
            .filter(|silence| namespace.is_none_or(|namespace| silence.may_be_about(namespace)))
            .flat_map(|silence| silence.lines(start, end));
        let mut lines: Vec<Line> = began.chain(silences).collect();
        lines.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
        let found = lines.len();
        lines.drain(..found.saturating_sub(self.most));
        let note = "alerts that began and were resolved again are not in it: Alertmanager forgets them".to_owned();
        let mut set = self.cut(DataSet::of_lines(lines).with_warnings(vec![note]), found, "the latest are kept");
        if relevant > SILENCES {
            set.truncated = true;
            set.warnings.push(format!(
                "{relevant} of {there_are} silences began or ended in that time, and only the {SILENCES} that began last \
                 were looked at: shorten the time"
            ));
        }
        Ok(set)
    }

    fn cut(&self, mut set: DataSet, found: usize, kept: &str) -> DataSet {
        if found > self.most {
            set.truncated = true;
            set.warnings.push(format!("{found} were found, and {kept} (maxAlerts {}): add matchers", self.most));
        }
        set
    }

    /// Alerts that are not resolved, the suppressed ones among them, and that pass the matchers.
    async fn alerts(&self, matchers: &[Matcher]) -> Result<Vec<Alert>, PortError> {
        let wanted = || self.always.iter().chain(matchers).filter(|matcher| !matcher.is_ours());
        let filters: Vec<(String, String)> =
            wanted().map(|matcher| ("filter".to_owned(), matcher.to_string())).collect();
        let mut alerts: Vec<Alert> = self.get("alerts", &filters).await?;
        alerts.retain(|alert| wanted().all(|matcher| matcher.fits(&alert.labels)));
        // A name that is none of ours selects nothing, as in PromQL.
        let named = |matcher: &&Matcher| matcher.is_ours() && matcher.name != STATE;
        if !matchers.iter().filter(named).all(|matcher| matcher.passes(matcher::NAME)) {
            alerts.clear();
        }
        Ok(alerts)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(String, String)]) -> Result<T, PortError> {
        let credentials = self.api.credentials().await?;
        let answer = self.api.exchange(Method::GET, &[path], parameters, &credentials).await?;
        if !answer.status.is_success() {
            return Err(failure(&answer, &credentials));
        }
        serde_json::from_slice(&answer.body).map_err(|error| answer.odd("Alertmanager's", &error, &credentials))
    }
}

/// Alertmanager explains itself in a JSON text, proxies in plain text.
fn failure(answer: &Answer, credentials: &Credentials) -> PortError {
    let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let said = said.and_then(|said| match said {
        Value::String(said) => Some(said),
        said => said["message"].as_str().or_else(|| said["error"].as_str()).map(str::to_owned),
    });
    let kind = status_kind(answer.status);
    let error = match said.map(|said| one_line(&credentials.redact(&said), 500)).filter(|said| !said.is_empty()) {
        Some(said) if kind == PortErrorKind::Invalid => PortError::new(kind, format!("the query was refused: {said}")),
        Some(said) if kind != PortErrorKind::Unauthorized => {
            PortError::new(kind, format!("{} answered HTTP {}: {said}", answer.url, answer.status.as_u16()))
        }
        _ => answer.failure(NO_API, credentials),
    };
    answer.asked_to_wait(error)
}

#[async_trait]
impl Datasource for Alertmanager {
    fn describe(&self) -> DatasourceInfo {
        let mut info = DatasourceInfo::changes("a selector of alerts: ALERTS{namespace=\"…\"}, no functions");
        info.metrics = true;
        info
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let what = format!("Alertmanager at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, async {
            // Some that are compatible, and some roles, lack the status; whether alerts are read is what counts.
            let status = match self.get::<Status>("status", &[]).await {
                Ok(status) => status,
                Err(error) if matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol) => {
                    Status::default()
                }
                Err(error) => return Err(error),
            };
            let alerts = self.alerts(&[]).await?.len();
            let version = status.version_info.map(|info| one_line(&info.version, 60)).filter(|text| !text.is_empty());
            let named = version.as_ref().map_or_else(
                || "a server that does not tell its version".to_owned(),
                |version| format!("version {version}"),
            );
            let mut facts = self.api.facts();
            facts.extend(version.map(|version| ("version".to_owned(), version)));
            facts.extend(status.cluster.map(|cluster| ("cluster".to_owned(), one_line(&cluster.status, 60))));
            facts.insert("alerts".to_owned(), alerts.to_string());
            Ok(CheckReport::new(format!("{what} answers: {named}, {alerts} alerts now")).with_facts(facts))
        })
        .await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let what = format!("Alertmanager at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, self.answer(query)).await
    }
}
