//! Alerts that others evaluate: notices of Alertmanager, Grafana and the like, on their way into the line.
//!
//! Each name that a source tells of is a rule here, which nobody evaluates, and each fingerprint a label set of it. From
//! there a fired alert goes on exactly as one of ours: the same history, silences, notices, cooldown and investigation.
//! Sources tell at least once, so everything is idempotent by fingerprint and start; see [`notified`].

use std::collections::{BTreeMap, BTreeSet};

use super::alerts::Alerts;
use super::error::Error;
use super::series::{self, Changes};
use super::shared::Shared;
use crate::access::{Action, Denied, Principal, Scope};
use crate::alert::{
    AlertInstance, AlertRule, AlertState, Condition, Evaluation, Notified, Operator, RESOLVED_KEPT, SeriesMode,
    notified, summarize, too_many_over, unheard,
};
use crate::audit::{AuditEntry, Outcome};
use crate::id::{AlertInstanceId, AlertRuleId};
use crate::ports::EventSubject;
use crate::ports::store::{Commit, Key, Lease, ListQuery, RecordKind, StoreError, StoreExt, Versioned};
use crate::time::{Timestamp, after_ms, elapsed};

/// The most alerts of one message that are taken.
pub const RECEIVED_MAX: usize = 1_000;

/// The most names of alerts, and so rules, of one source.
pub const SOURCE_RULES_MAX: usize = 1_000;

/// One alert, as its source tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalAlert {
    /// Its name: with the source, the rule it belongs to.
    pub name: String,
    /// What tells it from others of that name.
    pub fingerprint: String,
    /// What is said of it.
    pub notified: Notified,
    /// What its source asks, in PromQL or in its own words; empty when it does not say.
    pub query: String,
}

/// What became of the alerts of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// How many fire since this message.
    pub fired: usize,
    /// How many are over since this message.
    pub resolved: usize,
    /// How many said nothing new.
    pub unchanged: usize,
    /// What was not taken: the fingerprint, and why.
    pub ignored: Vec<(String, String)>,
}

/// How many alerts of one name are stored at a time.
const BATCH: usize = 100;

/// How often a notice is taken anew because another was faster.
const TRIES: u32 = 16;

/// What one alert of a message led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Fired,
    Resolved,
    Unchanged,
}

