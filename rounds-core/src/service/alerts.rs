//! Alert rules, their state and history. What a person asks of one is in `asking.rs`, silences in `silences.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::drafts::RuleDraft;
use super::error::Error;
use super::evaluator::transition;
use super::guard::{SLACK, guarded};
use super::series;
use super::shared::Shared;
use crate::access::{Action, Principal, Scope};
use crate::alert::{
    AlertInstance, AlertRule, AlertState, Condition, Evaluation, HistoryRow, disable, enable, remove, reset,
};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{AlertRuleId, ConnectorId, PlanId};
use crate::ports::store::{Commit, Key, ListQuery, RecordKind, StoreExt, Versioned};
use crate::ports::{CallContext, DataSet, EventSubject, PortError, PortErrorKind, Query};
use crate::time::Timestamp;

/// Alert rules. Every method authorizes the principal itself.
pub struct Alerts<'a> {
    pub(crate) shared: &'a Shared,
}

/// A rule with the state of what it watches.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleView {
    /// The rule.
    pub rule: AlertRule,
    /// What was seen of the rule as a whole; `None` before its first evaluation.
    pub instance: Option<AlertInstance>,
    /// Its label sets that are or were on, of a rule that has an alert for each: what fires first, then in label order.
    pub series: Vec<AlertInstance>,
    /// Whether rules are evaluated at all.
    pub evaluated: bool,
}

impl RuleView {
    /// The state to show.
    #[must_use]
    pub fn state(&self) -> AlertState {
        match &self.instance {
            _ if !self.rule.enabled => AlertState::Disabled,
            Some(instance) => instance.state,
            None => AlertState::Normal,
        }
    }
}

/// What a rule would say right now.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The value, of the first series in label order.
    pub value: Option<f64>,
    /// Whether the condition holds.
    pub holds: bool,
    /// The whole answer.
    pub answer: DataSet,
}

