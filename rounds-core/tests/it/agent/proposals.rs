//! What a model proposes is data: reviewed, dry-run, whole or not at all.

use std::sync::Arc;

use rounds_core::agent::AgentSettings;
use rounds_core::plan::PlanStatus;
use rounds_core::testing::ScriptedModel;
use serde_json::json;

use super::{Scene, done, plan, run, told};

#[tokio::test(start_paused = true)]
async fn a_refused_proposal_goes_back_with_its_reasons_and_nothing_of_it_is_kept() {
    let half = json!({
        "summary": "s", "cause": "c", "citations": ["R1"],
        "steps": [{ "argv": ["restart", "app/web"] }, { "argv": ["forbidden", "app/web"] }],
    });
    let model =
        ScriptedModel::default().calls([run("get app/web")]).calls([("propose_plan", half)]).calls([done("none")]);
    let scene = Scene::of(model).await;
    let ended = scene.ended().await;
    assert_eq!(ended.plan_id, None, "all or nothing");
    let (said, is_error) = told(&scene.model.asked()[2]).remove(0);
    assert!(is_error && said.contains("step 1") && said.contains("2 more may be tried"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn after_so_many_refusals_no_proposal_is_taken() {
    let bad = |i: u32| plan(&format!("forbidden app/web-{i}"), &["R1"]);
    let model = ScriptedModel::default()
        .calls([run("get app/web")])
        .calls([bad(0)])
        .calls([bad(1)])
        .calls([bad(2)])
        .calls([plan("restart app/web", &["R1"])])
        .calls([done("none")]);
    let scene = Scene::of(model).await;
    let ended = scene.ended().await;
    assert_eq!(ended.plan_id, None);
    let calls = ended.report.unwrap().calls;
    assert!(calls[3].error.as_deref().unwrap().contains("No proposal is taken any more"));
    assert!(calls[4].error.as_deref().unwrap().contains("3 proposals were refused"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_needs_a_cited_reading_behind_its_cause() {
    let model = ScriptedModel::default()
        .calls([plan("restart app/web", &["R1"])])
        .calls([run("restart app/web")])
        .calls([plan("restart app/web ", &[])])
        .calls([done("none")]);
    let scene = Scene::of(model).await;
    let ended = scene.ended().await;
    assert_eq!(ended.plan_id, None);
    let calls = ended.report.unwrap().calls;
    assert!(calls[0].error.as_deref().unwrap().contains("was not read in this run"), "{:?}", calls[0]);
    assert!(calls[2].error.as_deref().unwrap().contains("cites at least one successful reading"), "{:?}", calls[2]);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_of_a_plan_is_told_and_is_not_the_models_text() {
    let model = ScriptedModel::default().calls([run("get app/web")]).calls([plan("restart app/web", &["R1"])]);
    let scene = Scene::of(model.calls([done("ok")])).await;
    let ended = scene.ended().await;
    let said = told(&scene.model.asked()[2]).remove(0).0;
    assert!(said.contains("fake restart app/web") && said.contains("The plan is kept"), "{said}");
    let kept = scene.world.plan(ended.plan_id.unwrap()).await;
    assert!(kept.steps[0].dry_run_text.as_deref().is_some_and(|text| said.contains(text)), "{kept:?}");
    assert_eq!(kept.status, PlanStatus::PendingApproval);
    assert_eq!(kept.steps[0].risk_note.as_deref(), Some("it is away for a moment"));
}

#[tokio::test(start_paused = true)]
async fn a_later_plan_replaces_an_earlier_one_and_the_rescue_goes_with_it() {
    let rescue = json!({ "summary": "back", "steps": [{ "argv": ["scale", "app/web"] }] });
    let model = ScriptedModel::default()
        .calls([("propose_rescue_plan", rescue.clone())])
        .calls([run("get app/web")])
        .calls([plan("restart app/web", &["R1"])])
        .calls([("propose_rescue_plan", rescue)])
        .calls([plan("restart app/other", &["R1"])])
        .calls([done("ok")]);
    let scene = Scene::of(model).await;
    let ended = scene.ended().await;
    let report = ended.report.unwrap();
    assert!(report.calls[0].error.as_deref().unwrap().contains("propose one first"));
    let kept = scene.world.plan(ended.plan_id.unwrap()).await;
    assert_eq!(kept.steps[0].review.command_text, "fake restart app/other");
    assert_eq!(kept.rescue_plan_id, None, "that rescue was another plan's");
}

#[tokio::test(start_paused = true)]
async fn a_model_adds_to_the_rescue_that_is_known_and_never_twice_the_same_step() {
    use rounds_core::plugin::{Registration, Registry};
    use rounds_core::ports::{
        AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, Inverse, PortError, ReadStep,
    };
    use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
    use rounds_core::testing::FakeAdapter;

    /// Knows the way back from everything: scaling to three.
    struct Knows(FakeAdapter);
    #[rounds_core::async_trait]
    impl ExecutionAdapter for Knows {
        fn describe(&self) -> AdapterInfo {
            self.0.describe()
        }
        fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
            self.0.review(step, mode)
        }
        async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
            self.0.dry_run(cx, step).await
        }
        async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
            self.0.read(cx, step).await
        }
        async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
            self.0.execute(cx, step).await
        }
        async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
            self.0.check(cx).await
        }
        async fn inverse(&self, _cx: &CallContext, _step: &ReviewedStep) -> Result<Inverse, StepError> {
            Ok(Inverse::Steps(vec![StepSpec::command(["scale", "app/web"])]))
        }
    }

    let steps = json!([{ "argv": ["scale", "app/web"] }, { "argv": ["restart", "app/db"] }]);
    let model = ScriptedModel::default()
        .calls([run("get app/web")])
        .calls([plan("restart app/web", &["R1"])])
        .calls([("propose_rescue_plan", json!({ "summary": "back", "steps": steps }))])
        .calls([done("ok")]);
    let errors = crate::harness::Metrics::default();
    errors.set(0.9);
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(Knows(FakeAdapter::default()))),
        Registration::datasource("errors", "Error rate", Arc::new(errors)),
        Registration::model("scripted", "A scripted model", Arc::new(model.clone())),
    ]);
    let agent = Arc::new(rounds_core::agent::OrchestratorAgent::new(AgentSettings::default()));
    let world = crate::harness::World::built(rounds_core::Settings::default(), |builder| {
        builder.registry(registry.unwrap()).investigator(agent)
    })
    .await;
    world.mint();
    let draft = rounds_core::service::ConnectorDraft::new("scripted", "llm");
    world.rounds.connectors().create(&world.admin, draft).await.unwrap();
    world.rule("errors", json!({})).await;
    let _running = world.start();
    let kept = world.plan(world.investigated().await.plan_id.unwrap()).await;
    let rescue = world.plan(kept.rescue_plan_id.unwrap()).await;
    let commands: Vec<&str> = rescue.steps.iter().map(|step| step.review.command_text.as_str()).collect();
    assert_eq!(commands, ["fake scale app/web", "fake restart app/db"], "what is known first, then what was added");
    assert_eq!(rescue.status, PlanStatus::Draft);
}
