//! Sessions, passwords and tokens of one's own: they begin anew, are listed, and end.

use std::time::Duration;

use reqwest::Method;
use rounds_core::access::OrgRole;
use rounds_core::{OrgId, PrincipalId};
use rounds_store::identity::NewUser;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, PASSWORD, Server};

async fn sessions(client: &Client) -> Vec<Value> {
    client.get("/api/user/sessions").await.expect(200).as_array().unwrap().clone()
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

async fn is_on(client: &Client) -> bool {
    client.get("/api/user").await.status == 200
}

/// Signs in with whatever cookies the client has.
async fn sign_in_again(client: &Client, login: &str) -> Client {
    let request = client.request(Method::POST, "/api/login").header("user-agent", "Test/1.0");
    let answer = Answer::read(request.json(&json!({ "user": login, "password": PASSWORD })), "login".into()).await;
    let session = answer.cookie("rounds_session");
    answer.expect(200);
    Client { session, ..client.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_from_before_the_sign_in_opens_nothing_after_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    // A cookie that somebody else put there, in the hope that it becomes a session.
    let planted = "cGxhbnRlZC1ieS1zb21lYm9keS1lbHNlLTAxMjM0NTY";
    let victim = Client { session: Some(planted.into()), ..admin.clone() };
    let signed_in = sign_in_again(&victim, "root").await;
    assert_ne!(signed_in.session.as_deref(), Some(planted));
    assert!(!is_on(&victim).await && is_on(&signed_in).await && is_on(&admin).await);
    // One that was a session, of the same person or of another, is over.
    let again = sign_in_again(&signed_in, "root").await;
    assert!(!is_on(&signed_in).await && is_on(&again).await);
    server.user(&admin, "vera", "Viewer").await;
    let vera = sign_in_again(&again, "vera").await;
    assert!(!is_on(&again).await && is_on(&vera).await && is_on(&admin).await);
    // A sign-in that fails ends nothing.
    vera.post("/api/login", json!({ "user": "root", "password": "wrong" })).await.refused(401, "invalid_login");
    assert!(is_on(&vera).await);
    // The page does the same.
    let page = vera.clone().staying().form("/login", &[("user", "vera"), ("password", PASSWORD)]).await;
    assert!(page.cookie("rounds_session").is_some() && !is_on(&vera).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_not_used_and_at_its_time_however_busy() {
    let idle = |settings: &mut rounds_server::settings::ServerSettings| {
        settings.sessions.idle = Duration::from_millis(400);
    };
    let server = support::with(idle).await;
    let admin = server.admin().await;
    assert!(is_on(&admin).await);
    let until_over = async |client: &Client| {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while is_on(client).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("the session ends");
    };
    // Uses are written down once a minute: asking does not prolong this one.
    until_over(&admin).await;
    server.stop().await;

    let lifetime = |settings: &mut rounds_server::settings::ServerSettings| {
        settings.sessions.lifetime = Duration::from_millis(400);
    };
    let server = support::with(lifetime).await;
    let admin = server.admin().await;
    until_over(&admin).await;
    admin.get("/api/user").await.refused(401, "unauthorized");
    let page = admin.http.get(format!("{}/account", server.url)).send().await.unwrap();
    assert!(page.url().path().starts_with("/login"), "{}", page.url());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_use_of_the_session_and_looking_at_a_list_of_it_from_elsewhere_is_none() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let vera = server.user(&admin, "vera", "Viewer").await;
    let path = format!("/api/admin/users/{}/sessions", id(&vera.get("/api/user").await.expect(200)));
    let seen = async || {
        let listed = admin.get(&path).await.expect(200);
        listed[0]["lastSeenAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    let before = seen().await;
    server.sql("UPDATE rounds_session SET last_seen_at = last_seen_at - 120000000").await;
    let earlier = seen().await;
    assert_eq!(before - earlier, chrono::TimeDelta::seconds(120), "nobody used it");
    for path in ["/api/user", "/actions"] {
        let unattended = vera.request(Method::GET, path).header("x-unattended", "1").send().await.unwrap();
        assert_eq!(unattended.status(), 200);
    }
    assert_eq!(seen().await, earlier, "a page that was left open asks by itself");
    vera.get("/api/plans").await.expect(200);
    assert!(seen().await >= before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_sessions_are_listed_and_ended_one_by_one_and_all_others_at_once() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let clean = Client { session: None, ..admin.clone() };
    let (phone, desk, pub_) =
        (sign_in_again(&clean, "root").await, sign_in_again(&clean, "root").await, sign_in_again(&clean, "root").await);
    let listed = sessions(&phone).await;
    assert_eq!(listed.len(), 4);
    let current: Vec<&Value> = listed.iter().filter(|session| session["isCurrent"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!((&current[0]["address"], &current[0]["userAgent"]), (&json!("127.0.0.1"), &json!("Test/1.0")));
    for time in ["createdAt", "lastSeenAt", "expiresAt"] {
        assert!(current[0][time].is_string(), "{time} in {}", current[0]);
    }
    assert!(!listed.iter().any(|session| session.to_string().contains(phone.session.as_deref().unwrap())));
    let of_desk = sessions(&desk).await.iter().find(|session| session["isCurrent"] == true).map(id).unwrap();
    // Somebody else's session is none.
    let vera = server.user(&admin, "vera", "Viewer").await;
    vera.delete(&format!("/api/user/sessions/{of_desk}")).await.refused(404, "not_found");
    phone.delete(&format!("/api/user/sessions/{of_desk}")).await.expect(204);
    phone.delete(&format!("/api/user/sessions/{of_desk}")).await.refused(404, "not_found");
    phone.delete("/api/user/sessions/what").await.refused(404, "not_found");
    assert!(!is_on(&desk).await && is_on(&pub_).await);
    phone.delete("/api/user/sessions").await.expect(204);
    assert!(!is_on(&pub_).await && !is_on(&admin).await && is_on(&phone).await && is_on(&vera).await);
    let log = phone.get("/api/admin/audit-log?action=session.delete").await.expect(200);
    assert_eq!((&log["total"], &log["items"][0]["metadata"]["sessions"]), (&json!(2), &json!("others")));
    let begun = phone.get("/api/admin/audit-log?action=session.create").await.expect(200);
    assert_eq!(begun["items"][0]["metadata"]["via"], "password");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_with_the_one_before_and_ends_every_other_session() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let here = server.user(&admin, "vera", "Viewer").await;
    let there = server.sign_in("vera").await;
    let token = here.post("/api/user/tokens", json!({ "name": "laptop" })).await.expect(201);
    let script = server.anonymous().with_bearer(token["key"].as_str().unwrap());
    let change = async |client: &Client, from: &str, to: &str| {
        client.post("/api/user/password", json!({ "currentPassword": from, "newPassword": to })).await
    };
    change(&here, "wrong-horse", "another-horse").await.refused(403, "wrong_password");
    let short = change(&here, PASSWORD, "short").await.refused(400, "bad_request");
    assert!(short.contains("8 to 256"), "{short}");
    change(&script, PASSWORD, "another-horse").await.refused(403, "needs_session");
    change(&here.clone().without_csrf_header(), PASSWORD, "another-horse").await.refused(403, "csrf");
    assert!(is_on(&there).await);
    change(&here, PASSWORD, "another-horse").await.expect(204);
    assert!(is_on(&here).await && !is_on(&there).await && is_on(&script).await);
    let sign_in = |password: &str| json!({ "user": "vera", "password": password });
    server.anonymous().post("/api/login", sign_in(PASSWORD)).await.refused(401, "invalid_login");
    server.anonymous().post("/api/login", sign_in("another-horse")).await.expect(200);
    // A session that was left open is no way to guess the password.
    for _ in 0..10 {
        let answer = change(&here, "guess", "another-horse").await;
        if answer.status == 429 {
            break;
        }
    }
    change(&here, "another-horse", "third-horse").await.refused(429, "too_many_logins");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_mint_a_longer_lived_one_but_can_revoke_itself() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let token = admin.post("/api/user/tokens", json!({ "name": "a day", "secondsToLive": 86_400 })).await.expect(201);
    let script = server.anonymous().with_bearer(token["key"].as_str().unwrap());
    script.post("/api/user/tokens", json!({ "name": "for ever" })).await.refused(403, "needs_session");
    let listed = script.get("/api/user/tokens").await.expect(200);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("a day")));
    assert!(!listed.to_string().contains(token["key"].as_str().unwrap()));
    assert_eq!(sessions(&script).await.iter().filter(|session| session["isCurrent"] == true).count(), 0);
    script.delete(&format!("/api/user/tokens/{}", id(&token))).await.expect(204);
    script.get("/api/user").await.refused(401, "unauthorized");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_see_and_end_the_sessions_of_others_and_nobody_else_does() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let vera = server.user(&admin, "vera", "Viewer").await;
    let ed = server.user(&admin, "ed", "Editor").await;
    let path =
        async |client: &Client| format!("/api/admin/users/{}/sessions", id(&client.get("/api/user").await.expect(200)));
    let (of_vera, of_root) = (path(&vera).await, path(&admin).await);
    for somebody in [&vera, &ed] {
        somebody.get(&of_root).await.refused(403, "forbidden");
        somebody.delete(&of_vera).await.refused(403, "forbidden");
    }
    assert_eq!(admin.get(&of_vera).await.expect(200).as_array().unwrap().len(), 1);
    // `users:write` ends no session of somebody who is more.
    let grant = json!({ "subject": "user:ed", "action": "users:write", "scope": "users:*" });
    admin.post("/api/access-control/grants", grant).await.expect(201);
    ed.delete(&of_root).await.refused(403, "forbidden");
    assert!(is_on(&vera).await && is_on(&admin).await);
    admin.delete(&of_vera).await.expect(204);
    assert!(!is_on(&vera).await && is_on(&ed).await);
    assert_eq!(admin.get(&of_vera).await.expect(200), json!([]));
    server.stop().await;
}

/// What somebody of another organisation gets is what they would get if there were no such thing.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_organisation_and_one_that_is_not_there_answer_alike() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let stranger = stranger(&server).await;
    let root = id(&admin.get("/api/user").await.expect(200));
    let agent = admin.get("/api/serviceaccounts/search").await.expect(200);
    let agent = id(&agent["serviceAccounts"][0]);
    let session = id(&sessions(&admin).await[0]);
    let token = admin.post("/api/user/tokens", json!({ "name": "t" })).await.expect(201);
    let team = admin.post("/api/teams", json!({ "name": "on-call" })).await.expect(201);
    let nothing = PrincipalId::new().to_string();
    let mut compared = 0;
    for (method, path, there) in [
        (Method::GET, "/api/admin/users/{id}", &root),
        (Method::DELETE, "/api/admin/users/{id}", &root),
        (Method::GET, "/api/admin/users/{id}/sessions", &root),
        (Method::DELETE, "/api/admin/users/{id}/sessions", &root),
        (Method::DELETE, "/api/user/sessions/{id}", &session),
        (Method::DELETE, "/api/user/tokens/{id}", &id(&token)),
        (Method::GET, "/api/serviceaccounts/{id}", &agent),
        (Method::GET, "/api/serviceaccounts/{id}/tokens", &agent),
        (Method::DELETE, "/api/serviceaccounts/{id}", &agent),
        (Method::DELETE, "/api/teams/{id}", &id(&team)),
        (Method::DELETE, "/api/connectors/{id}", &connector),
        (Method::POST, "/api/connectors/{id}/test", &connector),
        (Method::GET, "/api/plans/{id}", &id(&plan)),
        (Method::POST, "/api/plans/{id}/approve", &id(&plan)),
        (Method::POST, "/api/plans/{id}/reject", &id(&plan)),
        (Method::GET, "/api/approvals/{id}", &plan["approvalRequestId"].as_str().unwrap().to_owned()),
    ] {
        let ask = async |id: &str| {
            let answer = stranger.call(method.clone(), &path.replace("{id}", id), None).await;
            (answer.status.as_u16(), answer.body.to_string().replace(id, "<id>"))
        };
        let (found, missing) = (ask(there).await, ask(&nothing).await);
        assert_eq!(found.0, 404, "{method} {path}: {}", found.1);
        assert_eq!(found, missing, "{method} {path}");
        compared += 1;
    }
    assert_eq!(compared, 16);
    assert!(is_on(&admin).await);
    server.stop().await;
}

/// A server admin of another organisation, signed in: nothing is refused for want of a permission.
async fn stranger(server: &Server) -> Client {
    let (identity, other) = (server.state.accounts.identity(), OrgId::new("other"));
    let now = server.state.rounds.now();
    identity.bootstrap(&other, "Other", now, &[]).await.unwrap();
    let user = NewUser {
        id: PrincipalId::new(),
        org_id: other,
        login: "stranger".into(),
        email: None,
        name: "Stranger".into(),
        role: OrgRole::Admin,
        is_server_admin: true,
        password: Some(SecretString::from(PASSWORD)),
    };
    identity.create_user(user, now, &[]).await.unwrap();
    server.sign_in("stranger").await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_tokens_are_answered_429_after_a_while_and_a_live_one_at_the_same_address_works_on() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let agent = server.agent(&admin).await;
    let dead = server.anonymous().with_bearer("rounds_pat_none");
    for _ in 0..100 {
        dead.get("/api/user").await.refused(401, "unauthorized");
    }
    let refused = dead.get("/api/user").await;
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    refused.refused(429, "too_many_dead_tokens");
    agent.get("/api/user").await.expect(200);
    admin.get("/api/user").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_mints_so_many_tokens_and_others_are_not_held_up() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let vera = server.user(&admin, "vera", "Viewer").await;
    for _ in 0..60 {
        vera.post("/api/user/tokens", json!({ "name": "t" })).await.expect(201);
    }
    vera.post("/api/user/tokens", json!({ "name": "t" })).await.refused(429, "too_many_tokens");
    admin.post("/api/user/tokens", json!({ "name": "t" })).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_page_lists_ends_changes_and_mints_without_scripts() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let other = server.sign_in("root").await;
    let page = async |client: &Client| client.get("/account").await.expect(200).as_str().unwrap().to_owned();
    let first = page(&admin).await;
    for text in
        ["this one", "End all other sessions", "Change password", "Create token", "127.0.0.1", "root@example.org"]
    {
        assert!(first.contains(text), "{text} is not in {first}");
    }
    assert!(page(&admin).await.contains("href=\"/account\""), "the menu leads there");
    let of_other = sessions(&other).await.iter().find(|session| session["isCurrent"] == true).map(id).unwrap();
    let path = format!("/account/sessions/{of_other}/end");
    let request = admin.request(Method::POST, &path).header("content-type", "application/x-www-form-urlencoded");
    Answer::read(request.body("csrf=wrong"), path.clone()).await.expect(403);
    assert!(is_on(&other).await);
    let ended = admin.form(&path, &[]).await.expect(200);
    assert!(ended.as_str().unwrap().contains("That session is over.") && !is_on(&other).await);
    admin.form(&path, &[]).await.expect(404);

    let minted =
        admin.form("/account/tokens", &[("name", "<b>laptop"), ("secondsToLive", "2592000")]).await.expect(200);
    let minted = minted.as_str().unwrap();
    let key = minted.split("id=\"minted\">").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    assert!(key.starts_with("rounds_pat_") && minted.contains("&#60;b&#62;laptop"), "{minted}");
    server.anonymous().with_bearer(key).get("/api/user").await.expect(200);
    assert!(!page(&admin).await.contains(key), "it is shown once");
    admin.form("/account/tokens", &[("name", " ")]).await.expect(400);
    let token = id(&admin.get("/api/user/tokens").await.expect(200)[0]);
    admin.form(&format!("/account/tokens/{token}/revoke"), &[]).await.expect(200);
    server.anonymous().with_bearer(key).get("/api/user").await.refused(401, "unauthorized");

    let third = server.sign_in("root").await;
    let change = |again: &'static str| [("current", PASSWORD), ("new", "another-horse"), ("again", again)];
    let refused = admin.form("/account/password", &change("another-mouse")).await.expect(400);
    assert!(refused.as_str().unwrap().contains("typed differently") && is_on(&third).await);
    let done = admin.form("/account/password", &change("another-horse")).await.expect(200);
    assert!(done.as_str().unwrap().contains("Your password is changed.") && !is_on(&third).await);
    server.stop().await;
}
