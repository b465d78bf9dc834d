//! The model-driven investigator, driven by scripted models through the real services: its loop, its limits, what it may
//! cite and propose, and what the worst model can do.

mod budgets;
mod evidence;
mod injections;
mod limits;
mod proposals;

use std::sync::Arc;

use rounds_core::agent::{AgentSettings, OrchestratorAgent};
use rounds_core::connector::Role;
use rounds_core::investigation::{Investigation, Report, ToolUse};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::{CompletionRequest, Investigator, Message};
use rounds_core::service::ConnectorDraft;
use rounds_core::testing::ScriptedModel;
use rounds_core::{AlertRuleId, Settings};
use serde_json::{Value, json};

use crate::harness::{Channel, Cluster, Metrics, World};

/// A world with a model in it, whose rule fires as soon as it runs.
pub struct Scene {
    pub world: World,
    pub model: ScriptedModel,
    pub rule: AlertRuleId,
}

impl Scene {
    pub async fn of(model: ScriptedModel) -> Self {
        Self::with(model, Settings::default(), AgentSettings::default()).await
    }

    pub async fn with(model: ScriptedModel, settings: Settings, agent: AgentSettings) -> Self {
        Self::driven(model, settings, Arc::new(OrchestratorAgent::new(agent))).await
    }

    pub async fn driven(model: ScriptedModel, settings: Settings, investigator: Arc<dyn Investigator>) -> Self {
        let (cluster, errors, channel) = (Cluster::default(), Metrics::default(), Channel::default());
        let registry = Registry::new([
            Registration::execution("cluster", "A cluster", Arc::new(cluster.clone())),
            Registration::datasource("errors", "Error rate", Arc::new(errors.clone())),
            Registration::notifier("channel", "A channel", Arc::new(channel.clone())),
            Registration::model("scripted", "A scripted model", Arc::new(model.clone())),
        ])
        .unwrap();
        let mut world = World::built(settings, |builder| builder.registry(registry).investigator(investigator)).await;
        (world.cluster, world.errors, world.channel) = (cluster, errors, channel);
        world.mint();
        world.errors.set(0.9);
        world.rounds.connectors().create(&world.admin, ConnectorDraft::new("scripted", "llm")).await.unwrap();
        let rule = world.rule("errors", json!({})).await.id;
        Self { world, model, rule }
    }

    /// The only investigation, once it has ended.
    pub async fn ended(&self) -> Investigation {
        let _running = self.world.start();
        self.world.investigated().await
    }

    /// The report of the only investigation.
    pub async fn report(&self) -> Report {
        self.ended().await.report.expect("there is a report")
    }
}

pub fn run(words: &str) -> (&'static str, Value) {
    ("run_command", json!({ "argv": words.split_whitespace().collect::<Vec<_>>() }))
}

pub fn plan(words: &str, citations: &[&str]) -> (&'static str, Value) {
    let argv: Vec<_> = words.split_whitespace().collect();
    let steps = json!([{ "argv": argv, "riskNote": "it is away for a moment" }]);
    ("propose_plan", json!({ "summary": "Restart it", "cause": "It hangs", "citations": citations, "steps": steps }))
}

pub fn done(summary: &str) -> (&'static str, Value) {
    ("complete", json!({ "summary": summary }))
}

/// What the model was told by the tools of its last turn.
pub fn told(request: &CompletionRequest) -> Vec<(String, bool)> {
    let results = request.messages.iter().rev().take_while(|message| !matches!(message, Message::Assistant { .. }));
    let mut told: Vec<(String, bool)> = results
        .filter_map(|message| match message {
            Message::ToolResult { content, is_error, .. } => Some((content.clone(), *is_error)),
            _ => None,
        })
        .collect();
    told.reverse();
    told
}

