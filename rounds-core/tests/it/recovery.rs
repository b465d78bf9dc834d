//! A worker that lost its lease, and one that died: what the others find, and when they may judge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::plan::{PlanStatus, StepStatus};
use rounds_core::ports::Clock;
use rounds_core::ports::store::{
    ClaimQuery, Commit, Committed, Lease, Record, RecordKind, Store, StoreError, Versioned, WorkerId,
};
use rounds_core::testing::{Layered, MemoryStore, StoreLayer};
use rounds_core::{Settings, Timestamp};
use tokio::sync::Notify;

use crate::harness::{TokioClock, World, later, lock, ok, pass, secs, steps, until};

/// A store that remembers who claimed what, so that a test can steal it.
struct Spied {
    inner: MemoryStore,
    plans: Arc<Mutex<Vec<Lease>>>,
    refused: Arc<Mutex<usize>>,
}

#[async_trait]
impl StoreLayer for Spied {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let result = self.inner.commit(commit).await;
        if matches!(result, Err(StoreError::LeaseLost { .. })) {
            *lock(&self.refused) += 1;
        }
        result
    }
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        let claimed = self.inner.claim(query).await?;
        if let Some((_, lease)) = claimed.as_ref().filter(|_| query.kind == RecordKind::Plan) {
            lock(&self.plans).push(lease.clone());
        }
        Ok(claimed)
    }
}

