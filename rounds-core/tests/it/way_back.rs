//! What an adapter learns from its system, and what it knows of the way back, through the services.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rounds_core::Error;
use rounds_core::investigation::InvestigationStatus;
use rounds_core::plan::{PlanStatus, StepFailure};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::StoreExt;
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, PortError, PortErrorKind,
    ReadStep,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use rounds_core::testing::{FakeAdapter, FakeDatasource};
use rounds_core::{PlanId, Settings};
use serde_json::json;

use crate::harness::{Detective, Does, World, eventually, lock};

/// Verbs, each with the command that leads back from it.
type WaysBack = Vec<(&'static str, Vec<&'static str>)>;

/// A system whose gate knows `restart` and `scale`, and whether `tune` exists only once the system said so.
#[derive(Clone, Default)]
struct Learner {
    fake: FakeAdapter,
    knows: Arc<Mutex<bool>>,
    away: Arc<Mutex<bool>>,
    asked: Arc<Mutex<usize>>,
    /// What leads back from a verb; a verb that is not here has no known way back.
    back: Arc<Mutex<WaysBack>>,
}

#[async_trait]
impl ExecutionAdapter for Learner {
    fn describe(&self) -> AdapterInfo {
        self.fake.describe()
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        let reviewed = self.fake.review(step, mode)?;
        if reviewed.verb == "tune" && !*lock(&self.knows) {
            return Err(Refusal::new("unknown", "`tune` is not known"));
        }
        Ok(reviewed)
    }

    async fn discover(&self, _cx: &CallContext, refused: &Refusal) -> Result<bool, PortError> {
        *lock(&self.asked) += 1;
        if *lock(&self.away) {
            return Err(PortError::new(PortErrorKind::Unavailable, "the system is away"));
        }
        *lock(&self.knows) = true;
        Ok(refused.rule == "unknown")
    }

    async fn inverse(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        let back = lock(&self.back);
        Ok(match back.iter().find(|(verb, _)| *verb == step.verb) {
            None => Inverse::Unknown,
            Some((_, steps)) if steps.is_empty() => Inverse::NotNeeded,
            Some((_, steps)) => Inverse::Steps(steps.iter().map(|step| StepSpec::command(step.split(' '))).collect()),
        })
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        self.fake.dry_run(cx, step).await
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.fake.read(cx, step).await
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        self.fake.execute(cx, step).await
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.fake.check(cx).await
    }
}

async fn world(learner: &Learner, commands: Vec<&'static str>) -> World {
    let errors = FakeDatasource::default();
    errors.set(0.9);
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(learner.clone())),
        Registration::datasource("errors", "Error rate", Arc::new(errors)),
    ]);
    let detective = Arc::new(Detective::new([Does::Proposes(commands)]));
    World::built(Settings::default(), |builder| builder.registry(registry.unwrap()).investigator(detective)).await
}

/// The plan that the investigation of a firing alert proposes.
async fn proposed(world: &World) -> PlanId {
    world.mint();
    world.rule("errors", json!({})).await;
    let ended = world.investigated().await;
    assert_eq!(ended.status, InvestigationStatus::Completed, "{ended:?}");
    ended.plan_id.expect("a plan")
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_a_rescue_gets_one_made_of_what_is_there_the_last_step_first() {
    let learner = Learner::default();
    *lock(&learner.back) =
        vec![("scale", vec!["scale app/back"]), ("label", vec!["label app/old"]), ("restart", vec![])];
    let world =
        world(&learner, vec!["scale app/web", "get app/web", "label app/web", "restart app/web", "delete app/x"]).await;
    let _running = world.start();
    let plan = world.plan(proposed(&world).await).await;
    let rescue = world.plan(plan.rescue_plan_id.expect("a rescue")).await;
    assert_eq!((rescue.status, rescue.rescue_for_plan_id), (PlanStatus::Draft, Some(plan.id)));
    let commands: Vec<_> = rescue.steps.iter().map(|step| step.review.command_text.as_str()).collect();
    assert_eq!(commands, ["fake label app/old", "fake scale app/back"]);
    assert!(rescue.summary.contains("No way back is known for step 5."), "{}", rescue.summary);
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_the_gate_refuses_costs_the_rescue_and_not_the_plan() {
    let learner = Learner::default();
    *lock(&learner.back) = vec![("scale", vec!["forbidden app/back"])];
    let world = world(&learner, vec!["scale app/web"]).await;
    let _running = world.start();
    let plan = world.plan(proposed(&world).await).await;
    assert_eq!((plan.status, plan.rescue_plan_id), (PlanStatus::PendingApproval, None));
}

#[tokio::test(start_paused = true)]
async fn what_a_gate_does_not_know_is_asked_of_its_system_before_a_step_is_refused() {
    let learner = Learner::default();
    let world = world(&learner, vec!["restart app/web"]).await;
    *lock(&learner.away) = true;
    let refused = world.rounds.plans().propose(&world.agent, world.proposal(&["tune app/web"])).await.unwrap_err();
    let Error::Refused(refusals) = &refused else { panic!("{refused}") };
    assert!(refusals[0].message.contains("`tune` is not known (the system itself could not be asked: "), "{refused}");
    *lock(&learner.away) = false;
    let plan = world.propose(&["tune app/web"]).await;
    assert_eq!((plan.steps[0].review.verb.as_str(), *lock(&learner.asked)), ("tune", 2));
    // What is known is not asked for again.
    world.propose(&["tune app/web"]).await;
    assert_eq!(*lock(&learner.asked), 2);
}

#[tokio::test(start_paused = true)]
async fn a_system_that_cannot_be_asked_before_a_step_fails_the_step_and_it_can_be_retried() {
    let learner = Learner::default();
    let world = world(&learner, vec!["restart app/web"]).await;
    let plan = world.propose(&["tune app/web"]).await;
    world.let_run(&plan).await;
    // Another process: it has not learned yet.
    *lock(&learner.knows) = false;
    *lock(&learner.away) = true;
    let _running = world.start();
    let halted = world.settled(plan.id).await;
    assert_eq!(halted.steps[0].failure, Some(StepFailure::Failed), "{halted:?}");
    assert!(learner.fake.executed().is_empty());
    *lock(&learner.away) = false;
    world.rounds.plans().retry(&world.auto_editor, plan.id, 0, false).await.unwrap();
    let done = eventually("the retried step is done", async || {
        let plan = world.store.plan(plan.id).await.unwrap().unwrap().value;
        (plan.status == PlanStatus::Completed).then_some(plan)
    })
    .await;
    assert_eq!((done.steps[0].attempt, learner.fake.executed().len()), (2, 1));
}
