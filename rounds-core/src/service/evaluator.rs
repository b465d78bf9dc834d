//! The evaluator: claims the rules that are due, asks each one's datasource and commits what follows.
//!
//! When a rule is due is in the row of its instance, and whoever evaluates it holds the lease on that row. So every
//! rule is evaluated by exactly one replica at a time, replicas share the rules by taking what is due, one that joins
//! takes its part at once, and what a dead one had in hand is due again when its leases end. What a firing alert leads
//! to (history row, queued investigation, notice) is committed with the transition itself (rule 13).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::guard::{SLACK, guarded, panic_text};
use super::observe::woken;
use super::series;
use super::shared::{Shared, millis, mutated};
use crate::alert::{
    AlertInstance, AlertRule, AlertState, Evaluation, Observation, Reason, Sample, SeriesLimits, Silence, evaluate,
    evaluate_each,
};
use crate::id::{AlertRuleId, ConnectorId};
use crate::investigation::{Investigation, Trigger};
use crate::ports::store::{
    ClaimQuery, Commit, Key, Lasts, Lease, ListQuery, RecordKind, StoreError, StoreExt, Versioned, WorkerId,
};
use crate::ports::{CallContext, EventSubject, NoticeKind, Query, Series};
use crate::time::{after_ms, elapsed};

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let worker = WorkerId::unique("evaluator");
    let slots = Arc::new(Semaphore::new(shared.settings.concurrent_evaluations));
    let limits = Arc::new(Limits::new(shared.settings.queries_per_datasource));
    let evaluations = TaskTracker::new();
    let ended = Arc::new(Notify::new());
    let mut wakes = shared.store.wakes();
    let mut refresh_at = shared.now();
    loop {
        if shared.now() >= refresh_at {
            refresh_at = after_ms(shared.now(), millis(shared.settings.evaluator_refresh));
            if let Err(error) = refresh(&shared).await {
                tracing::warn!(%error, "alert rules could not be read; trying again");
                refresh_at = after_ms(shared.now(), 1000);
            }
        }
        let mut full = true;
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            let claimed = match claim(&shared, &worker).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "alert rules could not be claimed; trying again");
                    None
                }
            };
            let Some((instance, lease)) = claimed else {
                full = false;
                break;
            };
            let (shared, limits, ended) = (Arc::clone(&shared), Arc::clone(&limits), Arc::clone(&ended));
            evaluations.spawn(async move {
                held(&shared, &limits, instance, &lease).await;
                drop(slot);
                ended.notify_one();
            });
        }
        // While everything is taken, the next claim waits for a slot and for nothing else.
        let next = if full { refresh_at } else { next_due(&shared).await.min(refresh_at) };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // What was evaluated is due again, perhaps before anything else is.
            () = ended.notified() => {}
            () = woken(&mut wakes, RecordKind::AlertRule) => {}
            () = shared.clock.sleep(elapsed(shared.now(), next).max(std::time::Duration::from_millis(1))) => {}
        }
    }
    evaluations.close();
    evaluations.wait().await;
}

