//! Dead letters over HTTP: the API, the page and what `/metrics` says of them.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, Client, Server};

/// A server with a channel that is down for good, and as many dead letters as plans were proposed.
async fn with_dead(count: usize) -> (Server, Client, String, String) {
    let server = support::with(|settings| settings.core.notice_attempts = 1).await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let draft = json!({ "type": "pager", "name": "pager", "config": { "key": server.key() } });
    let made = admin.post("/api/connectors", draft).await.expect(201);
    let channel = made["connector"]["id"].as_str().unwrap().to_owned();
    support::break_pager(server.key(), true);
    for _ in 0..count {
        admin.propose(&connector, &[["scale", "app/web"]]).await;
    }
    admin.until("/api/dead-letters", |found| found["total"] == json!(count)).await;
    (server, admin, connector, channel)
}

fn list(found: &Value) -> &Vec<Value> {
    found["deadLetters"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_retried_and_discarded_over_the_api() {
    let (server, admin, _, channel) = with_dead(3).await;
    let all = admin.get("/api/dead-letters").await.expect(200);
    let first = &list(&all)[0];
    assert_eq!(first["to"], json!({ "type": "channel", "channelId": channel, "name": "pager" }));
    assert_eq!(
        (&first["what"], &first["status"], &first["attempts"]),
        (&json!("plan_proposed"), &json!("dead"), &json!(1))
    );
    assert_eq!(first["lastError"], "the pager is down");
    assert!(first["link"].as_str().unwrap().starts_with("/plans/") && first["idempotencyKey"].is_string());

    // Page by page, as the Link header says.
    let page = admin.get(&format!("/api/dead-letters?limit=2&channelId={channel}")).await;
    let next = page.headers["link"].to_str().unwrap().to_owned();
    let next = next.trim_start_matches('<').split('>').next().unwrap().to_owned();
    assert_eq!(list(&page.expect(200)).len(), 2);
    let rest = admin.get(&next).await;
    assert!(rest.headers.get("link").is_none());
    assert_eq!(list(&rest.expect(200))[0], list(&all)[2]);
    assert!(list(&admin.get("/api/dead-letters?sink=bus").await.expect(200)).is_empty());
    let both = admin.get(&format!("/api/dead-letters?sink=bus&channelId={channel}")).await.refused(400, "bad_request");
    assert!(both.contains("one of them is accepted"), "{both}");

    support::break_pager(server.key(), false);
    let id = |letter: usize| list(&all)[letter]["id"].as_str().unwrap().to_owned();
    admin.delete(&format!("/api/dead-letters/{}", id(0))).await.expect(204);
    admin.delete(&format!("/api/dead-letters/{}", id(0))).await.refused(404, "not_found");
    let retried = admin.post(&format!("/api/dead-letters/{}/retry", id(1)), json!({})).await.expect(200);
    assert_eq!((&retried["status"], &retried["attempts"]), (&json!("pending"), &json!(0)));
    let answer = admin.post("/api/dead-letters/retry", json!({ "channelId": channel })).await.expect(200);
    assert_eq!(answer["retried"], 1);
    admin.post("/api/dead-letters/retry", json!({})).await.refused(400, "bad_request");
    for _ in 0..100 {
        if support::paged(server.key()).len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut told = support::paged(server.key());
    let mut expected: Vec<String> =
        [1, 2].map(|letter| list(&all)[letter]["idempotencyKey"].as_str().unwrap().to_owned()).into();
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "what was retried, and not what was discarded");
    let rows = admin.get("/api/admin/audit-log?targetType=dead_letter").await.expect(200);
    assert_eq!(rows["total"], 3, "who decided is in the log");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_dead_letters_and_decides_on_none_and_nor_does_an_agent() {
    let (server, admin, _, channel) = with_dead(1).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let agent = server.agent(&admin).await;
    let id = list(&viewer.get("/api/dead-letters").await.expect(200))[0]["id"].as_str().unwrap().to_owned();
    for (who, said) in [(&viewer, "vera needs connectors:write on connectors:*"), (&agent, "is an agent")] {
        let refusals = [
            who.post(&format!("/api/dead-letters/{id}/retry"), json!({})).await,
            who.delete(&format!("/api/dead-letters/{id}")).await,
            who.post("/api/dead-letters/retry", json!({ "channelId": channel })).await,
        ];
        for refused in refusals {
            let message = refused.refused(403, "forbidden");
            assert!(message.contains(said), "{message}");
        }
    }
    let page = viewer.get("/settings/notifications/dead-letters").await.expect(200);
    let page = page.as_str().unwrap();
    assert!(page.contains("needs connectors:write on connectors:*"), "a disabled button says what is missing");
    assert!(!page.contains("<button class=\"small\" aria-label=\"Retry"), "{page}");
    server.anonymous().get("/api/dead-letters").await.refused(401, "unauthorized");
    assert_eq!(admin.get("/api/dead-letters").await.expect(200)["total"], 1, "nothing of this changed anything");
    server.stop().await;
}

/// Posts a form as a browser without JavaScript does; answers the status of the page that it leads to, and its address.
async fn submit(client: &Client, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let csrf = client.csrf.clone().unwrap();
    let cookies = format!("rounds_session={}; rounds_csrf={csrf}", client.session.clone().unwrap());
    let body = fields.iter().chain(&[("csrf", csrf.as_str())]).fold(
        url::form_urlencoded::Serializer::new(String::new()),
        |mut body, (name, value)| {
            body.append_pair(name, value);
            body
        },
    );
    let mut body = body;
    let request = client
        .http
        .request(Method::POST, format!("{}{path}", client.url))
        .header("cookie", cookies)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.finish());
    let response = request.send().await.unwrap();
    let to = response.url().as_str().trim_start_matches(&client.url).to_owned();
    (response.status().as_u16(), to)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_failed_and_its_forms_retry_and_discard_without_javascript() {
    let (server, admin, _, channel) = with_dead(3).await;
    const PATH: &str = "/settings/notifications/dead-letters";
    let text = async |path: &str| admin.get(path).await.expect(200).as_str().unwrap().to_owned();
    let page = text(PATH).await;
    let letters = admin.get("/api/dead-letters").await.expect(200);
    let letter = |at: usize| list(&letters)[at].clone();
    for shown in [
        "Dead letters <span class=\"count\">3</span>",
        "the pager is down",
        "1 time<",
        "Retry all to pager",
        letter(0)["link"].as_str().unwrap(),
        letter(0)["idempotencyKey"].as_str().unwrap(),
        &format!("/settings/notifications/{channel}"),
    ] {
        assert!(page.contains(shown), "{shown} is shown in {page}");
    }
    // Where an operator looks: the tab on every page of settings, and the channel's row.
    assert!(text("/settings/connectors").await.contains("Dead letters <span class=\"pill danger\">3</span>"));
    let channels = text("/settings/notifications").await;
    assert!(channels.contains(&format!("{PATH}?channel={channel}\">3 dead</a>")), "{channels}");

    support::break_pager(server.key(), false);
    let id = |at: usize| letter(at)["id"].as_str().unwrap().to_owned();
    let discarded = submit(&admin, &format!("{PATH}/{}/discard", id(0)), &[]).await;
    assert_eq!(discarded, (200, format!("{PATH}?done=discarded")));
    let retried = submit(&admin, &format!("{PATH}/{}/retry", id(1)), &[]).await;
    assert_eq!(retried, (200, format!("{PATH}?done=resent")));
    // Too late: refused on the page, with its status.
    assert_eq!(submit(&admin, &format!("{PATH}/{}/retry", id(0)), &[]).await.0, 404);
    let all = submit(&admin, &format!("{PATH}/retry"), &[("channel", &channel)]).await;
    assert_eq!(all, (200, format!("{PATH}?done=resent")));
    let forged = Client { csrf: Some("forged".into()), ..admin.clone() };
    let forged = forged.http.post(format!("{}{PATH}/retry", server.url));
    let forged = forged.header("cookie", format!("rounds_session={}", admin.session.clone().unwrap()));
    let forged = forged.header("content-type", "application/x-www-form-urlencoded").body("csrf=forged&sink=a");
    assert_eq!(forged.send().await.unwrap().status(), 403);

    let page = text(&format!("{PATH}?done=resent")).await;
    assert!(page.contains("On its way again"));
    assert!(page.contains("Everything was delivered, or is on its way."), "{page}");
    assert!(!text("/settings/connectors").await.contains("pill danger\">"), "no badge without a letter");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_waits_for_each_channel() {
    let (server, admin, _, _) = with_dead(2).await;
    let metrics = admin.get("/metrics").await.expect(200);
    let metrics = metrics.as_str().unwrap();
    for line in [
        "rounds_outbox_notices{status=\"dead\"} 2",
        "rounds_outbox_backlog{kind=\"channel\",to=\"pager\",status=\"dead\"} 2",
        "rounds_outbox_backlog{kind=\"channel\",to=\"pager\",status=\"pending\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    server.stop().await;
}
