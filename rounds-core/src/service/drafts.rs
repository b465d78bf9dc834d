//! What a person or a program writes to have something made: a connector, a rule, a silence.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;
use crate::alert::{AlertRule, Condition, Operator, SeriesMode, Severity};
use crate::connector::Routing;
use crate::id::{AlertRuleId, ConnectorId, TeamId};

/// What an operator writes to make or change a connector. As JSON, its kind is `type` (`kind` is taken, too):
/// `{"type": "units", "name": "edge", "config": {…}, "secretRef": "env://TOKEN"}`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectorDraft {
    /// Its kind, such as `kubernetes`.
    #[serde(rename = "type", alias = "kind")]
    pub kind: String,
    /// Its name; unique in the organisation.
    pub name: String,
    /// Its config, as its kind's schema says.
    #[serde(default)]
    pub config: Value,
    /// Its secret, kept encrypted. On a change: absent keeps the one there is.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub secret: Option<SecretString>,
    /// Where its secret is: `env://VAR`, `file:///abs/path`, `vault://path#field`. Instead of `secret`.
    #[serde(default)]
    pub secret_ref: Option<String>,
    /// Whether it is the organisation's default for its role.
    #[serde(default)]
    pub is_default: bool,
    /// The team that owns it.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
    /// Of a notifier: which notices it hears of, and how often. Absent: everything, at once, and once; on a change: what
    /// there is stays.
    #[serde(default, deserialize_with = "routing")]
    pub routing: Option<Routing>,
}

/// Its errors name the field.
fn routing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Routing>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    Routing::read(value).map(Some).map_err(serde::de::Error::custom)
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

impl ConnectorDraft {
    /// A connector of a kind, with a name and an empty config.
    ///
    /// ```
    /// # use rounds_core::service::ConnectorDraft;
    /// let draft = ConnectorDraft::new("units", "edge")
    ///     .with_config(serde_json::json!({ "url": "http://127.0.0.1:9000", "allowedUnits": ["nginx.service"] }))
    ///     .with_secret("a token");
    /// assert!(!format!("{draft:?}").contains("a token"));
    /// ```
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            config: Value::Object(serde_json::Map::new()),
            secret: None,
            secret_ref: None,
            is_default: false,
            owner_team_id: None,
            routing: None,
        }
    }

    /// The same, hearing only of what a routing says: a notifier's.
    #[must_use]
    pub fn with_routing(mut self, routing: Routing) -> Self {
        self.routing = Some(routing);
        self
    }

    /// The same with a config.
    #[must_use]
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The same with a secret.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// The same with a place where its secret is: `env://VAR`, `file:///abs/path`, `vault://path#field`.
    #[must_use]
    pub fn with_secret_ref(mut self, reference: impl Into<String>) -> Self {
        self.secret_ref = Some(reference.into());
        self
    }
}

/// What a person writes to make or change a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleDraft {
    /// Its name; unique in the organisation.
    pub name: String,
    /// What it means and what to do, for people.
    #[serde(default)]
    pub description: String,
    /// When it is true.
    pub condition: Condition,
    /// Between two evaluations, in seconds.
    #[serde(default = "default_interval")]
    pub evaluation_interval_sec: u64,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// Labels, for routing and to find the workload.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Texts for people, such as `summary` and `runbook_url`; `{{ $labels.name }}` and `{{ $value }}` stand for what fires.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What it makes of several series: `first` (one alert; the first in label order counts) or `each` (an alert for each
    /// label set).
    #[serde(default)]
    pub series: SeriesMode,
    /// With `each`: whether a label set that the query no longer answers counts as 0 instead of being without data.
    #[serde(default)]
    pub absent_is_zero: bool,
    /// The datasource; absent: the organisation's default.
    #[serde(default)]
    pub datasource_id: Option<ConnectorId>,
    /// The team that owns it.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
}

impl RuleDraft {
    /// A rule on the organisation's default datasource, evaluated once a minute, at once when its condition holds.
    ///
    /// ```
    /// # use rounds_core::service::RuleDraft;
    /// use rounds_core::alert::Operator;
    /// let rule = RuleDraft::new("errors", "error_ratio", Operator::Gt, 0.05).with_for(300).with_interval(15);
    /// ```
    pub fn new(name: impl Into<String>, query: impl Into<String>, operator: Operator, threshold: f64) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            condition: Condition {
                query: query.into(),
                operator,
                threshold,
                for_duration_sec: 0,
                keep_firing_for_sec: 0,
            },
            evaluation_interval_sec: default_interval(),
            severity: Severity::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            series: SeriesMode::First,
            absent_is_zero: false,
            datasource_id: None,
            owner_team_id: None,
        }
    }

    /// The same, firing only after its condition held for so many seconds.
    #[must_use]
    pub fn with_for(mut self, seconds: u64) -> Self {
        self.condition.for_duration_sec = seconds;
        self
    }

    /// The same, with so many seconds between two evaluations.
    #[must_use]
    pub fn with_interval(mut self, seconds: u64) -> Self {
        self.evaluation_interval_sec = seconds;
        self
    }

    /// The same, with an alert for each label set.
    #[must_use]
    pub fn with_each_series(mut self) -> Self {
        self.series = SeriesMode::Each;
        self
    }

    /// The same, which goes on firing for so many seconds after its condition last held.
    #[must_use]
    pub fn with_keep_firing_for(mut self, seconds: u64) -> Self {
        self.condition.keep_firing_for_sec = seconds;
        self
    }

    /// The same on a datasource.
    #[must_use]
    pub fn with_datasource(mut self, id: ConnectorId) -> Self {
        self.datasource_id = Some(id);
        self
    }

    /// The same with labels, for routing and to find the workload.
    #[must_use]
    pub fn with_labels<K: Into<String>, V: Into<String>>(mut self, labels: impl IntoIterator<Item = (K, V)>) -> Self {
        self.labels.extend(labels.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }
}

/// What somebody would have to write to get this rule.
impl From<&AlertRule> for RuleDraft {
    fn from(rule: &AlertRule) -> Self {
        Self {
            name: rule.name.clone(),
            description: rule.description.clone(),
            condition: rule.condition.clone(),
            evaluation_interval_sec: rule.evaluation_interval_sec,
            severity: rule.severity,
            labels: rule.labels.clone(),
            annotations: rule.annotations.clone(),
            series: rule.series,
            absent_is_zero: rule.absent_is_zero,
            datasource_id: rule.datasource_id,
            owner_team_id: rule.owner_team_id,
        }
    }
}

fn default_interval() -> u64 {
    60
}

/// What a person writes to make a silence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SilenceDraft {
    /// One rule; absent: every rule that the matchers match.
    #[serde(default)]
    pub rule_id: Option<AlertRuleId>,
    /// Labels that a rule or its sample must carry.
    #[serde(default)]
    pub matchers: BTreeMap<String, String>,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// From when; absent: from now.
    #[serde(default)]
    pub starts_at: Option<Timestamp>,
    /// Until when.
    pub ends_at: Timestamp,
}
