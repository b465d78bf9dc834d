//! Decisions: who may, when it is too late, and what is written of each.

use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::audit::AuditEntry;
use rounds_core::plan::{Plan, PlanStatus, RequestKind, RequestStatus};
use rounds_core::service::{Approval, Modification};
use rounds_core::step::{StepError, StepOutput};
use rounds_core::testing::FakeOutcome;
use rounds_core::{Error, OrgId, PlanId, Settings};
use serde_json::json;

use crate::harness::{World, lock, pass, requests, secs, steps, until};

fn change(world: &World, command: &str) -> Modification {
    Modification { summary: Some("another way".into()), steps: vec![world.step(command)], digest: None }
}

/// Every decision that can be taken on a plan and its requests, as its name in the audit log and its outcome.
async fn every_decision(world: &World, who: &Principal, plan: &Plan) -> Vec<(&'static str, Result<(), Error>)> {
    let (plans, approvals) = (world.rounds.plans(), world.rounds.approvals());
    let request = plan.requests.last().map_or_else(rounds_core::RequestId::new, |request| request.id);
    let auto = Approval::of(plan).with_auto_edit();
    vec![
        ("approval.approve", plans.approve(who, plan.id, &auto).await.map(drop)),
        ("approval.approve", plans.approve(who, plan.id, &Approval::default()).await.map(drop)),
        ("approval.approve", approvals.approve(who, request).await.map(drop)),
        ("approval.reject", approvals.reject(who, request, None).await.map(drop)),
        ("approval.reject", plans.reject(who, plan.id, None).await.map(drop)),
        ("approval.modify", plans.modify(who, plan.id, &change(world, "get app/web")).await.map(drop)),
        ("approval.cancel", plans.cancel(who, plan.id, None).await.map(drop)),
        ("approval.retry", plans.retry(who, plan.id, 0, true).await.map(drop)),
        ("approval.submit", plans.submit(who, plan.id).await.map(drop)),
    ]
}

