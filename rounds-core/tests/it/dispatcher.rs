//! The dispatcher: when an investigation runs, as whom, what of it is believed, and what a failure leaves behind.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::{Action, ActorType, Denied, OrgRole, Principal, Scope, evaluate};
use rounds_core::alert::{AlertState, Notified, Severity};
use rounds_core::investigation::{Investigation, InvestigationStatus, SkipReason};
use rounds_core::plan::{PlanStatus, VerificationStatus};
use rounds_core::ports::Authorizer;
use rounds_core::ports::store::{RecordKind, Store};
use rounds_core::service::{Builder, ExternalAlert};
use rounds_core::{OrgId, Settings};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Detective, Does, Logs, World, eventually, lock, pass, secs, until};

const NO_TOKEN: &str = "no live service-account token found for auto-investigation";
const NOT_STARTED: &str = "auto-investigation dispatcher NOT started";

fn with(detective: &Detective) -> impl FnOnce(Builder) -> Builder + use<> {
    let detective = Arc::new(detective.clone());
    move |builder| builder.investigator(detective)
}

/// A world whose alert is about to fire; the token is minted.
async fn ready(settings: Settings, detective: &Detective) -> World {
    let world = World::built(settings, with(detective)).await;
    world.mint();
    world.errors.set(0.9);
    world.rule("errors", json!({})).await;
    world
}

fn restarts() -> Detective {
    Detective::new([Does::Proposes(vec!["restart app/web"])])
}

async fn next(world: &World, count: usize) -> Investigation {
    eventually("the next investigation ends", async || {
        let all = world.investigations().await;
        all.get(count - 1).filter(|found| found.status.is_terminal()).cloned()
    })
    .await
}

/// Ends the episode and begins another.
async fn fire_again(world: &World) {
    let rule = world.rounds.alerts().list(&world.viewer).await.unwrap().remove(0).rule.id;
    world.errors.set(0.1);
    world.in_state(rule, AlertState::Resolved).await;
    world.errors.set(0.9);
    world.in_state(rule, AlertState::Firing).await;
}

#[tokio::test(start_paused = true)]
async fn a_firing_alert_is_investigated_as_the_service_account_and_its_plan_waits_for_a_person() {
    let detective = restarts();
    let world = ready(Settings::default(), &detective).await;
    let _running = world.start();
    let done = world.investigated().await;
    assert_eq!((done.status, done.attempt), (InvestigationStatus::Completed, 1));
    assert_eq!((done.run_as, done.requested_by), (Some(world.agent.actor()), None));
    assert_eq!(done.investigator.as_deref(), Some("detective"));
    let report = done.report.unwrap();
    assert_eq!((report.evidence.len(), report.refused_proposal), (1, None));
    let plan = world.plan(done.plan_id.unwrap()).await;
    assert_eq!((plan.status, plan.created_by.kind), (PlanStatus::PendingApproval, ActorType::ServiceAccount));
    assert_eq!(plan.investigation_id, Some(done.id));
    pass(secs(600)).await;
    assert_eq!(detective.runs().len(), 1, "one investigation for one firing episode");
    assert!(world.cluster.executed().is_empty(), "nobody approved anything");
}