/// A safety net, not the way it works: an enabled rule whose instance is missing or was never made due, as after a
/// restored backup, becomes due.
async fn refresh(shared: &Shared) -> Result<(), StoreError> {
    let query = ListQuery { statuses: vec!["enabled".into()], ..ListQuery::new(RecordKind::AlertRule) };
    let rules: Vec<Versioned<AlertRule>> = shared.store.all(query).await?;
    // Label sets are none of them.
    let of_rules = ListQuery {
        statuses: AlertState::ALL.iter().map(|state| state.as_str().to_owned()).collect(),
        ..ListQuery::new(RecordKind::AlertInstance)
    };
    let instances: Vec<Versioned<AlertInstance>> = shared.store.all(of_rules).await?;
    let known: HashMap<AlertRuleId, Versioned<AlertInstance>> = instances
        .into_iter()
        .filter(|found| found.value.series.is_none())
        .map(|found| (found.value.rule_id, found))
        .collect();
    // What another evaluates is due when its source has been silent for too long, and the intake says when.
    for Versioned { value: rule, version } in rules.into_iter().filter(|rule| rule.value.source.is_none()) {
        let due = Some(shared.now());
        let commit = Commit::new().expect(Key::new(RecordKind::AlertRule, rule.id.as_uuid()), version);
        let commit = match known.get(&rule.id) {
            None => commit.insert(AlertInstance::new(&rule, shared.now())),
            Some(found) if found.value.next_evaluation_at.is_none() => {
                commit.update(AlertInstance { next_evaluation_at: due, ..found.value.clone() }, found.version)
            }
            Some(_) => continue,
        };
        match shared.store.commit(commit).await {
            // Another replica or a person was faster.
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn claim(shared: &Shared, worker: &WorkerId) -> Result<Option<(AlertInstance, Lease)>, StoreError> {
    let claimed = shared
        .store
        .claim(&ClaimQuery {
            kind: RecordKind::AlertInstance,
            statuses: Vec::new(),
            due_by: shared.now(),
            worker: worker.clone(),
            ttl: shared.settings.lease_ttl,
        })
        .await?;
    claimed.map(|(record, lease)| Ok((record.value.try_into()?, lease))).transpose()
}

/// When there may be something to claim again. What others hold comes free without a word, so it is never long.
async fn next_due(shared: &Shared) -> crate::Timestamp {
    let poll = after_ms(shared.now(), millis(shared.settings.poll_interval));
    match shared.store.next_due(RecordKind::AlertInstance, &[], shared.now()).await {
        Ok(due) => due.map_or(poll, |due| due.min(poll)),
        Err(error) => {
            tracing::warn!(%error, "nobody knows when the next alert rule is due; looking again soon");
            poll
        }
    }
}

/// One evaluation under its lease.
async fn held(shared: &Shared, limits: &Limits, instance: AlertInstance, lease: &Lease) {
    let id = instance.rule_id;
    let work = AssertUnwindSafe(evaluate_rule(shared, limits, &instance, lease)).catch_unwind();
    let result = tokio::select! {
        biased;
        result = work => result,
        () = shared.keep(lease) => Ok(Err(Error::Store(StoreError::LeaseLost { key: lease.key }))),
    };
    match result {
        Ok(Ok(())) => {}
        Ok(Err(Error::Store(StoreError::LeaseLost { .. }))) => {
            tracing::debug!(rule = %id, "the lease on the rule is lost: it was deleted, or somebody else evaluates it");
        }
        // The lease is left to run out: a rule that fails at once must not be claimed at once, before all others.
        Ok(Err(error)) => tracing::warn!(rule = %id, %error, "an evaluation could not be stored; trying again"),
        Err(panic) => tracing::error!(rule = %id, panic = panic_text(panic.as_ref()), "an evaluation panicked"),
    }
}

/// How many queries run against one datasource at a time.
struct Limits {
    each: usize,
    slots: Mutex<HashMap<ConnectorId, Arc<Semaphore>>>,
}

impl Limits {
    fn new(each: usize) -> Self {
        Self { each, slots: Mutex::default() }
    }

    fn of(&self, datasource: ConnectorId) -> Arc<Semaphore> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(datasource).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

/// Evaluates the rule behind a claimed instance. Every commit is under the lease, and the last gives it back.
async fn evaluate_rule(shared: &Shared, limits: &Limits, claimed: &AlertInstance, lease: &Lease) -> Result<(), Error> {
    let wakes = shared.store.wakes();
    let Some(asked) = shared.store.rule(claimed.rule_id).await?.map(|found| found.value) else {
        // The rule was deleted, and its instance with it or in a moment.
        return Ok(shared.store.release(lease).await?);
    };
    if asked.source.is_some() {
        return super::intake::overdue(shared, asked.id, Some(lease)).await;
    }
    let started = shared.now();
    if let Some(due) = claimed.next_evaluation_at {
        metrics::histogram!("rounds_alert_evaluation_lag_seconds").record(elapsed(due, started).as_secs_f64());
    }
    let seen = tokio::select! {
        biased;
        seen = observe(shared, limits, &asked) => seen,
        // Its instance is due anew; whoever claims it asks the new question.
        () = superseded(shared, &asked, wakes) => return Ok(shared.store.release(lease).await?),
    };
    let result = if seen.is_err() { "error" } else { "ok" };
    metrics::counter!("rounds_alert_evaluations_total", "result" => result).increment(1);
    metrics::histogram!("rounds_alert_evaluation_duration_seconds")
        .record(elapsed(started, shared.now()).as_secs_f64());
    if let Err(error) = &seen {
        // Operators search for these words.
        tracing::warn!(rule = %asked.id, name = %asked.name, %error, "metric query failed");
    }
    let mut tries = 0;
    loop {
        let (rule, instance) = (shared.store.rule(asked.id).await?, shared.store.instance_of(asked.id).await?);
        let (Some(current), Some(found)) = (rule, instance) else { return Ok(()) };
        if !current.value.enabled || !current.value.watches_the_same(&asked) {
            // The rule changed while it was asked: what was seen answers another question. Its instance is due anew.
            return Ok(shared.store.release(lease).await?);
        }
        let now = shared.now();
        let rule_key = Key::new(RecordKind::AlertRule, asked.id.as_uuid());
        if current.value.is_each() {
            let known = series::of_rule(shared, asked.id).await?;
            let before: Vec<AlertInstance> = known.iter().map(|found| found.value.clone()).collect();
            let limits = SeriesLimits {
                most: shared.settings.series_per_rule,
                no_data_intervals: shared.settings.no_data_intervals,
                // Until whoever verifies a plan by it is done.
                partial: false,
                followed: shared.settings.verification_deadline * 2 + shared.settings.verification_stable,
            };
            let (samples, partial) = match seen.clone() {
                Ok(seen) => (Ok(seen.samples), seen.partial),
                Err(error) => (Err(error), false),
            };
            let limits = SeriesLimits { partial, ..limits };
            let next = evaluate_each(&current.value, &found.value, &before, samples, now, limits);
            let around = series::around(shared, &current.value, next.matters()).await?;
            let (commit, whole) = series::evaluated(shared, &current.value, &around, &known, next);
            let commit = commit.update(whole, found.version).expect(rule_key, current.version).releasing(lease);
            if shared.settle(commit, &mut tries).await? {
                return Ok(());
            }
            continue;
        }
        let seen = folded(&seen);
        let next = evaluate(&current.value, &found.value, &seen, now, shared.settings.no_data_intervals);
        // It fires, and a silence kept that from everybody. Only a sample says that it still does.
        let untold = next.instance.silenced && matches!(seen, Observation::Sample { .. });
        let silences =
            if untold || next.history.is_some() { shared.store.silences(&asked.org_id).await? } else { Vec::new() };
        let (commit, instance) = transition(shared, &current.value, next, &silences, 0, found.version + 1);
        let commit = commit
            .update(instance, found.version)
            // A rule that was changed or deleted meanwhile is not spoken for.
            .expect(rule_key, current.version)
            .releasing(lease);
        if shared.settle(commit, &mut tries).await? {
            return Ok(());
        }
    }
}

/// Returns once a person changed what the rule asks: a slow answer to the old question keeps nobody from the new one.
async fn superseded(shared: &Shared, asked: &AlertRule, mut wakes: broadcast::Receiver<RecordKind>) {
    loop {
        woken(&mut wakes, RecordKind::AlertRule).await;
        match shared.store.rule(asked.id).await {
            Ok(Some(found)) if found.value.enabled && found.value.watches_the_same(asked) => {}
            Ok(_) => return,
            // Whether it still speaks for the rule is looked at again before anything is stored.
            Err(error) => tracing::debug!(rule = %asked.id, %error, "nobody knows whether the rule was changed"),
        }
    }
}

/// What a datasource answered.
#[derive(Clone)]
struct Seen {
    samples: Vec<Sample>,
    /// Whether it left something out.
    partial: bool,
}

/// What an answer is for a rule that has one alert: its first series in label order.
fn folded(seen: &Result<Seen, String>) -> Observation {
    let samples = match seen {
        Ok(seen) => &seen.samples,
        Err(error) => return Observation::Failed(error.clone()),
    };
    match samples.iter().min_by(|a, b| a.labels.cmp(&b.labels)) {
        Some(Sample { value, labels }) => {
            Observation::Sample { value: *value, labels: labels.clone(), series: samples.len() }
        }
        None => Observation::Empty,
    }
}

/// Asks the datasource; every failure is an observation.
async fn observe(shared: &Shared, limits: &Limits, rule: &AlertRule) -> Result<Seen, String> {
    let live = match shared.live.datasource(shared.store.as_ref(), &rule.org_id, rule.datasource_id).await {
        Ok(live) => live,
        Err(error) => return Err(error.to_string()),
    };
    // By the datasource that answers, however the rule names it.
    let slots = limits.of(live.row.id);
    let Ok(_slot) = slots.acquire().await else { return Err("the evaluator is going away".into()) };
    let cx = CallContext::with_timeout(shared.settings.query_timeout);
    let query = Query::Instant { expr: rule.condition.query.clone(), at: None };
    match guarded(shared, cx.timeout + SLACK, live.port.query(&cx, &query)).await {
        Err(broken) => Err(format!("the datasource did not answer: {broken}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => {
            let sample =
                |series: Series| series.points.last().map(|point| Sample { value: point.value, labels: series.labels });
            let partial = answer.truncated;
            Ok(Seen { samples: answer.series.into_iter().filter_map(sample).collect(), partial })
        }
    }
}

/// What an evaluation leads to beside the instance itself, and the instance to be stored with it, at `version`. Its
/// investigation stands behind so many others of the rule.
pub(crate) fn transition(
    shared: &Shared,
    rule: &AlertRule,
    evaluation: Evaluation,
    silences: &[Versioned<Silence>],
    behind: u32,
    version: u64,
) -> (Commit, AlertInstance) {
    let Evaluation { mut instance, history } = evaluation;
    let now = shared.now();
    let covered = |labels| silences.iter().any(|silence| silence.value.covers(rule, labels, now));
    let mut commit = Commit::new();
    let Some(row) = history else {
        let still_seen = instance.last_sample_at == instance.last_evaluated_at;
        if instance.silenced && still_seen && instance.state == AlertState::Firing && !covered(&instance.last_labels) {
            tracing::info!(rule = %rule.id, name = %rule.name, "alert still fires after its silence");
            instance.silenced = false;
            commit = investigated(shared, commit, rule, &mut instance, behind, true);
            let since = instance.firing_since.map(|at| at.timestamp_millis()).unwrap_or_default();
            let about = format!("alert/{}/{}/{since}", rule.id, instance.id);
            let key = format!("{about}/after_silence");
            let what = format!("is {}", instance.state.as_str());
            commit = told(shared, commit, (rule, &instance), version, NoticeKind::AlertFiring, (key, about), &what);
        }
        return (commit, instance);
    };
    tracing::info!(
        rule = %rule.id, name = %rule.name, from = row.from_state.as_str(), to = row.to_state.as_str(),
        value = row.value, "alert changed"
    );
    let silenced = covered(&row.labels);
    let notice = match (row.from_state, row.to_state) {
        (_, AlertState::Firing) => Some((NoticeKind::AlertFiring, "is firing")),
        (_, AlertState::Resolved) => Some((NoticeKind::AlertResolved, "is resolved")),
        // Whoever was told that it fires waits to hear that it no longer does.
        (AlertState::Firing, AlertState::Normal | AlertState::Pending | AlertState::Disabled) => {
            let what = match row.reason {
                Reason::RuleChanged => "no longer fires: its rule was changed",
                Reason::Disabled => "no longer fires: its rule was switched off",
                Reason::Deleted => "no longer fires: its rule was deleted",
                Reason::Condition | Reason::NoData | Reason::Enabled => "no longer fires",
            };
            Some((NoticeKind::AlertResolved, what))
        }
        (_, AlertState::Normal | AlertState::Pending | AlertState::Disabled) => None,
    };
    if row.to_state == AlertState::Firing {
        instance.silenced = silenced;
        commit = investigated(shared, commit, rule, &mut instance, behind, false);
    }
    if let (Some((kind, what)), false) = (notice, silenced) {
        let key = format!("alert/{}/{}", rule.id, row.id);
        // A reset has cleared the labels that the row keeps.
        let labelled = AlertInstance { last_labels: row.labels.clone(), ..instance.clone() };
        let since = row.firing_since.unwrap_or(now).timestamp_millis();
        let about = format!("alert/{}/{}/{since}", rule.id, instance.id);
        commit = told(shared, commit, (rule, &labelled), version, kind, (key, about), what);
    }
    let commit = commit
        .event(shared.event(
            &rule.org_id,
            EventSubject::Alert,
            rule.id,
            "state_changed",
            json!({ "from": row.from_state, "to": row.to_state, "value": row.value, "name": rule.name }),
        ))
        .insert(row);
    (commit, instance)
}

/// And a queued investigation of what fires, unless that is switched off.
fn investigated(
    shared: &Shared,
    commit: Commit,
    rule: &AlertRule,
    instance: &mut AlertInstance,
    behind: u32,
    after_silence: bool,
) -> Commit {
    if !shared.settings.auto_investigation || mutated!(shared, FiresWithoutAnInvestigation) {
        return commit;
    }
    let investigation = Investigation { behind, ..queued(shared, rule, instance, after_silence) };
    instance.investigation_id = Some(investigation.id);
    commit
        .event(shared.event(
            &rule.org_id,
            EventSubject::Investigation,
            investigation.id,
            "queued",
            json!({ "ruleId": rule.id, "status": investigation.status }),
        ))
        .insert(investigation)
}

/// And a notice about a rule.
#[allow(clippy::too_many_arguments, reason = "a notice has that many parts")]
fn told(
    shared: &Shared,
    commit: Commit,
    (rule, instance): (&AlertRule, &AlertInstance),
    version: u64,
    kind: NoticeKind,
    (key, episode): (String, String),
    what: &str,
) -> Commit {
    let link = format!("/alerts/{}", rule.id);
    // Each label set has an order of its own.
    let about = instance.series.as_ref().map_or(rule.id.as_uuid(), |_| instance.id.as_uuid());
    let title = match &instance.series {
        None => format!("{} {what}", rule.name),
        Some(_) => format!("{} {what}: {}", rule.name, shown(&instance.last_labels)),
    };
    let mut notice = shared.notice(&rule.org_id, (about, version), kind, key, title, body(rule, instance), link);
    notice.notice.about = Some(episode);
    notice.notice.severity = instance.severity.unwrap_or(rule.severity).to_string();
    notice.notice.labels = rule.labels_with(&instance.last_labels);
    if kind == NoticeKind::AlertFiring {
        notice.lasts =
            instance.firing_since.map(|firing_since| Lasts::Alert { instance_id: instance.id, firing_since });
    }
    notice.notice.owner_team_id = rule.owner_team_id;
    commit.insert(notice)
}

/// A label set in one line.
fn shown(labels: &std::collections::BTreeMap<String, String>) -> String {
    let named = labels.iter().filter(|(name, _)| !matches!(name.as_str(), "__name__" | "alertname"));
    let text: Vec<String> = named.map(|(name, value)| format!("{name}={value}")).collect();
    let text = text.join(", ");
    let cut = text.floor_char_boundary(200);
    if cut < text.len() { format!("{}…", &text[..cut]) } else { text }
}

/// What a rule says to people about what fires: its description and its annotations, with their places filled in.
fn body(rule: &AlertRule, instance: &AlertInstance) -> String {
    let texts = rule.said(Some(instance), &instance.last_labels, instance.last_value);
    let texts = texts.into_iter().map(|(name, text)| format!("{name}: {text}"));
    let description = Some(rule.description.clone()).filter(|text| !text.is_empty());
    description.into_iter().chain(texts).collect::<Vec<_>>().join("\n")
}

fn queued(shared: &Shared, rule: &AlertRule, instance: &AlertInstance, after_silence: bool) -> Investigation {
    let now = shared.now();
    let trigger = Trigger::Alert {
        rule_id: rule.id,
        rule_name: rule.name.clone(),
        instance_id: instance.id,
        firing_since: instance.firing_since.unwrap_or(now),
        value: instance.last_value,
        labels: instance.last_labels.clone(),
        after_silence,
    };
    Investigation::queued(rule.org_id.clone(), format!("Why is \"{}\" firing?", rule.name), trigger, now)
}
