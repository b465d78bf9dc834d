//! Discord, Microsoft Teams and PagerDuty, against servers that answer as they do.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::Timestamp;
use rounds_core::plugin::{BuildContext, Host, Outbound, Registry};
use rounds_core::ports::{CallContext, Link, Notice, NoticeKind, Notifier, PortErrorKind, SecretHandle};
use serde_json::{Value, json};

use crate::receiver::{Receiver, asking, cx, notifier};

const KEY: &str = "R0HUNTER2HUNTER2HUNTER2HUNTER200";

fn discord(url: &str) -> Arc<dyn Notifier> {
    notifier("discord", json!({ "allowedHost": url }), &format!("{url}/api/webhooks/42/hunter2\n"))
}

fn teams(url: &str) -> Arc<dyn Notifier> {
    notifier("teams", json!({ "allowedHost": url }), &format!("{url}/workflows/x/invoke?sp=1&sig=hunter2"))
}

fn pagerduty(url: &str) -> Arc<dyn Notifier> {
    notifier("pagerduty", json!({ "apiUrl": url }), KEY)
}

/// The text of everything in a message.
fn texts(body: &Value) -> String {
    match body {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(texts).collect(),
        Value::Object(map) => map.values().map(texts).collect(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn every_channel_says_what_is_asked_where_how_bad_and_where_it_is_decided() {
    let (receiver, url) = Receiver::serve((200, vec![], "{}".into())).await;
    for (name, channel) in [("discord", discord(&url)), ("teams", teams(&url)), ("pagerduty", pagerduty(&url))] {
        channel.send(&cx(), &asking()).await.unwrap();
        let (_, headers, body) = receiver.last();
        assert_eq!(headers["content-type"], "application/json", "{name}");
        assert_eq!(headers["idempotency-key"], "plan/1/proposed", "{name}");
        let said = texts(&body).replace('\\', "");
        for part in [
            "DECISION NEEDED",
            "Plan waits for approval: <b>",
            "kubectl rollout restart deployment/web -n app",
            "write",
            "prod-eu · app",
            "1970-01-01 00:00 UTC",
            "decided in Rounds",
            "https://rounds.example/plans/1",
            "Open in Rounds",
        ] {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
        assert!(!said.contains("hunter2"), "{name}");
        assert!(channel.answers().is_none(), "{name} only tells");
    }
}

#[tokio::test]
async fn an_alert_says_its_severity_in_words_and_its_labels() {
    let (receiver, url) = Receiver::serve((202, vec![], String::new())).await;
    let mut notice = Notice::new(NoticeKind::AlertFiring, "alert/1/2", Timestamp::UNIX_EPOCH, "errors is firing");
    notice.severity = "critical".into();
    notice.body = "More than 5 % of the requests fail.".into();
    notice.labels.insert("namespace".into(), "shop".into());
    for (name, channel) in [("discord", discord(&url)), ("teams", teams(&url)), ("pagerduty", pagerduty(&url))] {
        channel.send(&cx(), &notice).await.unwrap();
        let said = texts(&receiver.last().2).replace('\\', "");
        let labels = if name == "pagerduty" { "shop" } else { "namespace=shop" };
        for part in ["[CRITICAL", "errors is firing", "More than 5 % of the requests fail.", labels] {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
    }
}

#[tokio::test]
async fn every_channel_links_each_of_several_things_to_its_page_and_an_alert_to_its_runbook() {
    let (receiver, url) = Receiver::serve((202, vec![], String::new())).await;
    let mut several = Notice::new(NoticeKind::AlertFiring, "group/1", Timestamp::UNIX_EPOCH, "3 notices: a; b; c");
    several.body = "- a (/alerts/1)\n- b (/alerts/2)\n- c (/alerts/3)".into();
    several.link = "/alerts".into();
    let one = |at: usize| {
        let (link, about) = (format!("/alerts/{at}"), format!("alert/{at}"));
        json!({ "kind": "alert_firing", "at": several.at, "title": format!("it {at}"), "severity": "high", "link": link, "about": about })
    };
    several.folded = serde_json::from_value((1..=3).map(one).collect()).unwrap();
    let mut firing = Notice::new(NoticeKind::AlertFiring, "alert/1/2", Timestamp::UNIX_EPOCH, "errors is firing");
    firing.body = "dashboard_url: javascript:alert(1)\nsummary: @everyone [x](https://evil.example)\nX-Evil: 1".into();
    firing.links.extend(Link::new("runbook_url", "https://wiki.example/errors"));
    for (name, channel) in [("discord", discord(&url)), ("teams", teams(&url)), ("pagerduty", pagerduty(&url))] {
        let before = receiver.count();
        channel.send(&cx(), &several).await.unwrap();
        let said: String = receiver.asked.lock().unwrap()[before..].iter().map(|ask| ask.2.clone()).collect();
        for at in 1..=3 {
            assert!(said.contains(&format!("https://rounds.example/alerts/{at}")), "{name}: {said}");
        }
        assert!(!said.contains("(/alerts/"), "{name}: no bare path is left: {said}");
        channel.send(&cx(), &firing).await.unwrap();
        let (_, headers, body) = receiver.last();
        let said = body.to_string();
        assert!(said.contains("https://wiki.example/errors") && said.contains("runbook"), "{name}: {said}");
        assert!(!said.contains("https://evil.example") && !headers.contains_key("x-evil"), "{name}: {said}");
        let opened = ["\"url\":\"javascript", "](javascript", "\"href\":\"javascript"];
        assert!(opened.iter().all(|opened| !said.contains(opened)), "{name}: {said}");
    }
}

#[tokio::test]
async fn what_a_server_answers_decides_whether_it_is_tried_again_and_no_error_holds_the_secret() {
    use PortErrorKind as K;
    let (receiver, url) = Receiver::serve((200, vec![], String::new())).await;
    let (discord, teams, pagerduty) = (discord(&url), teams(&url), pagerduty(&url));
    let unknown = r#"{"message": "Unknown Webhook hunter2", "code": 10015}"#;
    let limited = r#"{"message": "You are being rate limited.", "retry_after": 12.4, "global": false}"#;
    let forum = r#"{"message": "Webhooks posted to forum channels must have a thread_name", "code": 220001}"#;
    let gone = r#"{"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "hunter2"}}"#;
    let old =
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x";
    let invalid = format!(r#"{{"status": "invalid event", "message": "x", "errors": ["'summary' is missing {KEY}"]}}"#);
    let key = r#"{"status": "invalid event", "message": "x", "errors": ["Invalid routing key"]}"#;
    for (channel, status, headers, body, kind, retry_after, part) in [
        (&discord, 404, &[][..], unknown, K::Unauthorized, None, "set the secret anew"),
        (&discord, 401, &[], "{}", K::Unauthorized, None, "set the secret anew"),
        (&discord, 429, &[("retry-after", "99")], limited, K::RateLimited, Some(13), "no more just now"),
        (&discord, 429, &[("retry-after", "7")], "<html>", K::RateLimited, Some(7), "429"),
        (&discord, 400, &[], forum, K::Invalid, None, "threadId"),
        (&discord, 400, &[], r#"{"code": 50035}"#, K::Invalid, None, "50035"),
        (&discord, 404, &[], r#"{"code": 10003}"#, K::Invalid, None, "threadId"),
        (&discord, 502, &[], "hunter2", K::Unavailable, None, "502"),
        (&discord, 302, &[("location", "http://169.254.169.254/")], "", K::Protocol, None, "not followed"),
        (&teams, 404, &[], gone, K::Unauthorized, None, "WorkflowTriggerIsNotEnabled"),
        (&teams, 401, &[], r#"{"error": {"code": "hunter2 <x>"}}"#, K::Unauthorized, None, "set the secret anew"),
        (&teams, 429, &[("retry-after", "30")], "", K::RateLimited, Some(30), "429"),
        (&teams, 200, &[], old, K::RateLimited, None, "Teams did not"),
        (&teams, 400, &[], "{}", K::Invalid, None, "400"),
        (&teams, 413, &[], "", K::Invalid, None, "size"),
        (&teams, 500, &[], "", K::Unavailable, None, "500"),
        (&pagerduty, 400, &[], &invalid, K::Invalid, None, "'summary' is missing [redacted]"),
        (&pagerduty, 400, &[], key, K::Unauthorized, None, "Invalid routing key"),
        (&pagerduty, 400, &[], "hunter2", K::Invalid, None, "400"),
        (&pagerduty, 429, &[("retry-after", "60")], "", K::RateLimited, Some(60), "429"),
        (&pagerduty, 503, &[], "", K::Unavailable, None, "503"),
    ] {
        receiver.says(status, headers, body);
        let before = receiver.count();
        let error = channel.send(&cx(), &asking()).await.err().unwrap_or_else(|| panic!("{status} {body}"));
        let text = format!("{error} {error:?}");
        assert_eq!((error.kind, error.retry_after.map(|wait| wait.as_secs())), (kind, retry_after), "{text}");
        assert!(text.contains(part), "{part}: {text}");
        assert!(!text.contains("hunter2") && !text.contains(KEY) && !text.contains("sig="), "{text}");
        assert_eq!(receiver.count(), before + 1, "an implementation does not try again by itself");
    }
    // A body without an end is not read to it.
    receiver.says(500, &[], "x".repeat(10_000_000));
    for channel in [&discord, &teams, &pagerduty] {
        assert_eq!(channel.send(&cx(), &asking()).await.unwrap_err().kind, K::Unavailable);
    }
}

#[tokio::test]
async fn who_never_answers_or_is_gone_is_an_error_in_time_without_the_secret() {
    let (receiver, url) = Receiver::serve((200, vec![], String::new())).await;
    receiver.hangs(true);
    for channel in [discord(&url), teams(&url), pagerduty(&url)] {
        let cx = CallContext::with_timeout(Duration::from_millis(100));
        for error in [channel.send(&cx, &asking()).await.unwrap_err(), channel.check(&cx).await.unwrap_err()] {
            assert!(error.kind == PortErrorKind::Timeout && !error.to_string().contains("hunter2"), "{error}");
        }
        let cx = CallContext::with_timeout(Duration::from_secs(60));
        cx.cancel.cancel();
        assert_eq!(channel.send(&cx, &asking()).await.unwrap_err().kind, PortErrorKind::Unavailable);
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    for channel in [discord(&url), teams(&url), pagerduty(&url)] {
        let error = channel.send(&cx(), &asking()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            error.kind == PortErrorKind::Unavailable && !text.contains("hunter2") && !text.contains("/api"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn discord_is_asked_to_wait_in_a_thread_if_there_is_one_and_to_mention_nobody() {
    let (receiver, url) = Receiver::serve((200, vec![], r#"{"id": "1"}"#.into())).await;
    let config = json!({ "allowedHost": url, "threadId": " 1093298736472928316 " });
    let thread = notifier("discord", config, &format!("{url}/api/v10/webhooks/42/hunter2"));
    thread.send(&cx(), &asking()).await.unwrap();
    let (path, _, body) = receiver.last();
    assert_eq!(path, "/api/v10/webhooks/42/hunter2?wait=true&thread_id=1093298736472928316");
    assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    assert_eq!(body["embeds"][0]["url"], "https://rounds.example/plans/1");
}

#[tokio::test]
async fn teams_gets_an_adaptive_card_that_opens_the_page() {
    let (receiver, url) = Receiver::serve((202, vec![], String::new())).await;
    teams(&url).send(&cx(), &asking()).await.unwrap();
    let (path, _, body) = receiver.last();
    assert_eq!(path, "/workflows/x/invoke?sp=1&sig=hunter2");
    let attachment = &body["attachments"][0];
    assert_eq!(
        (&body["type"], &attachment["contentType"]),
        (&json!("message"), &json!("application/vnd.microsoft.card.adaptive"))
    );
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    let open =
        json!([{ "type": "Action.OpenUrl", "title": "Open in Rounds", "url": "https://rounds.example/plans/1" }]);
    assert_eq!(card["actions"], open);
}

#[tokio::test]
async fn pagerduty_opens_and_closes_one_incident_for_one_thing() {
    let (receiver, url) = Receiver::serve((202, vec![], r#"{"status": "success"}"#.into())).await;
    let channel = pagerduty(&format!("{url}/relay/"));
    let proposed = asking();
    channel.send(&cx(), &proposed).await.unwrap();
    let (path, _, begun) = receiver.last();
    assert_eq!(path, "/relay/v2/enqueue");
    assert_eq!((&begun["routing_key"], &begun["event_action"]), (&json!(KEY), &json!("trigger")));
    assert_eq!(begun["links"], json!([{ "href": "https://rounds.example/plans/1", "text": "Open in Rounds" }]));
    let payload = &begun["payload"];
    assert_eq!((&payload["source"], &payload["component"]), (&json!("prod-eu"), &json!("app")));
    assert_eq!((&payload["severity"], &payload["class"]), (&json!("warning"), &json!("plan_proposed")));
    assert_eq!(payload["custom_details"]["tier"], "write");
    let mut ended = Notice::new(NoticeKind::PlanEnded, "plan/1/completed", Timestamp::UNIX_EPOCH, "Plan completed");
    ended.about.clone_from(&proposed.about);
    channel.send(&cx(), &ended).await.unwrap();
    let expected = json!({ "routing_key": KEY, "event_action": "resolve", "dedup_key": begun["dedup_key"] });
    assert_eq!(receiver.last().2, expected);
}

#[tokio::test]
async fn a_test_of_a_channel_disturbs_nobody() {
    let webhook =
        json!({ "id": "42", "name": "rounds hunter2 \u{202E}", "channel_id": "7", "token": "hunter2" }).to_string();
    let (receiver, url) = Receiver::serve((200, vec![], webhook)).await;
    let checked = discord(&url).check(&cx()).await.unwrap();
    assert_eq!((receiver.method().as_str(), receiver.last().0.as_str()), ("GET", "/api/webhooks/42/hunter2"));
    assert!(checked.facts["channel"] == "7" && !format!("{checked:?}").contains("hunter2"), "{checked:?}");
    receiver.says(200, &[], "<html>");
    assert_eq!(discord(&url).check(&cx()).await.unwrap_err().kind, PortErrorKind::Protocol);

    receiver.says(404, &[], "");
    let checked = teams(&url).check(&cx()).await.unwrap();
    assert_eq!(
        (receiver.method().as_str(), receiver.last().0.as_str()),
        ("HEAD", "/"),
        "not the workflow's own address"
    );
    assert!(checked.message.contains("none was") && !format!("{checked:?}").contains("hunter2"), "{checked:?}");

    receiver.says(202, &[], r#"{"status": "success"}"#);
    let checked = pagerduty(&url).check(&cx()).await.unwrap();
    let sent = json!({ "routing_key": KEY, "event_action": "resolve", "dedup_key": "rounds/check" });
    assert_eq!(receiver.last().2, sent);
    assert!(checked.message.contains("nobody was paged"), "{checked:?}");
}

#[tokio::test]
async fn an_address_of_somebody_else_is_not_posted_to() {
    let (receiver, url) = Receiver::serve((200, vec![], String::new())).await;
    let port = url.rsplit(':').next().unwrap();
    for (kind, config, secret) in [
        ("discord", json!({}), format!("{url}/api/webhooks/42/hunter2")),
        ("discord", json!({}), "https://discord.com.evil.example/api/webhooks/42/hunter2".into()),
        ("discord", json!({}), "https://evildiscord.com/api/webhooks/42/hunter2".into()),
        ("discord", json!({}), "http://discord.com/api/webhooks/42/hunter2".into()),
        ("discord", json!({}), "https://discord.com:8443/api/webhooks/42/hunter2".into()),
        (
            "discord",
            json!({ "allowedHost": format!("http://127.0.0.1:{}", port.parse::<u16>().unwrap() ^ 1) }),
            format!("{url}/hunter2"),
        ),
        ("discord", json!({ "allowedHost": format!("127.0.0.1:{port}") }), format!("{url}/hunter2")),
        ("teams", json!({}), "https://logic.azure.com/hunter2".into()),
        ("teams", json!({}), "https://evil-logic.azure.com.example/hunter2".into()),
        ("teams", json!({}), "https://xlogic.azure.com/hunter2".into()),
        ("teams", json!({}), format!("{url}/hunter2")),
    ] {
        let channel = notifier(kind, config, &secret);
        for error in [channel.send(&cx(), &asking()).await.unwrap_err(), channel.check(&cx()).await.unwrap_err()] {
            let text = format!("{error} {error:?}");
            assert!(text.contains("`allowedHost`") && text.contains("Nothing was posted"), "{secret}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn rule_12_no_secret_is_shown_and_nothing_inside_is_called_unless_it_is_allowed() {
    let registry = Registry::linked().unwrap();
    for (kind, config) in [
        ("discord", json!({ "allowedHost": "http://127.0.0.1:1" })),
        ("teams", json!({ "allowedHost": "169.254.169.254" })),
        ("pagerduty", json!({ "apiUrl": "http://[::ffff:10.0.0.1]/" })),
    ] {
        let error = registry.check_on(kind, &config, Arc::new(Host::default())).unwrap_err().to_string();
        assert!(error.contains("ROUNDS_OUTBOUND_ALLOW"), "{kind}: {error}");
    }
    for (kind, wrong, field) in [
        ("discord", json!({ "threadId": "general" }), "threadId"),
        ("discord", json!({ "allowedHost": "https://relay.example/path" }), "allowedHost"),
        ("discord", json!({ "allowedHost": "https://me:hunter2@relay.example" }), "allowedHost"),
        ("discord", json!({ "timeoutSec": 0 }), "timeoutSec"),
        ("discord", json!({ "url": "https://hunter2" }), "url"),
        ("teams", json!({ "allowedHost": "two words" }), "allowedHost"),
        ("teams", json!({ "timeoutSec": 61 }), "timeoutSec"),
        ("pagerduty", json!({ "region": "asia" }), "us"),
        ("pagerduty", json!({ "apiUrl": "https://x.example/?key=hunter2" }), "apiUrl"),
        ("pagerduty", json!({ "routingKey": "hunter2" }), "routingKey"),
    ] {
        let error = registry.check(kind, &wrong).unwrap_err().to_string();
        assert!(error.contains(field) && !error.contains("hunter2"), "{kind} {field}: {error}");
    }
    for (kind, secret) in [
        ("discord", "hunter2"),
        ("discord", "ftp://discord.com/hunter2"),
        ("discord", "https://me:hunter2@discord.com/"),
        ("teams", "https://x.logic.azure.com/#hunter2"),
        ("pagerduty", "hunter2"),
        ("pagerduty", "https://events.pagerduty.com/integration/hunter2/enqueue"),
    ] {
        let cx = BuildContext::new("x", SecretHandle::none(), Arc::new(Host::default()));
        let error = registry.get(kind).unwrap().check_secret(&cx, &secret.into()).unwrap_err().to_string();
        assert!(error.contains("expected") && !error.contains("hunter2"), "{kind}: {error}");
        // And what was stored in another way is refused when it is used.
        let host = Host { outbound: Outbound::loopback(), ..Host::default() };
        let channel = crate::receiver::notifier_on(host, kind, json!({}), secret);
        let error = channel.send(&crate::receiver::cx(), &asking()).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("hunter2"), "{error}");
    }
    let cx = || BuildContext::new("x", SecretHandle::inline("hunter2".into()), Arc::new(Host::default()));
    use rounds_connectors::notifiers::{Discord, Pagerduty, Teams};
    let shown = [
        format!("{:?}", Discord::new(cx(), serde_json::from_value(json!({})).unwrap()).unwrap()),
        format!("{:?}", Teams::new(cx(), serde_json::from_value(json!({})).unwrap()).unwrap()),
        format!("{:?}", Pagerduty::new(cx(), serde_json::from_value(json!({ "region": "eu" })).unwrap()).unwrap()),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("hunter2")), "{shown:?}");
    assert!(shown[2].contains("https://events.eu.pagerduty.com/v2/enqueue"), "{shown:?}");
}
