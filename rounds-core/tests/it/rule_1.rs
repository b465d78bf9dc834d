//! Rule 1: what runs is what was approved. Everything that can differ between the approval and the step halts it.

use rounds_core::plan::{Plan, PlanStatus, StepFailure};
use rounds_core::ports::store::{Commit, Store, StoreExt};
use rounds_core::service::Approval;
use rounds_core::{Error, PlanId};
use serde_json::json;

use crate::harness::{World, draft, lock, secs};

#[tokio::test(start_paused = true)]
async fn rule_1_another_digest_than_the_plans_is_a_conflict_audited_and_approves_nothing() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let seen = Approval { auto_edit: false, digest: Some("rounds.plan.v1:0000".into()) };
    let refused = world.rounds.plans().approve(&world.editor, plan.id, &seen).await.unwrap_err();
    assert_eq!(refused.code(), "digest_mismatch");
    assert!(refused.to_string().contains(&plan.digest), "it says what the plan is now: {refused}");
    assert_eq!(world.plan(plan.id).await, plan, "nothing changed");
    let row = world.audited("approval.approve").await.remove(0).entry;
    assert_eq!((row.outcome.as_str(), row.metadata["unbound"].clone()), ("failure", json!(false)));
    assert_eq!(row.metadata["digest"], json!(plan.digest));
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_digest_of_an_earlier_revision_does_not_approve_a_later_one() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let change = rounds_core::service::Modification {
        summary: None,
        steps: vec![world.step("delete app/web")],
        digest: Some(plan.digest.clone()),
    };
    let modified = world.rounds.plans().modify(&world.editor, plan.id, &change).await.unwrap();
    let seen = Approval::of(&plan);
    let refused = world.rounds.plans().approve(&world.editor, plan.id, &seen).await.unwrap_err();
    assert_eq!(refused.code(), "digest_mismatch");
    // Nor does the request that was shown with it.
    let first = plan.approval_request_id.unwrap();
    let refused = world.rounds.approvals().approve(&world.editor, first).await.unwrap_err();
    assert_eq!(refused.code(), "already_resolved");
    assert_ne!(modified.digest, plan.digest);
    let refused = world.rounds.plans().modify(&world.editor, plan.id, &change).await.unwrap_err();
    assert_eq!(refused.code(), "digest_mismatch", "nor can it be modified from there");
}

/// Asserts that the plan halted before its first step, for good.
async fn halted(world: &World, id: PlanId, why: &str) -> Plan {
    let plan = world.settled(id).await;
    assert_eq!((plan.status, plan.steps[0].failure), (PlanStatus::Failed, Some(StepFailure::ReviewChanged)));
    assert!(world.cluster.executed().is_empty(), "nothing was executed");
    let error = plan.steps[0].error_text.clone().unwrap();
    assert!(error.contains(why), "{error}");
    let refused = world.rounds.plans().retry(&world.auto_editor, id, 0, true).await.unwrap_err();
    assert!(matches!(refused, Error::State(_)) && refused.to_string().contains("propose"), "{refused}");
    let rows = world.audited("agent.plan_step").await;
    assert_eq!(rows.len(), 1, "the halt is in the audit log");
    assert_eq!(rows[0].entry.outcome.as_str(), "failure");
    crate::harness::pass(secs(3600)).await;
    assert!(world.cluster.executed().is_empty());
    plan
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_connector_that_changed_since_the_approval_halts_the_plan() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    // Its config stays as it is; the credentials are others, and the step may reach another cluster.
    let secret = rounds_core::connector::StoredSecret::Inline("another".into());
    world.rounds.connectors().set_secret(&world.admin, world.connector.id, secret).await.unwrap();
    let _running = world.start();
    halted(&world, plan.id, "review_changed").await;
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_connector_that_was_renamed_halts_the_plan() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    // What an operator grants a connector is granted to its name.
    let mut renamed = draft("cluster");
    renamed.name = "production".into();
    world.rounds.connectors().update(&world.admin, world.connector.id, renamed).await.unwrap();
    let _running = world.start();
    halted(&world, plan.id, "review_changed").await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_only_became_the_default_runs_what_was_approved() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    let mut chosen = draft("cluster");
    chosen.is_default = true;
    world.rounds.connectors().update(&world.admin, world.connector.id, chosen).await.unwrap();
    let _running = world.start();
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_connector_that_is_gone_halts_the_plan() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    world.rounds.connectors().delete(&world.admin, world.connector.id).await.unwrap();
    let _running = world.start();
    halted(&world, plan.id, "its connector is gone").await;
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_gate_that_refuses_today_halts_the_plan() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    world.cluster.fake.refuse(Some("restarts are off until Monday"));
    let _running = world.start();
    let plan = halted(&world, plan.id, "restarts are off until Monday").await;
    world.cluster.fake.refuse(None);
    let refused = world.rounds.plans().retry(&world.auto_editor, plan.id, 0, true).await;
    assert!(refused.is_err(), "not even once the gate is as it was: what was seen meanwhile is unknown");
}

