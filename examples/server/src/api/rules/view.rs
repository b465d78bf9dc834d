//! A rule as the API shows it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rounds_core::alert::{AlertInstance, AlertState, Condition, SeriesMode, Severity};
use rounds_core::service::RuleView as Found;
use rounds_core::{AlertInstanceId, AlertRuleId, ConnectorId, InvestigationId, OrgId, TeamId};
use schemars::JsonSchema;
use serde::Serialize;

/// A rule with what was seen.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertRule")]
pub(super) struct RuleView {
    id: AlertRuleId,
    org_id: OrgId,
    name: String,
    description: String,
    condition: Condition,
    evaluation_interval_sec: u64,
    severity: Severity,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// `first`: one alert; `each`: one for each label set, in `instances`.
    series: SeriesMode,
    /// With `each`: whether a label set that the query no longer answers counts as 0.
    absent_is_zero: bool,
    /// Who evaluates it, when that is not Rounds: the name of the source whose notices say what fires.
    source: Option<String>,
    datasource_id: Option<ConnectorId>,
    owner_team_id: Option<TeamId>,
    enabled: bool,
    /// Whether rules are evaluated at all on this server.
    evaluated: bool,
    state: AlertState,
    state_changed_at: DateTime<Utc>,
    pending_since: Option<DateTime<Utc>>,
    firing_since: Option<DateTime<Utc>>,
    last_evaluated_at: Option<DateTime<Utc>>,
    last_value: Option<f64>,
    last_labels: BTreeMap<String, String>,
    last_error: Option<String>,
    /// What a reader should know: several series were folded to one.
    warning: Option<String>,
    investigation_id: Option<InvestigationId>,
    /// Its label sets that are or were on: what fires first.
    instances: Vec<InstanceView>,
    created_by: String,
    created_by_login: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// One label set of a rule.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertInstance")]
pub(super) struct InstanceView {
    id: AlertInstanceId,
    labels: BTreeMap<String, String>,
    /// What its source says of it, of an alert that another evaluates.
    annotations: BTreeMap<String, String>,
    state: AlertState,
    state_changed_at: DateTime<Utc>,
    pending_since: Option<DateTime<Utc>>,
    firing_since: Option<DateTime<Utc>>,
    last_value: Option<f64>,
    investigation_id: Option<InvestigationId>,
}

impl From<AlertInstance> for InstanceView {
    fn from(one: AlertInstance) -> Self {
        Self {
            id: one.id,
            labels: one.last_labels,
            annotations: one.annotations,
            state: one.state,
            state_changed_at: one.state_changed_at,
            pending_since: one.pending_since,
            firing_since: one.firing_since,
            last_value: one.last_value,
            investigation_id: one.investigation_id,
        }
    }
}

impl RuleView {
    /// What never changes: a rule may be sent back with these.
    pub(super) const FIXED: &'static [&'static str] =
        &["id", "orgId", "createdBy", "createdByLogin", "createdAt", "source"];

    /// What is seen and not written: passed over.
    pub(super) const SEEN: &'static [&'static str] = &[
        "evaluated",
        "state",
        "stateChangedAt",
        "pendingSince",
        "firingSince",
        "lastEvaluatedAt",
        "lastValue",
        "lastLabels",
        "lastError",
        "warning",
        "investigationId",
        "instances",
        "updatedAt",
    ];
}

impl From<Found> for RuleView {
    fn from(found: Found) -> Self {
        let state = found.state();
        let Found { rule, instance, series, evaluated, .. } = found;
        let seen = instance.as_ref();
        Self {
            id: rule.id,
            org_id: rule.org_id,
            name: rule.name,
            description: rule.description,
            condition: rule.condition,
            evaluation_interval_sec: rule.evaluation_interval_sec,
            severity: rule.severity,
            labels: rule.labels,
            annotations: rule.annotations,
            series: rule.series,
            absent_is_zero: rule.absent_is_zero,
            source: rule.source,
            datasource_id: rule.datasource_id,
            owner_team_id: rule.owner_team_id,
            enabled: rule.enabled,
            evaluated,
            state,
            state_changed_at: seen.map_or(rule.created_at, |seen| seen.state_changed_at),
            pending_since: seen.and_then(|seen| seen.pending_since),
            firing_since: seen.and_then(|seen| seen.firing_since),
            last_evaluated_at: seen.and_then(|seen| seen.last_evaluated_at),
            last_value: seen.and_then(|seen| seen.last_value),
            last_error: seen.and_then(|seen| seen.last_error.clone()),
            warning: seen.and_then(|seen| seen.warning.clone()),
            investigation_id: seen.and_then(|seen| seen.investigation_id),
            instances: series.into_iter().map(InstanceView::from).collect(),
            last_labels: instance.map(|seen| seen.last_labels).unwrap_or_default(),
            created_by: rule.created_by.id,
            created_by_login: rule.created_by.login,
            created_at: rule.created_at,
            updated_at: rule.updated_at,
        }
    }
}