impl Alerts<'_> {
    /// Takes what a source tells of its alerts. The same message may come any number of times, from any number of senders:
    /// it counts once. An alert that cannot be taken is named in the answer and keeps none of the others.
    ///
    /// # Errors
    /// `alerts:receive` is missing, whoever sends is an agent (it would make the alerts that it then investigates), the source's
    /// name does not hold, or the store failed or is too busy: then the sender should send all of it again.
    pub async fn receive(&self, who: &Principal, source: &str, alerts: &[ExternalAlert]) -> Result<Received, Error> {
        let scope = Scope::all("alerts");
        if who.is_agent {
            let login = who.login.clone();
            return Err(Denied::AgentsNeverDecide { login, action: Action::AlertsReceive, scope }.into());
        }
        self.shared.authorize(who, Action::AlertsReceive, &[scope]).await?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if source.is_empty() || source.len() > 64 || !source.chars().all(plain) {
            let found: String = source.chars().take(80).collect();
            return Err(Error::Invalid(format!(
                "source: found {found:?}; 1 to 64 letters, digits, `-`, `_` and `.` are accepted"
            )));
        }
        let mut received = Received::default();
        // Who cannot be told to send less sends it again for ever, so what can be taken is.
        for alert in alerts.iter().skip(RECEIVED_MAX) {
            let why = format!("more than {RECEIVED_MAX} alerts in one message: group them, or set max_alerts");
            received.ignored.push((alert.fingerprint.chars().take(128).collect(), why));
        }
        let mut of_name: BTreeMap<&str, Vec<&ExternalAlert>> = BTreeMap::new();
        for alert in alerts.iter().take(RECEIVED_MAX) {
            match check(alert) {
                Ok(()) => of_name.entry(&alert.name).or_default().push(alert),
                Err(error) => received.ignore(source, alert, error.to_string()),
            }
        }
        for (name, alerts) in of_name {
            for batch in batches(alerts) {
                match self.take(who, source, name, &batch).await {
                    Ok(taken) => batch.into_iter().zip(taken).for_each(|(alert, taken)| match taken {
                        Ok(Taken::Fired) => received.fired += 1,
                        Ok(Taken::Resolved) => received.resolved += 1,
                        Ok(Taken::Unchanged) => received.unchanged += 1,
                        Err(why) => received.ignore(source, alert, why),
                    }),
                    Err(Error::Invalid(why)) => {
                        batch.into_iter().for_each(|alert| received.ignore(source, alert, why.clone()));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let counts = [
            ("fired", received.fired),
            ("resolved", received.resolved),
            ("unchanged", received.unchanged),
            ("ignored", received.ignored.len()),
        ];
        for (result, count) in counts {
            metrics::counter!("rounds_alerts_received_total", "result" => result).increment(count as u64);
        }
        Ok(received)
    }

    /// Takes alerts of one name, each of them once, in one commit: what became of each, in their order.
    async fn take(
        &self,
        who: &Principal,
        source: &str,
        name: &str,
        alerts: &[&ExternalAlert],
    ) -> Result<Vec<Result<Taken, String>>, Error> {
        let name = format!("{source}/{name}");
        let mut tries = 0;
        loop {
            let known = self.shared.store.rule_named(&who.org_id, &name).await?;
            if known.as_ref().is_some_and(|known| known.value.source.as_deref() != Some(source)) {
                return Err(Error::Invalid(format!("a rule called {name} was made here: rename it")));
            }
            let (rule, mut all) = match known {
                Some(Versioned { value, version }) => {
                    let key = Key::new(RecordKind::AlertRule, value.id.as_uuid());
                    (value, Commit::new().expect(key, version))
                }
                None => self.first(who, source, name.clone(), alerts).await?,
            };
            let (taken, commit) = self.told(&rule, alerts).await?;
            let Some(commit) = commit else { return Ok(taken) };
            // After the rule: whoever hears of what it did has heard of it.
            all.absorb(commit);
            match self.shared.settle(all, &mut tries).await {
                Ok(true) => return Ok(taken),
                // Another notice of the same rule was faster.
                Ok(false) => {}
                Err(Error::Conflict { code: "name_taken", .. }) if tries < TRIES => tries += 1,
                Err(Error::Conflict { .. }) => {
                    return Err(Error::Store(StoreError::Unavailable {
                        message: "too many notices of this rule at once".into(),
                    }));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The rule of a name that was not told of before, and what makes it.
    async fn first(
        &self,
        who: &Principal,
        source: &str,
        name: String,
        alerts: &[&ExternalAlert],
    ) -> Result<(AlertRule, Commit), Error> {
        let now = self.shared.now();
        let Some(alert) = alerts.first() else { return Err(Error::Invalid("alerts: none was found".into())) };
        let mut rule = AlertRule {
            id: AlertRuleId::new(),
            org_id: who.org_id.clone(),
            name,
            description: String::new(),
            condition: Condition {
                query: alert.query.clone(),
                operator: Operator::Gt,
                threshold: 0.0,
                for_duration_sec: 0,
                keep_firing_for_sec: 0,
            },
            evaluation_interval_sec: 60,
            severity: alert.notified.severity,
            labels: BTreeMap::from([("alertname".to_owned(), alert.name.clone())]),
            annotations: BTreeMap::new(),
            series: SeriesMode::Each,
            absent_is_zero: false,
            source: Some(source.to_owned()),
            datasource_id: None,
            owner_team_id: None,
            enabled: true,
            created_by: who.actor(),
            created_at: now,
            updated_at: now,
        };
        if rule.validate().is_err() {
            // What its source asks is only shown. One alert that says it at too great length keeps none of the others.
            rule.condition.query.clear();
        }
        rule.validate().map_err(|error| Error::Invalid(error.to_string()))?;
        let of_org = ListQuery { org: Some(who.org_id.clone()), ..ListQuery::new(RecordKind::AlertRule) };
        let rules: Vec<Versioned<AlertRule>> = self.shared.store.all(of_org).await?;
        if rules.iter().filter(|known| known.value.source.as_deref() == Some(source)).count() >= SOURCE_RULES_MAX {
            return Err(Error::Invalid(format!(
                "{source} has {SOURCE_RULES_MAX} rules here, and no more are made: an alertname is no place for a value; delete \
                 rules that are over"
            )));
        }
        let target = ("alert_rule", rule.id.to_string());
        let entry = AuditEntry::new(now, &rule.org_id, &who.actor(), "alert_rule.create", target, Outcome::Success)
            .with("name", rule.name.clone())
            .with("source", source.to_owned());
        let data = serde_json::json!({ "name": rule.name, "enabled": true });
        let event = self.shared.event(&rule.org_id, EventSubject::Alert, rule.id, "created", data);
        let commit = Commit::new().insert(rule.clone()).audit(entry).event(event);
        Ok((rule, commit))
    }

    /// What notices do to the label sets of their rule: what became of each, and the commit, unless none said anything new.
    async fn told(
        &self,
        rule: &AlertRule,
        alerts: &[&ExternalAlert],
    ) -> Result<(Vec<Result<Taken, String>>, Option<Commit>), Error> {
        let shared = self.shared;
        let now = shared.now();
        // First: what it is committed with was read after it, so nobody's label set is left out of the summary.
        let whole = shared.store.instance_of(rule.id).await?;
        let known = series::of_rule(shared, rule.id).await?;
        let most = shared.settings.series_per_rule;
        let (mut taken, mut steps) = (vec![Ok(Taken::Unchanged); alerts.len()], Vec::new());
        let mut firing = known.iter().filter(|one| one.value.state == AlertState::Firing).count();
        let mut in_order: Vec<(usize, &ExternalAlert)> = alerts.iter().copied().enumerate().collect();
        // What ends makes room for what begins, wherever it stands in the message.
        in_order.sort_by_key(|(_, alert)| !alert.notified.resolved);
        for (nth, alert) in in_order {
            let own = known.iter().find(|one| one.value.series.as_deref() == Some(alert.fingerprint.as_str()));
            let before = match own {
                Some(own) => own.value.clone(),
                None => AlertInstance::of_series(rule, alert.fingerprint.clone(), now),
            };
            let first = notified(rule, &before, &alert.notified, now);
            let begins = first.as_ref().is_some_and(|first| what(first) == Taken::Fired);
            let ends = alert.notified.resolved && first.as_ref().is_some_and(|first| what(first) == Taken::Resolved);
            if begins && firing >= most {
                taken[nth] = Err(format!(
                    "{firing} alerts of this name fire already, and no more are followed at a time: group them at their source, \
                     or raise the setting"
                ));
                continue;
            }
            firing = (firing + usize::from(begins)).saturating_sub(usize::from(ends));
            if let Some(first) = first {
                steps.push((nth, alert, own.map(|own| own.version), first));
            }
        }
        if steps.is_empty() {
            return Ok((taken, None));
        }
        let matters = steps.iter().any(|(.., first)| first.history.is_some() || first.instance.silenced);
        let around = series::around(shared, rule, matters).await?;
        let mut changes = Changes::new(shared, rule, &around);
        let mut after: BTreeMap<AlertInstanceId, AlertInstance> =
            known.iter().map(|one| (one.value.id, one.value.clone())).collect();
        let mut touched = BTreeSet::new();
        for (nth, alert, version, first) in steps {
            let (what, last) =
                ends_and_begins(&mut changes, rule, first, &alert.notified, version.unwrap_or_default(), now);
            let one = match version {
                Some(version) => changes.change(last, version),
                None => changes.make(last),
            };
            touched.insert(one.id);
            after.insert(one.id, one);
            taken[nth] = Ok(what);
        }
        let forgotten = too_many_over(after.values(), most);
        for Versioned { value, version } in known {
            // What this message tells of is news still.
            if forgotten.contains(&value.id) && !touched.contains(&value.id) {
                after.remove(&value.id);
                changes.end(Evaluation { instance: value, history: None }, version);
            }
        }
        let all: Vec<AlertInstance> = after.into_values().collect();
        let (mut whole, version) =
            whole.map_or_else(|| (AlertInstance::new(rule, now), None), |whole| (whole.value, Some(whole.version)));
        whole.last_sample_at = Some(now);
        sum_up(shared, &mut whole, &all, now);
        whole.investigation_id = changes.investigation.or(whole.investigation_id);
        let commit = match version {
            Some(version) => changes.commit.update(whole, version),
            None => changes.commit.insert(whole),
        };
        Ok((taken, Some(commit)))
    }
}

impl Received {
    fn ignore(&mut self, source: &str, alert: &ExternalAlert, why: String) {
        tracing::warn!(source, name = %alert.name, %why, "an alert was not taken");
        self.ignored.push((alert.fingerprint.chars().take(128).collect(), why));
    }
}

/// The alerts of one name in their order, as many together as one commit takes, and none of them with itself.
fn batches(alerts: Vec<&ExternalAlert>) -> Vec<Vec<&ExternalAlert>> {
    let mut batches: Vec<Vec<&ExternalAlert>> = Vec::new();
    let mut there = BTreeSet::new();
    for alert in alerts {
        let full = batches.last().is_none_or(|batch| batch.len() >= BATCH);
        if full || !there.insert(alert.fingerprint.as_str()) {
            there = BTreeSet::from([alert.fingerprint.as_str()]);
            batches.push(Vec::new());
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(alert);
        }
    }
    batches
}

/// What an evaluation of a notice is to whoever sent it.
fn what(evaluation: &Evaluation) -> Taken {
    match &evaluation.history {
        None => Taken::Unchanged,
        Some(row) if row.to_state == AlertState::Firing => Taken::Fired,
        Some(_) => Taken::Resolved,
    }
}

/// A new episode ends the one before it: its history and its notices come first, and the instance is stored once.
fn ends_and_begins(
    changes: &mut Changes<'_>,
    rule: &AlertRule,
    first: Evaluation,
    seen: &Notified,
    version: u64,
    now: Timestamp,
) -> (Taken, Evaluation) {
    if what(&first) == Taken::Resolved && !seen.resolved {
        // Before what begins, and after all that was.
        let between = changes.pass(first, version);
        if let Some(second) = notified(rule, &between, seen, now) {
            return (what(&second), second);
        }
        return (Taken::Resolved, Evaluation { instance: between, history: None });
    }
    (what(&first), first)
}

/// The rule as a whole, and when its source has been silent for too long.
fn sum_up(shared: &Shared, whole: &mut AlertInstance, series: &[AlertInstance], now: Timestamp) {
    summarize(whole, series, now);
    whole.last_evaluated_at = Some(now);
    let stale = super::shared::millis(shared.settings.external_alert_stale);
    let kept = super::shared::millis(RESOLVED_KEPT);
    let most = shared.settings.series_per_rule;
    let firing = series.iter().filter(|one| one.state == AlertState::Firing).count();
    whole.warning = (firing >= most).then(|| {
        format!(
            "{firing} alerts of this name fire, and no more are taken: group them at their source, or raise the setting"
        )
    });
    whole.next_evaluation_at = series
        .iter()
        .map(|one| match one.state {
            // Its silence may be over long before its source says anything again.
            AlertState::Firing if one.silenced => after_ms(now, SILENCE_LOOK_MS),
            AlertState::Firing => after_ms(one.last_sample_at.unwrap_or(one.state_changed_at), stale),
            _ => after_ms(one.state_changed_at, kept),
        })
        .min();
}

/// How often it is looked whether the silence over an alert has ended.
const SILENCE_LOOK_MS: u64 = 60_000;

/// What is due of the rules that others evaluate, where no evaluator looks.
pub(crate) async fn sweep(shared: &Shared) -> Result<(), Error> {
    let due = ListQuery {
        due_by: Some(shared.now()),
        statuses: AlertState::ALL.iter().map(|state| state.as_str().to_owned()).collect(),
        ..ListQuery::new(RecordKind::AlertInstance)
    };
    let due: Vec<Versioned<AlertInstance>> = shared.store.all(due).await?;
    for found in due {
        let rule = shared.store.rule(found.value.rule_id).await?;
        if rule.is_some_and(|rule| rule.value.source.is_some()) {
            overdue(shared, found.value.rule_id, None).await?;
        }
    }
    Ok(())
}

/// What is due of a rule that another evaluates: alerts of which nothing was heard for too long are over, those whose silence
/// ended are told, and those that are over for long are forgotten.
pub(crate) async fn overdue(shared: &Shared, id: AlertRuleId, lease: Option<&Lease>) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let (current, whole) = (shared.store.rule(id).await?, shared.store.instance_of(id).await?);
        let (Some(current), Some(whole)) = (current, whole) else {
            return match lease {
                Some(lease) => Ok(shared.store.release(lease).await?),
                None => Ok(()),
            };
        };
        let rule = &current.value;
        let now = shared.now();
        let known = series::of_rule(shared, rule.id).await?;
        let around = series::around(shared, rule, true).await?;
        let covered = |one: &AlertInstance| {
            around.silences.iter().any(|silence| silence.value.covers(rule, &one.last_labels, now))
        };
        let mut changes = Changes::new(shared, rule, &around);
        let mut left = Vec::new();
        for Versioned { value, version } in known {
            let forgotten = value.state != AlertState::Firing && elapsed(value.state_changed_at, now) >= RESOLVED_KEPT;
            if let Some(ended) = unheard(rule, &value, shared.settings.external_alert_stale, now) {
                left.push(changes.change(ended, version));
            } else if forgotten {
                changes.end(Evaluation { instance: value, history: None }, version);
            } else if value.state == AlertState::Firing && value.silenced && !covered(&value) {
                left.push(changes.change(Evaluation { instance: value, history: None }, version));
            } else {
                left.push(value);
            }
        }
        let mut next = whole.value;
        sum_up(shared, &mut next, &left, now);
        next.investigation_id = changes.investigation.or(next.investigation_id);
        let mut commit = changes
            .commit
            .update(next, whole.version)
            .expect(Key::new(RecordKind::AlertRule, rule.id.as_uuid()), current.version);
        if let Some(lease) = lease {
            commit = commit.releasing(lease);
        }
        if shared.settle(commit, &mut tries).await? {
            return Ok(());
        }
    }
}

fn check(alert: &ExternalAlert) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::Invalid(message));
    if alert.name.trim().is_empty() || alert.name.len() > 130 {
        return invalid(format!("alertname: found {} bytes; 1 to 130 are accepted", alert.name.len()));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if alert.fingerprint.is_empty() || alert.fingerprint.len() > 128 || !alert.fingerprint.chars().all(plain) {
        return invalid("fingerprint: 1 to 128 letters, digits, `-`, `_`, `.` and `:` are accepted".into());
    }
    for (field, texts) in [("labels", &alert.notified.labels), ("annotations", &alert.notified.annotations)] {
        let size: usize = texts.iter().map(|(name, value)| name.len() + value.len()).sum();
        if texts.len() > 64 || size > AlertRule::TEXT_MAX {
            let max = AlertRule::TEXT_MAX;
            return invalid(format!(
                "{field}: found {} of {size} bytes together; at most 64 of {max} bytes are accepted",
                texts.len()
            ));
        }
    }
    Ok(())
}