pub fn errors(calls: &[ToolUse]) -> Vec<Option<&str>> {
    calls.iter().map(|call| call.error.as_deref()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_model_investigates_reports_and_proposes_and_a_person_lets_it_run() {
    let model = ScriptedModel::default()
        .calls([run("get app/web"), ("metrics_query", json!({ "query": "up" }))])
        .calls([("add_section", json!({ "title": "It hangs", "body": "Since noon.", "citations": ["R1", "R2"] }))])
        .calls([plan("restart app/web", &["R1"])])
        .calls([(
            "complete",
            json!({
                "summary": "The web app hangs.",
                "rootCause": { "summary": "It hangs", "citations": ["R1"], "confidence": "high" },
                "ruledOut": [{ "claim": "The metrics are not gone.", "citations": ["R2"] }],
                "unknowns": ["Why it hangs."],
            }),
        )]);
    let scene = Scene::of(model).await;
    let _running = scene.world.start();
    let ended = scene.world.investigated().await;
    let report = ended.report.clone().unwrap();
    assert_eq!(report.summary, "The web app hangs.");
    assert_eq!(report.written_by.as_deref(), Some("orchestrator"));
    assert_eq!(report.prompt_version.as_deref(), Some("1"));
    assert_eq!(report.sections.len(), 1);
    assert_eq!(report.limit, None);
    assert_eq!(errors(&report.calls), [None; 5]);
    let used = report.model.unwrap();
    assert_eq!((used.model.as_str(), used.calls), ("scripted", 4));
    // 4 calls of 1,000 and 100 tokens, at 1 and 10 dollars a million.
    assert_eq!((used.usage.total(), used.cost_micros), (4_400, Some(8_000)));
    assert_eq!(ended.model_use.unwrap().reserved, None);
    let plan = scene.world.plan(ended.plan_id.expect("a plan")).await;
    assert_eq!(plan.steps[0].review.command_text, "fake restart app/web");
    assert!(scene.world.cluster.executed().is_empty(), "nothing runs that nobody approved");
    scene.world.let_run(&plan).await;
    scene.world.settled(plan.id).await;
    assert_eq!(scene.world.cluster.executed(), ["fake restart app/web#1"]);
}

#[tokio::test(start_paused = true)]
async fn reads_of_one_answer_run_side_by_side_and_answer_in_the_order_of_the_calls() {
    let query = |at: usize| ("metrics_query", json!({ "query": format!("q{at}") }));
    let model = ScriptedModel::default().calls((0..5).map(query)).calls([done("ok")]);
    let scene = Scene::of(model).await;
    let takes = std::time::Duration::from_secs(2);
    *crate::harness::lock(&scene.world.errors.takes) = takes;
    let report = scene.report().await;
    // The evaluator asks the same datasource, so what counts is when these five were asked.
    let asked: Vec<_> = scene.world.errors.asked().into_iter().filter(|(_, expr)| expr.starts_with('q')).collect();
    assert_eq!(asked.len(), 5);
    let (first, last) = (asked.iter().map(|(at, _)| *at).min(), asked.iter().map(|(at, _)| *at).max());
    assert!(last.unwrap() - first.unwrap() < takes, "the last was asked before the first had answered: {asked:?}");
    let last = scene.model.asked().pop().unwrap();
    assert_eq!(told(&last).len(), 5);
    let order: Vec<String> = last
        .messages
        .iter()
        .filter_map(
            |message| if let Message::ToolResult { call_id, .. } = message { Some(call_id.clone()) } else { None },
        )
        .collect();
    assert_eq!(order, ["call-0", "call-1", "call-2", "call-3", "call-4"]);
    assert_eq!(report.evidence.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_gate_refuses_is_an_answer_that_the_model_can_reason_about() {
    let model = ScriptedModel::default().calls([run("restart app/web")]).calls([done("refused")]);
    let scene = Scene::of(model).await;
    let report = scene.report().await;
    assert!(report.calls[0].error.as_deref().unwrap().contains("the gate refuses this"), "{:?}", report.calls[0]);
    assert!(!report.evidence[0].ok);
    let (said, is_error) = told(&scene.model.asked()[1]).remove(0);
    assert!(is_error && said.contains("rules nothing out"), "{said}");
    assert!(scene.world.cluster.executed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn wrong_arguments_and_unknown_tools_are_told_with_what_would_be_accepted() {
    let model = ScriptedModel::default()
        .calls([
            ("run_command", json!({ "argv": "get app/web" })),
            ("run_command", json!({ "argv": ["get", "app/web"], "shell": true })),
            ("run_command", json!("{\"argv\": [")),
            ("delete_everything", json!({})),
            ("metrics_range_query", json!({ "query": "up", "minutes": 0 })),
            ("run_command", json!({ "argv": ["get", "app/web"], "connector": "nowhere" })),
        ])
        .calls([done("ok")]);
    let scene = Scene::of(model).await;
    let report = scene.report().await;
    let said: Vec<&str> = report.calls.iter().filter_map(|call| call.error.as_deref()).collect();
    assert_eq!(said.len(), 6, "{said:?}");
    for (part, place) in [
        ("argv: ", "a text is no list"),
        ("accepted fields: argv", "an unknown field"),
        ("no JSON object", "cut off"),
        ("there are: metrics_query", "an unknown tool"),
        ("1 to 43200", "a number"),
        ("known: cluster", "a connector"),
    ] {
        assert!(said.iter().any(|said| said.contains(part)), "{place}: {said:?}");
    }
    assert!(report.evidence.is_empty(), "nothing was read");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_the_service_account_may_not_use_is_neither_offered_nor_run() {
    use rounds_core::access::{Action, Denied, OrgRole, Principal, Scope};
    use rounds_core::async_trait;
    use rounds_core::ports::{Authorizer, Rbac};

    struct NoReads;
    #[async_trait]
    impl Authorizer for NoReads {
        async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
            if who.is_agent && action == Action::ConnectorsRead {
                let nobody = Principal::user(who.org_id.clone(), "nobody", OrgRole::Viewer);
                return Rbac.authorize(&nobody, Action::ConnectorsWrite, scopes).await;
            }
            Rbac.authorize(who, action, scopes).await
        }
    }

    let model = ScriptedModel::default().calls([run("get app/web")]).calls([done("blind")]);
    let registry = Registry::new([
        Registration::execution("cluster", "A cluster", Arc::new(Cluster::default())),
        Registration::datasource(
            "errors",
            "Error rate",
            Arc::new({
                let errors = Metrics::default();
                errors.set(0.9);
                errors
            }),
        ),
        Registration::model("scripted", "A scripted model", Arc::new(model.clone())),
    ])
    .unwrap();
    let agent = Arc::new(OrchestratorAgent::new(AgentSettings::default()));
    let world = World::built(Settings::default(), |builder| {
        builder.registry(registry).investigator(agent).authorizer(Arc::new(NoReads))
    })
    .await;
    world.mint();
    world.rounds.connectors().create(&world.admin, ConnectorDraft::new("scripted", "llm")).await.unwrap();
    world.rule("errors", json!({})).await;
    let _running = world.start();
    let report = world.investigated().await.report.unwrap();
    let asked = model.asked();
    let offered: Vec<&str> = asked[0].tools.iter().map(|tool| tool.name.as_str()).collect();
    assert!(!offered.contains(&"run_command") && offered.contains(&"complete"), "{offered:?}");
    assert!(report.calls[0].error.as_deref().unwrap().contains("there is no tool called `run_command`"));
    assert!(report.evidence.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_model_the_other_investigator_runs_and_with_a_broken_one_it_says_so() {
    use rounds_core::agent::AutoInvestigator;
    use rounds_core::ports::PortErrorKind;
    use rounds_core::testing::ScriptedInvestigator;

    let auto = || {
        let agent = Arc::new(OrchestratorAgent::new(AgentSettings::default()));
        Arc::new(AutoInvestigator::new(agent, Arc::new(ScriptedInvestigator::reading("get app/web"))))
    };
    let broken = ScriptedModel::default().fails(PortErrorKind::Unauthorized, "the key is refused");
    let scene = Scene::driven(broken, Settings::default(), auto()).await;
    let report = scene.report().await;
    assert_eq!(report.written_by.as_deref(), Some("scripted"));
    assert!(report.unknowns.iter().any(|unknown| unknown.contains("the key is refused")), "{:?}", report.unknowns);

    let scene = Scene::driven(ScriptedModel::default(), Settings::default(), auto()).await;
    let models = scene.world.rounds.connectors().list(&scene.world.admin).await.unwrap();
    let model = models.iter().find(|connector| connector.role == Role::Model).unwrap();
    scene.world.rounds.connectors().delete(&scene.world.admin, model.id).await.unwrap();
    let report = scene.report().await;
    assert_eq!(report.written_by.as_deref(), Some("scripted"));
    assert!(!report.unknowns.iter().any(|unknown| unknown.contains("language model")), "{:?}", report.unknowns);
    assert!(scene.model.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_model_starts_from_what_known_signatures_say_and_may_cite_it() {
    use rounds_core::testing::ScriptedInvestigator;

    let cause = json!({ "summary": "It is as the signature says", "citations": ["R1"], "confidence": "medium" });
    let model = ScriptedModel::default()
        .calls([("known_failures", json!({}))])
        .calls([("complete", json!({ "summary": "known", "rootCause": cause }))]);
    let playbook = Arc::new(ScriptedInvestigator::reading("get app/web"));
    let agent = OrchestratorAgent::new(AgentSettings::default()).with_playbook(playbook);
    let scene = Scene::driven(model, Settings::default(), Arc::new(agent)).await;
    let report = scene.report().await;
    assert_eq!(report.root_cause.unwrap().citations, [rounds_core::investigation::ReadingId(1)]);
    let Message::User { text } = &scene.model.asked()[0].messages[0] else { panic!("a brief comes first") };
    assert!(text.contains("found by code before you"), "{text}");
    assert_eq!(report.calls[0].readings, [rounds_core::investigation::ReadingId(2)]);
}

#[tokio::test(start_paused = true)]
async fn people_see_sections_tool_calls_and_spending_while_a_run_goes_on() {
    let model = ScriptedModel::default()
        .calls([run("get app/web")])
        .calls([("add_section", json!({ "title": "Seen", "body": "So far.", "citations": ["R1"] }))])
        .calls([("metrics_query", json!({ "query": "slow" }))])
        .calls([done("ok")]);
    let scene = Scene::of(model).await;
    let _running = scene.world.start();
    *crate::harness::lock(&scene.world.errors.takes) = std::time::Duration::from_secs(20);
    let half = crate::harness::eventually("a section is seen", async || {
        let half = scene.world.investigations().await.pop()?;
        let seen = half.report.as_ref().is_some_and(|report| !report.sections.is_empty());
        (seen && !half.status.is_terminal()).then_some(half)
    })
    .await;
    let report = half.report.unwrap();
    assert!(report.calls.len() >= 2 && report.evidence.len() == 1, "{:?}", report.calls);
    assert!(half.model_use.unwrap().usage.total() > 0);
    scene.world.investigated().await;
    let told = scene.world.audited("agent.tool_call").await;
    assert_eq!(told.len(), 4, "each tool call is in the audit log, once");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_ends_without_a_conclusion_leaves_its_words_and_no_claims() {
    let model =
        ScriptedModel::default().calls([run("get app/web")]).says("I think it hangs.").says("It hangs, really.");
    let report = Scene::of(model).await.report().await;
    assert_eq!(report.summary, "It hangs, really.");
    assert!(report.root_cause.is_none() && report.sections[0].citations.is_empty());
}
