//! Deciding from Slack, against a server that speaks as Slack does: what a click may do, and what it may not.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use axum::{Json, Router};
use hmac::Mac as _;
use reqwest::Method;
use rounds_core::ports::store::Commit;
use rounds_core::ports::{Store as _, StoreExt as _};
use rounds_core::{ConnectorId, OrgId};
use rounds_server::settings::{Overrides, ServerSettings};
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, Server};

const SIGNING: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "xoxb-hunter2-hunter2";

/// What Slack was told: path and body, in order.
#[derive(Clone, Default)]
struct Slack(Arc<Mutex<Vec<(String, Value)>>>);

impl Slack {
    async fn serve(&self) -> String {
        let answer = async |State(slack): State<Self>, uri: Uri, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            slack.0.lock().unwrap().push((uri.path().to_owned(), body));
            Json(json!({ "ok": true, "ts": "1.2", "team": "T", "user": "rounds" }))
        };
        let router = Router::new().fallback(answer).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// What was told at a path, once one of it is so.
    async fn told(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..300 {
            let found = self.0.lock().unwrap().iter().find(|(at, body)| at == path && so(body)).cloned();
            if let Some((_, body)) = found {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} was not told so: {:?}", self.0.lock().unwrap())
    }
}

/// A server with a Slack channel, and what it needs.
struct World {
    server: Server,
    admin: Client,
    ops: String,
    slack: Slack,
    url: String,
    channel: String,
    data: PathBuf,
}

impl World {
    async fn new() -> Self {
        let mut data = PathBuf::new();
        let server = support::with(|settings| {
            settings.public_url = Some("https://rounds.example.org".into());
            data.clone_from(&settings.data_dir);
        })
        .await;
        let admin = server.admin().await;
        let ops = server.connector(&admin).await;
        for (login, role) in [("ada", "Editor"), ("bob", "Editor"), ("vera", "Viewer")] {
            server.user(&admin, login, role).await;
        }
        let slack = Slack::default();
        let url = slack.serve().await;
        let secret = json!({ "botToken": TOKEN, "signingSecret": SIGNING }).to_string();
        let draft = json!({ "type": "slack", "name": "incidents", "config": config(&url), "secret": secret });
        let made = admin.post("/api/connectors", draft).await.expect(201);
        let channel = made["connector"]["id"].as_str().unwrap().to_owned();
        Self { server, admin, ops, slack, url, channel, data }
    }

    /// A plan that waits, with the message about it.
    async fn asked(&self, commands: &[[&str; 2]]) -> (String, Value) {
        let plan = self.admin.propose(&self.ops, commands).await;
        let id = plan["id"].as_str().unwrap().to_owned();
        let link = format!("https://rounds.example.org/plans/{id}");
        let message = self.slack.told("/api/chat.postMessage", |body| body.to_string().contains(&link)).await;
        (id, message)
    }

    fn click(&self, user: &str, button: &Value) -> String {
        let payload = json!({
            "type": "block_actions",
            "user": { "id": user, "username": "whoever" },
            "trigger_id": "1.2.3",
            "response_url": format!("{}/actions/T/1/reply", self.url),
            "actions": [{ "type": "button", "action_id": button["action_id"], "value": button["value"] }],
        });
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
    }

    async fn send(&self, channel: &str, timestamp: i64, signature: &str, body: String) -> Answer {
        let path = format!("/api/slack/interactions/{channel}");
        let request = self.server.anonymous().request(Method::POST, &path).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("x-slack-request-timestamp", timestamp).header("x-slack-signature", signature);
        Answer::read(request, path).await
    }

    async fn signed(&self, user: &str, button: &Value) -> Answer {
        let body = self.click(user, button);
        let now = chrono::Utc::now().timestamp();
        self.send(&self.channel, now, &sign(SIGNING, now, &body), body).await
    }

    /// A click that is answered with why nothing was decided.
    async fn refused(&self, user: &str, button: &Value) -> String {
        let said = self.signed(user, button).await.expect(200);
        assert_eq!((&said["response_type"], &said["replace_original"]), (&json!("ephemeral"), &json!(false)), "{said}");
        let text = said["text"].as_str().unwrap().to_owned();
        assert!(text.starts_with("Nothing was decided"), "{text}");
        // Slack shows what is posted to the click's own place.
        self.slack.told("/actions/T/1/reply", |body| body["text"] == escaped(&text)).await;
        text
    }