#[tokio::test(start_paused = true)]
async fn rule_8_agents_never_decide_whatever_they_hold_and_each_refusal_is_audited() {
    let world = World::new().await;
    let running = world.start();
    let mut agent = Principal::agent(OrgId::default(), "@syntropize/rounds")
        .with_grant(Action::PlansApprove, Scope::all("plans"))
        .with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    agent.role = OrgRole::Admin;
    agent.server_admin = true;
    // One that waits, one whose step waits, one that failed, one that is a draft.
    let (waiting, draft) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
    let paused = world.propose(&["restart app/web"]).await;
    world.approve(&paused).await;
    world.paused(paused.id).await;
    let failed = world.propose(&["restart app/web"]).await;
    let gone = FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
    world.cluster.fake.script(gone);
    world.let_run(&failed).await;
    world.settled(failed.id).await;
    running.shutdown(secs(5)).await;
    for id in [waiting.id, draft.id, paused.id, failed.id] {
        let before = world.plan(id).await;
        for (action, result) in every_decision(&world, &agent, &before).await {
            match result {
                Err(Error::Denied(denied)) => assert!(denied.to_string().contains("agent"), "{denied}"),
                // A draft has no request to decide on.
                Err(Error::NotFound { what: "approval request", .. }) if before.requests.is_empty() => continue,
                other => panic!("{action} by an agent on a {} plan: {other:?}", before.status.as_str()),
            }
            let row = world.audited(action).await.pop().unwrap().entry;
            assert_eq!((row.actor_id, row.outcome.as_str()), (agent.id.to_string(), "failure"));
            assert_eq!(row.metadata["planId"], json!(id));
        }
        assert_eq!(world.plan(id).await, before, "rule 8: nothing changed");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_8_holds_under_an_authorizer_that_allows_everything() {
    struct Everybody;
    #[async_trait::async_trait]
    impl rounds_core::ports::Authorizer for Everybody {
        async fn authorize(
            &self,
            _who: &Principal,
            _action: Action,
            _scopes: &[Scope],
        ) -> Result<(), rounds_core::access::Denied> {
            Ok(())
        }
    }
    let builder = |builder: rounds_core::service::Builder| builder.authorizer(std::sync::Arc::new(Everybody));
    let world = World::built(Settings::default(), builder).await;
    let plan = world.propose(&["restart app/web"]).await;
    for (action, result) in every_decision(&world, &world.agent, &plan).await {
        assert!(matches!(result, Err(Error::Denied(_))), "{action}: {result:?}");
    }
    let viewer = world.rounds.plans().approve(&world.viewer, plan.id, &Approval::default()).await;
    assert!(viewer.is_ok(), "the embedder's authorizer decides about everybody else");
}

#[tokio::test(start_paused = true)]
async fn a_viewer_decides_nothing_and_the_refusal_names_action_and_scope() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    for (action, result) in every_decision(&world, &world.viewer, &plan).await {
        let Err(Error::Denied(denied)) = result else { panic!("{action}: {result:?}") };
        assert_eq!(denied.to_string(), "viewer needs plans:approve on plans:*", "{action}");
    }
    assert_eq!(world.plan(plan.id).await, plan);
}

#[tokio::test(start_paused = true)]
async fn plans_of_another_organisation_do_not_exist() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let stranger = Principal::user(OrgId::new("other"), "stranger", OrgRole::Admin);
    for (action, result) in every_decision(&world, &stranger, &plan).await {
        assert!(matches!(result, Err(Error::NotFound { .. })), "{action}: {result:?}");
    }
    assert!(matches!(world.rounds.plans().get(&stranger, plan.id).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn auto_edit_without_the_grant_names_action_and_scope_and_never_downgrades() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web", "scale db/pg"]).await;
    let auto = Approval::of(&plan).with_auto_edit();
    let narrow = Principal::user(OrgId::default(), "narrow", OrgRole::Editor)
        .with_grant(Action::PlansAutoEdit, Scope::plan_namespace("app"));
    for (who, message) in [
        (&world.editor, "editor needs plans:auto_edit on plans:namespace:app"),
        (&narrow, "narrow needs plans:auto_edit on plans:namespace:db"),
        (&world.admin, "admin needs plans:auto_edit on plans:namespace:app"),
    ] {
        let refused = world.rounds.plans().approve(who, plan.id, &auto).await.unwrap_err();
        assert_eq!((refused.code(), refused.to_string().as_str()), ("forbidden", message));
        assert_eq!(world.plan(plan.id).await, plan, "it is not approved without auto-edit instead");
    }
    let both = narrow.with_grant(Action::PlansAutoEdit, Scope::plan_namespace("db"));
    assert!(world.rounds.plans().approve(&both, plan.id, &auto).await.unwrap().auto_edit, "grants combine");
    // A step in no namespace cannot be narrowed to one.
    let wide = world.propose(&["restart app/web", "drain node-1"]).await;
    let refused = world.rounds.plans().approve(&both, wide.id, &Approval { auto_edit: true, digest: None }).await;
    assert_eq!(refused.unwrap_err().to_string(), "narrow needs plans:auto_edit on plans:*");
}

#[tokio::test(start_paused = true)]
async fn a_second_approval_is_a_conflict_and_changes_nothing() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let approved = world.approve(&plan).await;
    let again = Approval::of(&plan).with_auto_edit();
    let refused = world.rounds.plans().approve(&world.auto_editor, plan.id, &again).await.unwrap_err();
    assert!(matches!(refused, Error::State(_)), "{refused}");
    let request = plan.approval_request_id.unwrap();
    let refused = world.rounds.approvals().approve(&world.admin, request).await.unwrap_err();
    assert_eq!(refused.code(), "already_resolved");
    let at = approved.request(request).unwrap().resolved_at.unwrap().to_rfc3339();
    assert!(refused.to_string().contains("by editor") && refused.to_string().contains(&at), "who and when: {refused}");
    assert_eq!(world.plan(plan.id).await, approved);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_people_who_decide_at_the_same_moment_exactly_one_wins() {
    let world = World::new().await;
    for round in 0..40 {
        let plan = world.propose(&["restart app/web"]).await;
        let (request, id) = (plan.approval_request_id.unwrap(), plan.id);
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (rounds, who) = (world.rounds.clone(), world.editor.clone());
                tokio::spawn(async move {
                    match (number + round) % 4 {
                        0 => rounds.plans().approve(&who, id, &Approval::default()).await.map(drop),
                        1 => rounds.plans().reject(&who, id, None).await.map(drop),
                        2 => rounds.approvals().approve(&who, request).await.map(drop),
                        _ => rounds.approvals().reject(&who, request, None).await.map(drop),
                    }
                })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => won += 1,
                Err(Error::State(_) | Error::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
        let ended = world.plan(id).await;
        assert!(matches!(ended.status, PlanStatus::Approved | PlanStatus::Rejected));
        assert_eq!(ended.requests.len(), 1);
    }
    let rows = [world.audited("approval.approve").await, world.audited("approval.reject").await].concat();
    let successes = rows.iter().filter(|row| row.entry.outcome.as_str() == "success").count();
    assert_eq!((rows.len(), successes), (160, 40), "rule 10: each decision and each refused one, once");
    world.chain_holds().await;
}

#[tokio::test(start_paused = true)]
async fn rule_7_past_its_time_a_plan_cannot_be_decided_on_swept_or_not() {
    let settings = Settings { plan_approval_ttl: secs(600), ..Settings::default() };
    let world = World::with(settings).await;
    let plan = world.propose(&["restart app/web"]).await;
    assert_eq!(plan.expires_at, Some(crate::harness::later(plan.created_at, secs(600))));
    pass(secs(600)).await;
    // No sweeper runs, so the row still says that it waits.
    let request = plan.approval_request_id.unwrap();
    let (plans, approvals) = (world.rounds.plans(), world.rounds.approvals());
    for result in [
        plans.approve(&world.editor, plan.id, &Approval::default()).await.map(drop),
        approvals.approve(&world.editor, request).await.map(drop),
        plans.reject(&world.editor, plan.id, None).await.map(drop),
        plans.modify(&world.editor, plan.id, &change(&world, "get app/web")).await.map(drop),
    ] {
        assert!(result.unwrap_err().to_string().contains("expired"));
    }
    assert_eq!(world.plan(plan.id).await.status, PlanStatus::PendingApproval);
    let _running = world.start();
    let swept = crate::harness::eventually("the sweeper says so", async || {
        let plan = world.plan(plan.id).await;
        (plan.status == PlanStatus::Expired).then_some(plan)
    })
    .await;
    assert_eq!(requests(&swept), [(RequestKind::Plan, RequestStatus::Expired)]);
    assert_eq!(world.audited("approval.expire").await.len(), 1);
    for (action, result) in every_decision(&world, &world.auto_editor, &swept).await {
        assert!(result.is_err(), "rule 6: {action} on an expired plan");
    }
    assert_eq!(world.plan(plan.id).await, swept);
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_step_request_past_its_time_cannot_be_decided_on() {
    let settings = Settings { plan_approval_ttl: secs(600), ..Settings::default() };
    let world = World::with(settings).await;
    let running = world.start();
    let plan = world.propose(&["restart app/web"]).await;
    world.approve(&plan).await;
    let (_, request) = world.paused(plan.id).await;
    running.shutdown(secs(5)).await;
    pass(secs(600)).await;
    let approvals = world.rounds.approvals();
    for result in [
        approvals.approve(&world.editor, request).await.map(drop),
        approvals.reject(&world.editor, request, None).await.map(drop),
    ] {
        assert!(result.unwrap_err().to_string().contains("expired"));
    }
    assert_eq!(world.plan(plan.id).await.status, PlanStatus::Executing);
    assert!(world.cluster.executed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rule_6_what_has_ended_takes_no_decision_any_more() {
    let world = World::new().await;
    let running = world.start();
    let mut ended = Vec::new();
    let rejected = world.propose(&["restart app/web"]).await;
    world.rounds.plans().reject(&world.editor, rejected.id, Some("no".into())).await.unwrap();
    ended.push(rejected.id);
    let cancelled = world.propose(&["restart app/web"]).await;
    world.rounds.plans().cancel(&world.editor, cancelled.id, None).await.unwrap();
    ended.push(cancelled.id);
    let completed = world.propose(&["restart app/web"]).await;
    world.let_run(&completed).await;
    assert_eq!(world.settled(completed.id).await.status, PlanStatus::Completed);
    ended.push(completed.id);
    running.shutdown(secs(5)).await;
    for id in ended {
        let before = world.plan(id).await;
        for (action, result) in every_decision(&world, &world.auto_editor, &before).await {
            let error = result.unwrap_err();
            let right = matches!(error, Error::State(_) | Error::Conflict { .. });
            assert!(right, "{action} on a {} plan: {error}", before.status.as_str());
        }
        assert_eq!(world.plan(id).await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn modify_reviews_and_dry_runs_anew_raises_the_revision_and_supersedes_the_request() {
    let world = World::new().await;
    let plan = world.propose(&["restart app/web"]).await;
    let before = *lock(&world.cluster.dry_runs);
    let modified = world.rounds.plans().modify(&world.editor, plan.id, &change(&world, "scale app/web")).await.unwrap();
    assert_eq!((modified.status, modified.revision), (PlanStatus::PendingApproval, 2));
    assert_ne!(modified.digest, plan.digest);
    assert_eq!(modified.steps[0].review.command_text, "fake scale app/web");
    assert_eq!(modified.steps[0].dry_run_text.as_deref(), Some("would run fake scale app/web"));
    assert_eq!(*lock(&world.cluster.dry_runs), before + 1);
    let expected = [(RequestKind::Plan, RequestStatus::Superseded), (RequestKind::Plan, RequestStatus::Pending)];
    assert_eq!(requests(&modified), expected);
    assert_eq!(modified.expires_at, plan.expires_at, "modifying does not buy time");
    assert_eq!(modified.history[0].commands, ["fake restart app/web"]);
    assert_eq!(modified.history[0].replaced_by, world.editor.actor());
    // What the gate refuses is not stored, and said.
    let refused = world.rounds.plans().modify(&world.editor, plan.id, &change(&world, "forbidden app/web")).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(world.plan(plan.id).await, modified);
    // What was modified is what runs.
    let _running = world.start();
    world.let_run(&modified).await;
    world.settled(plan.id).await;
    assert_eq!(world.cluster.executed(), ["fake scale app/web#1"]);
    let approved = world.rounds.plans().modify(&world.editor, plan.id, &change(&world, "get app/web")).await;
    assert!(matches!(approved, Err(Error::State(_))), "too late");
}

#[tokio::test(start_paused = true)]
async fn a_rescue_is_submitted_only_once_its_primary_failed_was_cancelled_or_completed() {
    let world = World::new().await;
    let _running = world.start();
    for ending in ["failed", "cancelled", "completed"] {
        let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
        assert_eq!((plan.rescue_plan_id, rescue.rescue_for_plan_id), (Some(rescue.id), Some(plan.id)));
        assert_eq!((rescue.status, rescue.expires_at, rescue.requests.len()), (PlanStatus::Draft, None, 0));
        let approve = world.rounds.plans().approve(&world.editor, rescue.id, &Approval::default()).await.unwrap_err();
        assert!(approve.to_string().contains("submit"), "approving a draft names submit: {approve}");
        let early = world.rounds.plans().submit(&world.editor, rescue.id).await.unwrap_err();
        assert_eq!(early.code(), "primary_not_ended", "{early}");
        match ending {
            "failed" => {
                let no = FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
                world.cluster.fake.script(no);
                world.let_run(&plan).await;
            }
            "cancelled" => drop(world.rounds.plans().cancel(&world.editor, plan.id, None).await.unwrap()),
            _ => drop(world.let_run(&plan).await),
        }
        assert_eq!(world.settled(plan.id).await.status.as_str(), ending);
        assert_eq!(world.plan(rescue.id).await.status, PlanStatus::Draft, "a rescue never starts by itself");
        let ran = world.cluster.executed().len();
        pass(secs(50)).await;
        let submitted = world.rounds.plans().submit(&world.editor, rescue.id).await.unwrap();
        assert_eq!(submitted.status, PlanStatus::PendingApproval);
        let expires = crate::harness::later(world.now(), world.settings.plan_approval_ttl);
        assert_eq!(submitted.expires_at, Some(expires), "its time starts now");
        pass(secs(50)).await;
        assert_eq!(world.cluster.executed().len(), ran, "submitting runs nothing");
        let twice = world.rounds.plans().submit(&world.editor, rescue.id).await;
        assert!(matches!(twice, Err(Error::State(_))));
        world.let_run(&submitted).await;
        assert_eq!(world.settled(rescue.id).await.status, PlanStatus::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_draft_goes_with_a_primary_that_was_rejected_or_expired() {
    let settings = Settings { plan_approval_ttl: secs(600), ..Settings::default() };
    let world = World::with(settings).await;
    let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
    world.rounds.plans().reject(&world.editor, plan.id, None).await.unwrap();
    let gone = world.plan(rescue.id).await;
    assert_eq!((gone.status, steps(&gone)), (PlanStatus::Cancelled, vec!["skipped"]));
    assert_eq!(gone.resolution.as_deref(), Some("the plan it would undo was rejected"));
    let (plan, rescue) = world.propose_with_rescue(&["restart app/web"], "scale app/web").await;
    let _running = world.start();
    let is = async |id: PlanId, status| world.plan(id).await.status == status;
    until("it expires", async || is(plan.id, PlanStatus::Expired).await).await;
    assert!(is(rescue.id, PlanStatus::Cancelled).await);
    assert!(world.rounds.plans().submit(&world.editor, rescue.id).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn rule_10_every_attempt_has_its_row_with_exactly_these_fields() {
    let world = World::new().await;
    let _running = world.start();
    let no = FakeOutcome::Error(StepError::unknown("the line went dead", StepOutput::default()));
    world.cluster.fake.script(no);
    let plan = world.propose(&["restart app/web"]).await;
    world.let_run(&plan).await;
    world.settled(plan.id).await;
    world.rounds.plans().retry(&world.editor, plan.id, 0, true).await.unwrap();
    assert_eq!(world.settled(plan.id).await.status, PlanStatus::Completed);
    let rows = world.audited("agent.plan_step").await;
    assert_eq!(rows.len(), 2);
    for (row, (outcome, attempt, by, error)) in rows
        .iter()
        .zip([("failure", 1, &world.auto_editor, Some("the line went dead")), ("success", 2, &world.editor, None)])
    {
        let row = &row.entry;
        let mut metadata = json!({
            "planId": plan.id, "stepOrdinal": 0, "kind": "ops.run_command", "verb": "restart",
            "connectorId": world.connector.id, "attempt": attempt, "approvedBy": by.id, "digest": plan.digest,
        });
        if let Some(error) = error {
            metadata["error"] = error.into();
        }
        assert_eq!(json!(row.metadata), metadata);
        assert_eq!(row.outcome.as_str(), outcome);
        assert_eq!(json!(row.actor_type), json!("service_account"));
        assert_eq!(row.actor_id, world.agent.id.to_string());
        assert_eq!(row.org_id, plan.org_id);
        assert_eq!(row.target_type, AuditEntry::TARGET_STEP);
        assert_eq!(row.target_id, format!("{}:0", plan.id));
    }
    world.chain_holds().await;
}

#[tokio::test(start_paused = true)]
async fn rule_10_every_decision_has_a_row_of_its_own() {
    let world = World::new().await;
    let _running = world.start();
    let (plan, rescue) = world.propose_with_rescue(&["restart app/web", "get app/web"], "scale app/web").await;
    let modified = world.rounds.plans().modify(&world.editor, plan.id, &change(&world, "scale app/web")).await.unwrap();
    world.approve(&modified).await;
    let (_, request) = world.paused(plan.id).await;
    world.rounds.approvals().reject(&world.editor, request, Some("too risky".into())).await.unwrap();
    world.rounds.plans().retry(&world.editor, plan.id, 0, false).await.unwrap();
    world.settled(plan.id).await;
    world.rounds.plans().submit(&world.editor, rescue.id).await.unwrap();
    world.rounds.plans().cancel(&world.editor, rescue.id, Some("not needed".into())).await.unwrap();
    for (action, target_type, target, fact) in [
        ("approval.modify", "remediation_plan", plan.id.to_string(), ("revision", json!(1))),
        ("approval.approve", "remediation_plan", plan.id.to_string(), ("unbound", json!(false))),
        ("approval.reject", "approval_request", request.to_string(), ("reason", json!("too risky"))),
        ("approval.retry", "remediation_plan", plan.id.to_string(), ("acknowledgeUnknownOutcome", json!(false))),
        ("approval.submit", "remediation_plan", rescue.id.to_string(), ("planId", json!(rescue.id))),
        ("approval.cancel", "remediation_plan", rescue.id.to_string(), ("reason", json!("not needed"))),
    ] {
        let rows = world.audited(action).await;
        assert_eq!(rows.len(), 1, "{action}");
        let row = &rows[0].entry;
        assert_eq!((row.target_type.as_str(), &row.target_id), (target_type, &target), "{action}");
        assert_eq!((row.actor_id.clone(), row.outcome.as_str()), (world.editor.id.to_string(), "success"));
        assert_eq!(row.metadata[fact.0], fact.1, "{action}");
        assert!(row.metadata["digest"].is_string());
    }
    world.chain_holds().await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_on_a_request_is_never_taken_for_the_request_that_followed_it() {
    let world = World::new().await;
    let _running = world.start();
    let plan = world.propose(&["get app/web", "restart app/web"]).await;
    let no = FakeOutcome::Error(StepError::failed("no", StepOutput::default()));
    world.cluster.fake.script(no);
    world.approve(&plan).await;
    let (_, first) = world.paused(plan.id).await;
    world.rounds.approvals().reject(&world.editor, first, None).await.unwrap();
    world.rounds.plans().retry(&world.editor, plan.id, 0, false).await.unwrap();
    let refused = world.rounds.approvals().approve(&world.editor, first).await.unwrap_err();
    assert_eq!(refused.code(), "already_resolved", "{refused}");
    let row = world.audited("approval.approve").await.pop().unwrap().entry;
    assert_eq!((row.target_id, row.outcome.as_str()), (first.to_string(), "failure"), "and that is audited");
}