#[tokio::test(start_paused = true)]
async fn rule_1_a_gate_that_renders_it_otherwise_halts_the_plan() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    *lock(&world.cluster.renders) = " --force".into();
    let _running = world.start();
    halted(&world, plan.id, "the command").await;
}

#[tokio::test(start_paused = true)]
async fn rule_1_the_gate_is_asked_before_every_step_and_not_only_at_the_start() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "restart app/web"]).await;
    world.approve(&plan).await;
    let (_, first) = world.paused(plan.id).await;
    world.rounds.approvals().approve(&world.editor, first).await.unwrap();
    let (_, second) = world.paused(plan.id).await;
    world.cluster.fake.refuse(Some("no more"));
    world.rounds.approvals().approve(&world.editor, second).await.unwrap();
    let halted = world.settled(plan.id).await;
    assert_eq!(halted.steps[1].failure, Some(StepFailure::ReviewChanged));
    assert_eq!(world.cluster.executed().len(), 1);
}

/// Writes to the stored plan as somebody with the database in hand would.
async fn tamper(world: &World, id: PlanId, with: impl FnOnce(&mut Plan)) {
    let mut found = world.store.plan(id).await.unwrap().unwrap();
    with(&mut found.value);
    world.store.commit(Commit::new().update(found.value, found.version)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rule_1_stored_bytes_that_were_tampered_with_halt_the_plan() {
    let tampers: [fn(&mut Plan); 5] = [
        |plan| plan.steps[0].review.params = json!({ "argv": ["restart", "app/db"] }),
        |plan| plan.canonical = plan.canonical.replace("app/web", "app/db"),
        |plan| plan.steps[0].continue_on_error = true,
        |plan| plan.steps[0].review.targets.clear(),
        |plan| plan.steps[0].connector_revision += 1,
    ];
    for with in tampers {
        let world = World::new().await;
        let plan = world.propose(&["restart app/web"]).await;
        world.let_run(&plan).await;
        tamper(&world, plan.id, with).await;
        let _running = world.start();
        halted(&world, plan.id, "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_2_what_is_shown_is_rendered_by_the_gate_and_the_preview_is_the_systems_own() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    assert_eq!(plan.steps[0].review.command_text, "fake restart app/web");
    assert_eq!(plan.steps[0].dry_run_text.as_deref(), Some("would run fake restart app/web"));
    // A proposer has no field for either.
    for field in ["commandText", "dryRunText", "tier", "targets", "verb"] {
        let step = json!({ "connectorId": world.connector.id, "kind": "ops.run_command",
            "params": { "argv": ["restart", "app/web"] }, field: "echo harmless" });
        let read: Result<rounds_core::investigation::ProposedStep, _> = serde_json::from_value(step);
        let Ok(read) = read else { continue };
        let mut request = world.proposal(&[]);
        request.plan.steps = vec![read];
        let stored = world.rounds.plans().propose(&world.agent, request).await.unwrap().plan;
        assert_eq!(stored.steps[0].review.command_text, "fake restart app/web", "{field} is not believed");
        assert_eq!(stored.steps[0].review.verb, "restart");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_2_a_preview_that_fails_is_said_and_the_plan_still_waits_for_a_person() {
    let world = World::new().await;
    *lock(&world.cluster.fails_dry_runs) = true;
    let plan = world.propose(&["restart app/web"]).await;
    let preview = plan.steps[0].dry_run_text.clone().unwrap();
    assert!(preview.contains("did not succeed") && preview.contains("the cluster did not like it"), "{preview}");
    assert_eq!(plan.status, PlanStatus::PendingApproval);
}

#[tokio::test(start_paused = true)]
async fn a_proposal_is_all_or_nothing_and_every_refused_step_is_named() {
    let world = World::new().await;
    let request = world.proposal(&["restart app/web", "forbidden app/web", "get app/web", "forbidden app/db"]);
    let refused = world.rounds.plans().propose(&world.agent, request).await.unwrap_err();
    let Error::Refused(refusals) = &refused else { panic!("{refused}") };
    assert_eq!(refusals.iter().map(|refusal| refusal.ordinal).collect::<Vec<_>>(), [1, 3]);
    let counts = world.store.count(rounds_core::ports::store::RecordKind::Plan, None).await.unwrap();
    assert!(counts.is_empty(), "nothing is stored");
    assert_eq!(*lock(&world.cluster.dry_runs), 0, "and the cluster was not asked");
}
