//! What clients of the product send and expect: shapes, aliases, filters and what may be left out.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, steps};

const GRANTS: &str = "/api/access-control/grants";

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

fn rule(name: &str) -> Value {
    json!({ "name": name, "condition": { "query": "up", "operator": ">", "threshold": 1 } })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_is_read_by_id_and_a_missing_one_is_404() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({ "login": "vera", "password": "12345678", "email": null, "orgRole": null, "isAdmin": null });
    let made = admin.post("/api/admin/users", draft).await.expect(201);
    assert_eq!(admin.get(&format!("/api/admin/users/{}", id(&made))).await.expect(200), made);
    let missing = rounds_core::PrincipalId::new();
    admin.get(&format!("/api/admin/users/{missing}")).await.refused(404, "not_found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_is_proposed_for_a_plan_that_is_there_once() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let body = json!({
        "summary": "Back", "rescueForPlanId": plan["id"], "steps": steps(&connector, &[["undo", "app/web"]]),
    });
    let draft = admin.post("/api/plans", body.clone()).await.expect(201);
    assert_eq!((&draft["status"], &draft["rescueForPlanId"]), (&json!("draft"), &plan["id"]));
    let primary = admin.get(&format!("/api/plans/{}", id(&plan))).await.expect(200);
    assert_eq!((&primary["rescuePlanId"], &primary["digest"]), (&draft["id"], &plan["digest"]));
    admin.post("/api/plans", body.clone()).await.refused(409, "has_rescue");
    let mut nowhere = body.clone();
    nowhere["rescueForPlanId"] = json!(rounds_core::PlanId::new());
    admin.post("/api/plans", nowhere).await.refused(404, "not_found");

    let rejected = admin.propose(&connector, &[["scale", "app/web"]]).await;
    admin.post(&format!("/api/plans/{}/reject", id(&rejected)), json!({})).await.expect(200);
    let mut gone = body;
    gone["rescueForPlanId"] = rejected["id"].clone();
    admin.post("/api/plans", gone).await.refused(409, "nothing_to_undo");

    let mut with_rescue = support::proposal(&connector, &[["scale", "app/web"]]);
    with_rescue["rescuePlan"] = support::proposal(&connector, &[["undo", "app/web"]]);
    assert!(admin.post("/api/plans", with_rescue).await.expect(201)["rescuePlanId"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grants_subject_is_whatever_names_one() {
    let server = support::empty().await;
    let admin = server.admin().await;
    server.user(&admin, "ed", "Editor").await;
    let users = admin.get("/api/admin/users").await.expect(200);
    let ed = users.as_array().unwrap().iter().find(|user| user["login"] == "ed").unwrap().clone();
    let team = admin.post("/api/teams", json!({ "name": "on-call" })).await.expect(201);
    let shapes = [
        json!("ed"),
        ed["id"].clone(),
        json!("user:ed"),
        json!("on-call"),
        team["id"].clone(),
        json!("@syntropize/rounds"),
        json!({ "type": "user", "id": ed["id"] }),
        json!({ "type": "team", "id": "on-call" }),
        json!({ "type": "serviceaccount", "id": "@syntropize/rounds" }),
    ];
    for subject in shapes {
        let grant = json!({ "subject": subject, "role": "fixed:plans:auto_editor", "action": null, "scope": null });
        let made = admin.post(GRANTS, grant).await.expect(201);
        // As it was shown, it is taken back and granted again.
        admin.call(Method::DELETE, GRANTS, Some(made.clone())).await.expect(204);
        let again = admin.post(GRANTS, made).await.expect(201);
        let of = again["subject"].as_str().unwrap();
        assert_eq!(admin.get(&format!("{GRANTS}?subject={of}")).await.expect(200), json!([again]));
        assert_eq!(admin.get(&format!("{GRANTS}?subject=root")).await.expect(200), json!([]));
        admin.delete(&format!("{GRANTS}?subject={of}&role=fixed:plans:auto_editor")).await.expect(204);
    }
    let unknown = json!({ "subject": "nobody", "role": "fixed:plans:auto_editor" });
    let message = admin.post(GRANTS, unknown).await.refused(400, "bad_request");
    assert!(message.contains("`nobody`") && message.contains("team:<id or name>"), "{message}");
    admin.post("/api/teams", json!({ "name": "ed" })).await.expect(201);
    let several = json!({ "subject": "ed", "role": "fixed:plans:auto_editor" });
    let message = admin.post(GRANTS, several).await.refused(400, "bad_request");
    assert!(message.contains("several"), "{message}");
    admin.call(Method::DELETE, GRANTS, None).await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_ends_by_body_query_or_path() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let path = "/api/alert-rules/silences";
    for way in 0..3 {
        let draft = json!({ "matchers": { "a": "b" }, "endsAt": "2100-01-01T00:00:00Z", "comment": null });
        let made = admin.post(path, draft).await.expect(201);
        let ended = match way {
            0 => admin.call(Method::DELETE, path, Some(json!({ "id": made["id"] }))).await,
            1 => admin.delete(&format!("{path}?id={}", id(&made))).await,
            _ => admin.delete(&format!("{path}/{}", id(&made))).await,
        };
        ended.expect(204);
    }
    admin.delete(path).await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_as_if_it_were_not_there_when_something_is_made_or_decided() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let mut draft = rule("down");
    for name in ["description", "labels", "severity", "evaluationIntervalSec", "datasourceId"] {
        draft[name] = Value::Null;
    }
    draft["condition"]["forDurationSec"] = Value::Null;
    let made = admin.post("/api/alert-rules", draft).await.expect(201);
    assert_eq!((&made["description"], &made["evaluationIntervalSec"]), (&json!(""), &json!(60)));
    let path = format!("/api/alert-rules/{}", id(&made));
    admin.put(&path, json!({ "description": "x" })).await.expect(200);
    assert_eq!(admin.put(&path, json!({ "description": null })).await.expect(200)["description"], "");

    let metrics = json!({ "type": "fixed", "name": "m", "config": { "key": "k" }, "isDefault": null, "secret": null });
    admin.post("/api/connectors", metrics).await.expect(201);
    let mut proposal = support::proposal(&connector, &[["scale", "app/web"]]);
    for name in ["continueOnError", "riskNote", "kind"] {
        proposal["steps"][0][name] = Value::Null;
    }
    let plan = admin.post("/api/plans", proposal).await.expect(201);
    let approve = json!({ "autoEdit": null, "digest": null });
    admin.post(&format!("/api/plans/{}/approve?wait=20", id(&plan)), approve).await.expect(200);
    // What is needed is missed all the same.
    admin.post("/api/plans", json!({ "summary": null, "steps": [] })).await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_sent_back_is_never_dropped_in_silence() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let made = admin.post("/api/alert-rules", rule("down")).await.expect(201);
    let path = format!("/api/alert-rules/{}", id(&made));
    let off = admin.put(&path, json!({ "enabled": false })).await.expect(200);
    assert_eq!((&off["enabled"], &off["state"]), (&json!(false), &json!("disabled")));
    let log = admin.get("/api/admin/audit-log?action=alert_rule.disable").await.expect(200);
    assert_eq!(log["total"], 1);
    let mut whole = off.clone();
    whole["enabled"] = json!(true);
    whole["name"] = json!("gone");
    let on = admin.put(&path, whole).await.expect(200);
    assert_eq!((&on["enabled"], &on["name"]), (&json!(true), &json!("gone")));
    let message = admin.put(&path, json!({ "state": "disabled" })).await.refused(400, "bad_request");
    assert!(message.contains("enabled"), "{message}");
    let message = admin.put(&path, json!({ "createdBy": "somebody" })).await.refused(400, "bad_request");
    assert!(message.starts_with("createdBy:"), "{message}");

    let connector = format!("/api/connectors/{}", server.connector(&admin).await);
    let shown = admin.get(&connector).await.expect(200)["connector"].clone();
    admin.put(&connector, shown).await.expect(200);
    for name in ["capabilities", "allowedNamespaces"] {
        let message = admin.put(&connector, json!({ name: ["x"] })).await.refused(400, "bad_request");
        assert!(message.contains(&format!("config.{name}")), "{message}");
        let draft = json!({ "type": "fake", "name": "b", "config": {}, name: ["x"] });
        let message = admin.post("/api/connectors", draft).await.refused(400, "bad_request");
        assert!(message.contains(&format!("config.{name}")), "{message}");
    }
    admin.put(&connector, json!({ "orgId": "other" })).await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_somebody_approved_is_kept() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let request = format!("/api/approvals/{}", plan["approvalRequestId"].as_str().unwrap());
    let because = |why: &str| json!({ "reason": why });
    let approved = admin.post(&format!("{request}/approve?wait=20"), because("looks right")).await.expect(200);
    assert_eq!((&approved["status"], &approved["resolutionReason"]), (&json!("approved"), &json!("looks right")));
    let step = format!("/api/approvals/{}", approved["outcome"]["approvalRequestId"].as_str().unwrap());
    let approved = admin.post(&format!("{step}/approve?wait=20"), because("go on")).await.expect(200);
    assert_eq!(approved["resolutionReason"], "go on");
    let log = admin.get("/api/admin/audit-log?action=approval.approve").await.expect(200);
    let reasons: Vec<&Value> = log["items"].as_array().unwrap().iter().map(|row| &row["metadata"]["reason"]).collect();
    assert_eq!(reasons, ["go on", "looks right"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_sign_in_at_once_with_the_right_password_all_get_in() {
    let server = support::empty().await;
    server.admin().await;
    let right = json!({ "user": "root", "password": support::PASSWORD });
    let nobody = server.anonymous();
    let attempts = (0..24).map(|_| nobody.post("/api/login", right.clone()));
    for answer in futures::future::join_all(attempts).await {
        answer.expect(200);
    }
    let wrong = json!({ "user": "root", "password": "wrong-horse" });
    let attempts = (0..16).map(|_| nobody.post("/api/login", wrong.clone()));
    let answers = futures::future::join_all(attempts).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(401), count(429)), (10, 6));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_takes_a_whole_rule_or_a_flat_condition() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let datasource = server.datasource(&admin, 5.0).await;
    let path = "/api/alert-rules/preview";
    let mut draft = rule("down");
    draft["description"] = json!("x");
    draft["severity"] = json!("high");
    draft["labels"] = json!({ "a": "b" });
    draft["evaluationIntervalSec"] = json!(30);
    draft["datasourceId"] = json!(datasource);
    let shown = admin.post(path, draft.clone()).await.expect(200);
    assert_eq!((&shown["value"], &shown["holds"]), (&json!(5.0), &json!(true)));
    let made = admin.post("/api/alert-rules", draft).await.expect(201);
    assert_eq!(admin.post(path, made).await.expect(200)["holds"], true);
    let flat = json!({ "query": "up", "operator": "<", "threshold": 9, "datasourceId": datasource });
    assert_eq!(admin.post(path, flat).await.expect(200)["holds"], true);
    let bare = json!({ "query": "up", "datasourceId": datasource });
    assert_eq!(admin.post(path, bare).await.expect(200)["holds"], false);
    admin.post(path, json!({ "query": "up", "operator": "<" })).await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_paged_and_no_filter_is_passed_over() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let mut plans = Vec::new();
    for _ in 0..3 {
        plans.push(admin.propose(&connector, &[["scale", "app/web"]]).await);
    }
    admin.post(&format!("/api/plans/{}/reject", id(&plans[0])), json!({})).await.expect(200);
    let mut path = "/api/approvals?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = admin.get(&path).await;
        let next = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        let page = page.expect(200);
        seen.extend(page.as_array().unwrap().iter().map(|found| found["context"]["planId"].clone()));
        match next {
            Some(link) => path = link.split(['<', '>']).nth(1).unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, plans.iter().rev().map(|plan| plan["id"].clone()).collect::<Vec<_>>());
    let count = async |path: &str| admin.get(path).await.expect(200).as_array().unwrap().len();
    assert_eq!(count("/api/approvals?status=pending,rejected").await, 3);
    assert_eq!(count("/api/approvals?status=rejected,expired&limit=1").await, 1);
    assert_eq!(count(&format!("/api/approvals?planId={}", id(&plans[1]))).await, 1);

    admin.post("/api/investigations", json!({ "question": "why?" })).await.expect(201);
    assert_eq!(count("/api/investigations?status=queued,running,completed,failed,skipped").await, 1);
    assert_eq!(count("/api/investigations?status=cancelled").await, 0);
    let made = admin.post("/api/alert-rules", rule("down")).await.expect(201);
    admin.post(&format!("/api/alert-rules/{}/disable", id(&made)), json!({})).await.expect(200);
    assert_eq!(admin.get("/api/alert-rules?state=disabled").await.expect(200)["total"], 1);
    assert_eq!(admin.get("/api/alert-rules?state=firing,normal").await.expect(200)["total"], 0);
    let of =
        async |kind: &str| admin.get(&format!("/api/connectors?type={kind}")).await.expect(200)["connectors"].clone();
    assert_eq!((of("fake").await.as_array().unwrap().len(), of("fixed").await), (1, json!([])));
    let search = admin.get("/api/serviceaccounts/search?perPage=7").await.expect(200);
    assert_eq!(search["perPage"], 7);
    for unknown in ["approvals?status=x", "investigations?status=x", "alert-rules?state=x", "connectors?type=x"] {
        let message = admin.get(&format!("/api/{unknown}")).await.refused(400, "bad_request");
        assert!(message.contains("known values"), "{message}");
    }
    admin.get("/api/connectors?colour=red").await.refused(400, "bad_request");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_things_are_as_clients_expect_them() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let root = admin.get("/api/user").await.expect(200);
    let silence = json!({ "matchers": { "a": "b" }, "endsAt": "2100-01-01T00:00:00Z" });
    let silence = admin.post("/api/alert-rules/silences", silence).await.expect(201);
    assert_eq!((&silence["createdBy"], &silence["createdByLogin"]), (&root["id"], &json!("root")));
    assert_eq!(admin.get("/api/alert-rules/silences").await.expect(200), json!([silence]));
    let token = json!({ "name": "for ever", "secondsToLive": 0 });
    let token = admin.post("/api/user/tokens", token).await.expect(201);
    assert_eq!(token["expires"], Value::Null);
    let llm = json!({ "provider": "our-own", "model": "m", "baseUrl": "http://127.0.0.1:1" });
    assert_eq!(admin.put("/api/system/llm", llm).await.expect(200)["provider"], "our-own");
    let agent = json!({ "name": "helper", "role": "Editor", "isAgent": true });
    assert_eq!(admin.post("/api/serviceaccounts", agent.clone()).await.expect(201)["isAgent"], true);
    let olga = server.user(&admin, "olga", "Admin").await;
    olga.post("/api/serviceaccounts", agent).await.refused(403, "forbidden");
    server.stop().await;
}