impl Alerts<'_> {
    /// Makes a rule. It is evaluated at once.
    ///
    /// # Errors
    /// `alert.rules:write` is missing, a field does not hold, the name is taken, or the datasource is unknown.
    pub async fn create(&self, who: &Principal, draft: RuleDraft) -> Result<RuleView, Error> {
        self.may_write(who).await?;
        self.add(who, draft, true).await
    }

    /// A draft as a rule of its own.
    pub(super) fn drafted(&self, who: &Principal, draft: RuleDraft, enabled: bool) -> AlertRule {
        let now = self.shared.now();
        AlertRule {
            id: AlertRuleId::new(),
            org_id: who.org_id.clone(),
            name: draft.name,
            description: draft.description,
            condition: draft.condition,
            evaluation_interval_sec: draft.evaluation_interval_sec,
            severity: draft.severity,
            labels: draft.labels,
            annotations: draft.annotations,
            series: draft.series,
            absent_is_zero: draft.absent_is_zero,
            source: None,
            datasource_id: draft.datasource_id,
            owner_team_id: draft.owner_team_id,
            enabled,
            created_by: who.actor(),
            created_at: now,
            updated_at: now,
        }
    }

    async fn add(&self, who: &Principal, draft: RuleDraft, enabled: bool) -> Result<RuleView, Error> {
        let rule = self.drafted(who, draft, enabled);
        self.check(&rule).await?;
        let instance = AlertInstance::new(&rule, rule.created_at);
        let commit = Commit::new()
            .insert(rule.clone())
            .insert(instance.clone())
            .audit(self.entry(who, "alert_rule.create", &rule))
            .event(self.event(&rule, "created"));
        self.shared.store.commit(commit).await?;
        Ok(self.view(rule, Some(instance), Vec::new()))
    }

    /// Makes a rule, or changes the one of that name to this: for programs that bring their rules along and start more than
    /// once. One that is so already is left alone, with its state; whether it is switched on stays as it is.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn ensure(&self, who: &Principal, draft: RuleDraft) -> Result<RuleView, Error> {
        self.may_write(who).await?;
        self.may_read(who).await?;
        let found = self.shared.store.rule_named(&who.org_id, &draft.name).await?.map(|found| found.value);
        match found {
            Some(found) if RuleDraft::from(&found) == draft => self.get(who, found.id).await,
            Some(found) => self.update(who, found.id, draft).await,
            None => match self.create(who, draft.clone()).await {
                // Another replica was faster.
                Err(Error::Conflict { code: "name_taken", .. }) => Box::pin(self.ensure(who, draft)).await,
                made => made,
            },
        }
    }

    /// Whether a rule could be made of a draft, by everything but its name being taken. Changes nothing.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn check_draft(&self, who: &Principal, draft: &RuleDraft) -> Result<(), Error> {
        self.may_write(who).await?;
        self.check(&self.drafted(who, draft.clone(), true)).await
    }

    /// One rule with its state.
    ///
    /// # Errors
    /// There is none in the principal's organisation, or `alert.rules:read` is missing.
    pub async fn get(&self, who: &Principal, id: AlertRuleId) -> Result<RuleView, Error> {
        self.may_read(who).await?;
        let rule = self.load(who, id).await?.value;
        let instance = self.shared.store.instance_of(id).await?.map(|found| found.value);
        let series = if rule.is_each() { series::of_rule(self.shared, id).await? } else { Vec::new() };
        Ok(self.view(rule, instance, series.into_iter().map(|found| found.value).collect()))
    }

    /// Every rule of the organisation with its state, oldest first.
    ///
    /// # Errors
    /// `alert.rules:read` is missing.
    pub async fn list(&self, who: &Principal) -> Result<Vec<RuleView>, Error> {
        self.may_read(who).await?;
        let of = |kind| ListQuery { org: Some(who.org_id.clone()), ..ListQuery::new(kind) };
        let rules: Vec<Versioned<AlertRule>> = self.shared.store.all(of(RecordKind::AlertRule)).await?;
        let instances: Vec<Versioned<AlertInstance>> = self.shared.store.all(of(RecordKind::AlertInstance)).await?;
        let mut by_rule: BTreeMap<AlertRuleId, (Option<AlertInstance>, Vec<AlertInstance>)> = BTreeMap::new();
        for Versioned { value, .. } in instances {
            let (whole, series) = by_rule.entry(value.rule_id).or_default();
            match value.series {
                None => *whole = Some(value),
                Some(_) => series.push(value),
            }
        }
        Ok(rules
            .into_iter()
            .map(|found| {
                let (whole, series) = by_rule.remove(&found.value.id).unwrap_or_default();
                self.view(found.value, whole, series)
            })
            .collect())
    }

    /// Changes a rule. When its query, condition or datasource changes, its state starts over.
    ///
    /// # Errors
    /// As [`create`](Self::create), and there is no such rule.
    pub async fn update(&self, who: &Principal, id: AlertRuleId, draft: RuleDraft) -> Result<RuleView, Error> {
        self.may_write(who).await?;
        self.rewrite(who, id, None, |_| Ok(Some(draft.clone()))).await
    }

    /// Changes a rule for whoever may do it: a person who was authorized, or a step that was approved. `to` says what it becomes,
    /// from what it is at the moment of the change; `None`: it is so already.
    pub(super) async fn rewrite(
        &self,
        who: &Principal,
        id: AlertRuleId,
        plan: Option<PlanId>,
        to: impl Fn(&AlertRule) -> Result<Option<RuleDraft>, Error>,
    ) -> Result<RuleView, Error> {
        self.change(who, id, ("alert_rule.update", plan), |rule: &AlertRule, instance: &AlertInstance, now| {
            let Some(draft) = to(rule)? else { return Ok(None) };
            let next = AlertRule {
                name: draft.name,
                description: draft.description,
                condition: draft.condition,
                evaluation_interval_sec: draft.evaluation_interval_sec,
                severity: draft.severity,
                labels: draft.labels,
                annotations: draft.annotations,
                series: draft.series,
                absent_is_zero: draft.absent_is_zero,
                datasource_id: draft.datasource_id,
                owner_team_id: draft.owner_team_id,
                updated_at: now,
                ..rule.clone()
            };
            if next.watches_the_same(rule) {
                // Its interval may be another one.
                let due = (next.enabled && next.source.is_none()).then_some(now).or(instance.next_evaluation_at);
                let instance = AlertInstance { next_evaluation_at: due, ..instance.clone() };
                return Ok(Some((next, Evaluation { instance, history: None }, None)));
            }
            let evaluation = reset(&next, instance, now);
            Ok(Some((next, evaluation, Some(reset as End))))
        })
        .await
    }

    /// Switches a rule on or off.
    ///
    /// # Errors
    /// `alert.rules:write` is missing, or there is no such rule.
    pub async fn set_enabled(&self, who: &Principal, id: AlertRuleId, enabled: bool) -> Result<RuleView, Error> {
        self.may_write(who).await?;
        let action = if enabled { "alert_rule.enable" } else { "alert_rule.disable" };
        self.change(who, id, (action, None), |rule: &AlertRule, instance: &AlertInstance, now| {
            let next = AlertRule { enabled, updated_at: now, ..rule.clone() };
            let (evaluation, end) = match enabled {
                true => (enable(&next, instance, now), None),
                false => (disable(&next, instance, now), Some(disable as End)),
            };
            Ok(Some((next, evaluation, end)))
        })
        .await
    }

    /// Deletes a rule with its state. Its history, investigations and plans remain.
    ///
    /// # Errors
    /// `alert.rules:write` is missing, or there is no such rule.
    pub async fn delete(&self, who: &Principal, id: AlertRuleId) -> Result<(), Error> {
        self.may_write(who).await?;
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            let rule = &found.value;
            let now = self.shared.now();
            let mut commit = Commit::new();
            let instance = self.shared.store.instance_of(id).await?;
            if rule.is_each() {
                commit = series::ended(self.shared, rule, |one| remove(rule, one, now)).await?;
            } else if let Some(firing) = instance.as_ref().filter(|instance| instance.value.state == AlertState::Firing)
            {
                // Whoever was told that it fires is told that it no longer does.
                let ended = remove(&found.value, &firing.value, self.shared.now());
                let silences = self.shared.store.silences(&who.org_id).await?;
                (commit, _) = transition(self.shared, &found.value, ended, &silences, 0, firing.version + 1);
            }
            commit = commit
                .audit(self.entry(who, "alert_rule.delete", &found.value))
                .event(self.event(&found.value, "deleted"))
                .delete(Key::new(RecordKind::AlertRule, id.as_uuid()), found.version);
            if let Some(instance) = instance {
                let key = Key::new(RecordKind::AlertInstance, instance.value.id.as_uuid());
                commit = commit.delete(key, instance.version);
            }
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(());
            }
        }
    }

    /// Makes a copy of a rule under another name, switched off.
    ///
    /// # Errors
    /// As [`create`](Self::create), and there is no such rule.
    pub async fn fork(&self, who: &Principal, id: AlertRuleId, name: Option<String>) -> Result<RuleView, Error> {
        self.may_write(who).await?;
        let rule = self.load(who, id).await?.value;
        if let Some(source) = &rule.source {
            return Err(Error::Invalid(format!(
                "{source} evaluates this rule: what it asks is not known here to be copied"
            )));
        }
        let draft = RuleDraft {
            name: name.unwrap_or_else(|| format!("{} (copy)", rule.name)),
            description: rule.description,
            condition: rule.condition,
            evaluation_interval_sec: rule.evaluation_interval_sec,
            severity: rule.severity,
            labels: rule.labels,
            annotations: rule.annotations,
            series: rule.series,
            absent_is_zero: rule.absent_is_zero,
            datasource_id: rule.datasource_id,
            owner_team_id: rule.owner_team_id,
        };
        // Off from the start: a copy that is on for a moment may fire in it.
        self.add(who, draft, false).await
    }

    /// Asks the datasource what a condition says right now. Changes nothing.
    ///
    /// # Errors
    /// `alert.rules:read` is missing, or the datasource refused the query.
    pub async fn preview(
        &self,
        who: &Principal,
        condition: &Condition,
        datasource: Option<ConnectorId>,
    ) -> Result<Preview, Error> {
        self.may_read(who).await?;
        let live = self.shared.live.datasource(self.shared.store.as_ref(), &who.org_id, datasource).await?;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let query = Query::Instant { expr: condition.query.clone(), at: None };
        let answer = guarded(self.shared, cx.timeout + SLACK, live.port.query(&cx, &query)).await;
        let answer = answer.unwrap_or_else(|broken| Err(no_answer(&broken)))?;
        let first = answer.series.iter().min_by(|a, b| a.labels.cmp(&b.labels));
        let value = first.and_then(|series| series.points.last()).map(|point| point.value);
        let holds = value.is_some_and(|value| condition.operator.holds(value, condition.threshold));
        Ok(Preview { value, holds, answer })
    }

    /// Asks the datasource for a condition's values over a range. Changes nothing.
    ///
    /// # Errors
    /// As [`preview`](Self::preview).
    pub async fn range(
        &self,
        who: &Principal,
        expr: &str,
        datasource: Option<ConnectorId>,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<DataSet, Error> {
        self.may_read(who).await?;
        let live = self.shared.live.datasource(self.shared.store.as_ref(), &who.org_id, datasource).await?;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let query = Query::Range { expr: expr.into(), start, end, step };
        let answer = guarded(self.shared, cx.timeout + SLACK, live.port.query(&cx, &query)).await;
        Ok(answer.unwrap_or_else(|broken| Err(no_answer(&broken)))?)
    }

    /// The changes of a rule's state, newest first.
    ///
    /// # Errors
    /// `alert.rules:read` is missing, or there is no such rule.
    pub async fn history(&self, who: &Principal, id: AlertRuleId, limit: u32) -> Result<Vec<HistoryRow>, Error> {
        self.may_read(who).await?;
        self.load(who, id).await?;
        let page = self
            .shared
            .store
            .list(&ListQuery {
                org: Some(who.org_id.clone()),
                parent: Some(id.as_uuid()),
                newest_first: true,
                limit: limit.clamp(1, 500),
                ..ListQuery::new(RecordKind::AlertHistory)
            })
            .await?;
        Ok(page.records.into_iter().map(|record| record.value.try_into()).collect::<Result<_, _>>()?)
    }

    /// One change of rule and instance together.
    async fn change(
        &self,
        who: &Principal,
        id: AlertRuleId,
        (action, plan): (&str, Option<PlanId>),
        change: impl Fn(&AlertRule, &AlertInstance, Timestamp) -> Result<Changed, Error>,
    ) -> Result<RuleView, Error> {
        let mut tries = 0;
        loop {
            let found = self.load(who, id).await?;
            let now = self.shared.now();
            let (instance, version) = match self.shared.store.instance_of(id).await? {
                Some(found) => (found.value, Some(found.version)),
                None => (AlertInstance::new(&found.value, now), None),
            };
            let Some((rule, mut evaluation, end)) = change(&found.value, &instance, now)? else {
                return self.get_changed(found.value, instance).await;
            };
            let own = &found.value;
            let theirs = |one: &AlertRule| (one.name.clone(), one.severity, one.annotations.clone());
            let is_theirs = !rule.watches_the_same(own) || theirs(&rule) != theirs(own);
            if let Some(source) = own.source.as_deref().filter(|_| is_theirs) {
                return Err(Error::Invalid(format!(
                    "{source} evaluates this rule: its name, condition, severity, annotations and datasource are said there; \
                     description, labels, owner team and whether it is on are accepted here"
                )));
            }
            self.check(&rule).await?;
            let mut series_ended = Commit::new();
            if found.value.is_each() {
                // What its label sets went through is in their own rows.
                evaluation.history = None;
                if let Some(end) = end {
                    series_ended = series::ended(self.shared, &rule, |one| end(&rule, one, now)).await?;
                }
            }
            let silences = match &evaluation.history {
                Some(_) => self.shared.store.silences(&who.org_id).await?,
                None => Vec::new(),
            };
            let (commit, instance) =
                transition(self.shared, &rule, evaluation, &silences, 0, version.map_or(1, |version| version + 1));
            let commit = match version {
                Some(version) => commit.update(instance.clone(), version),
                None => commit.insert(instance.clone()),
            };
            let mut entry = self.entry(who, action, &rule);
            if let Some(plan) = plan {
                entry = entry.with("planId", plan.to_string());
            }
            let mut commit =
                commit.audit(entry).event(self.event(&rule, "updated")).update(rule.clone(), found.version);
            commit.absorb(series_ended);
            if self.shared.settle(commit, &mut tries).await? {
                return self.get_changed(rule, instance).await;
            }
        }
    }

    async fn get_changed(&self, rule: AlertRule, instance: AlertInstance) -> Result<RuleView, Error> {
        let series = if rule.is_each() { series::of_rule(self.shared, rule.id).await? } else { Vec::new() };
        Ok(self.view(rule, Some(instance), series.into_iter().map(|found| found.value).collect()))
    }

    async fn check(&self, rule: &AlertRule) -> Result<(), Error> {
        rule.validate().map_err(|error| Error::Invalid(error.to_string()))?;
        if rule.source.is_some() {
            // There is no query to ask, and no datasource.
            return Ok(());
        }
        if let Some(id) = rule.datasource_id {
            // Naming a datasource that is not there would only show at the next evaluation.
            let store = self.shared.store.as_ref();
            self.shared.live.datasource(store, &rule.org_id, Some(id)).await.map_err(|error| match error {
                Error::NotFound { .. } | Error::Invalid(_) => Error::Invalid(format!("datasourceId: {error}")),
                other => other,
            })?;
        }
        self.check_query(rule).await
    }

    /// Asks the datasource once, so that malformed PromQL is a clear error here rather than a rule that never
    /// evaluates. A datasource that is missing or cannot be reached right now refuses nothing.
    async fn check_query(&self, rule: &AlertRule) -> Result<(), Error> {
        let store = self.shared.store.as_ref();
        let Ok(live) = self.shared.live.datasource(store, &rule.org_id, rule.datasource_id).await else {
            return Ok(());
        };
        let limit = self.shared.settings.query_timeout.min(Duration::from_secs(5));
        let cx = CallContext::with_timeout(limit);
        let query = Query::Instant { expr: rule.condition.query.clone(), at: None };
        match guarded(self.shared, limit + SLACK, live.port.query(&cx, &query)).await {
            Ok(Err(error)) if error.kind == PortErrorKind::Invalid => {
                Err(Error::Invalid(format!("condition.query: {error}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn load(&self, who: &Principal, id: AlertRuleId) -> Result<Versioned<AlertRule>, Error> {
        let found = self.shared.store.rule(id).await?;
        found.filter(|found| found.value.org_id == who.org_id).ok_or_else(|| Error::not_found("alert rule", id))
    }

    fn view(&self, rule: AlertRule, instance: Option<AlertInstance>, mut series: Vec<AlertInstance>) -> RuleView {
        let order = |state| match state {
            AlertState::Firing => 0,
            AlertState::Pending => 1,
            AlertState::Resolved => 2,
            AlertState::Normal | AlertState::Disabled => 3,
        };
        series.sort_by(|a, b| order(a.state).cmp(&order(b.state)).then_with(|| a.last_labels.cmp(&b.last_labels)));
        let evaluated = self.shared.settings.alert_evaluator || rule.source.is_some();
        RuleView { rule, instance, series, evaluated }
    }

    pub(super) async fn may_read(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::AlertRulesRead, &[Scope::all("alert.rules")]).await?)
    }

    pub(super) async fn may_write(&self, who: &Principal) -> Result<(), Error> {
        Ok(self.shared.authorize(who, Action::AlertRulesWrite, &[Scope::all("alert.rules")]).await?)
    }

    fn entry(&self, who: &Principal, action: &str, rule: &AlertRule) -> AuditEntry {
        let target = ("alert_rule", rule.id.to_string());
        AuditEntry::new(self.shared.now(), &rule.org_id, &who.actor(), action, target, Outcome::Success)
            .with("name", rule.name.clone())
    }

    fn event(&self, rule: &AlertRule, name: &str) -> crate::ports::Event {
        let data = json!({ "name": rule.name, "enabled": rule.enabled });
        self.shared.event(&rule.org_id, EventSubject::Alert, rule.id, name, data)
    }
}

/// What a rule and its instance become, and how its label sets end; `None`: nothing is to be changed.
type Changed = Option<(AlertRule, Evaluation, Option<End>)>;

/// How the label sets of a rule end when a person changes it.
type End = fn(&AlertRule, &AlertInstance, Timestamp) -> Evaluation;

fn no_answer(broken: &str) -> PortError {
    PortError::new(PortErrorKind::Unavailable, format!("the datasource did not answer: {broken}"))
}
