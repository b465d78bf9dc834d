//! The whole way of a plan.

use rounds_core::step::{StepError, StepOutput};
use rounds_core::testing::FakeOutcome;
use serde_json::{Value, json};

use crate::support::{self, steps};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_edit_every_step_pauses_and_each_is_approved_by_its_own_request() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let editor = server.user(&admin, "ed", "Editor").await;
    let plan = editor.propose(&connector, &[["get", "app/web"], ["scale", "app/web"]]).await;
    assert_eq!(plan["steps"][1]["commandText"], "fake scale app/web");
    assert_eq!(plan["steps"][1]["paramsJson"], json!({ "argv": ["scale", "app/web"], "connectorId": connector }));
    assert_eq!((&plan["steps"][0]["ordinal"], &plan["steps"][1]["tier"]), (&json!(0), &json!("write")));
    let path = format!("/api/plans/{}", id(&plan));

    let body = json!({ "digest": plan["digest"] });
    let mut outcome = editor.post(&format!("{path}/approve?wait=20"), body).await.expect(200);
    for ordinal in 0..2 {
        let paused = &outcome["outcome"];
        assert_eq!((&paused["kind"], &paused["stepOrdinal"]), (&json!("paused_for_approval"), &json!(ordinal)));
        let request = format!("/api/approvals/{}", paused["approvalRequestId"].as_str().unwrap());
        let asked = editor.get(&request).await.expect(200);
        assert_eq!(asked["context"]["stepOrdinal"], ordinal);
        assert_eq!(
            (&asked["action"]["type"], &asked["action"]["targetService"]),
            (&json!("ops.run_command"), &json!("fake"))
        );
        assert_eq!((&asked["targetNamespace"], &asked["connectorId"]), (&json!("app"), &json!(connector)));
        assert_eq!(server.adapter.executed().len(), ordinal);
        let approved = editor.post(&format!("{request}/approve?wait=20"), json!({})).await.expect(200);
        assert_eq!(approved["status"], "approved");
        outcome = json!({ "outcome": approved["outcome"] });
    }
    assert_eq!(outcome["outcome"]["kind"], "completed");
    let done = editor.get(&path).await.expect(200);
    assert_eq!(done["status"], "completed");
    assert_eq!(done["steps"][1]["outputText"], "ok");
    let rows = admin.get("/api/admin/audit-log?targetType=remediation_plan_step").await.expect(200);
    assert_eq!(rows["total"], 2);
    let row = &rows["items"][0];
    assert_eq!((&row["action"], &row["actorId"]), (&json!("agent.plan_step"), &done["createdBy"]));
    assert_eq!(row["targetId"], format!("{}:1", id(&plan)));
    assert_eq!(row["metadata"]["verb"], "scale");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_can_be_sent_back_as_it_was_shown_and_a_modified_plan_has_another_digest() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"], ["restart", "app/web"]]).await;
    let path = format!("/api/plans/{}", id(&plan));
    let mut edited = plan["steps"].clone();
    edited[1]["paramsJson"]["argv"] = json!(["restart", "app/api"]);
    edited[1]["continueOnError"] = json!(true);
    let body = json!({ "steps": edited, "summary": "Both", "digest": plan["digest"] });
    let modified = admin.post(&format!("{path}/modify"), body).await.expect(200);
    assert_eq!((&modified["revision"], &modified["summary"]), (&json!(2), &json!("Both")));
    assert_eq!(modified["steps"][1]["commandText"], "fake restart app/api");
    assert_eq!(modified["steps"][1]["continueOnError"], true);
    assert_ne!(modified["digest"], plan["digest"]);
    // The request on the first revision is no longer the question.
    let old = format!("/api/approvals/{}", plan["approvalRequestId"].as_str().unwrap());
    assert_eq!(admin.get(&old).await.expect(200)["status"], "superseded");
    admin.post(&format!("{old}/approve"), json!({})).await.refused(409, "already_resolved");
    let stale = json!({ "digest": plan["digest"] });
    let message = admin.post(&format!("{path}/approve"), stale).await.refused(409, "digest_mismatch");
    assert!(message.contains("revision 2"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_is_retried_and_its_rescue_is_submitted_and_runs_nothing_by_itself() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    admin
        .post("/api/access-control/grants", json!({ "subject": "user:root", "role": "fixed:plans:auto_editor" }))
        .await
        .expect(201);
    let mut body = support::proposal(&connector, &[["scale", "app/web"], ["restart", "app/web"]]);
    body["rescue"] = json!({ "summary": "Undo", "steps": steps(&connector, &[["undo", "app/web"]]) });
    let plan = admin.post("/api/plans", body).await.expect(201);
    let path = format!("/api/plans/{}", id(&plan));
    let rescue = format!("/api/plans/{}", plan["rescuePlanId"].as_str().unwrap());
    assert_eq!(admin.get(&rescue).await.expect(200)["status"], "draft");
    let message = admin.post(&format!("{rescue}/approve"), json!({})).await.refused(409, "illegal_state");
    assert!(message.contains("submit"), "{message}");
    admin.post(&format!("{rescue}/submit"), json!({})).await.refused(409, "primary_not_ended");

    let output = StepOutput::default().with_exit_code(1).with_error_output("no such thing");
    server.adapter.script(FakeOutcome::Error(StepError::failed("exit code 1", output)));
    let outcome = admin.post(&format!("{path}/approve?wait=20"), json!({ "autoEdit": true })).await.expect(200);
    assert_eq!((&outcome["outcome"]["kind"], &outcome["outcome"]["failedOrdinal"]), (&json!("failed"), &json!(0)));
    let failed = &outcome["plan"]["steps"];
    assert_eq!((&failed[0]["status"], &failed[1]["status"]), (&json!("failed"), &json!("skipped")));
    assert!(failed[0]["errorText"].as_str().unwrap().contains("no such thing"), "{failed}");
    admin.post(&format!("{path}/steps/1/retry"), json!({})).await.refused(409, "illegal_state");
    admin.post(&format!("{path}/steps/7/retry"), json!({})).await.refused(404, "not_found");
    let retried = admin.post(&format!("{path}/steps/0/retry?wait=20"), json!({})).await.expect(200);
    assert_eq!(retried["outcome"]["kind"], "completed");
    assert_eq!(retried["plan"]["steps"][0]["attempt"], 2);

    let submitted = admin.post(&format!("{rescue}/submit"), json!({})).await.expect(200);
    assert_eq!(submitted["status"], "pending_approval");
    assert_eq!(server.adapter.executed().len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_step_is_retried_only_when_its_unknown_outcome_is_acknowledged() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let path = format!("/api/plans/{}", id(&plan));
    server.adapter.script(FakeOutcome::Error(StepError::unknown("the connection was lost", StepOutput::default())));
    let paused = admin.post(&format!("{path}/approve?wait=20"), json!({})).await.expect(200);
    let request = paused["outcome"]["approvalRequestId"].as_str().unwrap().to_owned();
    let failed = admin.post(&format!("/api/approvals/{request}/approve?wait=20"), json!({})).await.expect(200);
    assert_eq!(failed["outcome"]["kind"], "failed");
    assert_eq!(admin.get(&path).await.expect(200)["steps"][0]["status"], "interrupted");
    let retry = format!("{path}/steps/0/retry?wait=20");
    let message = admin.post(&retry, json!({})).await.refused(409, "illegal_state");
    assert!(message.contains("acknowledgeUnknownOutcome"), "{message}");
    let retried = admin.post(&retry, json!({ "acknowledgeUnknownOutcome": true })).await.expect(200);
    assert_eq!(retried["outcome"]["kind"], "completed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_pages_with_a_link_to_the_next() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    for _ in 0..3 {
        admin.propose(&connector, &[["scale", "app/web"]]).await;
    }
    let first = admin.get("/api/plans?limit=2&status=pending_approval,approved").await;
    let link = first.headers["link"].to_str().unwrap().to_owned();
    let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).unwrap().to_owned();
    assert!(next.starts_with("/api/plans?limit=2&status="), "{next}");
    let first = first.expect(200);
    let second = admin.get(&next).await;
    assert!(second.headers.get("link").is_none());
    let second = second.expect(200);
    assert_eq!((first.as_array().unwrap().len(), second.as_array().unwrap().len()), (2, 1));
    assert!(id(&first[0]) > id(&first[1]) && id(&first[1]) > id(&second[0]));
    assert_eq!(admin.get("/api/plans?status=completed").await.expect(200), json!([]));
    let open = admin.get("/api/approvals?status=pending").await.expect(200);
    assert_eq!(open.as_array().unwrap().len(), 3);
    assert_eq!(open[0]["action"]["type"], "remediation_plan");
    let metrics = admin.get("/metrics").await.expect(200);
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("rounds_plans{status=\"pending_approval\"} 3"), "{metrics}");
    assert!(metrics.contains("rounds_approvals_waiting 3"), "{metrics}");
    server.stop().await;
}