    async fn status(&self, plan: &str) -> String {
        self.admin.get(&format!("/api/plans/{plan}")).await.expect(200)["status"].as_str().unwrap().to_owned()
    }

    async fn audit(&self, outcome: &str) -> Vec<Value> {
        let path = format!("/api/admin/audit-log?targetType=approval_request&outcome={outcome}");
        self.admin.get(&path).await.expect(200)["items"].as_array().unwrap().clone()
    }
}

fn config(url: &str) -> Value {
    let agent = "@syntropize/rounds";
    let users = json!({ "U1ADA": "ada", "U1BOB": "bob", "U1VERA": "vera", "U1AGENT": agent, "U1GONE": "nobody" });
    json!({ "channel": "C024BE91L", "users": users, "apiUrl": format!("{url}/api") })
}

fn sign(key: &str, timestamp: i64, body: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn button<'a>(message: &'a Value, id: &str) -> Option<&'a Value> {
    let blocks = message["blocks"].as_array().unwrap();
    let elements =
        blocks.iter().filter(|block| block["type"] == "actions").flat_map(|block| block["elements"].as_array());
    elements.flatten().find(|element| element["action_id"] == id)
}

fn approve(message: &Value) -> &Value {
    button(message, "rounds_approve").unwrap_or_else(|| panic!("no Approve in {message}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_approves_as_the_mapped_user_and_every_later_one_is_told_who_was_first() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"], ["restart", "app/api"]]).await;
    let text = message.to_string();
    for part in ["Bring it back", "fake restart app/web", "write", "cluster · app", "C024BE91L"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains(SIGNING));

    let said = world.signed("U1ADA", approve(&message)).await.expect(200);
    assert_eq!(said["replace_original"], true, "{said}");
    let shown = world.slack.told("/actions/T/1/reply", |body| body["replace_original"] == true).await;
    assert!(shown["text"].as_str().unwrap().contains("approved by ada"), "{shown}");
    assert!(button(&shown, "rounds_approve").is_none() && button(&shown, "rounds_open").is_some(), "{shown}");
    // Auto-edit is never set from here: the first step waits for an approval of its own.
    let path = format!("/api/plans/{plan}");
    let found = world.admin.until(&path, |plan| plan["steps"][0]["approvalRequestId"].is_string()).await;
    assert_eq!(found["autoEdit"], false);
    let rows = world.audit("success").await;
    let row = rows.iter().find(|row| row["action"] == "approval.approve").unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(row["metadata"]["via"], "slack");
    assert_eq!(row["metadata"]["channelUser"], "U1ADA");
    assert_eq!(row["metadata"]["channelId"], world.channel);
    assert!(row.to_string().contains("\"ada\""), "{row}");
    assert_eq!(row["metadata"]["digest"], found["digest"]);

    // The same click again, and another person's.
    for user in ["U1ADA", "U1BOB"] {
        let told = world.refused(user, approve(&message)).await;
        assert!(told.contains("already approved by ada at "), "{told}");
    }
    // The step that waits has a message of its own; a click lets it run.
    let step = world.slack.told("/api/chat.postMessage", |body| body.to_string().contains("approval of a step")).await;
    world.signed("U1BOB", approve(&step)).await.expect(200);
    world.admin.until(&path, |plan| plan["steps"][0]["status"] == "done").await;
    assert_eq!(world.server.adapter.executed(), ["fake restart app/web"]);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_rejects_a_destructive_plan_and_cannot_approve_it_even_with_a_button_of_its_own_making() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["delete", "app/web"]]).await;
    assert!(button(&message, "rounds_approve").is_none() && button(&message, "rounds_open").is_some(), "{message}");
    assert!(message.to_string().contains("It is destructive"), "{message}");
    let reject = button(&message, "rounds_reject").unwrap();
    let forged = json!({ "action_id": "rounds_approve", "value": reject["value"] });
    let told = world.refused("U1ADA", &forged).await;
    assert!(told.contains("destructive"), "{told}");
    assert_eq!(world.status(&plan).await, "pending_approval");
    let said = world.signed("U1ADA", reject).await.expect(200);
    assert!(said["text"].as_str().unwrap().contains("rejected by ada"), "{said}");
    assert_eq!(world.status(&plan).await, "rejected");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_decide_on_the_page_may_not_decide_from_slack() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"]]).await;
    let approve = approve(&message);
    let unmapped = world.refused("U9STRANGER", approve).await;
    assert!(
        unmapped.contains("U9STRANGER") && unmapped.contains("`users`") && unmapped.contains("incidents"),
        "{unmapped}"
    );
    let viewer = world.refused("U1VERA", approve).await;
    assert!(viewer.contains("plans:approve"), "{viewer}");
    for user in ["U1AGENT", "U1GONE"] {
        let nobody = world.refused(user, approve).await;
        assert!(nobody.contains("no such user"), "{user}: {nobody}");
    }
    let users = world.admin.get("/api/admin/users").await.expect(200);
    let users = users.as_array().or_else(|| users["users"].as_array()).unwrap().clone();
    let ada = users.iter().find(|user| user["login"] == "ada").unwrap()["id"].as_str().unwrap().to_owned();
    world.admin.delete(&format!("/api/admin/users/{ada}")).await.expect(204);
    assert!(world.refused("U1ADA", approve).await.contains("no such user"));
    assert_eq!(world.status(&plan).await, "pending_approval");
    // What was refused to somebody known is on record.
    let rows = world.audit("failure").await;
    assert!(rows.iter().any(|row| row["metadata"]["channelUser"] == "U1VERA"), "{rows:?}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_did_not_sign_just_now_decides_nothing() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"]]).await;
    let body = world.click("U1ADA", approve(&message));
    let now = chrono::Utc::now().timestamp();
    let old = now - 301;
    let unsigned = ConnectorId::new().to_string();
    for (channel, at, signature, sent) in [
        (&world.channel, now, sign("another secret 0123456789", now, &body), body.clone()),
        (&world.channel, now, sign(SIGNING, now, &body).replace("v0=", "v0=00"), body.clone()),
        (&world.channel, now, String::new(), body.clone()),
        (&world.channel, now, sign(SIGNING, now, &body), body.replace("U1ADA", "U1BOB")),
        (&world.channel, now, sign(SIGNING, now - 1, &body), body.clone()),
        (&world.channel, old, sign(SIGNING, old, &body), body.clone()),
        // Neither a channel, nor one that takes answers.
        (&unsigned, now, sign(SIGNING, now, &body), body.clone()),
        (&world.ops, now, sign(SIGNING, now, &body), body.clone()),
    ] {
        world.send(channel, at, &signature, sent).await.refused(403, "bad_signature");
    }
    assert_eq!(world.status(&plan).await, "pending_approval");
    // Many failures later Slack itself still gets through.
    let mut last = 0;
    for _ in 0..10 {
        last = world.send(&world.channel, now, "v0=00", body.clone()).await.status.as_u16();
    }
    assert_eq!(last, 429);
    let huge = "x".repeat(300 * 1024);
    world.send(&world.channel, now, &sign(SIGNING, now, &huge), huge).await.refused(413, "too_large");
    world.signed("U1ADA", approve(&message)).await.expect(200);
    assert_ne!(world.status(&plan).await, "pending_approval");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_about_an_earlier_revision_decides_nothing() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"]]).await;
    let steps = support::steps(&world.ops, &[["restart", "app/other"]]);
    let modified = world.admin.post(&format!("/api/plans/{plan}/modify"), json!({ "steps": steps })).await.expect(200);
    let told = world.refused("U1ADA", approve(&message)).await;
    assert!(told.contains("superseded"), "{told}");
    // Today's request with yesterday's digest, as nobody but a forger would send it.
    let mut value: Value = serde_json::from_str(approve(&message)["value"].as_str().unwrap()).unwrap();
    value["request"] = modified["approvalRequestId"].clone();
    for action in ["rounds_approve", "rounds_reject"] {
        let told = world.refused("U1ADA", &json!({ "action_id": action, "value": value.to_string() })).await;
        assert!(told.contains("no longer what the message showed"), "{told}");
    }
    assert_eq!(world.status(&plan).await, "pending_approval");
    assert!(world.server.adapter.executed().is_empty());
    // What it is now is told, too, and that message decides.
    let anew = world.slack.told("/api/chat.postMessage", |body| body.to_string().contains("was changed")).await;
    assert!(anew.to_string().contains("fake restart app/other"), "{anew}");
    world.signed("U1ADA", approve(&anew)).await.expect(200);
    assert_ne!(world.status(&plan).await, "pending_approval");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_without_a_signing_secret_shows_no_buttons_and_takes_no_clicks() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"]]).await;
    let secret = json!({ "secret": json!({ "botToken": TOKEN }).to_string() });
    world.admin.post(&format!("/api/connectors/{}/secret", world.channel), secret).await;
    let body = world.click("U1ADA", approve(&message));
    let now = chrono::Utc::now().timestamp();
    for key in [SIGNING, "", TOKEN] {
        let answer = world.send(&world.channel, now, &sign(key, now, &body), body.clone()).await;
        answer.refused(403, "bad_signature");
    }
    assert_eq!(world.status(&plan).await, "pending_approval");
    let (_, message) = world.asked(&[["restart", "app/api"]]).await;
    assert!(button(&message, "rounds_approve").is_none() && button(&message, "rounds_reject").is_none(), "{message}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channel_of_another_organisation_decides_nothing_here() {
    let world = World::new().await;
    let (plan, message) = world.asked(&[["restart", "app/web"]]).await;
    // Theirs is well configured, for people of their own with the same logins.
    let overrides = Overrides { data_dir: Some(world.data.clone()), listen: None };
    let settings = ServerSettings::read(&|_| None, overrides).unwrap();
    let store = rounds_server::boot::open_store(&settings, false).await.unwrap();
    let ours = store.connector(world.channel.parse().unwrap()).await.unwrap().unwrap().value;
    let theirs = rounds_core::connector::Connector { id: ConnectorId::new(), org_id: OrgId::new("theirs"), ..ours };
    let channel = theirs.id.to_string();
    store.commit(Commit::new().insert(theirs)).await.unwrap();
    store.close().await;
    let body = world.click("U1ADA", approve(&message));
    let now = chrono::Utc::now().timestamp();
    let said = world.send(&channel, now, &sign(SIGNING, now, &body), body).await.expect(200);
    assert!(said["text"].as_str().unwrap().contains("no such user"), "{said}");
    assert_eq!(world.status(&plan).await, "pending_approval");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_write_accounts_may_not_say_who_decides_through_a_channel() {
    let world = World::new().await;
    let boss = world.server.user(&world.admin, "boss", "Admin").await;
    let secret = json!({ "botToken": TOKEN, "signingSecret": SIGNING }).to_string();
    let draft = json!({ "type": "slack", "name": "mine", "config": config(&world.url), "secret": secret });
    let path = format!("/api/connectors/{}", world.channel);
    let users = json!({ "users": { "U9": "root" } });
    let mut other = config(&world.url);
    other["users"] = users["users"].clone();
    for refused in [
        boss.post("/api/connectors", draft.clone()).await,
        boss.put(&path, json!({ "config": other })).await,
        boss.post(&format!("{path}/secret"), json!({ "secret": secret })).await,
    ] {
        let message = refused.refused(403, "forbidden");
        assert!(message.contains("users:write"), "{message}");
    }
    // A program may not at all, whatever its role and grants.
    let account = json!({ "name": "bot", "role": "Admin" });
    let account = world.admin.post("/api/serviceaccounts", account).await.expect(201);
    let account = account["id"].as_str().unwrap();
    let grant = json!({ "subject": format!("serviceaccount:{account}"), "action": "users:write" });
    world.admin.post("/api/access-control/grants", grant).await.expect(201);
    let minted = world.admin.post(&format!("/api/serviceaccounts/{account}/tokens"), json!({ "name": "t" })).await;
    let bot = world.server.anonymous().with_bearer(minted.expect(201)["key"].as_str().unwrap());
    bot.post("/api/connectors", draft).await.refused(403, "forbidden");
    // What answers nobody is a channel like any other.
    let hook = json!({ "type": "webhook", "name": "hook", "config": { "url": world.url }, "secret": SIGNING });
    boss.post("/api/connectors", hook).await.expect(201);
    world.server.stop().await;
}