#[tokio::test(start_paused = true)]
async fn rule_5_a_worker_that_lost_its_lease_commits_nothing() {
    // The loser finds out when it renews, or when it has an outcome to record: whichever comes first.
    for step_takes in [secs(1), secs(20)] {
        let world = World::new().await;
        let (plans, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let spied = Spied { inner: world.store.clone(), plans: plans.clone(), refused: refused.clone() };
        let loser = world.replica(Arc::new(Layered(spied))).build().unwrap();
        let started = Arc::new(Notify::new());
        let says = started.clone();
        world.cluster.does(move |_, _| {
            let says = says.clone();
            async move {
                says.notify_one();
                tokio::time::sleep(step_takes).await;
                ok()
            }
        });
        let plan = world.propose(&["restart app/web", "get app/web"]).await;
        world.let_run(&plan).await;
        let running = loser.start();
        started.notified().await;
        // Somebody takes the plan, as another worker does once the lease ran out.
        let held = lock(&plans).pop().unwrap();
        world.store.release(&held).await.unwrap();
        let thief = WorkerId::unique("thief");
        let due_by = later(world.now(), secs(7200));
        let query = ClaimQuery { kind: RecordKind::Plan, statuses: Vec::new(), due_by, worker: thief, ttl: secs(3600) };
        let (_, stolen) = world.store.claim(&query).await.unwrap().unwrap();
        assert_eq!(stolen.key, held.key);
        let before = world.plan(plan.id).await;
        pass(secs(60)).await;
        assert_eq!(world.plan(plan.id).await, before, "the loser wrote something");
        assert!(world.audited("agent.plan_step").await.is_empty(), "not even in the audit log");
        assert_eq!(world.cluster.executed().len(), 1, "and it started nothing more");
        if step_takes < world.settings.lease_ttl / 3 {
            assert_eq!(*lock(&refused), 1, "its outcome was refused by the store");
        }
        running.shutdown(secs(5)).await;
        // The thief goes away; whoever drives next judges by the row.
        world.store.release(&stolen).await.unwrap();
        let _running = world.start();
        let ended = world.settled(plan.id).await;
        assert_eq!(steps(&ended), ["interrupted", "skipped"], "nobody knows how it ended");
        assert_eq!(world.cluster.executed().len(), 1, "rule 4: and nobody ran it again");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_4_an_outcome_is_not_thrown_away_because_the_lease_ran_out_and_nobody_took_the_plan() {
    let world = World::new().await;
    let store = world.store.clone();
    world.cluster.does(move |_, _| {
        let store = store.clone();
        async move {
            // As after a wait for a busy database that was longer than the lease.
            store.fail_next(rounds_core::testing::Fault::LeaseLost, 1);
            ok()
        }
    });
    let plan = world.propose(&["restart app/web", "get app/web"]).await;
    world.let_run(&plan).await;
    let _running = world.start();
    let done = world.settled(plan.id).await;
    assert_eq!((done.status, steps(&done)), (PlanStatus::Completed, vec!["done"; 2]));
    assert_eq!(world.cluster.executed().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_effect_whose_driver_lost_the_plan_still_ends_at_its_limit() {
    struct Ended(Arc<Notify>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let world = World::new().await;
    let (started, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says, ends) = (started.clone(), ended.clone());
    world.cluster.does(move |_, _| {
        let (says, guard) = (says.clone(), Ended(ends.clone()));
        async move {
            let _guard = guard;
            says.notify_one();
            std::future::pending().await
        }
    });
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    let _running = world.start();
    started.notified().await;
    world.store.fail_next(rounds_core::testing::Fault::LeaseLost, 1);
    let limit = world.settings.step_timeout + world.settings.effect_grace;
    tokio::time::timeout(limit + secs(1), ended.notified()).await.expect("the effect is dropped at its limit");
    assert_eq!(steps(&world.settled(plan.id).await), ["interrupted"]);
}

/// A clock that somebody sets back.
struct SetBack {
    inner: Arc<TokioClock>,
    ms: Arc<AtomicU64>,
}

#[async_trait]
impl Clock for SetBack {
    fn now(&self) -> Timestamp {
        self.inner.now() - Duration::from_millis(self.ms.load(Ordering::SeqCst))
    }
    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }
}

/// A store that takes its time with an intent, in which a clock is set back.
struct Meanwhile {
    inner: MemoryStore,
    ms: Arc<AtomicU64>,
}

#[async_trait]
impl StoreLayer for Meanwhile {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let intent = commit.events.iter().any(|event| event.name == "start_step");
        let answer = self.inner.commit(commit).await;
        if intent {
            pass(secs(7)).await;
            self.ms.store(3_600_000, Ordering::SeqCst);
        }
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn rule_4_a_clock_that_is_set_back_gives_an_effect_no_more_time() {
    let world = World::new().await;
    let ms = Arc::new(AtomicU64::new(0));
    let store = Meanwhile { inner: world.store.clone(), ms: ms.clone() };
    let clock = SetBack { inner: world.clock.clone(), ms };
    let rounds = world.replica(Arc::new(Layered(store))).clock(Arc::new(clock)).build().unwrap();
    let given = Arc::new(Mutex::new(Vec::new()));
    let witness = given.clone();
    world.cluster.does(move |limit, _| {
        lock(&witness).push(limit);
        async { ok() }
    });
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    let _running = rounds.start();
    world.settled(plan.id).await;
    // The deadline in the row runs since before the store took its time, and whoever judges after a crash goes by it.
    assert_eq!(*lock(&given), [world.settings.step_timeout - secs(7)]);
}

/// Runs part of a test in a runtime of its own, and ends that runtime with everything that still runs in it.
fn life<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let value = runtime.block_on(part);
    runtime.shutdown_background();
    value
}

#[test]
fn rule_4_a_step_of_a_dead_worker_is_interrupted_only_after_its_deadline_and_a_grace() {
    let short = Duration::from_millis;
    let settings = Settings {
        step_timeout: short(1500),
        effect_grace: short(400),
        lease_ttl: short(1500),
        poll_interval: short(20),
        ..Settings::default()
    };
    let (world, plan, deadline) = life(async {
        let world = World::with(settings.clone()).await;
        let started = Arc::new(Notify::new());
        let says = started.clone();
        world.cluster.does(move |_, _| {
            let says = says.clone();
            async move {
                says.notify_one();
                std::future::pending().await
            }
        });
        let plan = world.propose(&["restart app/web", "get app/web"]).await;
        world.let_run(&plan).await;
        drop(world.start());
        started.notified().await;
        let deadline = world.plan(plan.id).await.steps[0].effect_deadline.unwrap();
        (world, plan, deadline)
    });
    // Nobody is left. The next process finds an intent.
    life(async {
        world.cluster.does(|_, _| async { ok() });
        let running = world.start();
        let halted = world.settled(plan.id).await;
        assert_eq!((halted.status, steps(&halted)), (PlanStatus::Failed, vec!["interrupted", "skipped"]));
        let judged = halted.steps[0].finished_at.unwrap();
        assert!(judged >= later(deadline, short(400)), "judged at {judged}, deadline {deadline}");
        assert_eq!(world.cluster.executed(), ["fake restart app/web#1"]);
        let row = world.audited("agent.plan_step").await.remove(0).entry;
        assert_eq!(row.outcome.as_str(), "failure", "rule 10: interrupted counts as a failure");
        // A person looked, and says so.
        world.rounds.plans().retry(&world.auto_editor, plan.id, 0, true).await.unwrap();
        assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
        assert_eq!(world.cluster.executed().len(), 3);
        running.shutdown(secs(5)).await;
        world.chain_holds().await;
    });
}

#[test]
fn rule_13_a_plan_that_was_approved_when_everything_died_is_carried_out_by_the_next_start() {
    let short = Duration::from_millis;
    let settings = Settings { lease_ttl: short(1500), poll_interval: short(20), ..Settings::default() };
    let (world, plan) = life(async {
        let world = World::with(settings).await;
        let plan = world.propose(&["restart app/web", "get app/web"]).await;
        world.approve(&plan).await;
        drop(world.start());
        world.paused(plan.id).await;
        (world, plan)
    });
    // It was decided while nothing ran.
    life(async {
        let (_, request) = world.paused(plan.id).await;
        world.rounds.approvals().approve(&world.editor, request).await.unwrap();
        let _running = world.start();
        assert_eq!(world.walk(plan.id).await.status, PlanStatus::Completed);
        assert_eq!(world.cluster.executed().len(), 2);
        until("no step is left running", async || {
            world.plan(plan.id).await.steps.iter().all(|step| step.status == StepStatus::Done)
        })
        .await;
    });
}
