//! Users, teams, service accounts, tokens and grants.

use serde_json::json;

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_out_more_than_they_hold() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let olga = server.user(&admin, "olga", "Admin").await;
    let grants = "/api/access-control/grants";
    // An organisation's admin grants what there is in the organisation, and not the server.
    let server_only = json!({ "subject": "user:olga", "action": "users:write", "scope": "users:*" });
    olga.post(grants, server_only).await.refused(403, "forbidden");
    let audit = json!({ "subject": "user:olga", "action": "audit:read", "scope": "audit:*" });
    olga.post(grants, audit.clone()).await.refused(403, "forbidden");
    admin.post(grants, audit).await.expect(201);
    olga.get("/api/admin/audit-log").await.expect(200);
    // `users:write` alone makes no server admin.
    let users = json!({ "subject": "user:olga", "action": "users:write" });
    admin.post(grants, users).await.expect(201);
    let draft = |admin: bool| json!({ "login": format!("eve{admin}"), "password": "12345678", "isAdmin": admin });
    olga.post("/api/admin/users", draft(true)).await.refused(403, "forbidden");
    olga.post("/api/admin/users", draft(false)).await.expect(201);
    let root = admin.get("/api/user").await.expect(200)["id"].as_str().unwrap().to_owned();
    olga.delete(&format!("/api/admin/users/{root}")).await.refused(403, "forbidden");
    olga.put(&format!("/api/admin/users/{root}"), json!({ "password": "87654321" })).await.refused(403, "forbidden");
    // A role below Admin with serviceaccounts:write makes no Admin.
    let ed = server.user(&admin, "ed", "Editor").await;
    admin.post(grants, json!({ "subject": "user:ed", "action": "serviceaccounts:write" })).await.expect(201);
    ed.post("/api/serviceaccounts", json!({ "name": "x", "role": "Admin" })).await.refused(403, "forbidden");
    ed.post("/api/serviceaccounts", json!({ "name": "x", "role": "Editor" })).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_what_was_granted_to_somebody_else() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let (ed, eve) = (server.user(&admin, "ed", "Editor").await, server.user(&admin, "eve", "Editor").await);
    let id =
        async |client: &support::Client| client.get("/api/user").await.expect(200)["id"].as_str().unwrap().to_owned();
    let (ed_id, eve_id) = (id(&ed).await, id(&eve).await);
    let grants = "/api/access-control/grants";
    for action in ["users:write", "serviceaccounts:write", "teams:write", "teams:read", "users:read"] {
        admin.post(grants, json!({ "subject": "user:eve", "action": action })).await.expect(201);
    }
    let team = admin.post("/api/teams", json!({ "name": "on-call" })).await.expect(201)["id"].clone();
    let members = format!("/api/teams/{}/members", team.as_str().unwrap());
    let robot = admin.post("/api/serviceaccounts", json!({ "name": "robot", "role": "Editor" })).await.expect(201);
    let robot = robot["id"].as_str().unwrap();
    let (tokens, robot) = (format!("/api/serviceaccounts/{robot}/tokens"), format!("serviceaccount:{robot}"));
    let of_ed = format!("/api/admin/users/{ed_id}");
    // Of as much as they are themselves, delegates may.
    eve.put(&of_ed, json!({ "password": "87654321" })).await.expect(200);
    eve.post(&tokens, json!({ "name": "laptop" })).await.expect(201);
    eve.post(&members, json!({ "userId": eve_id })).await.expect(200);
    admin.delete(&format!("{members}/{eve_id}")).await.expect(204);
    let auto =
        |subject: &str| json!({ "subject": subject, "action": "plans:auto_edit", "scope": "plans:namespace:app" });
    for subject in ["user:ed", "team:on-call", robot.as_str()] {
        admin.post(grants, auto(subject)).await.expect(201);
    }
    let passwords = [json!({ "password": "12344321" }), json!({ "email": "eve@example.org" })];
    for change in passwords.clone() {
        eve.put(&of_ed, change).await.refused(403, "forbidden");
    }
    eve.post(&tokens, json!({ "name": "laptop 2" })).await.refused(403, "forbidden");
    eve.post(&members, json!({ "userId": eve_id })).await.refused(403, "forbidden");
    // Nor through a team that somebody is in.
    let other = server.user(&admin, "ida", "Editor").await;
    let of_other = format!("/api/admin/users/{}", id(&other).await);
    admin.post(&members, json!({ "userId": id(&other).await })).await.expect(200);
    eve.put(&of_other, passwords[0].clone()).await.refused(403, "forbidden");
    // The rest of somebody is no takeover, and who holds the same may.
    eve.put(&of_ed, json!({ "name": "Edward" })).await.expect(200);
    admin.post(grants, auto("user:eve")).await.expect(201);
    eve.put(&of_ed, passwords[0].clone()).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_a_team_reaches_its_members_and_ends_with_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let ed = server.user(&admin, "ed", "Editor").await;
    let ed_id = ed.get("/api/user").await.expect(200)["id"].clone();
    let team = admin.post("/api/teams", json!({ "name": "on-call" })).await.expect(201);
    let path = format!("/api/teams/{}", team["id"].as_str().unwrap());
    let grant = json!({ "subject": "team:on-call", "role": "fixed:plans:auto_editor" });
    let made = admin.post("/api/access-control/grants", grant.clone()).await.expect(201);
    assert_eq!(made["subject"], format!("team:{}", team["id"].as_str().unwrap()));
    admin.post("/api/access-control/grants", grant.clone()).await.refused(409, "name_taken");
    let plan = ed.propose(&connector, &[["scale", "app/web"]]).await;
    let approve = format!("/api/plans/{}/approve?wait=20", plan["id"].as_str().unwrap());
    ed.post(&approve, json!({ "autoEdit": true })).await.refused(403, "forbidden");
    let with_member = admin.post(&format!("{path}/members"), json!({ "userId": ed_id })).await.expect(200);
    assert_eq!(with_member["memberCount"], 1);
    assert_eq!(ed.post(&approve, json!({ "autoEdit": true })).await.expect(200)["outcome"]["kind"], "completed");
    admin.call(reqwest::Method::DELETE, "/api/access-control/grants", Some(grant)).await.expect(204);
    assert_eq!(admin.get("/api/access-control/grants").await.expect(200), json!([]));
    admin.delete(&path).await.expect(204);
    assert_eq!(admin.get("/api/teams").await.expect(200), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_made_shut_out_and_deleted_and_the_last_admin_stays() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({
        "email": "vera@example.org", "login": "vera", "name": "Vera", "password": "12345678", "orgRole": "Viewer",
    });
    let made = admin.post("/api/admin/users", draft.clone()).await.expect(201);
    for (name, value) in [("login", "vera"), ("role", "Viewer"), ("orgId", "main"), ("email", "vera@example.org")] {
        assert_eq!(made[name], value);
    }
    assert_eq!(made["isAdmin"], false);
    admin.post("/api/admin/users", draft).await.refused(409, "name_taken");
    let path = format!("/api/admin/users/{}", made["id"].as_str().unwrap());
    admin.put(&path, json!({ "password": support::PASSWORD })).await.expect(200);
    let vera = server.sign_in("vera").await;
    let token = vera.post("/api/user/tokens", json!({ "name": "laptop" })).await.expect(201);
    assert!(token["key"].as_str().unwrap().starts_with("rounds_pat_"));
    let script = server.anonymous().with_bearer(token["key"].as_str().unwrap());
    script.get("/api/plans").await.expect(200);
    admin.put(&path, json!({ "isDisabled": true })).await.expect(200);
    vera.get("/api/user").await.refused(401, "unauthorized");
    script.get("/api/plans").await.refused(401, "unauthorized");
    admin.delete(&path).await.expect(204);
    let root = admin.get("/api/user").await.expect(200)["id"].as_str().unwrap().to_owned();
    admin.delete(&format!("/api/admin/users/{root}")).await.refused(409, "last_admin");
    let log = admin.get("/api/admin/audit-log?action=user.delete").await.expect(200);
    assert_eq!((&log["total"], &log["items"][0]["metadata"]["login"]), (&json!(1), &json!("vera")));
    assert_eq!(admin.get("/api/admin/audit-log/verify").await.expect(200)["ok"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeded_agent_can_be_shut_out_but_not_deleted() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let agent = server.agent(&admin).await;
    let found = admin.get("/api/serviceaccounts/search?query=syntropize").await.expect(200);
    assert_eq!((&found["totalCount"], &found["perPage"]), (&json!(1), &json!(100)));
    let account = &found["serviceAccounts"][0];
    assert_eq!((&account["name"], &account["role"]), (&json!("Rounds Auto-Investigation"), &json!("Editor")));
    let path = format!("/api/serviceaccounts/{}", account["id"].as_str().unwrap());
    admin.delete(&path).await.refused(409, "seeded");
    let minted = admin.get("/api/admin/audit-log?action=token.create").await.expect(200);
    assert_eq!(minted["items"][0]["actorLogin"], "root");
    agent.get("/api/plans").await.expect(200);
    admin.put(&path, json!({ "isDisabled": true })).await.expect(200);
    agent.get("/api/plans").await.refused(401, "unauthorized");
    let roles = admin.get("/api/access-control/roles").await.expect(200);
    let names: Vec<&str> = roles.as_array().unwrap().iter().filter_map(|role| role["name"].as_str()).collect();
    assert_eq!(names, ["Viewer", "Editor", "Admin", "Server Admin", "fixed:plans:auto_editor"]);
    server.stop().await;
}
