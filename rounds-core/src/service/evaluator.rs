//! The evaluator: asks each rule's datasource on its interval and commits what follows.
//!
//! One timer queue for all rules. At start the first evaluations are spread over each rule's interval by its id, so
//! that a thousand rules do not ask in the same instant; a new or changed rule is evaluated at once. What a firing
//! alert leads to (history row, queued investigation, notice) is committed with the transition itself (rule 13).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::guard::{SLACK, guarded, panic_text};
use super::observe::woken;
use super::shared::{Shared, millis};
use crate::alert::{AlertInstance, AlertRule, AlertState, Evaluation, Observation, Reason, Silence, evaluate};
use crate::id::{AlertRuleId, ConnectorId, InvestigationId};
use crate::investigation::{Investigation, InvestigationStatus, Trigger};
use crate::ports::store::{Commit, Key, ListQuery, RecordKind, StoreError, StoreExt, Versioned};
use crate::ports::{CallContext, EventSubject, NoticeKind, Query};
use crate::time::{Timestamp, after_ms, elapsed};

/// A rule in the timer queue. A rule that changed gets a new generation; entries of older ones are passed over.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Timestamp,
    rule: AlertRuleId,
    generation: u64,
}

struct Scheduled {
    rule: AlertRule,
    generation: u64,
}

struct Schedule {
    rules: HashMap<AlertRuleId, Scheduled>,
    queue: BinaryHeap<Reverse<Due>>,
    generation: u64,
}

pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut schedule = Schedule { rules: HashMap::new(), queue: BinaryHeap::new(), generation: 0 };
    let limits = Arc::new(Limits::new(shared.settings.queries_per_datasource));
    let evaluations = TaskTracker::new();
    let mut wakes = shared.store.wakes();
    let (finished, mut done) = tokio::sync::mpsc::unbounded_channel::<(AlertRuleId, u64)>();
    let mut first = true;
    let mut refresh_at = shared.now();
    loop {
        if shared.now() >= refresh_at {
            match schedule.refresh(&shared, first).await {
                Ok(()) => {
                    first = false;
                    refresh_at = after_ms(shared.now(), millis(shared.settings.evaluator_refresh));
                }
                Err(error) => {
                    tracing::warn!(%error, "alert rules could not be read; trying again");
                    refresh_at = after_ms(shared.now(), 1000);
                }
            }
        }
        while let Some((rule, generation)) = schedule.pop_due(shared.now()) {
            let (shared, limits, finished) = (Arc::clone(&shared), Arc::clone(&limits), finished.clone());
            evaluations.spawn(async move {
                let id = rule.id;
                match AssertUnwindSafe(evaluate_rule(&shared, &limits, rule)).catch_unwind().await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(rule = %id, %error, "an evaluation could not be stored"),
                    // A rule that is never heard of again would never be due again.
                    Err(panic) => {
                        tracing::error!(rule = %id, panic = panic_text(panic.as_ref()), "an evaluation panicked");
                    }
                }
                // The receiver is gone only when the evaluator stops.
                let _ = finished.send((id, generation));
            });
        }
        let next = schedule.next_at().map_or(refresh_at, |at| at.min(refresh_at));
        let wait = elapsed(shared.now(), next).max(Duration::from_millis(1));
        tokio::select! {
            () = stop.cancelled() => break,
            () = shared.clock.sleep(wait) => {}
            () = woken(&mut wakes, RecordKind::AlertRule) => refresh_at = shared.now(),
            Some((id, generation)) = done.recv() => schedule.again(id, generation, shared.now()),
        }
    }
    evaluations.close();
    evaluations.wait().await;
}

