use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Actor;
use crate::id::{AlertRuleId, ConnectorId, OrgId, TeamId};
use crate::time::Timestamp;

/// How the value is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// Greater.
    #[serde(rename = ">")]
    Gt,
    /// Greater or equal.
    #[serde(rename = ">=")]
    Ge,
    /// Less.
    #[serde(rename = "<")]
    Lt,
    /// Less or equal.
    #[serde(rename = "<=")]
    Le,
    /// Equal.
    #[serde(rename = "==")]
    Eq,
    /// Not equal.
    #[serde(rename = "!=")]
    Ne,
}

impl Operator {
    /// Whether `value OP threshold`. With `NaN` only `!=` holds, as in PromQL.
    #[must_use]
    #[allow(clippy::float_cmp, reason = "PromQL compares floats exactly")]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Gt => value > threshold,
            Self::Ge => value >= threshold,
            Self::Lt => value < threshold,
            Self::Le => value <= threshold,
            Self::Eq => value == threshold,
            Self::Ne => value != threshold,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Eq => "==",
            Self::Ne => "!=",
        })
    }
}

/// When a rule is true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// PromQL. When it answers several series, [`AlertRule::series`] says what counts.
    pub query: String,
    /// How the value is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub threshold: f64,
    /// How long it must hold before the alert fires, in seconds; 0: at once.
    #[serde(default)]
    pub for_duration_sec: u64,
    /// How long it goes on firing after it last held, in seconds; 0: it resolves at once. Prometheus calls it
    /// `keep_firing_for`: it keeps an alert that flaps from resolving in between.
    #[serde(default)]
    pub keep_firing_for_sec: u64,
}

/// What a rule makes of an answer of several series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeriesMode {
    /// One alert: the first series in label order counts, and a warning says that there are more.
    #[default]
    First,
    /// One alert for each label set: its own state, history, cooldown and investigation. A label set that the query no
    /// longer answers ends as a series without data does.
    Each,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look today.
    Low,
    /// Somebody should look soon.
    Medium,
    /// Somebody should look soon; Alertmanager's usual word.
    #[default]
    Warning,
    /// Somebody should look now.
    High,
    /// Somebody is woken.
    Critical,
}

impl Severity {
    /// The severity behind the words that people use for them in labels: `page` is critical, `error` is high.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "critical" | "page" | "emergency" => Self::Critical,
            "high" | "error" | "major" => Self::High,
            "warning" | "warn" => Self::Warning,
            "medium" => Self::Medium,
            "low" | "minor" => Self::Low,
            "info" | "information" | "none" => Self::Info,
            _ => return None,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::Warning => "warning",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// A PromQL query on a datasource with a condition, evaluated on an interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// The rule.
    pub id: AlertRuleId,
    /// Its organisation.
    pub org_id: OrgId,
    /// Its name; unique in the organisation.
    pub name: String,
    /// What it means and what to do, for people.
    pub description: String,
    /// When it is true.
    pub condition: Condition,
    /// Between two evaluations, in seconds.
    pub evaluation_interval_sec: u64,
    /// How bad it is.
    pub severity: Severity,
    /// Labels, for routing and to find the workload.
    pub labels: BTreeMap<String, String>,
    /// What Prometheus calls annotations: texts for people, such as `summary` and `runbook_url`, in which
    /// `{{ $labels.name }}` and `{{ $value }}` stand for what fires. See [`annotated`](super::annotated).
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What it makes of several series.
    #[serde(default)]
    pub series: SeriesMode,
    /// With an alert for each label set: whether one that the query no longer answers counts as 0, as an expression that answers
    /// only while it is true wants it. Otherwise it is without data.
    #[serde(default)]
    pub absent_is_zero: bool,
    /// Who evaluates it, when that is not Rounds: the name of the source whose notices say what fires, such as
    /// `alertmanager`. Its condition is then what the source said of it, and nobody asks a datasource.
    #[serde(default)]
    pub source: Option<String>,
    /// The datasource; `None`: the organisation's default.
    pub datasource_id: Option<ConnectorId>,
    /// The team that owns it.
    pub owner_team_id: Option<TeamId>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A rule that cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRule {
    /// The field, as JSON names it.
    pub field: &'static str,
    /// What was found and what would be accepted.
    pub message: String,
}

impl AlertRule {
    /// The longest text of names, queries and labels.
    pub const TEXT_MAX: usize = 16 * 1024;

    /// Checks what a person typed. PromQL itself is the datasource's to judge.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn validate(&self) -> Result<(), InvalidRule> {
        let invalid = |field, message: String| Err(InvalidRule { field, message });
        if self.name.trim().is_empty() || self.name.len() > 200 {
            return invalid("name", "a name of 1 to 200 bytes is expected".into());
        }
        // What another evaluates need not be known here.
        let needs_query = self.source.is_none();
        if (needs_query && self.condition.query.trim().is_empty()) || self.condition.query.len() > Self::TEXT_MAX {
            return invalid("condition.query", format!("PromQL of 1 to {} bytes is expected", Self::TEXT_MAX));
        }
        if !self.condition.threshold.is_finite() {
            return invalid("condition.threshold", "a finite number is expected".into());
        }
        if self.condition.for_duration_sec > 7 * 86_400 {
            let found = self.condition.for_duration_sec;
            return invalid("condition.forDurationSec", format!("found {found}; 0 to 604800 (7 days) is accepted"));
        }
        if self.condition.keep_firing_for_sec > 7 * 86_400 {
            let found = self.condition.keep_firing_for_sec;
            return invalid("condition.keepFiringForSec", format!("found {found}; 0 to 604800 (7 days) is accepted"));
        }
        if !(1..=86_400).contains(&self.evaluation_interval_sec) {
            let found = self.evaluation_interval_sec;
            return invalid("evaluationIntervalSec", format!("found {found}; 1 to 86400 (a day) is accepted"));
        }
        for (field, texts) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            let text: usize = texts.iter().map(|(name, value)| name.len() + value.len()).sum();
            if texts.len() > 64 || text > Self::TEXT_MAX {
                return invalid(field, format!("at most 64 {field} of 16 KiB together are accepted"));
            }
        }
        Ok(())
    }

    /// Whether it has an alert for each label set.
    #[must_use]
    pub fn is_each(&self) -> bool {
        self.series == SeriesMode::Each || self.source.is_some()
    }

    /// Its labels and those of its sample, as Prometheus would send them on: of two of one name the rule's, and
    /// `alertname` is its name unless something else is. What a sample carries beyond [`Self::TEXT_MAX`] bytes is left out.
    #[must_use]
    pub fn labels_with(&self, sample: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.entry("alertname".into()).or_insert_with(|| self.name.clone());
        let mut room = Self::TEXT_MAX;
        for (name, value) in sample.iter().filter(|(name, _)| !name.starts_with("__")) {
            if let Some(left) = room.checked_sub(name.len() + value.len()) {
                room = left;
                labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        labels
    }

    /// Between two evaluations.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.evaluation_interval_sec.max(1))
    }

    /// Whether two versions of a rule watch the same thing in the same way. When they do not, what was seen
    /// before says nothing about the new one, and its instance starts over.
    #[must_use]
    pub fn watches_the_same(&self, other: &Self) -> bool {
        self.condition == other.condition
            && self.datasource_id == other.datasource_id
            && self.series == other.series
            && self.absent_is_zero == other.absent_is_zero
    }
}
