//! The store fails at every commit in turn: nothing is half-written, and nothing runs twice.

use rounds_core::alert::AlertState;
use rounds_core::investigation::{InvestigationStatus, Proposal};
use rounds_core::plan::{Plan, PlanStatus, StepStatus};
use rounds_core::ports::store::{ListQuery, RecordKind, Store, StoreExt};
use rounds_core::service::{Approval, Modification, PlanFilter};
use rounds_core::step::{StepError, StepOutput};
use rounds_core::testing::{FakeOutcome, Fault, ScriptedInvestigator};
use rounds_core::{OrgId, Settings};

use crate::harness::{World, eventually, secs};

const FAULTS: [Fault; 4] = [Fault::CommitFails, Fault::AnswerLost, Fault::Conflict, Fault::LeaseLost];

/// A plan of three steps, of which the second fails and lets the third run.
async fn approved(world: &World) -> Plan {
    let mut request = world.proposal(&["scale app/web", "restart app/web", "get app/web"]);
    request.plan.steps[1].continue_on_error = true;
    let plan = world.rounds.plans().propose(&world.agent, request).await.unwrap().plan;
    world.cluster.does(|_, step| async move {
        match step.step().verb.as_str() {
            "restart" => Err(StepError::failed("no", StepOutput::default())),
            _ => crate::harness::ok(),
        }
    });
    world.let_run(&plan).await
}

/// How many commits a plan takes from its approval to its end, everything included.
async fn commits_of_a_plan() -> u64 {
    let world = World::new().await;
    let plan = approved(&world).await;
    let before = world.store.commits();
    let _running = world.start();
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    crate::harness::pass(secs(30)).await;
    world.store.commits() - before
}

