//! Wrong input and wrong moments: each has its status, its code and a message to act on, and the server goes on.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, Answer, proposal, steps};

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_is_refused_by_name() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let unknown = rounds_core::PlanId::new().to_string();
    let step = |step: Value| json!({ "summary": "s", "steps": [step] });
    let argv = json!(["scale", "app/web"]);
    let rule = |change: Value| {
        let mut rule = json!({
            "name": "r",
            "condition": { "query": "up", "operator": ">", "threshold": 1, "forDurationSec": 0 },
            "evaluationIntervalSec": 60,
            "severity": "high",
            "labels": {},
        });
        rule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        rule
    };
    let cases: [(&str, Value, u16, &str, &str); 24] = [
        (
            "/api/connectors",
            json!({ "type": "nope", "name": "x" }),
            400,
            "bad_request",
            "known kinds: alert_rules, alertmanager",
        ),
        (
            "/api/connectors",
            json!({ "type": "kubernetes", "name": "x", "config": { "allowedNamespace": ["app"] } }),
            400,
            "bad_request",
            "unknown field `allowedNamespace`",
        ),
        ("/api/connectors", json!({ "type": "fake", "name": "x", "bogus": 1 }), 400, "bad_request", "`bogus`"),
        (
            "/api/connectors",
            json!({ "type": "fake", "name": "x", "config": { "key": "k" }, "secretRef": "what://x" }),
            400,
            "bad_request",
            "known schemes",
        ),
        (
            "/api/connectors",
            json!({ "type": "fake", "name": "cluster", "config": { "key": "k" } }),
            409,
            "name_taken",
            "choose another name",
        ),
        ("/api/plans", proposal(&connector, &[]), 400, "bad_request", "0 steps"),
        ("/api/plans", step(json!({ "connectorId": connector })), 400, "bad_request", "none of argv"),
        (
            "/api/plans",
            step(json!({ "connectorId": connector, "commandText": "kubectl get pods" })),
            400,
            "bad_request",
            "never read",
        ),
        ("/api/plans", step(json!({ "argv": argv })), 400, "bad_request", "connectorId is missing"),
        ("/api/plans", step(json!({ "argv": argv, "connectorId": "x" })), 400, "bad_request", ""),
        ("/api/plans", step(json!({ "argv": argv, "connectorId": unknown })), 400, "bad_request", &unknown),
        (
            "/api/plans",
            step(json!({ "argv": argv, "connectorId": connector, "shell": true })),
            400,
            "bad_request",
            "`shell`",
        ),
        (
            "/api/plans",
            proposal(&connector, &[["scale", "app/web"], ["forbidden", "app/web"]]),
            422,
            "refused_by_gate",
            "step 1",
        ),
        (
            "/api/plans",
            json!({ "summary": "s", "steps": steps(&connector, &[["get", "a/b"]]), "investigationId": unknown }),
            400,
            "bad_request",
            "investigationId",
        ),
        ("/api/alert-rules", rule(json!({ "bogus": 1 })), 400, "bad_request", "`bogus`"),
        ("/api/alert-rules", rule(json!({ "evaluationIntervalSec": 0 })), 400, "bad_request", "1 to 86400"),
        (
            "/api/alert-rules",
            rule(json!({ "condition": { "query": "up", "operator": "~", "threshold": 1 } })),
            400,
            "bad_request",
            "unknown variant `~`",
        ),
        ("/api/alert-rules", rule(json!({ "datasourceId": unknown })), 400, "bad_request", "datasourceId"),
        ("/api/alert-rules/silences", json!({ "endsAt": "2001-01-01T00:00:00Z" }), 400, "bad_request", "cover all"),
        ("/api/alert-rules/preview", json!({ "query": "up" }), 400, "bad_request", "no datasource is configured"),
        ("/api/investigations", json!({ "question": " " }), 400, "bad_request", "question"),
        (
            "/api/access-control/grants",
            json!({ "subject": "user:nobody", "role": "fixed:plans:auto_editor" }),
            400,
            "bad_request",
            "nobody",
        ),
        (
            "/api/access-control/grants",
            json!({ "subject": "user:root", "action": "plans:fly", "scope": "plans:*" }),
            400,
            "bad_request",
            "known actions",
        ),
        (
            "/api/access-control/grants",
            json!({ "subject": "user:root", "action": "plans:auto_edit", "scope": "everything" }),
            400,
            "bad_request",
            "is not a scope",
        ),
    ];
    for (path, body, status, code, part) in cases {
        let message = admin.post(path, body.clone()).await.refused(status, code);
        assert!(message.contains(part), "{path} {body}: {message}");
    }
    let refused = admin.post("/api/plans", proposal(&connector, &[["forbidden", "app/web"]])).await.expect(422);
    assert_eq!(refused["details"]["refusals"][0]["rule"], "unknown_verb");
    assert_eq!(admin.get("/api/plans").await.expect(200), json!([]));
    admin.get("/api/health/ready").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_a_malformed_id_is_nothing_either() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let missing = rounds_core::PlanId::new().to_string();
    for kind in ["plans", "approvals", "alert-rules", "connectors", "investigations"] {
        for id in [missing.as_str(), "nonsense", "..%2f..%2fetc", "%00"] {
            admin.get(&format!("/api/{kind}/{id}")).await.refused(404, "not_found");
        }
    }
    for path in [
        format!("/api/plans/{missing}/approve"),
        format!("/api/approvals/{missing}/approve"),
        format!("/api/plans/{missing}/steps/x/retry"),
        format!("/api/connectors/{missing}/test"),
        format!("/api/alert-rules/{missing}/investigate"),
        format!("/api/serviceaccounts/{missing}/tokens"),
    ] {
        let body = if path.ends_with("tokens") { json!({ "name": "t" }) } else { json!({}) };
        admin.post(&path, body).await.refused(404, "not_found");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_plan_is_not_decided_again() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let path = format!("/api/plans/{}", plan["id"].as_str().unwrap());
    let request = format!("/api/approvals/{}", plan["approvalRequestId"].as_str().unwrap());
    let other = json!({ "digest": "sha256:0000" });
    admin.post(&format!("{path}/approve"), other).await.refused(409, "digest_mismatch");
    let first = admin.post(&format!("{path}/approve"), json!({})).await.expect(200);
    assert!(["started", "paused_for_approval"].contains(&first["outcome"]["kind"].as_str().unwrap()));
    admin.post(&format!("{path}/approve"), json!({})).await.refused(409, "illegal_state");
    let answer = admin.post(&format!("{request}/approve"), json!({})).await;
    let details = answer.body["details"].clone();
    let message = answer.refused(409, "already_resolved");
    assert!(message.contains("approved by root at 20"), "{message}");
    assert_eq!((&details["status"], &details["resolvedByLogin"]), (&json!("approved"), &json!("root")));
    admin.post(&format!("{path}/reject"), json!({})).await.refused(409, "illegal_state");
    admin.until(&path, |plan| plan["steps"][0]["approvalRequestId"].is_string()).await;
    let cancelled = admin.post(&format!("{path}/cancel"), json!({ "reason": "no" })).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    let retry = format!("{path}/steps/0/retry");
    let message = admin.post(&retry, json!({})).await.refused(409, "illegal_state");
    assert!(message.contains("cancelled"), "{message}");
    assert!(server.adapter.executed().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_an_expired_plan_is_not_approved_swept_or_not() {
    let server = support::with(|settings| {
        settings.core.plan_approval_ttl = Duration::from_millis(30);
        settings.core.plan_expiry_sweep = Duration::from_secs(3600);
    })
    .await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let path = format!("/api/plans/{}/approve", plan["id"].as_str().unwrap());
    let message = admin.post(&path, json!({})).await.expect(409)["message"].to_string();
    assert!(message.contains("expired"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_too_large_or_of_another_type_are_refused_in_one_shape() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let send = async |body: Vec<u8>, kind: &str| {
        let request = admin.request(Method::POST, "/api/plans").header("content-type", kind).body(body);
        Answer::read(request, kind.to_owned()).await
    };
    send(b"{\"summary\":".to_vec(), "application/json").await.refused(400, "bad_request");
    send(b"[]".to_vec(), "application/json").await.refused(400, "bad_request");
    send(b"{\"summary\": 7}".to_vec(), "application/json; charset=utf-8").await.refused(400, "bad_request");
    send(b"summary=x".to_vec(), "application/x-www-form-urlencoded").await.refused(415, "unsupported_media_type");
    send(vec![b' '; 1024 * 1024 + 1], "application/json").await.refused(413, "too_large");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    send(deep.into_bytes(), "application/json").await.refused(400, "bad_request");
    for query in ["?status=bogus", "?limit=many", "?cursor=x", "?investigationId=x", "?bogus=1"] {
        admin.get(&format!("/api/plans{query}")).await.refused(400, "bad_request");
    }
    admin.get("/api/approvals?status=bogus").await.refused(400, "bad_request");
    admin.get("/api/admin/audit-log?outcome=bogus").await.refused(400, "bad_request");
    let page = admin.get("/api/admin/audit-log?page=99999999999999999&perpage=9999").await.expect(200);
    assert_eq!((&page["items"], &page["perpage"]), (&json!([]), &json!(500)));
    admin.get("/api/health/ready").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connectors_test_says_ok_or_why_not_and_its_secret_never_comes_out() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let path = format!("/api/connectors/{connector}");
    let secret = json!({ "secret": "hunter2" });
    let answer = admin.post(&format!("{path}/secret"), secret).await.expect(200);
    assert_eq!(answer["connector"]["hasSecret"], true);
    assert_eq!(admin.post(&format!("{path}/test"), json!({})).await.expect(200)["ok"], true);
    let datasource = server.datasource(&admin, 1.0).await;
    let failed = admin.post(&format!("/api/connectors/{datasource}/test"), json!({})).await.expect(400);
    assert_eq!(failed["ok"], false);
    assert!(failed["message"].as_str().unwrap().contains("nobody answers"));
    let all = admin.get("/api/connectors").await.expect(200);
    assert_eq!(all["connectors"][1]["status"], "error");
    for text in [all.to_string(), admin.get("/api/admin/audit-log").await.body.to_string()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    // Sent back as it was shown, with one change: the secret stays.
    let mut shown = admin.get(&path).await.expect(200)["connector"].clone();
    shown["name"] = json!("renamed");
    let renamed = admin.put(&path, shown).await.expect(200);
    assert_eq!((&renamed["connector"]["name"], &renamed["connector"]["hasSecret"]), (&json!("renamed"), &json!(true)));
    admin.put(&path, json!({ "config": { "key": "k", "extra": 1 } })).await.refused(400, "bad_request");
    admin.delete(&path).await.expect(204);
    admin.get(&path).await.refused(404, "not_found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_rules_are_made_changed_previewed_investigated_and_deleted() {
    // Firing queues nothing by itself, so that the one who asks is the first.
    let server = support::with(|settings| settings.core.auto_investigation = false).await;
    let admin = server.admin().await;
    server.datasource(&admin, 7.0).await;
    let draft = json!({
        "name": "errors",
        "condition": { "query": "sum(errors)", "operator": ">", "threshold": 5, "forDurationSec": 0 },
        "evaluationIntervalSec": 1,
        "severity": "critical",
        "labels": { "namespace": "app" },
    });
    let made = admin.post("/api/alert-rules", draft.clone()).await.expect(201);
    let path = format!("/api/alert-rules/{}", made["id"].as_str().unwrap());
    admin.post("/api/alert-rules", draft).await.refused(409, "name_taken");
    let firing = admin.until(&path, |rule| rule["state"] == "firing").await;
    assert_eq!(firing["lastValue"], 7.0);
    let history = admin.get(&format!("{path}/history?limit=50")).await.expect(200);
    assert_eq!((&history[0]["toState"], &history[0]["ruleName"]), (&json!("firing"), &json!("errors")));
    let queued = admin.post(&format!("{path}/investigate"), json!({})).await.expect(200);
    assert_eq!((&queued["queued"], &queued["existing"]), (&json!(true), &json!(false)));
    let again = admin.post(&format!("{path}/investigate"), json!({})).await.expect(200);
    assert_eq!((&again["existing"], &again["investigationId"]), (&json!(true), &queued["investigationId"]));
    let forced = admin.post(&format!("{path}/investigate"), json!({ "force": true })).await.expect(200);
    assert_ne!(forced["investigationId"], queued["investigationId"]);
    let investigation = format!("/api/investigations/{}", queued["investigationId"].as_str().unwrap());
    let found = admin.get(&investigation).await.expect(200);
    assert_eq!((&found["ruleId"], &found["sections"]), (&made["id"], &json!([])));
    assert_eq!(found["requestedByLogin"], "root");
    admin.get(&format!("{investigation}/report")).await.refused(404, "not_found");
    assert_eq!(admin.post(&format!("{path}/test"), json!({})).await.expect(200)["holds"], true);
    let preview = json!({ "condition": { "query": "x", "operator": "<", "threshold": 5 } });
    let preview = admin.post("/api/alert-rules/preview", preview).await.expect(200);
    assert_eq!((&preview["value"], &preview["holds"]), (&json!(7.0), &json!(false)));
    let mut shown = admin.get(&path).await.expect(200);
    shown["severity"] = json!("low");
    assert_eq!(admin.put(&path, shown).await.expect(200)["severity"], "low");
    assert_eq!(admin.post(&format!("{path}/disable"), json!({})).await.expect(200)["state"], "disabled");
    let copy = admin.post(&format!("{path}/fork"), json!({ "name": "copy" })).await.expect(201);
    assert_eq!((&copy["name"], &copy["state"]), (&json!("copy"), &json!("disabled")));
    let list = admin.get("/api/alert-rules").await.expect(200);
    assert_eq!(list["list"].as_array().unwrap().len(), 2);
    let silence = json!({ "ruleId": made["id"], "endsAt": "2099-01-01T00:00:00Z", "comment": "deploy" });
    let silence = admin.post("/api/alert-rules/silences", silence).await.expect(201);
    let named = format!("/api/alert-rules/silences?id={}", silence["id"].as_str().unwrap());
    admin.delete(&named).await.expect(204);
    assert_eq!(admin.get("/api/alert-rules/silences").await.expect(200), json!([]));
    admin.delete(&path).await.expect(204);
    admin.get(&path).await.refused(404, "not_found");
    server.stop().await;
}