#[tokio::test(start_paused = true)]
async fn two_whole_replicas_investigate_an_episode_once() {
    let detective = restarts();
    let world = ready(Settings { investigation_cooldown: Duration::ZERO, ..Settings::default() }, &detective).await;
    let other = with(&detective)(world.replica(Arc::new(world.store.clone()))).build().unwrap();
    let _running = [world.start(), other.start()];
    for episode in 1..=4 {
        next(&world, episode).await;
        pass(secs(20)).await;
        assert_eq!((world.investigations().await.len(), detective.runs().len()), (episode, episode));
        fire_again(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn within_the_cooldown_a_rule_is_not_investigated_again_however_often_it_flaps() {
    let detective = restarts();
    let settings = Settings { investigation_cooldown: secs(3600), ..Settings::default() };
    let world = ready(settings, &detective).await;
    let _running = world.start();
    next(&world, 1).await;
    for episode in 2..=30 {
        fire_again(&world).await;
        assert_eq!(next(&world, episode).await.skip_reason, Some(SkipReason::Cooldown));
    }
    assert_eq!(detective.runs().len(), 1);
    pass(secs(3600)).await;
    fire_again(&world).await;
    assert_eq!(next(&world, 31).await.status, InvestigationStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_episode_that_ended_before_its_turn_is_skipped() {
    let detective = Detective::new([Does::Hangs, Does::Proposes(Vec::new())]);
    let settings = Settings { concurrent_investigations: 1, ..Settings::default() };
    let world = World::built(settings, with(&detective)).await;
    world.mint();
    world.errors.set(0.9);
    world.rule("first", json!({})).await;
    let _running = world.start();
    until("it runs", async || !detective.runs().is_empty()).await;
    let second = world.rule("second", json!({})).await;
    world.in_state(second.id, AlertState::Firing).await;
    world.errors.set(0.1);
    world.in_state(second.id, AlertState::Resolved).await;
    let skipped = next(&world, 2).await;
    assert_eq!((skipped.status, skipped.skip_reason), (InvestigationStatus::Skipped, Some(SkipReason::EpisodeEnded)));
    assert_eq!(next(&world, 1).await.status, InvestigationStatus::Failed, "and the first ran into its time limit");
    assert_eq!(detective.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_live_token_that_firing_is_skipped_and_the_next_after_minting_is_not() {
    let (logs, _guard) = Logs::listen();
    let detective = restarts();
    let world =
        World::built(Settings { investigation_cooldown: Duration::ZERO, ..Settings::default() }, with(&detective));
    let world = world.await;
    world.errors.set(0.9);
    world.rule("errors", json!({ "evaluationIntervalSec": 1 })).await;
    let _running = world.start();
    let skipped = next(&world, 1).await;
    assert_eq!((skipped.status, skipped.skip_reason), (InvestigationStatus::Skipped, Some(SkipReason::NoLiveToken)));
    assert_eq!(skipped.plan_id, None);
    let began = Instant::now();
    let mut count = 1;
    while began.elapsed() < secs(170) {
        fire_again(&world).await;
        count += 1;
        assert_eq!(next(&world, count).await.skip_reason, Some(SkipReason::NoLiveToken));
    }
    assert!(count > 10);
    let lines = logs.with(NO_TOKEN);
    assert!(lines[0].starts_with(&format!("WARN {NO_TOKEN}")), "operators search for these words: {}", lines[0]);
    assert_eq!(lines.len(), 3, "at most once a minute");
    world.mint();
    fire_again(&world).await;
    assert_eq!(next(&world, count + 1).await.status, InvestigationStatus::Completed, "without a restart");
    // Revoked, or expired, it serves no more.
    let id = world.identity.add_token(world.agent.id, "another", None);
    world.identity.revoke(id);
    world.identity.remove(world.agent.id);
    fire_again(&world).await;
    assert_eq!(next(&world, count + 2).await.skip_reason, Some(SkipReason::NoLiveToken));
    assert_eq!(detective.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_token_is_validated_at_every_firing_and_must_be_an_agents() {
    let (logs, _guard) = Logs::listen();
    let detective = restarts();
    let settings = Settings { investigation_cooldown: Duration::ZERO, ..Settings::default() };
    let world =
        World::built(settings, |builder| with(&detective)(builder).pinned_investigation_token("the pinned one".into()))
            .await;
    // Another live token of the service account does not help.
    world.mint();
    world.errors.set(0.9);
    world.rule("errors", json!({})).await;
    let _running = world.start();
    assert_eq!(next(&world, 1).await.skip_reason, Some(SkipReason::NoLiveToken));
    let persons = world.identity.add_token(world.admin.id, "the pinned one", None);
    fire_again(&world).await;
    assert_eq!(next(&world, 2).await.skip_reason, Some(SkipReason::NoLiveToken), "a person is not an agent");
    assert_eq!(logs.with("AUTO_INVESTIGATION_SA_TOKEN must belong to a service account").len(), 1);
    world.identity.revoke(persons);
    let stranger = Principal::agent(OrgId::new("other"), "@other/rounds");
    world.identity.put(stranger.clone());
    let others = world.identity.add_token(stranger.id, "the pinned one", None);
    fire_again(&world).await;
    assert_eq!(next(&world, 3).await.skip_reason, Some(SkipReason::NoLiveToken), "nor of another organisation");
    world.identity.revoke(others);
    let agents = world.identity.add_token(world.agent.id, "the pinned one", None);
    fire_again(&world).await;
    assert_eq!(next(&world, 4).await.status, InvestigationStatus::Completed);
    world.identity.revoke(agents);
    fire_again(&world).await;
    assert_eq!(next(&world, 5).await.skip_reason, Some(SkipReason::NoLiveToken), "it is read anew each time");
    assert_eq!(detective.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_account_that_may_not_investigate_does_not() {
    let detective = restarts();
    let world = ready(Settings::default(), &detective).await;
    let mut demoted = world.agent.clone();
    demoted.role = OrgRole::Viewer;
    world.identity.put(demoted);
    let _running = world.start();
    assert_eq!(world.investigated().await.status, InvestigationStatus::Skipped);
    assert!(detective.runs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_made_up_citation_stores_the_report_without_the_plan_and_says_why() {
    let world = ready(Settings::default(), &Detective::new([Does::MakesUp])).await;
    let _running = world.start();
    let done = world.investigated().await;
    assert_eq!((done.status, done.plan_id), (InvestigationStatus::Completed, None));
    let report = done.report.unwrap();
    let why = report.refused_proposal.unwrap();
    assert!(why.contains("R99") && why.contains("was not read in this run"), "{why}");
    assert_eq!((report.summary.as_str(), report.evidence.len()), ("it is broken", 1));
    assert!(world.store.count(RecordKind::Plan, None).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_the_gate_refuses_is_not_stored_and_the_report_says_so() {
    let detective = Detective::new([Does::Proposes(vec!["restart app/web", "forbidden app/web"])]);
    let world = ready(Settings::default(), &detective).await;
    let _running = world.start();
    let done = world.investigated().await;
    assert_eq!((done.status, done.plan_id), (InvestigationStatus::Completed, None));
    let why = done.report.unwrap().refused_proposal.unwrap();
    assert!(why.contains("step 1") && why.contains("is never accepted"), "{why}");
    assert!(world.store.count(RecordKind::Plan, None).await.unwrap().is_empty(), "all or nothing");
}

#[tokio::test(start_paused = true)]
async fn a_report_without_a_plan_is_a_normal_result() {
    let world = ready(Settings::default(), &Detective::new([Does::Proposes(Vec::new())])).await;
    let _running = world.start();
    let done = world.investigated().await;
    assert_eq!((done.status, done.plan_id), (InvestigationStatus::Completed, None));
    assert_eq!(done.report.unwrap().refused_proposal, None);
}

#[tokio::test(start_paused = true)]
async fn an_investigator_that_errs_panics_or_hangs_fails_the_run_and_what_it_read_is_kept() {
    for (does, words) in [
        (Does::Errs, "the model is overloaded"),
        (Does::Panics, "a fault in the investigator"),
        (Does::Hangs, "took longer than 900 s"),
    ] {
        let detective = Detective::new([does]);
        let world = ready(Settings::default(), &detective).await;
        let running = world.start();
        let failed = world.investigated().await;
        assert_eq!((failed.status, failed.attempt), (InvestigationStatus::Failed, 1), "{words}");
        assert!(failed.error.unwrap().contains(words));
        assert_eq!(failed.report.unwrap().evidence.len(), 1, "{words}: the evidence is kept");
        pass(secs(100)).await;
        assert_eq!(detective.runs().len(), 1, "{words}: it is not run again by itself");
        let health = running.health();
        assert!(health.values().all(|state| *state == rounds_core::service::ServiceHealth::Running), "{health:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_worker_stopped_is_resumed_with_the_next_attempt_up_to_the_cap() {
    let detective = Detective::new([Does::Hangs]);
    let world = ready(Settings { investigation_attempts: 3, ..Settings::default() }, &detective).await;
    for attempt in 1..=3 {
        let running = world.start();
        until("it runs", async || detective.runs().len() == attempt).await;
        running.shutdown(secs(5)).await;
        let rows = world.investigations().await;
        assert_eq!((rows.len(), rows[0].status), (1, InvestigationStatus::Running));
    }
    let id = world.investigations().await[0].id;
    assert_eq!(detective.runs(), [(id, 1), (id, 2), (id, 3)], "the same investigation, the next attempt");
    let _running = world.start();
    let failed = world.investigated().await;
    assert!(failed.error.unwrap().contains("started 3 times"));
    assert_eq!(detective.runs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_investigation_that_waits_is_not_lost_by_a_restart() {
    let detective = restarts();
    let world = ready(Settings::default(), &detective).await;
    let without = world.replica(Arc::new(world.store.clone())).build().unwrap();
    let running = without.start();
    until("it is queued", async || world.investigations().await.len() == 1).await;
    running.shutdown(secs(5)).await;
    let _running = world.start();
    assert_eq!(world.investigated().await.status, InvestigationStatus::Completed, "rule 13");
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_too_long_is_skipped_as_stale() {
    let detective = restarts();
    let world = ready(Settings::default(), &detective).await;
    let without = world.replica(Arc::new(world.store.clone())).build().unwrap();
    let running = without.start();
    until("it is queued", async || world.investigations().await.len() == 1).await;
    running.shutdown(secs(5)).await;
    pass(world.settings.investigation_stale + secs(1)).await;
    let _running = world.start();
    assert_eq!(world.investigated().await.skip_reason, Some(SkipReason::Stale));
}

#[tokio::test(start_paused = true)]
async fn not_started_is_said_in_one_line_that_names_the_cause() {
    let (logs, _guard) = Logs::listen();
    let world = World::new().await;
    let running = world.start();
    let lines = logs.with(NOT_STARTED);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("auto-investigation dispatcher NOT started: no investigator was configured"));
    running.shutdown(secs(5)).await;

    let (logs, _guard) = Logs::listen();
    let off = Settings { auto_investigation: false, ..Settings::default() };
    let detective = restarts();
    let world = World::built(off, with(&detective)).await;
    let _running = world.start();
    let lines = logs.with(NOT_STARTED);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("auto-investigation dispatcher NOT started: AUTO_INVESTIGATION_ENABLED=false"));
}

#[tokio::test(start_paused = true)]
async fn switched_off_alerts_fire_and_only_what_a_person_asks_for_is_investigated() {
    let detective = restarts();
    // One was queued before it was switched off.
    let world = ready(Settings::default(), &detective).await;
    let queue = world.replica(Arc::new(world.store.clone())).build().unwrap().start();
    until("it is queued", async || world.investigations().await.len() == 1).await;
    queue.shutdown(secs(5)).await;
    let off = Settings { auto_investigation: false, ..world.settings.clone() };
    let rounds = with(&detective)(world.replica(Arc::new(world.store.clone()))).settings(off).build().unwrap();
    let _running = rounds.start();
    assert_eq!(world.investigated().await.skip_reason, Some(SkipReason::SwitchedOff));
    fire_again(&world).await;
    pass(secs(60)).await;
    assert_eq!((world.investigations().await.len(), detective.runs().len()), (1, 0));
    let rule = rounds.alerts().list(&world.viewer).await.unwrap().remove(0).rule.id;
    let queued = rounds.alerts().investigate(&world.editor, rule, false).await.unwrap();
    assert!(!queued.existing);
    let done = next(&world, 2).await;
    assert_eq!((done.id, done.status), (queued.investigation_id, InvestigationStatus::Completed));
    assert_eq!((done.requested_by, done.run_as), (Some(world.editor.actor()), Some(world.agent.actor())));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_is_never_refused_because_the_evaluator_was_faster() {
    let detective = Detective::new([Does::Proposes(Vec::new())]);
    let world = ready(Settings::default(), &detective).await;
    let rule = world.rounds.alerts().list(&world.viewer).await.unwrap().remove(0).rule.id;
    let _running = world.start();
    next(&world, 1).await;
    world.store.fail_next(rounds_core::testing::Fault::Conflict, 2);
    let asked = world.rounds.alerts().investigate(&world.editor, rule, true).await.unwrap();
    assert!(!asked.existing);
    assert_eq!(next(&world, 2).await.id, asked.investigation_id);
    let again = world.rounds.alerts().investigate(&world.editor, rule, false).await.unwrap();
    assert!(again.existing, "this firing was investigated already");
}

#[tokio::test(start_paused = true)]
async fn investigations_run_only_so_many_at_a_time_and_a_freed_slot_is_taken_at_once() {
    let detective = Detective::new([Does::Hangs]);
    let settings = Settings {
        concurrent_investigations: 2,
        investigation_timeout: secs(100),
        poll_interval: secs(7200),
        ..Settings::default()
    };
    let world = World::built(settings, with(&detective)).await;
    world.mint();
    world.errors.set(0.9);
    let _running = world.start();
    // The evaluator has begun: from here on a new rule is evaluated at once.
    pass(secs(1)).await;
    for number in 0..6 {
        world.rule(&format!("rule {number}"), json!({ "evaluationIntervalSec": 3600 })).await;
    }
    pass(secs(50)).await;
    assert_eq!(detective.runs().len(), 2);
    pass(secs(300)).await;
    assert_eq!(detective.runs().len(), 6, "three rounds of two, with nobody polling");
}

/// The line from a firing alert to the end of its verification.
async fn verified(after_the_step: impl Fn(&World) + Copy) -> (World, rounds_core::plan::Plan) {
    let world = ready(Settings::default(), &restarts()).await;
    let _running = world.start();
    let id = world.investigated().await.plan_id.unwrap();
    world.let_run(&world.plan(id).await).await;
    let done = world.settled(id).await;
    assert_eq!(done.status, PlanStatus::Completed);
    assert_eq!(done.verification.status, VerificationStatus::Watching);
    after_the_step(&world);
    let settled = eventually("it is settled", async || {
        let plan = world.plan(id).await;
        (plan.verification.status != VerificationStatus::Watching).then_some(plan)
    })
    .await;
    assert_eq!(settled.status, PlanStatus::Completed, "the plan's own status stays terminal");
    (world, settled)
}

#[tokio::test(start_paused = true)]
async fn after_completion_the_alert_is_watched_until_it_recovered_for_a_stable_while() {
    let (world, plan) = verified(|world| world.errors.set(0.0)).await;
    assert_eq!(plan.verification.status, VerificationStatus::Recovered);
    let since = plan.verification.false_since.unwrap();
    let settled = plan.verification.settled_at.unwrap();
    assert!(settled >= crate::harness::later(since, world.settings.verification_stable), "one good sample is not it");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_stays_true_to_the_deadline_has_not_recovered() {
    let (world, plan) = verified(|_| ()).await;
    assert_eq!(plan.verification.status, VerificationStatus::NotRecovered);
    let (since, settled) = (plan.verification.since.unwrap(), plan.verification.settled_at.unwrap());
    assert!(settled >= crate::harness::later(since, world.settings.verification_deadline));
}

#[tokio::test(start_paused = true)]
async fn no_data_is_inconclusive_and_never_a_success() {
    for silent in [(|world: &World| world.errors.fake.set_series(Vec::new())) as fn(&World), |world: &World| {
        world.errors.fake.fail("503")
    }] {
        let (_, plan) = verified(silent).await;
        assert_eq!(plan.verification.status, VerificationStatus::Inconclusive);
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_had_recovered_before_the_first_step_is_inconclusive() {
    let world = ready(Settings::default(), &restarts()).await;
    let _running = world.start();
    let done = world.investigated().await;
    let rule = done.rule_id().unwrap();
    world.errors.set(0.0);
    world.in_state(rule, AlertState::Resolved).await;
    let plan = world.plan(done.plan_id.unwrap()).await;
    world.let_run(&plan).await;
    let ended = world.settled(plan.id).await;
    assert_eq!(ended.verification.status, VerificationStatus::Inconclusive);
    assert!(ended.verification.reason.unwrap().contains("not firing when the first step started"));
    assert!(lock(&world.channel.told).is_empty());
}

/// Refuses agents one action.
struct Without(Action);

#[async_trait::async_trait]
impl Authorizer for Without {
    async fn authorize(&self, who: &Principal, action: Action, scopes: &[Scope]) -> Result<(), Denied> {
        match scopes.iter().find(|_| who.is_agent && action == self.0) {
            Some(scope) => Err(Denied::missing(who, action, scope)),
            None => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_refused_is_named_with_what_it_lacks_and_is_not_said_to_have_no_token() {
    let detective = restarts();
    let lacks = Arc::new(Without(Action::InvestigationsCreate));
    let world = World::built(Settings::default(), |builder| with(&detective)(builder).authorizer(lacks)).await;
    world.mint();
    world.errors.set(0.9);
    world.rule("errors", json!({})).await;
    let _running = world.start();
    let skipped = next(&world, 1).await;
    assert_eq!(skipped.skip_reason, Some(SkipReason::AgentDenied));
    let error = skipped.error.unwrap();
    assert!(error.contains("needs investigations:create on investigations:*"), "{error}");
}

#[test]
fn what_an_investigation_needs_is_what_an_agent_holds_by_its_role_and_never_a_decision() {
    let agent = Principal::agent(OrgId::default(), "agent");
    let needed: Vec<_> = Action::table().iter().filter(|row| row.action.is_for_agents()).collect();
    assert!(needed.iter().any(|row| row.action == Action::InvestigationsCreate));
    for row in needed {
        evaluate(&agent, row.action, &Scope::all("any")).unwrap();
        assert!(!matches!(row.action, Action::PlansApprove | Action::PlansAutoEdit), "rule 8");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_with_many_label_sets_keeps_no_other_rule_and_no_person_waiting() {
    let detective = Detective::new([Does::Errs]);
    let settings = Settings { concurrent_investigations: 1, ..Settings::default() };
    let world = World::built(settings, with(&detective)).await;
    world.mint();
    let alert = |name: &str, nth: usize| ExternalAlert {
        name: name.into(),
        fingerprint: nth.to_string(),
        notified: Notified {
            starts_at: chrono::DateTime::UNIX_EPOCH,
            resolved: false,
            labels: Default::default(),
            annotations: Default::default(),
            value: None,
            severity: Severity::Low,
        },
        query: String::new(),
    };
    let crowd: Vec<_> = (0..30).map(|nth| alert("Crowd", nth)).collect();
    let alerts = world.rounds.alerts();
    assert_eq!(alerts.receive(&world.editor, "source", &crowd).await.unwrap().fired, 30);
    pass(secs(90)).await;
    alerts.receive(&world.editor, "source", &[alert("Other", 0)]).await.unwrap();
    let asked = world.rounds.investigations().ask(&world.editor, "why?").await.unwrap();
    let _running = world.start();
    until("all ran", async || world.investigations().await.iter().all(|one| one.status.is_terminal())).await;
    let ran: Vec<_> = detective.runs().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ran.len(), 32);
    let other = world.investigations().await;
    let is_other = |one: &&Investigation| one.question.contains("Other");
    let other = other.iter().find(is_other).unwrap().id;
    let place = |id| ran.iter().position(|ran| *ran == id).unwrap();
    // Five of the crowd count as queued before it; a person goes before all of them.
    assert!(place(asked.id) == 0 && place(other) < 7, "{} {}", place(other), place(asked.id));
    // The last of a crowd of any size comes to its own before it is stale, however many others fire.
    let last = Investigation { behind: u32::MAX, requested_by: None, ..asked };
    assert_eq!(last.turn(), last.created_at);
    let first = Investigation { behind: 0, ..last.clone() };
    assert!((last.turn() - first.turn()).to_std().unwrap() * 2 <= Settings::default().investigation_stale);
}
