//! The executor: claims approved plans and drives each, one step at a time, to its next stop.
//!
//! One driver (rule 5): a claimed plan is driven under a lease that is renewed while a step runs; every commit
//! carries the lease. At most once (rule 4): the intent is committed with a deadline before the effect starts, and
//! the time left is measured right before the adapter is called.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::guard::{SLACK, panic_text};
use super::live::Live;
use super::observe::woken;
use super::plans::follow_up;
use super::prepare;
use super::review::{Stopped, review};
use super::shared::{Shared, millis, mutated};
use crate::access::Actor;
use crate::alert::AlertState;
use crate::audit::{AuditEntry, Outcome};
use crate::id::{PlanId, RequestId};
use crate::plan::{
    NextStep, Plan, PlanEvent, PlanStatus, RequestKind, Step, StepResult, StepStatus, digest, next_step, transition,
};
use crate::ports::store::{ClaimQuery, Commit, Lease, RecordKind, StoreError, StoreExt, Versioned, WorkerId};
use crate::ports::{ApprovedStep, CallContext, ExecutionAdapter, NoticeKind};
use crate::step::{Effect, Mode, StepError, StepOutput};
use crate::time::{Timestamp, after_ms, elapsed};

/// Runs until cancelled: takes what is due, and looks again when woken or after the poll interval.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let worker = WorkerId::unique("executor");
    let slots = Arc::new(Semaphore::new(shared.settings.concurrent_plans));
    let drives = TaskTracker::new();
    let ended = Arc::new(Notify::new());
    let mut wakes = shared.store.wakes();
    loop {
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            match claim(&shared, &worker).await {
                Ok(Some((plan, lease))) => {
                    let (shared, stop, ended) = (Arc::clone(&shared), stop.clone(), Arc::clone(&ended));
                    drives.spawn(async move {
                        drive(&shared, plan, lease, &stop).await;
                        drop(slot);
                        // A decision that came while the lease was held woke nobody who could claim the plan.
                        ended.notify_one();
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "plans could not be claimed; trying again");
                    break;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = woken(&mut wakes, RecordKind::Plan) => {}
            () = ended.notified() => {}
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
    // A started effect is seen to its end: its outcome is worth more than a quick exit.
    drives.close();
    drives.wait().await;
}

async fn claim(shared: &Shared, worker: &WorkerId) -> Result<Option<(Plan, Lease)>, StoreError> {
    let claimed = shared
        .store
        .claim(&ClaimQuery {
            kind: RecordKind::Plan,
            statuses: vec![PlanStatus::Approved.as_str().into(), PlanStatus::Executing.as_str().into()],
            due_by: shared.now(),
            worker: worker.clone(),
            ttl: shared.settings.lease_ttl,
        })
        .await?;
    claimed.map(|(record, lease)| Ok((record.value.try_into()?, lease))).transpose()
}

async fn drive(shared: &Shared, plan: Plan, lease: Lease, stop: &CancellationToken) {
    let id = plan.id;
    // The keeper renews a lease that is held, so the drive goes first: what it has to say is worth more.
    let result = tokio::select! {
        biased;
        result = drive_to_stop(shared, id, &lease, stop) => result,
        () = shared.keep(&lease) => Err(Error::Store(StoreError::LeaseLost { key: lease.key })),
    };
    match result {
        Ok(()) => {
            if let Err(error) = shared.store.release(&lease).await {
                tracing::debug!(plan = %id, %error, "the lease could not be given back; it runs out by itself");
            }
        }
        Err(Error::Store(StoreError::LeaseLost { .. })) => {
            tracing::warn!(plan = %id, "the lease on the plan is lost; somebody else drives it");
        }
        // The lease is left to run out: a plan that fails at once must not be claimed at once, before all others.
        Err(error) => tracing::warn!(plan = %id, %error, "the plan could not be driven on; trying again"),
    }
}

async fn drive_to_stop(shared: &Shared, id: PlanId, lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
    loop {
        // Between two steps is a good place to stop: whoever starts next goes on from here.
        if stop.is_cancelled() {
            return Ok(());
        }
        let Some(found) = shared.store.plan(id).await? else { return Ok(()) };
        let now = shared.now();
        match found.value.status {
            PlanStatus::Approved => {
                apply(shared, &found, PlanEvent::Start { at: now }, lease, None).await?;
            }
            PlanStatus::Executing => match next_step(&found.value) {
                NextStep::Run(ordinal) => run_step(shared, &found, ordinal, lease).await?,
                NextStep::Ask(ordinal) => {
                    let event = PlanEvent::RequestStep {
                        at: now,
                        ordinal,
                        request_id: RequestId::new(),
                        expires_at: after_ms(now, millis(shared.settings.plan_approval_ttl)),
                    };
                    apply(shared, &found, event, lease, None).await?;
                    return Ok(());
                }
                NextStep::Waiting(ordinal) => {
                    let open = found.value.open_request(RequestKind::Step { ordinal });
                    let Some(request) = open.filter(|request| now >= request.expires_at) else { return Ok(()) };
                    let entry = expiry_entry(&found.value, request.id, ordinal, now);
                    apply(shared, &found, PlanEvent::ExpireStep { at: now, ordinal }, lease, Some(entry)).await?;
                }
                NextStep::Running(ordinal) => recover(shared, &found, ordinal, lease, stop).await?,
                NextStep::None => {
                    // An error, so that the lease is left to run out: the row stays due, and nothing here changes it.
                    return Err(Error::Invalid("the plan executes and has no step left; a person must look".into()));
                }
            },
            PlanStatus::Draft
            | PlanStatus::PendingApproval
            | PlanStatus::Completed
            | PlanStatus::Failed
            | PlanStatus::Rejected
            | PlanStatus::Expired
            | PlanStatus::Cancelled => return Ok(()),
        }
    }
}

/// Commits one event under the lease. When somebody decided meanwhile (a cancel), the caller reads again.
async fn apply(
    shared: &Shared,
    found: &Versioned<Plan>,
    event: PlanEvent,
    lease: &Lease,
    entry: Option<AuditEntry>,
) -> Result<Option<Plan>, Error> {
    let next = transition(&found.value, &event)?;
    let mut commit = Commit::new().event(shared.plan_event(&next, event.name()));
    if !mutated!(shared, CommitsWithoutTheLease) {
        commit = commit.under(lease);
    }
    if let Some(entry) = entry {
        commit = commit.audit(entry);
    }
    if let PlanEvent::RequestStep { ordinal, request_id, .. } = event {
        let part = format!("step/{ordinal}/{request_id}");
        let kind = NoticeKind::StepAwaitingApproval;
        commit = commit.insert(shared.plan_notice(
            &next,
            found.version + 1,
            kind,
            "waits for the approval of a step",
            &part,
        ));
    }
    if next.status != found.value.status {
        commit = follow_up(shared, commit, &next, found.version + 1).await?;
    }
    match shared.store.commit(commit.update(next.clone(), found.version)).await {
        Ok(_) => Ok(Some(next)),
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A step that this worker did not start is running: whoever started it died or stalled. Its effect may go on
/// until its deadline, so nobody judges before that, plus a grace.
async fn recover(
    shared: &Shared,
    found: &Versioned<Plan>,
    ordinal: u32,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let Some(step) = found.value.step(ordinal) else { return Ok(()) };
    let deadline = step.effect_deadline.unwrap_or_default();
    let over = after_ms(deadline, millis(shared.settings.effect_grace));
    // By the store's time, which is the one that the deadline is of: this may be another machine than the one that set it.
    let now = shared.store.time().await?;
    if now < over && !mutated!(shared, JudgesBeforeTheDeadline) {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = shared.clock.sleep(elapsed(now, over)) => {}
        }
    }
    let message = "Rounds stopped while this step was running: nobody knows how it ended".to_owned();
    let result = if mutated!(shared, ForgetsThatTheOutcomeIsUnknown) {
        StepResult::Failed { message: message.clone(), output: StepOutput::default() }
    } else {
        StepResult::Interrupted { message: message.clone(), output: StepOutput::default() }
    };
    let entry = step_entry(shared, &found.value, step, Outcome::Failure, Some(&message));
    metrics::counter!("rounds_plan_steps_total", "outcome" => "interrupted").increment(1);
    apply(shared, found, PlanEvent::FinishStep { at: shared.now(), ordinal, result }, lease, Some(entry)).await?;
    Ok(())
}

/// What stands between a step and its effect, checked right before it.
async fn ready(shared: &Shared, plan: &Plan, step: &Step) -> Result<Ready, Error> {
    if let Err(tampered) = digest::check(plan) {
        return Ok(Ready::Changed(tampered.to_string()));
    }
    let live = match shared.live.adapter(shared.store.as_ref(), &plan.org_id, step.connector_id).await {
        Ok(live) => live,
        Err(Error::NotFound { .. }) => return Ok(Ready::Changed("review_changed: its connector is gone".into())),
        Err(error @ Error::Invalid(_)) => return Ok(Ready::Changed(format!("review_changed: {error}"))),
        // What was reviewed is the same, and this host cannot run it: no kubectl, say. A person mends that and retries.
        Err(error @ Error::Port(_)) => return Ok(Ready::Unable(error.to_string())),
        Err(error) => return Err(error),
    };
    if live.row.revision != step.connector_revision && !mutated!(shared, RunsOnAChangedConnector) {
        return Ok(Ready::Changed(format!(
            "review_changed: the connector {} is at revision {}, and {} was approved: propose again",
            live.row.name, live.row.revision, step.connector_revision
        )));
    }
    match review(shared, &live, &step.review.spec(), Mode::Write).await {
        Ok(today) => match prepare::same_review(&step.review, &today) {
            Err(_) if mutated!(shared, RunsWhatIsRenderedToday) => Ok(Ready::Yes(live, today)),
            Err(difference) => Ok(Ready::Changed(difference)),
            Ok(()) => Ok(Ready::Yes(live, today)),
        },
        Err(Stopped::Refused(refusal)) => {
            Ok(Ready::Changed(format!("review_changed: the gate now refuses this step: {refusal}")))
        }
        // The rules are the same, and what they need to know cannot be asked for now: a person mends that and retries.
        Err(Stopped::Unasked(refusal)) => Ok(Ready::Unable(refusal.message)),
        // "it panicked: …"
        Err(Stopped::Panicked(panicked)) => {
            let said = panicked.strip_prefix("it ").unwrap_or(&panicked);
            Ok(Ready::Changed(format!("review_changed: the adapter {said}")))
        }
    }
}

enum Ready {
    Yes(Live<dyn ExecutionAdapter>, crate::step::ReviewedStep),
    Changed(String),
    Unable(String),
}

async fn run_step(shared: &Shared, found: &Versioned<Plan>, ordinal: u32, lease: &Lease) -> Result<(), Error> {
    let plan = &found.value;
    let Some(step) = plan.step(ordinal) else { return Ok(()) };
    let (live, reviewed) = match ready(shared, plan, step).await? {
        Ready::Yes(live, reviewed) => (live, reviewed),
        Ready::Changed(reason) => {
            let entry = step_entry(shared, plan, step, Outcome::Failure, Some(&reason));
            let event = PlanEvent::HaltReviewChanged { at: shared.now(), ordinal, reason };
            apply(shared, found, event, lease, Some(entry)).await?;
            return Ok(());
        }
        Ready::Unable(reason) => {
            let limit = shared.settings.step_timeout;
            let Some(started) = intend(shared, found, ordinal, limit, lease).await? else { return Ok(()) };
            let attempt = started.step(ordinal).map_or(0, |step| step.attempt);
            let message = format!("{reason}; nothing was run");
            let result = StepResult::Failed { message, output: StepOutput::default() };
            return finish(shared, started.id, ordinal, attempt, result, lease, Duration::ZERO).await;
        }
    };
    let (at, begun) = (shared.now(), tokio::time::Instant::now());
    let limit = live.port.describe().step_timeout.unwrap_or(shared.settings.step_timeout);
    let Some(started) = intend(shared, found, ordinal, limit, lease).await? else { return Ok(()) };
    let Some(step) = started.step(ordinal) else { return Ok(()) };
    tracing::info!(plan = %started.id, ordinal, attempt = step.attempt, command = %step.review.command_text, "step started");

    let approved = ApprovedStep::new(reviewed, started.id, step.id, ordinal, step.attempt);
    // Counted from before the deadline was set, so that the effect is over by then whatever the two clocks say.
    // The longer of the two: the clock may have been set back since, and tokio's stands still in a machine that sleeps.
    let by_tokio = if mutated!(shared, TrustsItsClock) { Duration::ZERO } else { begun.elapsed() };
    let left = limit.saturating_sub(elapsed(at, shared.now()).max(by_tokio));
    let result = effect(live.port, approved, left, shared.settings.effect_grace).await;
    let took = elapsed(at, shared.now());
    finish(shared, started.id, ordinal, step.attempt, result, lease, took).await
}

/// Commits the intent to run a step, with the deadline of its effect. Nobody else can have started it: the intent
/// carries the lease and the version. `None`: somebody decided meanwhile, so the caller reads again.
async fn intend(
    shared: &Shared,
    found: &Versioned<Plan>,
    ordinal: u32,
    limit: Duration,
    lease: &Lease,
) -> Result<Option<Plan>, Error> {
    let alert_firing = alert_fires(shared, &found.value).await?;
    // Of the store's time: whoever judges after a crash may be another machine.
    let effect_deadline = after_ms(shared.store.time().await?, millis(limit));
    let intent = PlanEvent::StartStep { at: shared.now(), ordinal, effect_deadline, alert_firing };
    if mutated!(shared, RunsBeforeTheIntentIsCommitted) {
        return Ok(Some(transition(&found.value, &intent)?));
    }
    apply(shared, found, intent, lease, None).await
}

/// Calls the adapter in a task of its own, so that a panic is an outcome and not the end of the executor.
async fn effect(port: Arc<dyn ExecutionAdapter>, step: ApprovedStep, left: Duration, grace: Duration) -> StepResult {
    if left.is_zero() {
        let message = "the time for this step ran out before it could start; nothing was run".to_owned();
        return StepResult::Failed { message, output: StepOutput::default() };
    }
    let cx = CallContext::with_timeout(left);
    // The limit holds inside the task: whoever drives may lose the plan, and the effect must end all the same.
    let mut call = tokio::spawn(async move { tokio::time::timeout(left + grace, port.execute(&cx, step)).await });
    let late = || Err(StepError::unknown("the adapter did not keep to its time limit", StepOutput::default()));
    // And outside: an adapter that blocks its thread cannot be timed out from within.
    let result = match tokio::time::timeout(left + grace + SLACK, &mut call).await {
        Ok(Ok(Ok(result))) => result,
        Ok(Ok(Err(_))) => late(),
        Ok(Err(ended)) => {
            let said = match ended.try_into_panic() {
                Ok(panic) => panic_text(panic.as_ref()).to_owned(),
                Err(ended) => ended.to_string(),
            };
            Err(StepError::unknown(format!("the adapter panicked: {said}"), StepOutput::default()))
        }
        Err(_) => {
            call.abort();
            late()
        }
    };
    match result {
        Ok(output) => StepResult::Done(output.capped()),
        Err(error) => {
            // It goes into the plan's resolution and the audit row, so a page of it must do.
            let message = match error.message.char_indices().nth(2000) {
                Some((end, _)) => format!("{}…", &error.message[..end]),
                None => error.message,
            };
            let output = error.output.capped();
            match (error.effect, error.outcome_unknown) {
                (Effect::MayHaveHappened, true) => StepResult::Interrupted { message, output },
                (Effect::NotStarted, _) | (Effect::MayHaveHappened, false) => StepResult::Failed { message, output },
            }
        }
    }
}

/// Records how it ended. An outcome is worth more than any error of the store that trying again can mend, and more
/// than a lease whose time ran out while the store was busy: unless somebody took the plan, it is revived once.
async fn finish(
    shared: &Shared,
    id: PlanId,
    ordinal: u32,
    attempt: u32,
    result: StepResult,
    lease: &Lease,
    took: Duration,
) -> Result<(), Error> {
    let (outcome, word, error) = match &result {
        StepResult::Done(_) => (Outcome::Success, "done", None),
        StepResult::Failed { message, .. } => (Outcome::Failure, "failed", Some(message.clone())),
        StepResult::Interrupted { message, .. } => (Outcome::Failure, "interrupted", Some(message.clone())),
    };
    metrics::counter!("rounds_plan_steps_total", "outcome" => word).increment(1);
    metrics::histogram!("rounds_plan_step_duration_seconds").record(took.as_secs_f64());
    let mut revived = false;
    loop {
        let saved = async {
            let Some(found) = shared.store.plan(id).await? else { return Ok(true) };
            let Some(step) = found.value.step(ordinal) else { return Ok(true) };
            if step.status != StepStatus::Executing || step.attempt != attempt {
                return Ok(true);
            }
            let entry = step_entry(shared, &found.value, step, outcome, error.as_deref());
            let event = PlanEvent::FinishStep { at: shared.now(), ordinal, result: result.clone() };
            Ok::<bool, Error>(apply(shared, &found, event, lease, Some(entry)).await?.is_some())
        };
        match saved.await {
            Ok(true) => return Ok(()),
            // A cancel came in between: read again and record.
            Ok(false) => tokio::task::yield_now().await,
            Err(Error::Store(error)) if error.is_transient() => {
                tracing::warn!(plan = %id, ordinal, %error, "the step's outcome could not be recorded; trying again");
                // Often enough to be heard before the lease runs out.
                shared.clock.sleep(shared.settings.lease_ttl / 10).await;
            }
            // The store refuses the renewal when somebody claimed the plan since, whose judgement it then is.
            Err(Error::Store(error @ StoreError::LeaseLost { .. })) if !revived => {
                tracing::warn!(plan = %id, ordinal, %error, "the lease ran out before the step's outcome was recorded; renewing it");
                revive(shared, lease).await?;
                revived = true;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Renews a lease that may be over; a busy store is asked again.
async fn revive(shared: &Shared, lease: &Lease) -> Result<(), Error> {
    loop {
        match shared.store.renew(lease, shared.settings.lease_ttl).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => shared.clock.sleep(shared.settings.lease_ttl / 10).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn alert_fires(shared: &Shared, plan: &Plan) -> Result<Option<bool>, Error> {
    if plan.linked_alert_rule_id.is_none() {
        return Ok(None);
    }
    let alert = shared.alert_of(plan).await?;
    Ok(Some(alert.is_some_and(|(_, instance)| instance.state == AlertState::Firing)))
}

/// Nobody decided on a step: the sweeper says the same of a plan.
fn expiry_entry(plan: &Plan, request: RequestId, ordinal: u32, at: Timestamp) -> AuditEntry {
    let target = (AuditEntry::TARGET_REQUEST, request.to_string());
    AuditEntry::new(at, &plan.org_id, &Actor::system(), "approval.expire", target, Outcome::Success)
        .with("planId", plan.id.to_string())
        .with("stepOrdinal", ordinal)
        .with("digest", plan.digest.clone())
}

/// The audit row of an attempt. The actor is who proposed the plan; who approved it is in the metadata.
fn step_entry(shared: &Shared, plan: &Plan, step: &Step, outcome: Outcome, error: Option<&str>) -> AuditEntry {
    let target = (AuditEntry::TARGET_STEP, format!("{}:{}", plan.id, step.ordinal));
    let entry = AuditEntry::new(shared.now(), &plan.org_id, &plan.created_by, AuditEntry::PLAN_STEP, target, outcome)
        .with("planId", plan.id.to_string())
        .with("stepOrdinal", step.ordinal)
        .with("kind", step.review.kind.clone())
        .with("verb", step.review.verb.clone())
        .with("connectorId", step.connector_id.to_string())
        .with("attempt", step.attempt)
        .with("approvedBy", json!(step.approved_by.as_ref().or(plan.approved_by.as_ref()).map(|by| &by.id)))
        .with("digest", plan.digest.clone());
    match error {
        Some(error) => entry.with("error", error.chars().take(2000).collect::<String>()),
        None => entry,
    }
}
