//! Where signals are read: the [`Datasource`] port.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CallContext, CheckReport, PortError};
use crate::time::Timestamp;

/// What is asked of a datasource. One that does not speak a kind of query refuses it as
/// [`PortErrorKind::Invalid`](super::PortErrorKind::Invalid).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum Query {
    /// PromQL at one moment.
    Instant {
        /// The expression.
        expr: String,
        /// When; `None`: now, by the datasource's clock.
        at: Option<Timestamp>,
    },
    /// PromQL over a range.
    Range {
        /// The expression.
        expr: String,
        /// The first moment.
        start: Timestamp,
        /// The last moment.
        end: Timestamp,
        /// Between two points.
        step: Duration,
    },
    /// Label names, or the values of one label.
    Labels {
        /// The label whose values are wanted; `None`: the names.
        label: Option<String>,
        /// Only of series that match these selectors.
        matchers: Vec<String>,
    },
    /// Log lines.
    Logs {
        /// The selector, in the datasource's language.
        expr: String,
        /// The first moment.
        start: Timestamp,
        /// The last moment.
        end: Timestamp,
        /// At most this many lines.
        limit: u32,
    },
    /// What changed: deployments, configuration, feature flags.
    Changes {
        /// The first moment.
        start: Timestamp,
        /// The last moment.
        end: Timestamp,
        /// Only about this namespace.
        namespace: Option<String>,
    },
}

/// One number at one moment. `NaN` and the infinities are values that PromQL can answer; JSON writes them as
/// `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
}

/// One series: its labels and points in order of time. An instant answer has one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Series {
    /// Its labels, `__name__` included when the answer has one.
    pub labels: BTreeMap<String, String>,
    /// Its points.
    pub points: Vec<Point>,
}

impl Series {
    /// A series of points, in order of time.
    #[must_use]
    pub fn new(labels: BTreeMap<String, String>, points: Vec<Point>) -> Self {
        Self { labels, points }
    }
}

/// One line of a log or one change event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Where it comes from.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub text: String,
}

impl Line {
    /// A line.
    pub fn new(at: Timestamp, labels: BTreeMap<String, String>, text: impl Into<String>) -> Self {
        Self { at, labels, text: text.into() }
    }
}

/// A datasource's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DataSet {
    /// Numbers.
    pub series: Vec<Series>,
    /// Texts.
    pub lines: Vec<Line>,
    /// Names or values of labels.
    pub names: Vec<String>,
    /// What the datasource warned of; partial answers are said here.
    pub warnings: Vec<String>,
    /// Whether something was left out to stay within limits.
    pub truncated: bool,
}

impl DataSet {
    /// An answer in numbers.
    #[must_use]
    pub fn of_series(series: Vec<Series>) -> Self {
        Self { series, ..Self::default() }
    }

    /// An answer in texts.
    #[must_use]
    pub fn of_lines(lines: Vec<Line>) -> Self {
        Self { lines, ..Self::default() }
    }

    /// An answer in names or values of labels.
    #[must_use]
    pub fn of_names(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// The same answer with what the datasource warned of.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// The same answer, said to be incomplete or not.
    #[must_use]
    pub fn with_truncated(mut self, truncated: bool) -> Self {
        self.truncated = truncated;
        self
    }
}

/// What a datasource is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatasourceInfo {
    /// The query language, such as `PromQL`.
    pub language: String,
    /// Whether it answers metric queries.
    pub metrics: bool,
    /// Whether it answers log queries.
    pub logs: bool,
    /// Whether it answers change queries.
    pub changes: bool,
}

impl DatasourceInfo {
    /// A datasource of metrics, in this query language.
    pub fn metrics(language: impl Into<String>) -> Self {
        Self { language: language.into(), metrics: true, logs: false, changes: false }
    }

    /// A datasource of logs, in this query language.
    pub fn logs(language: impl Into<String>) -> Self {
        Self { language: language.into(), metrics: false, logs: true, changes: false }
    }

    /// A datasource of what changed.
    pub fn changes(language: impl Into<String>) -> Self {
        Self { language: language.into(), metrics: false, logs: false, changes: true }
    }
}

/// Reads signals from one system, such as a Prometheus server.
///
/// **Implemented by** connector authors. **Called by** the evaluator (instant queries, one at a time per rule),
/// by investigations and by previews. An implementation MUST bound what it reads, say so in
/// [`DataSet::truncated`], and keep to [`CallContext::timeout`]. It MUST NOT retry by itself. Cancel safe.
///
/// ```
/// use rounds_core::async_trait;
/// use rounds_core::ports::{
///     CallContext, CheckReport, DataSet, Datasource, DatasourceInfo, Point, PortError, PortErrorKind, Query, Series,
/// };
///
/// /// Always the same number.
/// struct Constant(f64);
///
/// #[async_trait]
/// impl Datasource for Constant {
///     fn describe(&self) -> DatasourceInfo {
///         DatasourceInfo::metrics("anything")
///     }
///
///     async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
///         Ok(CheckReport::new("always there"))
///     }
///
///     async fn query(&self, _: &CallContext, query: &Query) -> Result<DataSet, PortError> {
///         match query {
///             Query::Instant { at, .. } => {
///                 let point = Point { at: at.unwrap_or_default(), value: self.0 };
///                 Ok(DataSet::of_series(vec![Series::new(Default::default(), vec![point])]))
///             }
///             _ => Err(PortError::new(PortErrorKind::Invalid, "found another query; an instant one is accepted")),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Datasource: Send + Sync {
    /// What this datasource answers.
    fn describe(&self) -> DatasourceInfo;

    /// Tests the connection.
    ///
    /// # Errors
    /// What was tried and what went wrong.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;

    /// Answers one query.
    ///
    /// # Errors
    /// The query is malformed, the datasource cannot be reached, refused the credentials or took too long.
    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError>;
}
