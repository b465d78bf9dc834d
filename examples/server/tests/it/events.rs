//! Server-sent events.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{self, Client};

/// Reads events until there are as many, or panics.
async fn read(
    client: &Client,
    path: &str,
    after: Option<u64>,
    count: usize,
    then: impl Future<Output = ()>,
) -> Vec<(u64, Value)> {
    let mut request = client.request(Method::GET, path);
    if let Some(after) = after {
        request = request.header("last-event-id", after.to_string());
    }
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut text, mut events) = (String::new(), Vec::new());
    // What is done once the stream is open.
    let first = response.chunk().await.unwrap().unwrap();
    text.push_str(std::str::from_utf8(&first).unwrap());
    then.await;
    while events.len() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("only {events:?} came")).unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some(end) = text.find("\n\n") {
            let block: String = text.drain(..end + 2).collect();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                events.push((id.parse().unwrap(), serde_json::from_str(data).unwrap()));
            }
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_after_the_last_event_that_was_seen_and_misses_none() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let viewer = server.user(&admin, "vera", "Viewer").await;
    let live = read(&viewer, "/api/events", None, 2, async {
        let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
        admin.post(&format!("/api/plans/{}/reject", plan["id"].as_str().unwrap()), json!({})).await.expect(200);
    })
    .await;
    assert_eq!((&live[0].1["name"], &live[0].1["subject"]), (&json!("proposed"), &json!("plan")));
    assert_eq!(live[1].0, live[0].0 + 1);
    let resumed = read(&viewer, "/api/events", Some(live[0].0), 1, async {}).await;
    assert_eq!(resumed[0], live[1]);
    let from_start = read(&viewer, "/api/events?lastEventId=0", None, 3, async {}).await;
    assert_eq!(from_start.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(from_start[0].1["subject"], "connector");
    viewer.request(Method::GET, "/api/events").header("last-event-id", "x").send().await.unwrap();
    server.anonymous().get("/api/events").await.refused(401, "unauthorized");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_investigations_stream_shows_it_and_ends_with_it() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let asked = admin.post("/api/investigations", json!({ "question": "why?" })).await.expect(201);
    let id = asked["id"].as_str().unwrap().to_owned();
    let stream = admin.request(Method::GET, &format!("/api/investigations/{id}/stream")).send().await.unwrap();
    admin.post(&format!("/api/investigations/{id}/cancel"), json!({})).await.expect(200);
    let text = tokio::time::timeout(Duration::from_secs(20), stream.text()).await.unwrap().unwrap();
    assert!(text.contains("event: done") && text.contains("\"cancelled\""), "{text}");
    let missing = rounds_core::InvestigationId::new();
    admin.get(&format!("/api/investigations/{missing}/stream")).await.refused(404, "not_found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_approvals_are_told_of_by_name_and_the_greeting_says_where_it_starts() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let mut stream = admin.request(Method::GET, "/api/events").send().await.unwrap();
    let mut text = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let head = text.lines().find_map(|line| line.strip_prefix("id:")).unwrap_or_else(|| panic!("{text}"));
    // Whoever comes back with what the greeting said misses nothing.
    let head: u64 = head.trim().parse().unwrap();
    let approve = format!("/api/approvals/{}/approve?wait=20", plan["approvalRequestId"].as_str().unwrap());
    let paused = admin.post(&approve, json!({})).await.expect(200);
    let step = paused["outcome"]["approvalRequestId"].clone();
    admin.post(&format!("/api/approvals/{}/approve?wait=20", step.as_str().unwrap()), json!({})).await.expect(200);
    while !text.contains("\"finish_step\"") || !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("only {text} came")).unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let resumed = read(&admin, "/api/events", Some(head), 1, async {}).await;
    assert_eq!(resumed[0].1["name"], "approve");
    let found: Vec<(String, Value)> = text
        .split("\n\n")
        .filter_map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let data: Value = serde_json::from_str(field("data:")?).unwrap();
            Some((field("event:")?.to_owned(), data))
        })
        .filter(|(event, _)| event != "plan")
        .collect();
    let names: Vec<_> = found.iter().map(|(event, data)| (event.as_str(), data["name"].as_str().unwrap())).collect();
    let expected = [
        ("approval", "approve"),
        ("approval", "request_step"),
        ("approval", "approve_step"),
        ("step", "start_step"),
        ("step", "finish_step"),
    ];
    assert_eq!(names, expected);
    for (_, data) in &found {
        assert_eq!(data["data"]["planId"], plan["id"]);
    }
    assert_eq!(found[0].1["data"]["approvalRequestId"], plan["approvalRequestId"]);
    for (_, data) in &found[1..3] {
        assert_eq!((&data["data"]["approvalRequestId"], &data["data"]["stepOrdinal"]), (&step, &json!(0)));
    }
    for (_, data) in &found[3..] {
        assert_eq!(data["data"]["stepOrdinal"], 0);
    }
    server.stop().await;
}
