//! Channels, against a server that speaks as Slack and as a receiver of webhooks do.

use std::sync::Arc;
use std::time::Duration;

use hmac::Mac as _;
use rounds_core::plugin::{BuildContext, Host, Outbound, Registry};
use rounds_core::ports::{
    Clock as _, Inbound, Link, Notice, NoticeKind, Notifier, PortErrorKind, Reply, ReplyTo, SecretHandle, SystemClock,
    Wish,
};
use rounds_core::{RequestId, Timestamp};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Says, asking, cx, notifier, notifier_on};

const TOKEN: &str = "xoxb-hunter2";
const SIGNING: &str = "hunter2-signing-secret";

fn ok() -> Says {
    (200, vec![("x-oauth-scopes", "chat:write")], json!({ "ok": true, "team": "Ops", "user": "rounds" }).to_string())
}

fn app(url: &str) -> Arc<dyn Notifier> {
    let secret = json!({ "botToken": TOKEN, "signingSecret": SIGNING }).to_string();
    notifier("slack", json!({ "channel": "C1", "apiUrl": format!("{url}/api"), "users": { "U1": "ada" } }), &secret)
}

#[tokio::test]
async fn a_webhook_is_signed_over_its_timestamp_and_body_and_can_be_told_apart_from_its_repetition() {
    let (receiver, url) = Receiver::serve((204, vec![], String::new())).await;
    let key = "0123456789abcdef";
    let webhook = notifier("webhook", json!({ "url": format!("{url}/in?token=hunter2") }), &format!("{key}\n"));
    let notice = asking();
    webhook.send(&cx(), &notice).await.unwrap();
    let (path, headers, body) = receiver.asked.lock().unwrap()[0].clone();
    assert_eq!(path, "/in?token=hunter2");
    let timestamp = headers["x-rounds-timestamp"].to_str().unwrap();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("v1:{timestamp}:{body}").as_bytes());
    assert_eq!(headers["x-rounds-signature"], format!("v1={}", hex::encode(mac.finalize().into_bytes())));
    let sent: i64 = timestamp.parse().unwrap();
    assert!((SystemClock.now().timestamp() - sent).abs() < 60);
    assert_eq!(headers["idempotency-key"], "plan/1/proposed");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["version"], 1);
    assert_eq!(body["kind"], "plan_proposed");
    assert_eq!(body["url"], "https://rounds.example/plans/1");
    assert_eq!((&body["about"], &body["repeat"], &body["folded"]), (&json!("plan/1"), &json!(0), &json!([])));
    assert_eq!(body["asked"]["tier"], "write");
    assert_eq!(body["asked"]["requestId"], json!(notice.asked.unwrap().request_id));
}

#[tokio::test]
async fn what_a_receiver_answers_decides_whether_it_is_tried_again() {
    let (receiver, url) = Receiver::serve(ok()).await;
    let key = "hunter2-hunter2-hunter2";
    let webhook = notifier("webhook", json!({ "url": format!("{url}/in?token=hunter2") }), key);
    for (status, headers, kind, retry_after) in [
        (500, &[][..], PortErrorKind::Unavailable, None),
        (503, &[("retry-after", "7")], PortErrorKind::Unavailable, Some(7)),
        (429, &[("retry-after", "30")], PortErrorKind::RateLimited, Some(30)),
        (401, &[], PortErrorKind::Unauthorized, None),
        (404, &[], PortErrorKind::Invalid, None),
        (302, &[("location", "http://169.254.169.254/")], PortErrorKind::Protocol, None),
    ] {
        receiver.says(status, headers, format!("no: {key}"));
        let before = receiver.count();
        let error = webhook.send(&cx(), &asking()).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retry_after.map(|wait| wait.as_secs())),
            (kind, retry_after),
            "{status}: {error}"
        );
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(receiver.count(), before + 1, "an implementation does not try again by itself");
    }
    let checked = webhook.check(&cx()).await.unwrap();
    assert!(checked.message.contains("none was"), "{checked:?}");
    let weak = notifier("webhook", json!({ "url": url }), "hunter2");
    let error = weak.send(&cx(), &asking()).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_app_posts_with_buttons_that_carry_request_and_digest() {
    let (receiver, url) = Receiver::serve(ok()).await;
    let notice = asking();
    app(&url).send(&cx(), &notice).await.unwrap();
    let (path, headers, body) = receiver.last();
    assert_eq!(path, "/api/chat.postMessage");
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(body["channel"], "C1");
    assert_eq!(body["metadata"]["event_payload"]["idempotency_key"], "plan/1/proposed");
    let actions = body["blocks"].as_array().unwrap().iter().find(|block| block["type"] == "actions").unwrap();
    assert_eq!(actions["elements"][0]["url"], "https://rounds.example/plans/1");
    let carried: Value = serde_json::from_str(actions["elements"][1]["value"].as_str().unwrap()).unwrap();
    assert_eq!(carried["request"], json!(notice.asked.unwrap().request_id));
    assert_eq!(carried["digest"], "v1:sha256:00");
    assert!(!body.to_string().contains("hunter2"));
}

