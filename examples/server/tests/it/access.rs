//! Forbidden principals call the API directly.

use serde_json::json;

use crate::support::{self, proposal};

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_an_agents_token_proposes_and_never_decides() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let agent = server.agent(&admin).await;
    let plan = agent.propose(&connector, &[["scale", "app/web"]]).await;
    let id = plan["id"].as_str().unwrap();
    let request = plan["approvalRequestId"].as_str().unwrap();
    let me = agent.get("/api/whoami").await.expect(200);
    assert_eq!((&me["login"], &me["isAgent"]), (&json!("@syntropize/rounds"), &json!(true)));
    assert_eq!(plan["createdBy"], me["id"]);
    let steps = support::steps(&connector, &[["scale", "app/api"]]);
    let decisions = [
        (format!("/api/plans/{id}/approve"), json!({})),
        (format!("/api/plans/{id}/approve"), json!({ "autoEdit": true })),
        (format!("/api/plans/{id}/reject"), json!({})),
        (format!("/api/plans/{id}/cancel"), json!({})),
        (format!("/api/plans/{id}/submit"), json!({})),
        (format!("/api/plans/{id}/modify"), json!({ "steps": steps })),
        (format!("/api/plans/{id}/steps/0/retry"), json!({})),
        (format!("/api/approvals/{request}/approve"), json!({})),
        (format!("/api/approvals/{request}/reject"), json!({})),
    ];
    for (path, body) in decisions {
        let message = agent.post(&path, body).await.refused(403, "forbidden");
        assert!(message.contains("is an agent"), "{path}: {message}");
    }
    assert_eq!(agent.get(&format!("/api/plans/{id}")).await.expect(200)["status"], "pending_approval");
    assert!(server.adapter.executed().is_empty());
    // Each refusal is in the log.
    let rows = admin.get("/api/admin/audit-log?outcome=failure&action=approval.approve").await.expect(200);
    assert_eq!(rows["total"], 3);
    assert_eq!(rows["items"][0]["actorType"], "service_account");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_and_every_decision_is_refused_with_action_and_scope() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let id = plan["id"].as_str().unwrap();
    let request = plan["approvalRequestId"].as_str().unwrap();
    for path in ["/api/plans", "/api/approvals", "/api/alert-rules", "/api/connectors", "/api/investigations"] {
        viewer.get(path).await.expect(200);
    }
    for path in [format!("plans/{id}/approve"), format!("plans/{id}/cancel"), format!("approvals/{request}/reject")] {
        let answer = viewer.post(&format!("/api/{path}"), json!({})).await;
        let details = answer.body["details"].clone();
        let message = answer.refused(403, "forbidden");
        assert_eq!(message, "vera needs plans:approve on plans:*");
        assert_eq!(details, json!({ "action": "plans:approve", "scope": "plans:*" }));
    }
    let rule = json!({ "name": "r", "condition": { "query": "up", "operator": ">", "threshold": 1 } });
    let connector_draft = json!({ "type": "fake", "name": "x", "config": { "key": "x" } });
    for (path, body, action) in [
        ("/api/plans", proposal(&connector, &[["scale", "app/web"]]), "plans:propose"),
        ("/api/alert-rules", rule, "alert.rules:write"),
        ("/api/connectors", connector_draft, "connectors:write"),
        ("/api/investigations", json!({ "question": "why?" }), "investigations:create"),
        ("/api/teams", json!({ "name": "t" }), "teams:write"),
        ("/api/serviceaccounts", json!({ "name": "s", "role": "Viewer" }), "serviceaccounts:write"),
        ("/api/admin/users", json!({ "login": "l", "password": "12345678" }), "users:write"),
        (
            "/api/access-control/grants",
            json!({ "subject": "user:vera", "role": "fixed:plans:auto_editor" }),
            "roles:write",
        ),
    ] {
        let message = viewer.post(path, body).await.refused(403, "forbidden");
        assert!(message.contains(action), "{path}: {message}");
    }
    for path in ["/api/admin/audit-log", "/api/admin/users", "/api/serviceaccounts/search", "/api/system/llm"] {
        viewer.get(path).await.refused(403, "forbidden");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_edit_without_the_grant_is_403_and_never_a_silent_downgrade() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let editor = server.user(&admin, "ed", "Editor").await;
    let plan = editor.propose(&connector, &[["scale", "app/web"], ["scale", "db/pg"]]).await;
    let path = format!("/api/plans/{}/approve", plan["id"].as_str().unwrap());
    let grant = |namespace: &str| json!({ "subject": "user:ed", "action": "plans:auto_edit", "scope": format!("plans:namespace:{namespace}") });
    let auto = json!({ "autoEdit": true });
    let message = editor.post(&path, auto.clone()).await.refused(403, "forbidden");
    assert_eq!(message, "ed needs plans:auto_edit on plans:namespace:app");
    admin.post("/api/access-control/grants", grant("app")).await.expect(201);
    let message = editor.post(&path, auto.clone()).await.refused(403, "forbidden");
    assert_eq!(message, "ed needs plans:auto_edit on plans:namespace:db");
    admin.post("/api/access-control/grants", grant("db")).await.expect(201);
    let outcome = editor.post(&format!("{path}?wait=20"), auto).await.expect(200);
    assert_eq!(outcome["outcome"], json!({ "kind": "completed" }));
    assert_eq!(outcome["plan"]["autoEdit"], true);
    assert_eq!(server.adapter.executed(), ["fake scale app/web", "fake scale db/pg"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_a_dead_token_and_a_session_without_csrf_are_refused_and_nothing_changes() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let path = format!("/api/plans/{}/approve", plan["id"].as_str().unwrap());
    server.anonymous().post(&path, json!({})).await.refused(401, "unauthorized");
    server.anonymous().with_bearer("rounds_sa_nothing").post(&path, json!({})).await.refused(401, "unauthorized");
    // A token that was sent is meant: it does not fall back to the session beside it.
    admin.clone().with_bearer("rounds_pat_nothing").get("/api/user").await.refused(401, "unauthorized");

    let message = admin.clone().without_csrf_header().post(&path, json!({})).await.refused(403, "csrf");
    assert!(message.contains("rounds_csrf"), "{message}");
    let mut forged = admin.request(reqwest::Method::POST, &path);
    forged = forged.header("sec-fetch-site", "cross-site").json(&json!({}));
    support::Answer::read(forged, "cross-site".into()).await.refused(403, "csrf");

    let accounts = admin.post("/api/serviceaccounts", json!({ "name": "CI bot", "role": "Editor" })).await.expect(201);
    assert_eq!(accounts["login"], "sa-ci-bot");
    let tokens = format!("/api/serviceaccounts/{}/tokens", accounts["id"].as_str().unwrap());
    let minted = admin.post(&tokens, json!({ "name": "t" })).await.expect(201);
    let bot = server.anonymous().with_bearer(minted["key"].as_str().unwrap());
    bot.get("/api/plans").await.expect(200);
    admin.delete(&format!("{tokens}/{}", minted["id"].as_str().unwrap())).await.expect(204);
    bot.post(&path, json!({})).await.refused(401, "unauthorized");
    let listed = admin.get(&tokens).await.expect(200);
    assert_eq!((&listed[0]["isRevoked"], listed[0].get("key")), (&json!(true), None));

    let brief = admin.post(&tokens, json!({ "name": "brief", "secondsToLive": 1 })).await.expect(201);
    let brief = server.anonymous().with_bearer(brief["key"].as_str().unwrap());
    brief.get("/api/plans").await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    brief.get("/api/plans").await.refused(401, "unauthorized");

    assert_eq!(admin.get("/api/plans").await.expect(200)[0]["status"], "pending_approval");
    admin.post("/api/logout", json!({})).await.expect(200);
    admin.get("/api/user").await.refused(401, "unauthorized");
    server.stop().await;
}
