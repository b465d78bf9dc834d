//! The executor: pauses, halts, retries, cancels; what it does with adapters that fail, panic or hang.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rounds_core::Error;
use rounds_core::Settings;
use rounds_core::plan::{PlanOutcome, PlanStatus, RequestKind, RequestStatus, StepFailure, StepStatus};
use rounds_core::ports::Clock;
use rounds_core::ports::store::StoreExt;
use rounds_core::service::{Approval, ServiceHealth, ServiceName};
use rounds_core::step::{OUTPUT_CAP, StepError, StepOutput};
use rounds_core::testing::FakeOutcome;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::harness::{World, eventually, later, lock, ok, pass, requests, secs, steps};

fn failed(message: &str) -> FakeOutcome {
    FakeOutcome::Error(StepError::failed(message, StepOutput::default().with_exit_code(1)))
}

fn unknown(message: &str) -> FakeOutcome {
    FakeOutcome::Error(StepError::unknown(message, StepOutput::default()))
}

#[tokio::test(start_paused = true)]
async fn without_auto_edit_every_step_pauses_the_first_and_the_reads_included() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "restart app/web", "get app/web"]).await;
    world.approve(&plan).await;
    for ordinal in 0..3u32 {
        let (waits, request) = world.paused(plan.id).await;
        assert_eq!(waits, ordinal);
        assert_eq!(world.cluster.executed().len(), ordinal as usize, "a step ran before its own approval");
        let found = world.plan(plan.id).await;
        assert_eq!(found.steps[ordinal as usize].approval_request_id, Some(request));
        assert_eq!(found.steps[ordinal as usize].status, StepStatus::Pending);
        world.rounds.approvals().approve(&world.editor, request).await.unwrap();
    }
    let done = world.settled(plan.id).await;
    assert_eq!((done.status, steps(&done)), (PlanStatus::Completed, vec!["done"; 3]));
    assert_eq!(done.steps[0].output_text.as_deref(), Some("ok"));
    assert!(done.steps.iter().all(|step| step.effect_deadline.is_none() && step.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn auto_edit_runs_through_in_order_without_a_pause() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "scale app/web", "restart app/web"]).await;
    world.let_run(&plan).await;
    let done = world.settled(plan.id).await;
    assert_eq!(done.status, PlanStatus::Completed);
    assert_eq!(requests(&done), [(RequestKind::Plan, RequestStatus::Approved)], "no step asked for an approval");
    assert_eq!(world.cluster.executed(), ["fake get app/web#1", "fake scale app/web#1", "fake restart app/web#1"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_halts_the_plan_and_the_later_ones_are_skipped() {
    let world = World::new().await;
    let _running = world.start();
    world.cluster.fake.script(FakeOutcome::Done("fine".into()));
    world.cluster.fake.script(failed("no such deployment"));
    let plan = world.propose(&["scale app/web", "restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    let halted = world.settled(plan.id).await;
    assert_eq!((halted.status, steps(&halted)), (PlanStatus::Failed, vec!["done", "failed", "skipped"]));
    assert_eq!(halted.steps[1].error_text.as_deref(), Some("no such deployment"));
    assert_eq!(halted.steps[1].failure, Some(StepFailure::Failed));
    assert!(matches!(PlanOutcome::of(&halted), PlanOutcome::Failed { failed_ordinal: 1, .. }));
    assert_eq!(world.cluster.executed().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn continue_on_error_goes_on_after_a_failure_and_never_after_an_unknown_outcome() {
    for (outcome, status, expected) in [
        (failed("no"), PlanStatus::Completed, ["failed", "done"]),
        (FakeOutcome::Error(StepError::not_started("no")), PlanStatus::Completed, ["failed", "done"]),
        (unknown("who knows"), PlanStatus::Failed, ["interrupted", "skipped"]),
    ] {
        let world = World::new().await;
        let _running = world.start();
        world.cluster.fake.script(outcome);
        let mut request = world.proposal(&["scale app/web", "restart app/web"]);
        request.plan.steps[0].continue_on_error = true;
        let plan = world.rounds.plans().propose(&world.agent, request).await.unwrap().plan;
        world.let_run(&plan).await;
        let ended = world.settled(plan.id).await;
        assert_eq!((ended.status, steps(&ended)), (status, expected.to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn proven_not_started_is_failed_and_unknown_is_interrupted() {
    let world = World::new().await;
    let _running = world.start();
    for (outcome, expected) in [
        (FakeOutcome::Error(StepError::not_started("kubectl is not there")), StepStatus::Failed),
        (failed("it said no"), StepStatus::Failed),
        (unknown("the connection was lost"), StepStatus::Interrupted),
    ] {
        world.cluster.fake.script(outcome);
        let plan = world.propose(&["restart app/web"]).await;
        world.let_run(&plan).await;
        let ended = world.settled(plan.id).await;
        assert_eq!((ended.status, ended.steps[0].status), (PlanStatus::Failed, expected));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_runs_only_that_step_and_then_the_later_ones_that_were_never_done() {
    let world = World::new().await;
    let _running = world.start();
    world.cluster.fake.script(FakeOutcome::Done("fine".into()));
    world.cluster.fake.script(failed("not yet"));
    let plan = world.propose(&["scale app/web", "restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    world.rounds.plans().retry(&world.auto_editor, plan.id, 1, false).await.unwrap();
    let done = world.settled(plan.id).await;
    assert_eq!((done.status, steps(&done)), (PlanStatus::Completed, vec!["done"; 3]));
    assert_eq!(
        world.cluster.executed(),
        ["fake scale app/web#1", "fake restart app/web#1", "fake restart app/web#2", "fake get app/web#1"]
    );
    let done_again = world.rounds.plans().retry(&world.auto_editor, plan.id, 1, true).await;
    assert!(matches!(done_again, Err(Error::State(_))), "rule 6: a completed plan never changes again");
}

#[tokio::test(start_paused = true)]
async fn the_click_of_who_retries_approves_that_step_and_auto_edit_survives_only_with_the_grant() {
    let world = World::new().await;
    let _running = world.start();
    world.cluster.fake.script(failed("not yet"));
    let plan = world.propose(&["restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    // The editor may decide, and holds no auto-edit: the second step asks again.
    world.rounds.plans().retry(&world.editor, plan.id, 0, false).await.unwrap();
    let (waits, _) = world.paused(plan.id).await;
    assert_eq!(waits, 1);
    let found = world.plan(plan.id).await;
    assert_eq!(steps(&found), ["done", "pending"]);
    assert_eq!(found.steps[0].approved_by, Some(world.editor.actor()));
    assert!(!found.auto_edit);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_step_is_retried_only_by_somebody_who_acknowledges_the_unknown_outcome() {
    let world = World::new().await;
    let _running = world.start();
    world.cluster.fake.script(unknown("the connection was lost"));
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    pass(secs(3600)).await;
    assert_eq!(world.cluster.executed().len(), 1, "rule 4: nothing is re-run by itself");
    let refused = world.rounds.plans().retry(&world.auto_editor, plan.id, 0, false).await.unwrap_err();
    assert!(refused.to_string().contains("acknowledgeUnknownOutcome"), "{refused}");
    assert_eq!(world.plan(plan.id).await.status, PlanStatus::Failed);
    world.rounds.plans().retry(&world.auto_editor, plan.id, 0, true).await.unwrap();
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    assert_eq!(world.cluster.executed(), ["fake restart app/web#1", "fake restart app/web#2"]);
}

#[tokio::test(start_paused = true)]
async fn cancel_while_a_step_runs_keeps_its_real_outcome_and_kills_nothing() {
    for (outcome, expected) in [(Ok(()), StepStatus::Done), (Err(()), StepStatus::Failed)] {
        let world = World::new().await;
        let _running = world.start();
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let finished = Arc::new(AtomicBool::new(false));
        let (inner, inner_go, inner_finished) = (started.clone(), go.clone(), finished.clone());
        world.cluster.does(move |_, _| {
            let (started, go, finished) = (inner.clone(), inner_go.clone(), inner_finished.clone());
            async move {
                started.notify_one();
                go.notified().await;
                finished.store(true, Ordering::SeqCst);
                outcome.map_or_else(|()| Err(StepError::failed("it said no", StepOutput::default())), |()| ok())
            }
        });
        let plan = world.propose(&["restart app/web", "get app/web"]).await;
        world.let_run(&plan).await;
        started.notified().await;
        let asked = world.rounds.plans().cancel(&world.editor, plan.id, Some("wrong plan".into())).await.unwrap();
        assert_eq!((asked.status, asked.cancel_requested_at), (PlanStatus::Executing, Some(world.now())));
        let twice = world.rounds.plans().cancel(&world.editor, plan.id, None).await;
        assert!(matches!(twice, Err(Error::State(_))));
        pass(secs(10)).await;
        assert_eq!(world.plan(plan.id).await.status, PlanStatus::Executing, "the outcome is not known yet");
        go.notify_one();
        let ended = world.settled(plan.id).await;
        assert!(finished.load(Ordering::SeqCst), "the effect was left to finish");
        assert_eq!((ended.status, ended.steps[0].status), (PlanStatus::Cancelled, expected));
        assert_eq!(ended.steps[1].status, StepStatus::Skipped);
        assert_eq!(ended.resolved_by, Some(world.editor.actor()));
        assert_eq!(world.audited("agent.plan_step").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_between_steps_ends_the_plan_at_once() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "restart app/web"]).await;
    world.approve(&plan).await;
    let (_, request) = world.paused(plan.id).await;
    world.rounds.plans().cancel(&world.editor, plan.id, None).await.unwrap();
    let ended = world.plan(plan.id).await;
    assert_eq!((ended.status, steps(&ended)), (PlanStatus::Cancelled, vec!["skipped"; 2]));
    assert_eq!(ended.request(request).unwrap().status, RequestStatus::Superseded);
    let late = world.rounds.approvals().approve(&world.editor, request).await.unwrap_err();
    assert_eq!(late.code(), "already_resolved");
    pass(secs(60)).await;
    assert!(world.cluster.executed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_leaves_the_step_interrupted_and_the_executor_alive() {
    let world = World::new().await;
    let running = world.start();
    world.cluster.does(|_, step| async move {
        assert!(!step.step().command_text.contains("restart"), "a fault in the adapter");
        ok()
    });
    let broken = world.propose(&["restart app/web", "get app/web"]).await;
    world.let_run(&broken).await;
    let halted = world.settled(broken.id).await;
    assert_eq!((halted.status, steps(&halted)), (PlanStatus::Failed, vec!["interrupted", "skipped"]));
    let error = halted.steps[0].error_text.clone().unwrap();
    assert!(error.contains("a fault in the adapter"), "{error}");
    let fine = world.propose(&["get app/web"]).await;
    world.let_run(&fine).await;
    assert_eq!(world.settled(fine.id).await.status, PlanStatus::Completed);
    assert_eq!(running.health()[&ServiceName::Executor], ServiceHealth::Running);
}

async fn expired(world: &World, id: rounds_core::PlanId) -> rounds_core::plan::Plan {
    eventually("the request expires", async || {
        let plan = world.plan(id).await;
        (plan.status == PlanStatus::Failed).then_some(plan)
    })
    .await
}

/// Says when it is dropped: an adapter kills its process in such a place.
struct Killed(Arc<AtomicBool>);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_hangs_over_its_limit_is_dropped_and_the_step_is_interrupted() {
    let world = World::new().await;
    let _running = world.start();
    let killed = Arc::new(AtomicBool::new(false));
    let guard = killed.clone();
    world.cluster.does(move |_, _| {
        let guard = Killed(guard.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let plan = world.propose(&["restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    let began = Instant::now();
    let halted = world.settled(plan.id).await;
    assert_eq!(steps(&halted), ["interrupted", "skipped"]);
    let limit = world.settings.step_timeout + world.settings.effect_grace;
    assert!(began.elapsed() >= limit && began.elapsed() < limit + secs(3), "{:?}", began.elapsed());
    assert!(killed.load(Ordering::SeqCst), "an effect past its limit must not go on in the background");
}

#[tokio::test(start_paused = true)]
async fn output_and_error_are_capped_at_64_kib_with_head_tail_and_how_much_was_cut() {
    let world = World::new().await;
    let _running = world.start();
    world.cluster.does(|_, _| async {
        let text = |what: &str| format!("{what} begins\n{}\n{what} ends", "ü".repeat(100_000));
        let output = StepOutput::text(text("output")).with_exit_code(1).with_error_output(text("error"));
        Err(StepError::failed("it said no ".repeat(20_000), output))
    });
    let plan = world.propose(&["get app/web"]).await;
    world.let_run(&plan).await;
    let ended = world.settled(plan.id).await;
    for (what, text) in [("output", &ended.steps[0].output_text), ("error", &ended.steps[0].error_text)] {
        let text = text.as_deref().unwrap();
        assert!(text.len() <= OUTPUT_CAP, "{} bytes", text.len());
        assert!(text.contains(&format!("{what} begins")) && text.ends_with(&format!("{what} ends")));
        assert!(text.contains("bytes cut"), "the marker says how much is missing");
    }
    assert!(ended.steps[0].error_text.as_deref().unwrap().starts_with("it said no"), "the conclusion comes first");
    assert!(ended.resolution.unwrap().len() < 4096, "and is told in full nowhere else");
}

#[tokio::test(start_paused = true)]
async fn a_step_request_expires_by_its_own_creation_fails_the_step_and_can_be_retried() {
    let settings = Settings { plan_approval_ttl: secs(600), ..Settings::default() };
    let world = World::with(settings).await;
    let _running = world.start();
    let plan = world.propose(&["restart app/web", "get app/web"]).await;
    pass(secs(500)).await;
    world.approve(&plan).await;
    let (_, request) = world.paused(plan.id).await;
    let opened = world.plan(plan.id).await.request(request).unwrap().clone();
    assert_eq!(opened.expires_at, later(opened.created_at, secs(600)), "its own creation counts, not the plan's");
    pass(secs(590)).await;
    assert_eq!(world.plan(plan.id).await.status, PlanStatus::Executing);
    let expired = expired(&world, plan.id).await;
    assert_eq!((expired.status, steps(&expired)), (PlanStatus::Failed, vec!["failed", "skipped"]));
    assert_eq!(expired.steps[0].failure, Some(StepFailure::Expired));
    assert_eq!(expired.request(request).unwrap().status, RequestStatus::Expired);
    let row = world.audited("approval.expire").await.remove(0).entry;
    assert_eq!((row.target_type.as_str(), row.target_id), ("approval_request", request.to_string()));
    assert!(world.cluster.executed().is_empty());
    world.rounds.plans().retry(&world.editor, plan.id, 0, false).await.unwrap();
    assert_eq!(world.walk(plan.id).await.status, PlanStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn rule_4_the_intent_is_stored_with_its_deadline_before_the_adapter_is_called() {
    let world = World::new().await;
    let _running = world.start();
    let store = world.store.clone();
    let clock = world.clock.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let witness = seen.clone();
    world.cluster.does(move |limit, step| {
        let (store, clock, witness) = (store.clone(), clock.clone(), witness.clone());
        async move {
            let plan = store.plan(step.plan_id()).await.unwrap().unwrap().value;
            let stored = plan.step(step.ordinal()).unwrap().clone();
            lock(&witness).push((stored, limit, clock.now(), step.attempt()));
            ok()
        }
    });
    let plan = world.propose(&["restart app/web", "scale app/web"]).await;
    world.let_run(&plan).await;
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    let seen = lock(&seen).clone();
    assert_eq!(seen.len(), 2);
    for (stored, limit, now, attempt) in seen {
        assert_eq!((stored.status, stored.attempt), (StepStatus::Executing, attempt));
        let deadline = stored.effect_deadline.expect("the deadline is in the row while the effect runs");
        assert_eq!(later(now, limit), deadline, "what is left is passed on as the hard limit");
        assert!(limit <= world.settings.step_timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_says_how_long_its_steps_may_take() {
    for own in [secs(300), secs(5)] {
        let world = World::new().await;
        let _running = world.start();
        *lock(&world.cluster.step_timeout) = Some(own);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let witness = seen.clone();
        world.cluster.does(move |limit, _| {
            lock(&witness).push(limit);
            async move {
                tokio::time::sleep(limit - secs(1)).await;
                ok()
            }
        });
        let plan = world.propose(&["restart app/web"]).await;
        world.let_run(&plan).await;
        assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
        assert_eq!(*lock(&seen), [own]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_while_a_step_runs_for_longer_than_it() {
    let settings = Settings { lease_ttl: secs(3), step_timeout: secs(120), ..Settings::default() };
    let world = World::with(settings).await;
    let _running = world.start();
    let other = world.replica(Arc::new(world.store.clone())).build().unwrap();
    let _other = other.start();
    world.cluster.does(|_, _| async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        ok()
    });
    let plan = world.propose(&["restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    let done = world.settled(plan.id).await;
    assert_eq!((done.status, steps(&done)), (PlanStatus::Completed, vec!["done"; 2]));
    assert_eq!(world.cluster.executed().len(), 2, "rule 5: nobody else took the plan meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_cut_off_says_so() {
    let world = World::new().await;
    let running = world.start();
    let started = Arc::new(Notify::new());
    let inner = started.clone();
    world.cluster.does(move |_, _| {
        let started = inner.clone();
        async move {
            started.notify_one();
            std::future::pending().await
        }
    });
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    started.notified().await;
    let health = running.shutdown(secs(5)).await;
    assert_eq!(health[&ServiceName::Executor], ServiceHealth::CutOff, "its step runs on");
    assert_eq!(health[&ServiceName::Evaluator], ServiceHealth::Stopped);
    assert_eq!(running.shutdown(secs(5)).await, health, "and it stays said");
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_no_further_step_and_the_next_start_goes_on_from_there() {
    let world = World::new().await;
    let running = world.start();
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inner, inner_go) = (started.clone(), go.clone());
    world.cluster.does(move |_, _| {
        let (started, go) = (inner.clone(), inner_go.clone());
        async move {
            started.notify_one();
            go.notified().await;
            ok()
        }
    });
    let plan = world.propose(&["restart app/web", "scale app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    started.notified().await;
    let stopping = tokio::spawn(async move { running.shutdown(secs(30)).await });
    pass(secs(1)).await;
    go.notify_one();
    let health = stopping.await.unwrap();
    assert!(health.values().all(|state| *state == ServiceHealth::Stopped), "{health:?}");
    let between = world.plan(plan.id).await;
    assert_eq!(steps(&between), ["done", "pending", "pending"], "the running step was seen to its end, no other began");
    pass(secs(60)).await;
    assert_eq!(world.cluster.executed().len(), 1);
    world.cluster.does(|_, _| async { ok() });
    let _again = world.start();
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    assert_eq!(world.cluster.executed().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_followed_at_once_even_when_nobody_polls() {
    let settings = Settings { poll_interval: secs(7200), concurrent_plans: 2, ..Settings::default() };
    let world = World::with(settings).await;
    let _running = world.start();
    let mut plans = Vec::new();
    for _ in 0..7 {
        plans.push(world.propose(&["restart app/web", "get app/web"]).await);
    }
    let began = Instant::now();
    for plan in &plans {
        world.approve(plan).await;
    }
    for plan in &plans {
        assert_eq!(world.walk(plan.id).await.status, PlanStatus::Completed);
    }
    assert!(began.elapsed() < secs(60), "a freed slot and a decision are both noticed: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_waits_for_a_slot_is_taken_as_soon_as_one_is_free() {
    let settings = Settings { poll_interval: secs(7200), concurrent_plans: 1, ..Settings::default() };
    let world = World::with(settings).await;
    let mut plans = Vec::new();
    for _ in 0..5 {
        let plan = world.propose(&["restart app/web"]).await;
        plans.push(world.let_run(&plan).await);
    }
    let began = Instant::now();
    let _running = world.start();
    for plan in &plans {
        assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    }
    assert!(began.elapsed() < secs(60), "nobody polls, and nobody has to: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_fails_again_before_anybody_was_told_of_the_first_time_fails_again() {
    // Notices pile up: nobody delivers them here.
    let world = World::built(Settings::default(), |builder| builder.without(ServiceName::Outbox)).await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "restart app/web"]).await;
    world.approve(&plan).await;
    let (_, request) = world.paused(plan.id).await;
    world.rounds.approvals().approve(&world.editor, request).await.unwrap();
    let (_, request) = world.paused(plan.id).await;
    world.rounds.approvals().reject(&world.editor, request, None).await.unwrap();
    // The gate refuses today what is retried: the plan fails a second time, with as many attempts as before.
    world.cluster.fake.refuse(Some("not on a Friday"));
    world.rounds.plans().retry(&world.editor, plan.id, 1, false).await.unwrap();
    let again = world.settled(plan.id).await;
    assert_eq!((again.status, again.steps[1].failure), (PlanStatus::Failed, Some(StepFailure::ReviewChanged)));
}

#[tokio::test(start_paused = true)]
async fn rule_5_two_executors_on_one_store_run_every_step_exactly_once() {
    let settings = Settings { lease_ttl: secs(2), concurrent_plans: 3, ..Settings::default() };
    let world = World::with(settings).await;
    let others: Vec<_> = (0..2).map(|_| world.replica(Arc::new(world.store.clone())).build().unwrap()).collect();
    let _running: Vec<_> = others.iter().map(rounds_core::Rounds::start).chain([world.start()]).collect();
    let inside = Arc::new(AtomicUsize::new(0));
    let counted = inside.clone();
    world.cluster.does(move |_, step| {
        let inside = counted.clone();
        async move {
            inside.fetch_add(1, Ordering::SeqCst);
            // Some are quick, some outlive the lease.
            tokio::time::sleep(Duration::from_millis(u64::from(step.ordinal()) * 1900 + 7)).await;
            ok()
        }
    });
    let mut plans = Vec::new();
    for number in 0..20 {
        let names: Vec<String> = (0..3).map(|step| format!("restart app/p{number}s{step}")).collect();
        let plan = world.propose(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.let_run(&plan).await;
        plans.push(plan);
    }
    for plan in &plans {
        let done = world.settled(plan.id).await;
        assert_eq!((done.status, steps(&done)), (PlanStatus::Completed, vec!["done"; 3]));
    }
    let mut executed = world.cluster.executed();
    let total = executed.len();
    executed.sort();
    executed.dedup();
    assert_eq!((executed.len(), total), (60, 60), "each step exactly once");
    assert_eq!(world.audited("agent.plan_step").await.len(), 60);
    world.chain_holds().await;
}

#[tokio::test(start_paused = true)]
async fn approving_without_a_digest_runs_too_and_is_audited_as_unbound() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web"]).await;
    world.rounds.plans().approve(&world.editor, plan.id, &Approval::default()).await.unwrap();
    assert_eq!(world.walk(plan.id).await.status, PlanStatus::Completed);
    let row = world.audited("approval.approve").await.remove(0).entry;
    assert_eq!((row.metadata["unbound"].clone(), row.metadata["autoEdit"].clone()), (true.into(), false.into()));
}
