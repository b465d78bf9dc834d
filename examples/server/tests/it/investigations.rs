//! An investigation that is watched: what it finds shows before it ends, and whatever it says is only text.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use rounds_core::investigation::{Confidence, Findings, RootCause, RuledOut, Section, ToolUse};
use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
use rounds_core::step::StepSpec;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support;

/// Closes whatever it is put into, if it is not escaped.
const HOSTILE: &str = "</h2>'\"><script>alert(1)</script><img src=x onerror=alert(1)>";

/// Reads once, notes what it has, and ends when it is told to.
#[derive(Clone, Default)]
struct Watched {
    go_on: Arc<Notify>,
}

#[async_trait]
impl Investigator for Watched {
    fn name(&self) -> &str {
        "watched"
    }

    async fn investigate(&self, tools: &dyn Toolbox, _: &FiredAlert) -> Result<Findings, PortError> {
        let connector = tools.connectors().remove(0);
        let reading = tools.read(connector.id, StepSpec::command(["get", "app/web"])).await.id;
        let mut call = ToolUse::new(HOSTILE, HOSTILE, tools.now());
        call.readings.push(reading);
        call.error = Some(HOSTILE.into());
        let mut findings = Findings {
            sections: vec![Section::new(HOSTILE, HOSTILE, [reading])],
            calls: vec![call],
            ..Findings::default()
        };
        tools.note(&findings);
        self.go_on.notified().await;
        findings.summary = HOSTILE.into();
        findings.root_cause = Some(RootCause::new(HOSTILE, [reading]).with_confidence(Confidence::High));
        findings.ruled_out = vec![RuledOut::new(HOSTILE, [reading])];
        findings.unknowns = vec![HOSTILE.into()];
        findings.limit = Some(format!("turns: {HOSTILE}"));
        findings.written_by = Some(HOSTILE.into());
        findings.prompt_version = Some(HOSTILE.into());
        Ok(findings)
    }
}

/// What a page is made of must not come from what was found.
#[track_caller]
fn assert_escaped(page: &str) {
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    for raw in ["<script>alert", "<img src=x", "</h2>'"] {
        assert!(!page.contains(raw), "{raw} in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_shows_before_the_run_ends_and_is_only_ever_text() {
    let watched = Watched::default();
    let server = support::investigating(watched.clone()).await;
    let admin = server.admin().await;
    server.agent(&admin).await;
    server.connector(&admin).await;
    let asked = admin.post("/api/investigations", json!({ "question": "What is it?" })).await.expect(201);
    let id = asked["id"].as_str().unwrap();
    let mut stream = admin.request(Method::GET, &format!("/api/investigations/{id}/stream")).send().await.unwrap();
    let mut text = String::new();
    let mut next = async || {
        loop {
            let Some(end) = text.find("\n\n") else {
                let chunk = stream.chunk().await.unwrap().expect("the stream ended");
                text.push_str(std::str::from_utf8(&chunk).unwrap());
                continue;
            };
            let block: String = text.drain(..end + 2).collect();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(event), Some(data)) = (field("event:"), field("data:")) {
                return (event.to_owned(), serde_json::from_str::<Value>(data).unwrap());
            }
        }
    };
    // A silent stream says that it is there, which is no event: the wait is for events.
    let mut next = async || tokio::time::timeout(Duration::from_secs(20), next()).await.expect("no event within 20 s");
    let seen = loop {
        let (event, seen) = next().await;
        assert_eq!(event, "investigation");
        if seen["sections"] != json!([]) {
            break seen;
        }
    };
    // It waits for the word to go on, which nobody has given.
    assert_eq!(seen["status"], "running");
    assert_eq!((&seen["sections"][0]["title"], &seen["evidence"][0]["id"]), (&json!(HOSTILE), &json!(1)));
    assert_eq!((&seen["rootCause"], &seen["writtenBy"]), (&Value::Null, &json!("watched")));
    let path = format!("/investigations/{id}");
    let page = admin.get(&path).await.body.as_str().unwrap().to_owned();
    assert_escaped(&page);
    for part in ["data-elapsed", "Not concluded yet", "href=\"#R1\"", "id=\"R1\"", "id=\"section-1\"", "id=\"calls\""] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("No cause was found"), "{page}");
    let list = admin.get("/investigations").await.body.as_str().unwrap().to_owned();
    assert!(list.contains("1 section and 1 reading so far"), "{list}");

    watched.go_on.notify_one();
    let done = loop {
        let (event, seen) = next().await;
        if event == "done" {
            break seen;
        }
    };
    assert_eq!((&done["status"], &done["rootCause"]["confidence"]), (&json!("completed"), &json!("high")));
    assert_eq!(done["ruledOut"], json!([{ "claim": HOSTILE, "citations": [1] }]));
    assert_eq!(done["limit"], format!("turns: {HOSTILE}"));
    assert_eq!((&done["writtenBy"], &done["promptVersion"]), (&json!(HOSTILE), &json!(HOSTILE)));
    assert_eq!((&done["calls"][0]["tool"], &done["calls"][0]["readings"]), (&json!(HOSTILE), &json!([1])));
    assert_eq!(done["modelUse"], Value::Null);
    let page = admin.get(&path).await.body.as_str().unwrap().to_owned();
    assert_escaped(&page);
    for part in ["high confidence", "id=\"limit\"", "AgentSettings::turns", "What it is not", "id=\"unknowns\""] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("data-elapsed"), "{page}");
    assert_escaped(admin.get("/investigations").await.body.as_str().unwrap());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_tells_what_an_investigation_has() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let document = admin.get("/api/openapi.json").await.expect(200);
    let properties = &document["components"]["schemas"]["Investigation"]["properties"];
    for name in ["ruledOut", "calls", "limit", "writtenBy", "promptVersion", "modelUse", "sections", "evidence"] {
        assert!(properties.get(name).is_some(), "{name} in {properties}");
    }
    assert!(document.to_string().contains("budget_spent"));
    server.stop().await;
}