#[tokio::test]
async fn each_refusal_of_slacks_is_a_clear_error_without_a_secret() {
    let (receiver, url) = Receiver::serve(ok()).await;
    let slack = app(&url);
    let no = |error: &str| json!({ "ok": false, "error": error }).to_string();
    for (status, headers, body, kind, retry_after, part) in [
        (200, &[][..], no("invalid_auth"), PortErrorKind::Unauthorized, None, "set the secret anew"),
        (200, &[], no("missing_scope"), PortErrorKind::Unauthorized, None, "chat:write"),
        (200, &[], no("channel_not_found"), PortErrorKind::Invalid, None, "/invite"),
        (200, &[], no("not_in_channel"), PortErrorKind::Invalid, None, "/invite"),
        (200, &[], no("invalid_blocks"), PortErrorKind::Invalid, None, "invalid_blocks"),
        (200, &[], no("internal_error"), PortErrorKind::Unavailable, None, "right now"),
        (200, &[("retry-after", "12")], no("ratelimited"), PortErrorKind::RateLimited, Some(12), "just now"),
        (429, &[("retry-after", "30")], no("ratelimited"), PortErrorKind::RateLimited, Some(30), "429"),
        (503, &[], String::new(), PortErrorKind::Unavailable, None, "503"),
        (200, &[], format!("<html>{TOKEN}"), PortErrorKind::Protocol, None, "apiUrl"),
        (200, &[], no(&format!("what {TOKEN} <x>")), PortErrorKind::Protocol, None, "did not say why"),
        (302, &[("location", "/x")], String::new(), PortErrorKind::Protocol, None, "redirect"),
    ] {
        receiver.says(status, headers, body);
        let error = slack.send(&cx(), &asking()).await.unwrap_err();
        let text = error.to_string();
        assert_eq!((error.kind, error.retry_after.map(|wait| wait.as_secs())), (kind, retry_after), "{text}");
        assert!(text.contains(part) && !text.contains("hunter2"), "{part}: {text}");
    }
    let (dead, silent) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), "127.0.0.1");
    let gone = format!("http://{silent}:{}", dead.local_addr().unwrap().port());
    drop(dead);
    let error = app(&gone).send(&cx(), &asking()).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unavailable && !error.to_string().contains("hunter2"), "{error}");
}

/// A message of several things, as Rounds makes one.
fn several() -> Notice {
    let mut notice = Notice::new(NoticeKind::AlertFiring, "group/1", Timestamp::UNIX_EPOCH, "2 notices: a; b");
    notice.body = "- a (/alerts/1)\n- b (/plans/2)".into();
    notice.link = "/".into();
    notice.folded = serde_json::from_value(json!([
        { "kind": "alert_firing", "at": "1970-01-01T00:00:00Z", "title": "a & <!channel>", "severity": "critical",
          "link": "/alerts/1", "about": "alert/1", "links": [{ "name": "runbook_url", "url": "https://wiki.example/a" }] },
        { "kind": "plan_ended", "at": "1970-01-01T00:00:00Z", "title": "b", "severity": "", "link": "/plans/2" },
    ]))
    .unwrap();
    notice
}

#[tokio::test]
async fn a_program_gets_each_of_several_things_with_its_address_and_its_links() {
    let (receiver, url) = Receiver::serve((204, vec![], String::new())).await;
    let webhook = notifier("webhook", json!({ "url": url }), "hunter2-hunter2-hunter2");
    let mut notice = several();
    notice.links.extend(Link::new("dashboard_url", "https://grafana.example/d/1"));
    webhook.send(&cx(), &notice).await.unwrap();
    let (_, _, body) = receiver.last();
    assert_eq!(body["url"], "https://rounds.example/");
    assert_eq!(body["links"], json!([{ "name": "dashboard_url", "url": "https://grafana.example/d/1" }]));
    let folded = &body["folded"];
    for (at, path) in ["/alerts/1", "/plans/2"].into_iter().enumerate() {
        let expected = (json!(path), json!(path), json!(format!("https://rounds.example{path}")));
        assert_eq!((folded[at]["path"].clone(), folded[at]["link"].clone(), folded[at]["url"].clone()), expected);
    }
    assert_eq!(folded[0]["links"], json!([{ "name": "runbook_url", "url": "https://wiki.example/a" }]));
    let nowhere = notifier_on(
        Host { outbound: Outbound::loopback(), ..Host::default() },
        "webhook",
        json!({ "url": url }),
        "hunter2-hunter2-hunter2",
    );
    nowhere.send(&cx(), &notice).await.unwrap();
    assert_eq!(receiver.last().2["folded"][0]["url"], json!(null));
}

