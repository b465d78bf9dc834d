//! Money and tokens, per run, per rule and day, per organisation and day; kept in the store, so that a restart does not
//! reset them.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::OrgId;
use rounds_core::Settings;
use rounds_core::agent::AgentSettings;
use rounds_core::investigation::{Amount, Budget, Investigation, InvestigationStatus, SkipReason, Usage};
use rounds_core::ports::store::StoreExt;
use rounds_core::ports::{ModelInfo, PortErrorKind};
use rounds_core::testing::ScriptedModel;
use serde_json::json;

use super::{Scene, done, run};

fn budget(change: impl FnOnce(&mut Budget)) -> Settings {
    let mut budget = Budget::default();
    change(&mut budget);
    Settings { budget, investigation_cooldown: Duration::from_secs(1), ..Settings::default() }
}

fn quick() -> AgentSettings {
    let mut settings = AgentSettings::default();
    settings.max_output_tokens = 100;
    settings
}

/// Reads for ever.
fn curious() -> ScriptedModel {
    let mut model = ScriptedModel::default().with_usage(Usage::new(4_000, 100));
    for i in 0..30 {
        model = model.calls([run(&format!("get app/{i}"))]);
    }
    model
}

/// Which limit ended a run, and what was spent by then.
async fn limit(settings: Settings) -> (String, Amount) {
    let scene = Scene::with(curious(), settings, quick()).await;
    let ended = scene.ended().await;
    assert_eq!(ended.status, InvestigationStatus::Completed, "{:?}", ended.error);
    let report = ended.report.unwrap();
    assert!(!report.evidence.is_empty(), "the partial report is saved");
    (report.limit.unwrap(), ended.model_use.unwrap().spent())
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_not_exceeded_and_ends_the_run_with_its_partial_report_that_says_which() {
    let (said, spent) = limit(budget(|budget| budget.run.tokens = 50_000)).await;
    assert!(said.contains("budget: the run's budget is used up") && said.contains("tokens"), "{said}");
    assert!((30_000..=50_000).contains(&spent.tokens), "{spent:?}");
    // A call costs 4,000 · 1 + 100 · 10 millionths.
    let (said, spent) = limit(budget(|budget| budget.run.cost_micros = 40_000)).await;
    assert!(said.contains("run's") && said.contains("US dollars"), "{said}");
    assert!((20_000..=40_000).contains(&spent.cost_micros), "{spent:?}");
    let (said, _) = limit(budget(|budget| budget.rule_per_day.cost_micros = 40_000)).await;
    assert!(said.contains("rule's daily"), "{said}");
    let (said, _) = limit(budget(|budget| budget.org_per_day.tokens = 40_000)).await;
    assert!(said.contains("organisation's daily"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_reset_what_a_rule_spent_today() {
    let settings = budget(|budget| budget.rule_per_day.tokens = 45_000);
    let scene = Scene::with(curious(), settings, quick()).await;
    let running = scene.world.start();
    let first = scene.world.investigated().await.model_use.unwrap();
    running.shutdown(Duration::from_secs(10)).await;
    let spent = scene.world.store.spending(&OrgId::default(), Some(scene.rule)).await.unwrap().unwrap().value;
    assert_eq!(spent.spent, first.spent(), "what was set aside is given back");
    assert_eq!(first.calls as usize, scene.model.asked().len());

    // The next start, with the same store.
    let _running = scene.world.rounds.start();
    let asked = scene.model.asked().len();
    scene.world.rounds.alerts().investigate(&scene.world.admin, scene.rule, true).await.unwrap();
    let second = nth(&scene, 1).await;
    let said = second.report.map_or(second.error, |report| report.limit).unwrap();
    assert!(said.contains("rule's daily"), "{said}");
    assert!(scene.model.asked().len() <= asked + 1, "hardly anything was left");
    let spent = scene.world.store.spending(&OrgId::default(), Some(scene.rule)).await.unwrap().unwrap().value;
    assert!(spent.spent.tokens <= 45_000, "{spent:?}");
    assert_eq!(spent.runs, 2);
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_costs_no_money_that_could_be_counted_and_its_tokens_count() {
    let unpriced = ScriptedModel::default().with_info(ModelInfo::new("free")).calls([done("ok")]);
    let scene = Scene::with(unpriced, budget(|budget| budget.run.cost_micros = 0), quick()).await;
    let used = scene.ended().await.model_use.unwrap();
    assert_eq!((used.usage.total(), used.cost_micros), (1_100, None));
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_had_set_aside_when_it_died_counts_as_spent() {
    use rounds_core::async_trait;
    use rounds_core::ports::{CallContext, CheckReport, Completion, CompletionRequest, Model, PortError};

    /// Hangs in its first call, and then says that it is done.
    struct Dies(std::sync::atomic::AtomicUsize, ScriptedModel);
    #[async_trait]
    impl Model for Dies {
        fn describe(&self) -> ModelInfo {
            self.1.describe()
        }
        async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
            self.1.check(cx).await
        }
        async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
            if self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
            self.1.complete(cx, request).await
        }
    }

    let script = ScriptedModel::default().calls([done("ok")]);
    let model = Arc::new(Dies(Default::default(), script.clone()));
    let errors = crate::harness::Metrics::default();
    errors.set(0.9);
    let registry = rounds_core::plugin::Registry::new([
        rounds_core::plugin::Registration::execution(
            "cluster",
            "A cluster",
            Arc::new(crate::harness::Cluster::default()),
        ),
        rounds_core::plugin::Registration::datasource("errors", "Error rate", Arc::new(errors)),
        rounds_core::plugin::Registration::model("scripted", "A scripted model", model),
    ]);
    let agent = Arc::new(rounds_core::agent::OrchestratorAgent::new(quick()));
    let world =
        crate::harness::World::built(budget(|_| {}), |builder| builder.registry(registry.unwrap()).investigator(agent))
            .await;
    world.mint();
    let draft = rounds_core::service::ConnectorDraft::new("scripted", "llm");
    world.rounds.connectors().create(&world.admin, draft).await.unwrap();
    let rule = world.rule("errors", json!({})).await.id;
    let running = world.start();
    let reserved = crate::harness::eventually("something is set aside", async || {
        world.investigations().await.pop()?.model_use?.reserved
    })
    .await;
    // The process stops in the middle of the call.
    running.shutdown(Duration::from_millis(10)).await;
    let _running = world.start();
    let ended = world.investigated().await;
    assert_eq!((ended.status, ended.attempt), (InvestigationStatus::Completed, 2));
    let used = ended.model_use.unwrap();
    assert_eq!(used.spent().tokens, reserved.tokens + 1_100);
    let spent = world.store.spending(&OrgId::default(), Some(rule)).await.unwrap().unwrap().value;
    assert_eq!(spent.spent.tokens, reserved.tokens + 1_100);
    assert_eq!(spent.runs, 1, "the second attempt is the same run");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_had_its_runs_of_the_day_starts_no_more_and_a_person_still_may() {
    let settings = budget(|budget| budget.runs_per_rule_per_day = 1);
    let model = ScriptedModel::default().calls([done("one")]).calls([done("two")]);
    let scene = Scene::with(model, settings, quick()).await;
    let _running = scene.world.start();
    scene.world.investigated().await;
    scene.world.errors.set(0.0);
    scene.world.in_state(scene.rule, rounds_core::alert::AlertState::Resolved).await;
    scene.world.errors.set(0.9);
    let skipped = nth(&scene, 1).await;
    assert_eq!((skipped.status, skipped.skip_reason), (InvestigationStatus::Skipped, Some(SkipReason::BudgetSpent)));
    scene.world.rounds.alerts().investigate(&scene.world.admin, scene.rule, true).await.unwrap();
    assert_eq!(nth(&scene, 2).await.report.unwrap().summary, "two");
}

/// Another investigation than the first, once it has ended.
async fn nth(scene: &Scene, nth: usize) -> Investigation {
    crate::harness::eventually("it ends", async || {
        scene.world.investigations().await.into_iter().nth(nth).filter(|found| found.status.is_terminal())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_costs_what_nobody_knows_and_a_refused_one_nothing() {
    let tokens = async |kind: PortErrorKind| {
        let model = ScriptedModel::default().fails(kind, "no").calls([done("ok")]);
        let scene = Scene::with(model, budget(|_| {}), quick()).await;
        let used = scene.ended().await.model_use.unwrap();
        (used.usage.output_tokens, used.usage.input_tokens)
    };
    assert_eq!(tokens(PortErrorKind::RateLimited).await, (100, 1_000));
    let (output, input) = tokens(PortErrorKind::Unavailable).await;
    assert!(output == 100 && input > 2_000, "reading it is counted: {input}");
}