impl Schedule {
    async fn refresh(&mut self, shared: &Shared, first: bool) -> Result<(), StoreError> {
        let query = ListQuery { statuses: vec!["enabled".into()], ..ListQuery::new(RecordKind::AlertRule) };
        let rules: Vec<Versioned<AlertRule>> = shared.store.all(query).await?;
        let now = shared.now();
        let mut kept = HashMap::with_capacity(rules.len());
        for Versioned { value: rule, .. } in rules {
            let scheduled = match self.rules.remove(&rule.id) {
                Some(known) if known.rule == rule => known,
                _ => {
                    self.generation += 1;
                    let at = if first { after_ms(now, phase_ms(&rule)) } else { now };
                    self.queue.push(Reverse(Due { at, rule: rule.id, generation: self.generation }));
                    Scheduled { rule, generation: self.generation }
                }
            };
            kept.insert(scheduled.rule.id, scheduled);
        }
        self.rules = kept;
        Ok(())
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(AlertRule, u64)> {
        while let Some(Reverse(due)) = self.queue.peek() {
            if due.at > now {
                return None;
            }
            let Reverse(due) = self.queue.pop()?;
            if let Some(known) = self.rules.get(&due.rule)
                && known.generation == due.generation
            {
                return Some((known.rule.clone(), due.generation));
            }
        }
        None
    }

    /// After an evaluation the rule is due one interval after it was due, or now if that has passed: a slow
    /// datasource delays its own rules and makes no backlog.
    fn again(&mut self, id: AlertRuleId, generation: u64, now: Timestamp) {
        if let Some(known) = self.rules.get(&id)
            && known.generation == generation
        {
            let interval = millis(known.rule.interval());
            let phase = phase_ms(&known.rule);
            self.queue.push(Reverse(Due { at: next_tick(now, interval, phase), rule: id, generation }));
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse(due)| due.at)
    }
}

/// The rule's place within its interval: spread by id, the same in every process.
fn phase_ms(rule: &AlertRule) -> u64 {
    // The random half of a UUID v7.
    let spread = rule.id.as_uuid().as_u64_pair().1;
    spread % millis(rule.interval()).max(1)
}

/// The next moment of the grid `phase + n * interval` after `now`.
fn next_tick(now: Timestamp, interval: u64, phase: u64) -> Timestamp {
    let now_ms = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    let into = (now_ms + interval - phase % interval) % interval;
    after_ms(now, interval - into)
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

async fn evaluate_rule(shared: &Shared, limits: &Limits, rule: AlertRule) -> Result<(), Error> {
    let started = shared.now();
    let seen = observe(shared, limits, &rule).await;
    let result = if matches!(seen, Observation::Failed(_)) { "error" } else { "ok" };
    metrics::counter!("rounds_alert_evaluations_total", "result" => result).increment(1);
    metrics::histogram!("rounds_alert_evaluation_duration_seconds")
        .record(elapsed(started, shared.now()).as_secs_f64());
    if let Observation::Failed(error) = &seen {
        // Operators search for these words.
        tracing::warn!(rule = %rule.id, name = %rule.name, %error, "metric query failed");
    }
    let mut tries = 0;
    loop {
        let Some(current) = shared.store.rule(rule.id).await? else { return Ok(()) };
        if !current.value.enabled || !current.value.watches_the_same(&rule) {
            // The rule changed while it was asked: what was seen answers another question.
            return Ok(());
        }
        let found = shared.store.instance_of(rule.id).await?;
        let now = shared.now();
        let (before, version) = match found {
            Some(found) => (found.value, Some(found.version)),
            None => (AlertInstance::new(&rule, now), None),
        };
        let next = evaluate(&current.value, &before, &seen, now, shared.settings.no_data_intervals);
        // It fires, and a silence kept that from everybody. Only a sample says that it still does.
        let untold = next.instance.silenced && matches!(seen, Observation::Sample { .. });
        let silences =
            if untold || next.history.is_some() { shared.store.silences(&rule.org_id).await? } else { Vec::new() };
        let (commit, instance) = transition(shared, &current.value, next, &silences);
        let commit = match version {
            Some(version) => commit.update(instance, version),
            None => commit.insert(instance),
        };
        // A rule that was deleted meanwhile must not get an instance that nobody deletes any more.
        let commit = commit.expect(Key::new(RecordKind::AlertRule, rule.id.as_uuid()), current.version);
        if shared.settle(commit, &mut tries).await? {
            return Ok(());
        }
    }
}

/// Asks the datasource; every failure is an observation.
async fn observe(shared: &Shared, limits: &Limits, rule: &AlertRule) -> Observation {
    let live = match shared.live.datasource(shared.store.as_ref(), &rule.org_id, rule.datasource_id).await {
        Ok(live) => live,
        Err(error) => return Observation::Failed(error.to_string()),
    };
    // By the datasource that answers, however the rule names it.
    let slots = limits.of(live.row.id);
    let Ok(_slot) = slots.acquire().await else { return Observation::Failed("the evaluator is going away".into()) };
    let cx = CallContext::with_timeout(shared.settings.query_timeout);
    let query = Query::Instant { expr: rule.condition.query.clone(), at: None };
    match guarded(shared, cx.timeout + SLACK, live.port.query(&cx, &query)).await {
        Err(broken) => Observation::Failed(format!("the datasource did not answer: {broken}")),
        Ok(Err(error)) => Observation::Failed(error.to_string()),
        Ok(Ok(answer)) => {
            let series = answer.series.len();
            let first = answer.series.into_iter().min_by(|a, b| a.labels.cmp(&b.labels));
            match first.and_then(|series| series.points.last().map(|point| (point.value, series.labels))) {
                Some((value, labels)) => Observation::Sample { value, labels, series },
                None => Observation::Empty,
            }
        }
    }
}

/// What an evaluation leads to beside the instance itself, and the instance to be stored with it.
pub(crate) fn transition(
    shared: &Shared,
    rule: &AlertRule,
    evaluation: Evaluation,
    silences: &[Versioned<Silence>],
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
            commit = investigated(shared, commit, rule, &mut instance, true);
            let since = instance.firing_since.map(|at| at.timestamp_millis()).unwrap_or_default();
            let key = format!("alert/{}/{}/{since}/after_silence", rule.id, instance.id);
            let title = format!("{} is {}", rule.name, instance.state.as_str());
            commit = told(shared, commit, rule, NoticeKind::AlertFiring, key, title);
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
        commit = investigated(shared, commit, rule, &mut instance, false);
    }
    if let (Some((kind, what)), false) = (notice, silenced) {
        let key = format!("alert/{}/{}", rule.id, row.id);
        commit = told(shared, commit, rule, kind, key, format!("{} {what}", rule.name));
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
    after_silence: bool,
) -> Commit {
    if !shared.settings.auto_investigation {
        return commit;
    }
    let investigation = queued(shared, rule, instance, after_silence);
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
fn told(shared: &Shared, commit: Commit, rule: &AlertRule, kind: NoticeKind, key: String, title: String) -> Commit {
    let link = format!("/alerts/{}", rule.id);
    let mut notice = shared.notice(&rule.org_id, kind, key, title, rule.description.clone(), link);
    notice.notice.severity = rule.severity.to_string();
    notice.notice.labels.clone_from(&rule.labels);
    commit.insert(notice)
}

fn queued(shared: &Shared, rule: &AlertRule, instance: &AlertInstance, after_silence: bool) -> Investigation {
    let now = shared.now();
    Investigation {
        id: InvestigationId::new(),
        org_id: rule.org_id.clone(),
        question: format!("Why is \"{}\" firing?", rule.name),
        trigger: Trigger::Alert {
            rule_id: rule.id,
            rule_name: rule.name.clone(),
            instance_id: instance.id,
            firing_since: instance.firing_since.unwrap_or(now),
            value: instance.last_value,
            labels: instance.last_labels.clone(),
            after_silence,
        },
        requested_by: None,
        force: false,
        run_as: None,
        investigator: None,
        status: InvestigationStatus::Queued,
        skip_reason: None,
        error: None,
        attempt: 0,
        created_at: now,
        updated_at: now,
        started_at: None,
        finished_at: None,
        report: None,
        plan_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_on_the_grid_and_after_now() {
        let now = chrono::DateTime::from_timestamp_millis(1_000_250).unwrap();
        for (interval, phase, expected) in [(1000, 0, 1_001_000), (1000, 300, 1_000_300), (1000, 250, 1_001_250)] {
            assert_eq!(next_tick(now, interval, phase).timestamp_millis(), expected);
        }
    }
}