#[tokio::test]
async fn slack_gets_a_link_to_the_page_of_each_of_several_things() {
    let (receiver, url) = Receiver::serve(ok()).await;
    app(&url).send(&cx(), &several()).await.unwrap();
    let (_, _, body) = receiver.last();
    let text = body["blocks"][1]["text"]["text"].as_str().unwrap();
    let expected = "• *[CRITICAL]* <https://rounds.example/alerts/1|a &amp; &lt;!channel&gt;> · 00:00 UTC\n\
                    • *[PLAN ENDED]* <https://rounds.example/plans/2|b> · 00:00 UTC";
    assert_eq!(text, expected);
    assert!(!body.to_string().contains("(/alerts/1)"), "no bare path is left: {body}");
}

#[tokio::test]
async fn an_incoming_webhook_is_a_secret_address_and_has_no_buttons() {
    let (receiver, url) = Receiver::serve((200, vec![], "ok".into())).await;
    let config = json!({ "apiUrl": format!("{url}/api") });
    let webhook = notifier("slack", config.clone(), &format!("{url}/services/T/B/hunter2"));
    webhook.send(&cx(), &asking()).await.unwrap();
    let (path, _, body) = receiver.last();
    assert_eq!(path, "/services/T/B/hunter2");
    // Whoever writes an alert must not have Slack fetch what it links to, nor show a preview of it.
    assert_eq!((&body["unfurl_links"], &body["unfurl_media"]), (&json!(false), &json!(false)));
    assert!(!body.to_string().contains("rounds_approve") && body.to_string().contains("has no buttons"), "{body}");
    assert!(webhook.answers().is_none());
    let before = receiver.count();
    let checked = webhook.check(&cx()).await.unwrap();
    assert!(checked.message.contains("cannot be tested without posting") && receiver.count() == before, "{checked:?}");
    for (status, body, kind) in [
        (404, "no_service", PortErrorKind::Unauthorized),
        (410, "channel_is_archived", PortErrorKind::Invalid),
        (400, "invalid_payload", PortErrorKind::Invalid),
        (500, "rollup_error", PortErrorKind::Unavailable),
        (403, "<p>hunter2", PortErrorKind::Unauthorized),
    ] {
        receiver.says(status, &[], body);
        let error = webhook.send(&cx(), &asking()).await.unwrap_err();
        assert!(error.kind == kind && !error.to_string().contains("hunter2"), "{status}: {error}");
    }
    // Somebody else's address, and nobody is asked there.
    let before = receiver.count();
    let elsewhere = notifier("slack", json!({}), &format!("{url}/services/T/B/hunter2"));
    let error = elsewhere.send(&cx(), &asking()).await.unwrap_err();
    assert!(error.to_string().contains("hooks.slack.com") && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(receiver.count(), before);
}

#[tokio::test]
async fn the_test_of_an_app_signs_in_posts_nothing_and_says_what_is_missing() {
    let (receiver, url) = Receiver::serve(ok()).await;
    let checked = app(&url).check(&cx()).await.unwrap();
    assert!(checked.message.contains("Ops") && checked.facts["buttons"].contains("1 mapped"), "{checked:?}");
    assert_eq!(receiver.last().0, "/api/auth.test");
    assert_eq!(receiver.count(), 1);
    receiver.says(200, &[("x-oauth-scopes", "channels:read,users:read")], json!({ "ok": true }).to_string());
    let error = app(&url).check(&cx()).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unauthorized && error.to_string().contains("chat:write"), "{error}");
    let config = json!({ "channel": "C1", "apiUrl": format!("{url}/api") });
    let mixed = notifier("slack", config, &format!("{url}/services/hunter2"));
    let error = mixed.check(&cx()).await.unwrap_err().to_string();
    assert!(error.contains("`channel`") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_click_is_proved_mapped_and_replied_to_at_slacks_own_address_only() {
    let (receiver, url) = Receiver::serve(ok()).await;
    let slack = app(&url);
    let answers = slack.answers().unwrap();
    let now = SystemClock.now();
    let value = json!({ "v": 1, "request": RequestId::new(), "digest": "d" }).to_string();
    let click = |user: &str| {
        let payload = json!({
            "type": "block_actions", "user": { "id": user }, "response_url": format!("{url}/actions/x"),
            "actions": [{ "action_id": "rounds_reject", "value": value }],
        });
        let body =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SIGNING.as_bytes()).unwrap();
        mac.update(format!("v0:{}:{body}", now.timestamp()).as_bytes());
        let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
        let headers = [("X-Slack-Signature", signature), ("X-Slack-Request-Timestamp", now.timestamp().to_string())];
        Inbound::new(headers.map(|(name, value)| (name.to_owned(), value)), body.into_bytes())
    };
    let answer = answers.verify(&cx(), &click("U1"), now).await.unwrap();
    assert_eq!((answer.user.as_str(), answer.login.as_deref()), ("U1", Some("ada")));
    assert!(matches!(answer.wish, Wish::Reject(_)));
    assert!(!format!("{answer:?}").contains("/actions/x"));
    assert_eq!(answers.verify(&cx(), &click("U2"), now).await.unwrap().login, None);
    let late = now + Duration::from_secs(301);
    assert_eq!(answers.verify(&cx(), &click("U1"), late).await.unwrap_err().kind, PortErrorKind::Unauthorized);

    answers.reply(&cx(), &answer.reply_to, &Reply::to_all("done <b>").with_link("/plans/1")).await.unwrap();
    let (path, headers, body) = receiver.last();
    assert_eq!(
        (path.as_str(), &body["replace_original"], &body["text"]),
        ("/actions/x", &json!(true), &json!("done &lt;b&gt;"))
    );
    assert!(!headers.contains_key("authorization"), "no token goes to an address that came with a click");
    let before = receiver.count();
    for elsewhere in ["http://169.254.169.254/", "https://hooks.slack.com.evil.example/", "http://127.0.0.1:1/", "x"] {
        let error = answers.reply(&cx(), &ReplyTo::new(elsewhere), &Reply::to_them("x")).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Invalid, "{elsewhere}: {error}");
    }
    assert_eq!(receiver.count(), before);
}

