//! Prometheus and everything that speaks its query API: Thanos, Mimir, Cortex, VictoriaMetrics.
//!
//! **Asks** `POST /api/v1/query`, `/query_range` and `/labels` (with GET where POST is refused), `GET
//! /api/v1/label/<name>/values` and `/status/buildinfo`: the stable HTTP API of Prometheus 2 and 3. The credential needs to
//! read, nothing else.
//!
//! **Tenants and options.** Mimir and Cortex read the tenant from `X-Scope-OrgID` (`tenant`; up to 150 characters of a small
//! set, `a|b` where tenant federation is on) under the prefix `/prometheus`. VictoriaMetrics in a cluster has the account in
//! the path, `/select/<accountID>/prometheus`, and Thanos and VictoriaMetrics take parameters beside the query
//! (`queryParams`). The parameters of the query itself cannot be set there, so a config cannot ask something else than a
//! rule says. Thanos's warnings of partial answers and VictoriaMetrics's `isPartial` are warnings of the answer.

mod answer;
mod config;
pub(crate) mod promql;
mod request;

use std::time::Duration;

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, PortError, PortErrorKind, Query,
};

use self::answer::{Bounds, BuildInfo, QueryData};
pub use crate::source::Auth;
use crate::source::{Api, invalid, timeout_of};
pub use config::{PrometheusConfig, Values};
pub use promql::{can_be_parsed, lint};

/// Prometheus refuses ranges with more points than this per series; saying so beforehand costs no round trip.
const MAX_POINTS: u128 = 11_000;

/// A Prometheus-compatible server, as a [`Datasource`].
///
/// ```
/// # use std::sync::Arc;
/// use rounds_connectors::prometheus::{Prometheus, PrometheusConfig};
/// use rounds_core::plugin::{BuildContext, Host};
/// use rounds_core::ports::SecretHandle;
///
/// let config: PrometheusConfig = serde_json::from_value(serde_json::json!({ "url": "http://prometheus:9090" }))?;
/// let cx = BuildContext::new("metrics", SecretHandle::none(), Arc::new(Host::default()));
/// let prometheus = Prometheus::new(cx, config)?;
///
/// let leaky: PrometheusConfig = serde_json::from_value(serde_json::json!({ "url": "http://me:pw@prometheus" }))?;
/// let cx = BuildContext::new("metrics", SecretHandle::none(), Arc::new(Host::default()));
/// assert!(Prometheus::new(cx, leaky).is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Prometheus {
    api: Api,
    /// What is sent with every query beside the query.
    parameters: Vec<(String, String)>,
    bounds: Bounds,
    timeout: Duration,
}

rounds_core::register_connector! {
    kind: "prometheus",
    title: "Prometheus",
    role: Datasource,
    secret: Optional("What `auth` needs: the password, the token, or a JSON object of secret headers."),
    config: PrometheusConfig,
    build: Prometheus::new,
}

impl Prometheus {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or this host lacks what the address needs.
    pub fn new(cx: BuildContext, config: PrometheusConfig) -> Result<Self, BuildError> {
        config.check_bounds()?;
        let bounds = Bounds { series: config.max_series, samples: config.max_samples };
        let (timeout, _) = timeout_of(config.timeout_sec);
        let parameters = config.parameters()?;
        Ok(Self { api: Api::new(&cx, &config.setup())?, parameters, bounds, timeout })
    }

