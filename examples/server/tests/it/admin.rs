//! The admin pages over HTTP, and the audit log's export and verification.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own")]

use serde_json::{Value, json};

use crate::support::{self, Client, Server};

/// Root, who sees where a form leads without going there.
async fn root(server: &Server) -> Client {
    let mut admin = server.admin().await;
    admin.http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    admin
}

async fn page(client: &Client, path: &str) -> String {
    match client.get(path).await.expect(200) {
        Value::String(page) => page,
        other => panic!("{path}: {other}"),
    }
}

async fn id_of(client: &Client, path: &str, login: &str) -> String {
    let found = client.get(path).await.expect(200);
    let all = found.as_array().cloned().or_else(|| found["serviceAccounts"].as_array().cloned()).unwrap();
    let named = all.iter().find(|one| one["login"] == login || one["name"] == login);
    named.unwrap_or_else(|| panic!("{login} in {all:?}"))["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_changed_shut_out_and_deleted_on_its_page_and_the_last_admin_stays() {
    let server = support::empty().await;
    let admin = root(&server).await;
    let draft = [("login", "vera"), ("password", support::PASSWORD), ("role", "Viewer"), ("email", "")];
    admin.form("/admin/users", &draft).await.expect(303);
    let vera = id_of(&admin, "/api/admin/users", "vera").await;
    let path = format!("/admin/users/{vera}");
    assert!(page(&admin, "/admin/users").await.contains(&path));
    let signed_in = server.sign_in("vera").await;
    admin.form(&path, &[("name", "Vera V."), ("role", "Editor"), ("email", "v@example.org")]).await.expect(303);
    let seen = admin.get(&format!("/api/admin/users/{vera}")).await.expect(200);
    assert_eq!((&seen["name"], &seen["role"]), (&json!("Vera V."), &json!("Editor")));
    // What is refused stays on the page as it was typed.
    let Value::String(refused) =
        admin.form(&path, &[("name", "Vera"), ("role", "Editor"), ("email", "no address")]).await.expect(400)
    else {
        panic!("no page")
    };
    assert!(refused.contains("value=\"no address\""), "{refused}");
    admin.form(&format!("{path}/password"), &[("password", "short")]).await.expect(400);
    admin.form(&format!("{path}/password"), &[("password", "another-horse")]).await.expect(303);
    signed_in.get("/api/user").await.refused(401, "unauthorized");
    admin.form(&path, &[("name", "Vera"), ("role", "Editor"), ("isDisabled", "1")]).await.expect(303);
    assert!(page(&admin, &path).await.contains("disabled"));
    assert_eq!(admin.get(&format!("/api/admin/users/{vera}")).await.expect(200)["isDisabled"], true);
    admin.form(&format!("{path}/delete"), &[]).await.expect(303);
    admin.get(&path).await.expect(404);
    let me = id_of(&admin, "/api/admin/users", "root").await;
    for form in [
        vec![("name", "Root"), ("role", "Admin")],
        vec![("name", "Root"), ("role", "Admin"), ("isAdmin", "1"), ("isDisabled", "1")],
    ] {
        admin.form(&format!("/admin/users/{me}"), &form).await.expect(409);
    }
    admin.form(&format!("/admin/users/{me}/delete"), &[]).await.expect(409);
    let still = admin.get("/api/user").await.expect(200);
    assert_eq!((&still["isServerAdmin"], &still["isDisabled"]), (&json!(true), &json!(false)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_and_grants_are_made_and_taken_back_on_their_pages_and_a_viewer_is_told_what_is_missing() {
    let server = support::empty().await;
    let admin = root(&server).await;
    let mut vera = server.user(&admin, "vera", "Viewer").await;
    vera.http = admin.http.clone();
    let vera_id = id_of(&admin, "/api/admin/users", "vera").await;
    admin.form("/admin/teams", &[("name", "on-call")]).await.expect(303);
    admin.form("/admin/teams", &[("name", "on-call")]).await.expect(409);
    let team = id_of(&admin, "/api/teams", "on-call").await;
    admin.form(&format!("/admin/teams/{team}/members"), &[("userId", &vera_id)]).await.expect(303);
    assert!(page(&admin, "/admin/teams").await.contains("Take vera out of on-call"));

    let to_team = format!("team:{team}");
    let wrong = [("subject", to_team.as_str()), ("what", "plans:auto_edit"), ("scope", "everything")];
    let Value::String(refused) = admin.form("/admin/roles", &wrong).await.expect(400) else { panic!("no page") };
    assert!(refused.contains("value=\"everything\"") && refused.contains("is not a scope"), "{refused}");
    admin
        .form("/admin/roles", &[("subject", &to_team), ("what", "fixed:plans:auto_editor"), ("scope", "plans:*")])
        .await
        .expect(400);
    let right = [("subject", to_team.as_str()), ("what", "plans:auto_edit"), ("scope", "plans:namespace:shop")];
    admin.form("/admin/roles", &right).await.expect(303);
    let held = &vera.get("/api/user").await.expect(200)["grants"];
    assert_eq!(held[0]["scope"], "plans:namespace:shop", "it reaches the members: {held}");
    let grants = admin.get("/api/access-control/grants").await.expect(200);
    let grant = grants[0]["id"].as_str().unwrap();
    assert!(page(&admin, &format!("/admin/roles?subject=team%3A{team}")).await.contains(grant));
    assert!(!page(&admin, &format!("/admin/roles?subject=user%3A{vera_id}")).await.contains(grant), "it is filtered");

    // Seen by whoever may, changed by nobody else.
    let seen = page(&vera, "/admin/teams").await;
    assert!(seen.contains("needs teams:write on teams:*"), "{seen}");
    vera.form("/admin/teams", &[("name", "mine")]).await.expect(403);
    for path in ["/admin/roles", "/admin/users", "/admin/service-accounts", "/admin/audit"] {
        vera.get(path).await.expect(403);
    }
    vera.form(&format!("/admin/roles/{grant}/take-back"), &[]).await.expect(403);
    vera.form("/admin/audit/verify", &[]).await.expect(403);

    admin.form(&format!("/admin/roles/{grant}/take-back"), &[]).await.expect(303);
    assert_eq!(admin.get("/api/access-control/grants").await.expect(200), json!([]));
    admin.form(&format!("/admin/teams/{team}/members/{vera_id}/remove"), &[]).await.expect(303);
    admin.form(&format!("/admin/teams/{team}/delete"), &[]).await.expect(303);
    assert_eq!(admin.get("/api/teams").await.expect(200), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_disabled_and_deleted_on_its_page_and_the_seeded_one_is_only_disabled() {
    let server = support::empty().await;
    let admin = root(&server).await;
    admin.form("/admin/service-accounts", &[("name", "CI"), ("role", "Viewer")]).await.expect(303);
    let place = "/api/serviceaccounts/search";
    let (ci, agent) = (id_of(&admin, place, "sa-ci").await, id_of(&admin, place, "@syntropize/rounds").await);
    let minted = admin.post(&format!("/api/serviceaccounts/{ci}/tokens"), json!({ "name": "t" })).await.expect(201);
    let bot = server.anonymous().with_bearer(minted["key"].as_str().unwrap());
    bot.get("/api/plans").await.expect(200);
    admin.form(&format!("/admin/service-accounts/{ci}/disabled"), &[("isDisabled", "1")]).await.expect(303);
    bot.get("/api/plans").await.refused(401, "unauthorized");
    admin.form(&format!("/admin/service-accounts/{ci}/disabled"), &[]).await.expect(303);
    bot.get("/api/plans").await.expect(200);
    admin.form(&format!("/admin/service-accounts/{ci}/delete"), &[]).await.expect(303);
    bot.get("/api/plans").await.refused(401, "unauthorized");
    admin.form(&format!("/admin/service-accounts/{agent}/delete"), &[]).await.expect(409);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_exported_as_it_is_filtered_and_verified_from_its_page() {
    let server = support::empty().await;
    let admin = root(&server).await;
    for name in ["=1+1", "plain", "@home"] {
        admin.post("/api/teams", json!({ "name": name })).await.expect(201);
    }
    server.user(&admin, "ed", "Editor").await;
    let export = "/api/admin/audit-log/export";
    let lines = |body: Value| match body {
        Value::String(text) => text,
        // One line alone reads as JSON.
        other => other.to_string(),
    };
    let answer = admin.get(&format!("{export}?format=jsonl&action=team.create")).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let text = lines(answer.expect(200));
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["action"] == "team.create"), "only what matches");
    let after = rows[1]["seq"].as_u64().unwrap();
    let rest = lines(admin.get(&format!("{export}?action=team.create&after={after}")).await.expect(200));
    assert_eq!(serde_json::from_str::<Value>(&rest).unwrap()["seq"], rows[2]["seq"]);
    let whole = lines(admin.get(export).await.expect(200));
    let total = admin.get("/api/admin/audit-log").await.expect(200)["total"].as_u64().unwrap();
    assert_eq!(whole.lines().count() as u64, total);

    let answer = admin.get(&format!("{export}?format=csv&action=user.create&outcome=success")).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let text = lines(answer.expect(200));
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(&csv.headers().unwrap()[2], "action");
    let cells: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(cells.len(), 2, "{text}");
    assert!(cells[1][10].contains("\"login\":\"ed\""), "metadata is one cell of JSON: {text}");
    let none = lines(admin.get(&format!("{export}?format=csv&action=nothing")).await.expect(200));
    assert_eq!(none.lines().count(), 1, "the columns' names alone: {none}");
    admin.get(&format!("{export}?format=xml")).await.refused(400, "bad_request");
    admin.get(&format!("{export}?from=yesterday")).await.refused(400, "bad_request");

    let verify = "/api/admin/audit-log/verify";
    let verdict = admin.post(verify, json!({})).await.expect(200);
    assert_eq!((&verdict["ok"], verdict["seq"].as_u64()), (&json!(true), Some(total)));
    let head = json!({ "seq": verdict["seq"], "hash": verdict["hash"] });
    assert_eq!(admin.post(verify, head).await.expect(200)["ok"], true);
    assert_eq!(admin.post(verify, json!({ "seq": total, "hash": "0".repeat(64) })).await.expect(200)["ok"], false);
    admin.post(verify, json!({ "seq": 1 })).await.refused(400, "bad_request");
    let Value::String(shown) = admin.form("/admin/audit/verify", &[]).await.expect(200) else { panic!("no page") };
    assert!(shown.contains("intact") && shown.contains(verdict["hash"].as_str().unwrap()), "{shown}");

    // By login as by id; and older ones by the place of the last, whatever is appended meanwhile.
    let by_login = page(&admin, "/admin/audit?actorId=root&action=team.create").await;
    assert!(by_login.contains("Rows <span class=\"count\">3</span>"), "{by_login}");
    let me = id_of(&admin, "/api/admin/users", "root").await;
    assert!(by_login.contains(&format!("format=csv&#38;action=team.create&#38;actorId={me}")), "{by_login}");
    let older = admin.get(&format!("/api/admin/audit-log?before={after}&perpage=1")).await.expect(200);
    assert_eq!((older["items"][0]["id"].as_u64(), older["total"].as_u64()), (Some(after - 1), Some(total)));
    admin.get("/admin/audit?before=x").await.expect(400);
    let olga = server.user(&admin, "olga", "Admin").await;
    olga.post(verify, json!({})).await.refused(403, "forbidden");
    olga.get(export).await.refused(403, "forbidden");
    server.stop().await;
}