#[tokio::test]
async fn rule_12_channels_show_no_secret_and_call_nothing_inside_unless_it_is_allowed() {
    let secret = json!({ "botToken": TOKEN, "signingSecret": SIGNING }).to_string();
    let registry = Registry::linked().unwrap();
    for (kind, config) in [
        ("webhook", json!({ "url": "http://127.0.0.1:1/" })),
        ("webhook", json!({ "url": "http://[::ffff:10.0.0.1]/" })),
        ("slack", json!({ "channel": "C1", "apiUrl": "http://169.254.169.254/api" })),
    ] {
        let host = Arc::new(Host::default());
        let error = registry.check_on(kind, &config, host).unwrap_err().to_string();
        assert!(error.contains("ROUNDS_OUTBOUND_ALLOW"), "{kind}: {error}");
        registry.check(kind, &config).unwrap();
    }
    for (kind, wrong) in [
        ("webhook", json!({ "url": "ftp://x" })),
        ("webhook", json!({ "url": "https://me:hunter2@x" })),
        ("webhook", json!({ "url": "https://x.example", "timeoutSec": 0 })),
        ("webhook", json!({ "url": "https://x.example", "secret": "hunter2" })),
        ("slack", json!({ "channel": "two words" })),
        ("slack", json!({ "users": { "ada": "ada" } })),
    ] {
        let error = registry.check(kind, &wrong).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let config = rounds_connectors::notifiers::SlackConfig {
        channel: Some("C1".into()),
        users: Default::default(),
        api_url: None,
        timeout_sec: 5,
    };
    let cx = || BuildContext::new("x", SecretHandle::inline(secret.as_str().into()), Arc::new(Host::default()));
    let slack = rounds_connectors::notifiers::Slack::new(cx(), config).unwrap();
    assert!(!format!("{slack:?}").contains("hunter2"));
    let config = serde_json::from_value(json!({ "url": "https://x.example/in?token=hunter2" })).unwrap();
    let webhook = rounds_connectors::notifiers::Webhook::new(cx(), config).unwrap();
    assert!(!format!("{webhook:?}").contains("hunter2"));
    let registration = registry.get("slack").unwrap();
    let error = registration.check_secret(&cx(), &"xoxb-hunter2".into()).unwrap_err().to_string();
    assert!(error.contains("botToken") && !error.contains("hunter2"), "{error}");
}
