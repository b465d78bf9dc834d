//! What ends a run before it is done; the report is what there is by then, and says which limit it was.

use std::time::Duration;

use rounds_core::Settings;
use rounds_core::agent::AgentSettings;
use rounds_core::investigation::{InvestigationStatus, Usage};
use rounds_core::ports::{Completion, PortError, PortErrorKind, StopReason};
use rounds_core::testing::ScriptedModel;
use serde_json::json;

use super::{Scene, done, run};

fn agent(change: impl FnOnce(&mut AgentSettings)) -> AgentSettings {
    let mut settings = AgentSettings::default();
    change(&mut settings);
    settings
}

async fn report(model: ScriptedModel, agent: AgentSettings) -> rounds_core::investigation::Report {
    let scene = Scene::with(model, Settings::default(), agent).await;
    let ended = scene.ended().await;
    assert_eq!(ended.status, InvestigationStatus::Completed, "{:?}", ended.error);
    ended.report.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_after_its_turns_and_its_last_turn_offers_the_conclusion_only() {
    let mut model = ScriptedModel::default();
    for i in 0..9 {
        model = model.calls([run(&format!("get app/{i}"))]);
    }
    let asked = model.clone();
    let report = report(model, agent(|settings| settings.turns = 4)).await;
    assert!(report.limit.as_deref().unwrap().starts_with("turns: "), "{:?}", report.limit);
    assert_eq!(asked.asked().len(), 4);
    let last: Vec<String> = asked.asked()[3].tools.iter().map(|tool| tool.name.clone()).collect();
    assert_eq!(last, ["add_section", "complete"]);
    assert_eq!(report.evidence.len(), 3, "what was read is kept");
    assert!(report.unknowns.iter().any(|unknown| unknown.contains("ended by a limit")), "{:?}", report.unknowns);
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_after_its_time_and_before_the_dispatcher_ends_it() {
    let mut model = ScriptedModel::default();
    for i in 0..9 {
        model = model.calls([("metrics_query", json!({ "query": format!("q{i}") }))]);
    }
    let settings = Settings { investigation_timeout: Duration::from_secs(120), ..Settings::default() };
    let scene = Scene::with(model, settings, AgentSettings::default()).await;
    let _running = scene.world.start();
    *crate::harness::lock(&scene.world.errors.takes) = Duration::from_secs(25);
    let ended = scene.world.investigated().await;
    assert_eq!(ended.status, InvestigationStatus::Completed, "{:?}", ended.error);
    let report = ended.report.unwrap();
    assert!(report.limit.as_deref().unwrap().starts_with("time: "), "{:?}", report.limit);
    assert!(!report.evidence.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_in_circles_is_ended_and_the_same_call_is_made_at_most_twice() {
    let mut model = ScriptedModel::default();
    for _ in 0..20 {
        model = model.calls([run("get app/web"), run("get app/web")]);
    }
    let report = report(model, AgentSettings::default()).await;
    assert!(report.limit.as_deref().unwrap().starts_with("loop: "), "{:?}", report.limit);
    assert_eq!(report.evidence.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_brings_nothing_but_errors_is_ended() {
    let mut model = ScriptedModel::default();
    for i in 0..20 {
        model = model.calls([("no_such_tool", json!({ "i": i }))]);
    }
    let report = report(model, AgentSettings::default()).await;
    assert!(report.limit.as_deref().unwrap().contains("nothing but errors"), "{:?}", report.limit);
    assert_eq!(report.calls.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_in_the_middle_leaves_what_there_is() {
    let model = ScriptedModel::default()
        .calls([run("get app/web")])
        .calls([("add_section", json!({ "title": "t", "body": "b", "citations": ["R1"] }))])
        .fails(PortErrorKind::Unauthorized, "the key was revoked");
    let report = report(model, AgentSettings::default()).await;
    assert!(report.limit.as_deref().unwrap().contains("the key was revoked"));
    assert_eq!((report.sections.len(), report.evidence.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_be_used_at_all_fails_the_investigation_and_says_why() {
    let model = ScriptedModel::default().fails(PortErrorKind::Unauthorized, "the key is refused");
    let ended = Scene::of(model).await.ended().await;
    assert_eq!(ended.status, InvestigationStatus::Failed);
    assert_eq!(ended.error.as_deref(), Some("the key is refused"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_cut_off_answer_are_no_conclusion() {
    let refuses = |_: &_| Ok(Completion::new("No.", Vec::new(), Usage::new(1, 1)).with_stop(StopReason::Refused));
    let said = report(ScriptedModel::default().does(refuses), AgentSettings::default()).await;
    assert!(said.limit.as_deref().unwrap().contains("refused: the model would not go on: No."), "{:?}", said.limit);

    let cut = |_: &_| Ok(Completion::new("Well, ", Vec::new(), Usage::new(1, 1)).with_stop(StopReason::Length));
    let model = ScriptedModel::default().does(cut).calls([done("brief")]);
    assert_eq!(report(model, AgentSettings::default()).await.summary, "brief");
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_model_is_asked_again_after_as_long_as_it_wants() {
    let overloaded = |wait: u64| {
        move |_: &_| {
            let error = PortError::new(PortErrorKind::RateLimited, "overloaded");
            Err(error.with_retry_after(Some(Duration::from_secs(wait))))
        }
    };
    let model =
        ScriptedModel::default().does(overloaded(40)).fails(PortErrorKind::Unavailable, "gone").calls([done("ok")]);
    let scene = Scene::of(model).await;
    let _running = scene.world.start();
    let ended = scene.world.investigated().await;
    let took = ended.finished_at.unwrap() - ended.started_at.unwrap();
    assert!(took >= chrono::TimeDelta::seconds(42), "40 s as asked, then 2 s: {took}");
    let report = ended.report.unwrap();
    assert_eq!((report.summary.as_str(), scene.model.asked().len()), ("ok", 3));

    // Longer than there is time: it is not waited for in vain.
    let scene = Scene::of(ScriptedModel::default().does(overloaded(3_600))).await;
    assert_eq!(scene.ended().await.status, InvestigationStatus::Failed);
    assert_eq!(scene.model.asked().len(), 1);

    // What no waiting mends is not tried again.
    let scene = Scene::of(ScriptedModel::default().fails(PortErrorKind::Invalid, "no such model")).await;
    scene.ended().await;
    assert_eq!(scene.model.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_dispatcher_ends_keeps_what_was_noted() {
    use rounds_core::async_trait;
    use rounds_core::investigation::{Findings, Section};
    use rounds_core::ports::{FiredAlert, Investigator, Query, Toolbox};

    /// Notes a section and never comes home.
    struct Lost;
    #[async_trait]
    impl Investigator for Lost {
        fn name(&self) -> &str {
            "lost"
        }
        async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
            let reading = tools.query(None, Query::Instant { expr: "up".into(), at: None }).await;
            let sections = vec![Section::new("Seen", "So far.", [reading.id])];
            let calls = vec![rounds_core::investigation::ToolUse::new("look", "{}", tools.now())];
            tools.note(&Findings { sections, calls, ..Findings::default() });
            std::future::pending().await
        }
    }

    let timeout = Duration::from_secs(30);
    // Nothing is written down on the way, so that only the end can tell.
    let progress_interval = Duration::from_secs(3_600);
    let settings = Settings { investigation_timeout: timeout, progress_interval, ..Settings::default() };
    let scene = Scene::driven(ScriptedModel::default(), settings, std::sync::Arc::new(Lost)).await;
    let ended = scene.ended().await;
    assert_eq!(ended.status, InvestigationStatus::Failed);
    let report = ended.report.unwrap();
    assert_eq!((report.sections.len(), report.evidence.len()), (1, 1));
    assert!(report.limit.unwrap().contains("longer than 30 s"));
    assert_eq!(scene.world.audited("agent.tool_call").await.len(), 1, "what was called is audited all the same");
}

#[tokio::test(start_paused = true)]
async fn what_known_signatures_say_is_kept_when_the_model_comes_to_nothing() {
    use rounds_core::agent::OrchestratorAgent;
    use rounds_core::testing::ScriptedInvestigator;

    let playbook = std::sync::Arc::new(ScriptedInvestigator::reading("get app/web").proposing("restart app/web"));
    let driven = async |model: ScriptedModel| {
        let agent = OrchestratorAgent::new(agent(|settings| settings.turns = 3)).with_playbook(playbook.clone());
        let scene = Scene::driven(model, Settings::default(), std::sync::Arc::new(agent)).await;
        let ended = scene.ended().await;
        (ended.plan_id.is_some(), ended.report.unwrap())
    };
    let wandering =
        ScriptedModel::default().calls([run("get app/1")]).calls([run("get app/2")]).calls([run("get app/3")]);
    let (planned, report) = driven(wandering).await;
    assert!(planned && report.limit.is_some() && report.summary.contains("Known signatures say"), "{}", report.summary);
    // A model that comes to the conclusion that there is no cause is not overruled.
    let (planned, report) = driven(ScriptedModel::default().calls([done("nothing")])).await;
    assert!(!planned && report.root_cause.is_none(), "{}", report.summary);
    // And one that cannot be asked at all leaves the playbook's own report.
    let (planned, report) = driven(ScriptedModel::default().fails(PortErrorKind::Unauthorized, "no key")).await;
    assert!(planned && report.written_by.as_deref() == Some("scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_hostile_answer_is_cut_to_size_and_breaks_nothing() {
    let many = (0..2_000).map(|i| ("metrics_query", json!({ "query": format!("q{i}") })));
    let model = ScriptedModel::default()
        .calls(many)
        .calls([
            ("metrics_range_query", json!({ "query": "up", "until": "-262143-01-01T00:00:00Z" })),
            ("run_command", json!({ "argv": ["get", "x".repeat(100_000)] })),
        ])
        .calls([done("ok")]);
    let scene = Scene::of(model).await;
    let report = scene.report().await;
    assert_eq!(report.summary, "ok");
    assert_eq!(report.evidence.len(), 16);
    let refused: Vec<&str> = report.calls.iter().filter_map(|call| call.error.as_deref()).collect();
    assert!(
        refused.len() == 2 && refused.iter().any(|said| said.contains("64") || said.contains("65536")),
        "{refused:?}"
    );
    assert!(scene.model.asked()[1].messages.len() < 25, "what is not run is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_a_reading_that_failed_and_not_the_end_of_the_run() {
    let model = ScriptedModel::default().calls([("metrics_query", json!({ "query": "up" }))]).calls([done("ok")]);
    let scene = Scene::of(model.clone()).await;
    let panics = scene.world.errors.panics.clone();
    // It fires first, and then the source breaks for good.
    let running = scene.world.rounds.start();
    scene.world.in_state(scene.rule, rounds_core::alert::AlertState::Firing).await;
    *crate::harness::lock(&panics) = true;
    let ended = scene.world.investigated().await;
    running.shutdown(Duration::from_secs(1)).await;
    assert_eq!(ended.status, InvestigationStatus::Completed, "{:?}", ended.error);
}