#[tokio::test(start_paused = true)]
async fn rule_4_and_9_a_fault_at_any_commit_of_a_plan_runs_no_step_twice_and_leaves_nothing_half_written() {
    let commits = commits_of_a_plan().await;
    assert!(commits >= 8, "start, three intents, three outcomes, a notice");
    for fault in FAULTS {
        for number in 0..commits {
            let world = World::new().await;
            let plan = approved(&world).await;
            world.store.fail_after(number, fault);
            let _running = world.start();
            let ended = world.settled(plan.id).await;
            let what = format!("{fault:?} at commit {number}: {:?}", crate::harness::steps(&ended));
            let mut executed = world.cluster.executed();
            let attempts = executed.len();
            executed.dedup();
            assert_eq!(executed.len(), attempts, "rule 4: {what}");
            assert!(executed.iter().all(|attempt| attempt.ends_with("#1")), "{what}");
            // Where an outcome could not be written it is unknown, and a person looks; everywhere else it goes on.
            let unknown = ended.steps.iter().any(|step| step.status == StepStatus::Interrupted);
            let expected = if unknown { PlanStatus::Failed } else { PlanStatus::Completed };
            assert_eq!(ended.status, expected, "{what}");
            let rows = world.audited("agent.plan_step").await;
            let ended_steps = ended.steps.iter().filter(|step| step.attempt > 0).count();
            assert_eq!(rows.len(), ended_steps, "rule 10: one row for each attempt: {what}");
            for (step, row) in ended.steps.iter().zip(&rows) {
                let success = step.status == StepStatus::Done;
                assert_eq!(row.entry.outcome.as_str() == "success", success, "{what}");
            }
            world.chain_holds().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_4_an_intent_that_could_not_be_stored_is_never_followed_by_its_effect() {
    // Start, then the intent of the first step.
    for (fault, runs) in [(Fault::CommitFails, 1), (Fault::Conflict, 1), (Fault::AnswerLost, 0)] {
        let world = World::built(Settings::default(), |builder| {
            use rounds_core::service::ServiceName::{Evaluator, Feed, Outbox, Sweeper, Verifier};
            [Evaluator, Feed, Outbox, Sweeper, Verifier].into_iter().fold(builder, |b, name| b.without(name))
        })
        .await;
        let plan = world.propose(&["restart app/web"]).await;
        world.let_run(&plan).await;
        world.store.fail_after(1, fault);
        let _running = world.start();
        crate::harness::pass(secs(1)).await;
        let found = world.plan(plan.id).await;
        if fault != Fault::Conflict {
            assert!(world.cluster.executed().is_empty(), "{fault:?}: the intent is not known to be stored");
        }
        // A lost answer leaves an intent that nobody acts on; after its deadline a person is asked.
        let expected = if fault == Fault::AnswerLost { StepStatus::Executing } else { StepStatus::Pending };
        assert!(fault == Fault::Conflict || found.steps[0].status == expected, "{fault:?}: {found:?}");
        let ended = world.settled(plan.id).await;
        assert_eq!(world.cluster.executed().len(), runs, "{fault:?}");
        let expected = if runs == 1 { StepStatus::Done } else { StepStatus::Interrupted };
        assert_eq!(ended.steps[0].status, expected, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_while_a_step_runs_loses_no_outcome() {
    let world = World::new().await;
    let store = world.store.clone();
    world.cluster.does(move |_, _| {
        store.fail_next(Fault::Unavailable, 12);
        async { crate::harness::ok() }
    });
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    let _running = world.start();
    crate::harness::pass(secs(9)).await;
    let ended = world.settled(plan.id).await;
    assert_eq!((ended.status, world.cluster.executed().len()), (PlanStatus::Completed, 1));
}

/// Everything that a decision may touch, to be compared before and after.
#[derive(Debug, PartialEq)]
struct Everything {
    plans: Vec<Plan>,
    notices: u64,
    audit: u64,
    events: usize,
}

async fn everything(world: &World) -> Everything {
    let query = ListQuery::new(RecordKind::Plan);
    let plans = world.store.all(query).await.unwrap().into_iter().map(|found| found.value).collect();
    let notices = world.store.count(RecordKind::Notice, None).await.unwrap().values().sum();
    let audit = world.store.verify_audit(&OrgId::default()).await.unwrap().unwrap().seq;
    let events = world.store.events(&OrgId::default(), 0, 1000).await.unwrap().len();
    Everything { plans, notices, audit, events }
}

#[tokio::test(start_paused = true)]
async fn rule_9_a_decision_is_committed_whole_or_not_at_all() {
    for fault in [Fault::CommitFails, Fault::AnswerLost] {
        for decision in ["propose", "approve", "reject", "modify", "cancel", "submit", "retry"] {
            let world = World::new().await;
            let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
            if decision == "submit" || decision == "retry" {
                let running = world.start();
                let no = FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
                world.cluster.fake.script(no);
                world.let_run(&plan).await;
                world.settled(plan.id).await;
                running.shutdown(secs(5)).await;
            }
            let before = everything(&world).await;
            world.store.fail_next(fault, 1);
            let plans = world.rounds.plans();
            let who = &world.editor;
            let result = match decision {
                "propose" => {
                    let mut request = world.proposal(&["restart app/web"]);
                    let undo = Proposal::new("undo").with_steps([world.step("scale app/web")]);
                    request.rescue = Some(undo);
                    plans.propose(&world.agent, request).await.map(drop)
                }
                "approve" => plans.approve(who, plan.id, &Approval::default()).await.map(drop),
                "reject" => plans.reject(who, plan.id, None).await.map(drop),
                "modify" => {
                    let steps = vec![world.step("get app/web")];
                    plans.modify(who, plan.id, &Modification { summary: None, steps, digest: None }).await.map(drop)
                }
                "cancel" => plans.cancel(who, plan.id, None).await.map(drop),
                "submit" => plans.submit(who, rescue.id).await.map(drop),
                _ => plans.retry(who, plan.id, 0, false).await.map(drop),
            };
            assert!(result.is_err(), "{decision} under {fault:?} must not claim success");
            let after = everything(&world).await;
            let what = format!("{decision} under {fault:?}");
            if fault == Fault::CommitFails {
                assert_eq!(after, before, "{what}");
                continue;
            }
            assert_ne!(after.plans, before.plans, "{what}");
            assert_eq!(after.audit, before.audit + 1, "{what}");
            assert!(after.events > before.events, "{what}");
            if decision == "reject" {
                assert_eq!(world.plan(rescue.id).await.status, PlanStatus::Cancelled, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_9_an_expiry_that_could_not_be_stored_is_whole_at_the_next_sweep() {
    for fault in [Fault::CommitFails, Fault::AnswerLost, Fault::Conflict] {
        let world = World::with(Settings { plan_approval_ttl: secs(600), ..Settings::default() }).await;
        let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
        crate::harness::pass(secs(600)).await;
        world.store.fail_next(fault, 1);
        let _running = world.start();
        crate::harness::until("both ended", async || {
            let (plan, rescue) = (world.plan(plan.id).await, world.plan(rescue.id).await);
            let ended = (plan.status == PlanStatus::Expired, rescue.status == PlanStatus::Cancelled);
            assert_eq!(ended.0, ended.1, "{fault:?}: together or not at all");
            ended.0
        })
        .await;
        assert_eq!(world.audited("approval.expire").await.len(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_9_and_13_a_fault_at_any_commit_of_the_line_loses_no_alert_and_doubles_nothing() {
    for fault in FAULTS {
        for number in 0..12 {
            let investigator =
                ScriptedInvestigator::reading("get app/web").proposing("restart app/web").rescuing("scale app/web");
            let builder =
                |builder: rounds_core::service::Builder| builder.investigator(std::sync::Arc::new(investigator));
            let world = World::built(Settings::default(), builder).await;
            world.mint();
            world.errors.set(0.9);
            let rule = serde_json::json!({ "name": "errors", "evaluationIntervalSec": 5,
                "condition": { "query": "error_ratio", "operator": ">", "threshold": 0.5, "forDurationSec": 10 } });
            let rule = serde_json::from_value(rule).unwrap();
            let rule = world.rounds.alerts().create(&world.admin, rule).await.unwrap().rule;
            world.store.fail_after(number, fault);
            let _running = world.start();
            let what = format!("{fault:?} at commit {number}");
            let plan = eventually(&what, async || {
                let plans = world.rounds.plans().list(&world.editor, &PlanFilter::default()).await.ok()?.items;
                plans.into_iter().find(|plan| plan.status == PlanStatus::PendingApproval)
            })
            .await;
            crate::harness::pass(secs(20)).await;
            let investigations: Vec<rounds_core::ports::store::Versioned<rounds_core::investigation::Investigation>> =
                world.store.all(ListQuery::new(RecordKind::Investigation)).await.unwrap();
            assert_eq!(investigations.len(), 1, "{what}");
            let investigation = &investigations[0].value;
            assert_eq!(investigation.status, InvestigationStatus::Completed, "{what}");
            assert_eq!(investigation.plan_id, Some(plan.id), "{what}");
            let counts = world.store.count(RecordKind::Plan, None).await.unwrap();
            assert_eq!((counts.get("pending_approval"), counts.get("draft")), (Some(&1), Some(&1)), "{what}");
            let view = world.rounds.alerts().get(&world.editor, rule.id).await.unwrap();
            assert_eq!(view.state(), AlertState::Firing, "{what}");
            assert_eq!(view.instance.unwrap().investigation_id, Some(investigation.id), "{what}");
            let history = world.rounds.alerts().history(&world.editor, rule.id, 100).await.unwrap();
            let moves: Vec<_> = history.iter().rev().map(|row| row.to_state).collect();
            assert_eq!(moves, [AlertState::Pending, AlertState::Firing], "{what}");
        }
    }
}