    async fn answer(&self, query: &Query) -> Result<DataSet, PortError> {
        match query {
            Query::Instant { expr, at } => {
                let mut form = vec![("query", expr.clone())];
                form.extend(at.map(|at| ("time", seconds(at))));
                self.samples("query", form).await
            }
            Query::Range { expr, start, end, step } => {
                check_range(*start, *end, *step)?;
                let form = vec![
                    ("query", expr.clone()),
                    ("start", seconds(*start)),
                    ("end", seconds(*end)),
                    ("step", step.as_secs_f64().to_string()),
                ];
                self.samples("query_range", form).await
            }
            Query::Labels { label, matchers } => {
                let form: Vec<_> = matchers.iter().map(|matcher| ("match[]", matcher.clone())).collect();
                let mut envelope = match label {
                    None => request::post::<Vec<String>>(&self.api, &["labels"], &self.with(form)).await?,
                    Some(label) => {
                        if label.is_empty() || label.contains('/') || matches!(label.as_str(), "." | "..") {
                            return Err(PortError::new(
                                PortErrorKind::Invalid,
                                "the name of a label is expected, such as `namespace`",
                            ));
                        }
                        request::get::<Vec<String>>(&self.api, &["label", label, "values"], &self.with(form)).await?
                    }
                };
                let notes = envelope.notes();
                Ok(answer::names(envelope.data.unwrap_or_default(), notes, self.bounds))
            }
            other => Err(PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "a Prometheus datasource answers instant, range and label queries; found a query for {}: ask a \
                     datasource that has them",
                    match other {
                        Query::Logs { .. } => "logs",
                        Query::Changes { .. } => "changes",
                        _ => "something else",
                    }
                ),
            )),
        }
    }

    /// What a query says, with what the config adds to every one.
    fn with(&self, form: Vec<(&'static str, String)>) -> Vec<(String, String)> {
        let form = form.into_iter().map(|(name, value)| (name.to_owned(), value));
        form.chain(self.parameters.iter().cloned()).collect()
    }

    async fn samples(&self, endpoint: &str, form: Vec<(&'static str, String)>) -> Result<DataSet, PortError> {
        let mut envelope = request::post::<QueryData>(&self.api, &[endpoint], &self.with(form)).await?;
        let notes = envelope.notes();
        let Some(data) = envelope.data else {
            return Err(request::malformed(&self.api, &[endpoint], "a success without `data`"));
        };
        answer::data_set(data, notes, self.bounds)
            .map_err(|malformed| request::malformed(&self.api, &[endpoint], &malformed.0))
    }

    async fn version(&self) -> Result<Option<String>, PortError> {
        match request::get::<BuildInfo>(&self.api, &["status", "buildinfo"], &[]).await {
            Ok(envelope) => Ok(envelope.data.map(|info| info.version).filter(|version| !version.is_empty())),
            // Compatible servers may lack it; whether they answer queries is what counts. Refused credentials
            // and unreachable servers are final.
            Err(error) if matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Protocol) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Unix seconds with all the digits that a [`Timestamp`] has.
fn seconds(at: Timestamp) -> String {
    let micros = at.timestamp_micros();
    format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
}

fn check_range(start: Timestamp, end: Timestamp, step: Duration) -> Result<(), PortError> {
    let invalid = |message: String| Err(invalid(message));
    if step < Duration::from_millis(1) {
        return invalid("the step of a range query is at least a millisecond".into());
    }
    let Ok(range) = (end - start).to_std() else {
        return invalid(format!("a range query ends after it starts; found {start} to {end}"));
    };
    let points = range.as_micros() / step.as_micros() + 1;
    if points > MAX_POINTS {
        let fitting =
            Duration::from_micros(u64::try_from(range.as_micros() / (MAX_POINTS - 1) + 1).unwrap_or(u64::MAX));
        return invalid(format!(
            "the range has {points} points per series and {MAX_POINTS} are the most: use a step of at least {} s or \
             a shorter range",
            fitting.as_secs() + 1
        ));
    }
    Ok(())
}

#[async_trait]
impl Datasource for Prometheus {
    fn describe(&self) -> DatasourceInfo {
        DatasourceInfo::metrics("PromQL")
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        let what = format!("Prometheus at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, async {
            let version = self.version().await?;
            let answer = self.answer(&Query::Instant { expr: "1".into(), at: None }).await?;
            let works = answer.series.first().and_then(|series| series.points.first()).is_some();
            if !works {
                return Err(request::malformed(&self.api, &["query"], "no value for the query `1`"));
            }
            let named = version.as_ref().map_or_else(
                || "a Prometheus-compatible server that does not tell its version".to_owned(),
                |version| format!("version {version}"),
            );
            let mut facts = self.api.facts();
            facts.extend(version.map(|version| ("version".to_owned(), version)));
            Ok(CheckReport::new(format!("{what} answers queries: {named}")).with_facts(facts))
        })
        .await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let what = format!("Prometheus at {}", self.api.base());
        crate::http::within(cx, self.timeout, &what, self.answer(query)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_too_fine_names_the_step_that_works() {
        let start = Timestamp::from_timestamp_millis(0).expect("a time");
        let end = start + chrono::TimeDelta::days(30);
        let error = check_range(start, end, Duration::from_secs(15)).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert!(error.message.contains("step of at least 236 s"), "{error}");
        assert!(check_range(start, end, Duration::from_secs(236)).is_ok());
        assert!(check_range(end, start, Duration::from_secs(236)).is_err());
        assert!(check_range(start, end, Duration::ZERO).is_err());
    }

    #[test]
    fn moments_are_sent_with_all_their_digits() {
        let at = Timestamp::from_timestamp_micros(1_785_424_739_123_456).expect("a time");
        assert_eq!(seconds(at), "1785424739.123456");
    }
}
