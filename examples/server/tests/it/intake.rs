//! Alerts of others: real Alertmanagers that gossip, and Grafana's notices.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rounds_core::investigation::Findings;
use rounds_core::ports::{FiredAlert, Investigator, PortError, Toolbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::support::{self, Client};

/// Looks at nothing and concludes so.
struct Glance;

#[async_trait]
impl Investigator for Glance {
    fn name(&self) -> &str {
        "glance"
    }

    async fn investigate(&self, _: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let summary = alert.annotations.get("summary").cloned().unwrap_or_default();
        Ok(Findings { summary: format!("looked at: {summary}"), ..Findings::default() })
    }
}

fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A receiver between Alertmanager and the server that answers 500 to every second message: the first of those were passed on,
/// the others were not.
#[derive(Clone)]
struct Flaky {
    to: Client,
    seen: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

async fn pass_on(State(flaky): State<Flaky>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let number = flaky.seen.fetch_add(1, Ordering::SeqCst);
    if number % 4 == 1 {
        flaky.failed.fetch_add(1, Ordering::SeqCst);
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let mut request = flaky.to.http.post(format!("{}/api/alerts/alertmanager", flaky.to.url)).body(body);
    for name in ["authorization", "content-type"] {
        request = request.header(name, headers.get(name).cloned().unwrap());
    }
    let status = request.send().await.unwrap().status();
    if number % 4 == 0 {
        // It arrived, and the sender does not know.
        flaky.failed.fetch_add(1, Ordering::SeqCst);
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    flaky.taken.fetch_add(usize::from(status.is_success()), Ordering::SeqCst);
    StatusCode::from_u16(status.as_u16()).unwrap()
}

fn alertmanager(dir: &Path, receiver: &str, token: &str, ports: [u16; 2], peer: u16) -> Child {
    std::fs::create_dir_all(dir).unwrap();
    let config = format!(
        "route:\n  receiver: rounds\n  group_by: [alertname]\n  group_wait: 1s\n  group_interval: 1s\n  repeat_interval: 2s\n\
         receivers:\n- name: rounds\n  webhook_configs:\n  - url: {receiver}\n    send_resolved: true\n    http_config:\n      \
         authorization:\n        credentials: {token}\n"
    );
    let file = dir.join("alertmanager.yml");
    std::fs::write(&file, config).unwrap();
    Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", ports[0]))
        .arg(format!("--cluster.listen-address=127.0.0.1:{}", ports[1]))
        .arg(format!("--cluster.advertise-address=127.0.0.1:{}", ports[1]))
        .arg(format!("--cluster.peer=127.0.0.1:{peer}"))
        .args(["--cluster.peer-timeout=1s", "--cluster.settle-timeout=2s", "--cluster.gossip-interval=50ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("prometheus-alertmanager is installed: make deps-test")
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("this never happened: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gossiping_alertmanagers_and_a_receiver_that_fails_at_times_lead_to_one_investigation() {
    let server = support::investigating(Glance).await;
    let admin = server.admin().await;
    server.agent(&admin).await;
    let sender =
        admin.post("/api/serviceaccounts", json!({ "name": "alertmanager", "role": "Editor" })).await.expect(201);
    let path = format!("/api/serviceaccounts/{}/tokens", sender["id"].as_str().unwrap());
    let token = admin.post(&path, json!({ "name": "webhook" })).await.expect(201);
    let token = token["key"].as_str().unwrap();
    let flaky = Flaky { to: server.anonymous(), seen: Arc::default(), failed: Arc::default(), taken: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(pass_on)).with_state(flaky.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let dir = tempfile::tempdir().unwrap();
    let (one, two) = ([free_port(), free_port()], [free_port(), free_port()]);
    let _first = alertmanager(&dir.path().join("1"), &receiver, token, one, two[1]);
    let _second = alertmanager(&dir.path().join("2"), &receiver, token, two, one[1]);
    let both = [one[0], two[0]].map(|port| format!("http://127.0.0.1:{port}"));
    let http = reqwest::Client::new();
    until("they are a cluster of two", async || {
        for url in &both {
            let Ok(answer) = http.get(format!("{url}/api/v2/status")).send().await else { return false };
            let status: Value = answer.json().await.unwrap_or_default();
            if status["cluster"]["peers"].as_array().is_none_or(|peers| peers.len() < 2)
                || status["cluster"]["status"] != "ready"
            {
                return false;
            }
        }
        true
    })
    .await;
    let starts = chrono::Utc::now();
    let alert = |over: bool| {
        let mut alert = json!({
            "labels": { "alertname": "HighErrorRate", "severity": "critical", "namespace": "shop" },
            "annotations": { "summary": "Too many errors in shop" },
            "startsAt": starts,
            "generatorURL": "http://prometheus:9090/graph?g0.expr=rate%28errors%5B5m%5D%29+%3E+1&g0.tab=1",
        });
        if over {
            alert["endsAt"] = json!(chrono::Utc::now());
        }
        json!([alert])
    };
    // As Prometheus does: to all of them, again and again.
    let tell = async |over: bool| {
        for url in &both {
            let answer = http.post(format!("{url}/api/v2/alerts")).json(&alert(over)).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
    };
    until("several notices arrived and several failed", async || {
        tell(false).await;
        flaky.failed.load(Ordering::SeqCst) >= 3 && flaky.taken.load(Ordering::SeqCst) >= 3
    })
    .await;
    let rules = admin.until("/api/alert-rules", |found| found["list"][0]["state"] == "firing").await;
    let rule = &rules["list"][0];
    assert_eq!(rules["total"], 1);
    assert_eq!(rule["name"], "alertmanager/HighErrorRate");
    assert_eq!((&rule["source"], &rule["severity"]), (&json!("alertmanager"), &json!("critical")));
    assert_eq!(rule["condition"]["query"], "rate(errors[5m]) > 1");
    assert_eq!(rule["instances"][0]["labels"]["namespace"], "shop");
    let found = admin.until("/api/investigations", |found| found[0]["status"] == "completed").await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let id = found[0]["id"].as_str().unwrap();
    let report = admin.get(&format!("/api/investigations/{id}/report")).await.expect(200);
    assert!(report.to_string().contains("looked at: Too many errors in shop"), "{report}");

    until("its end arrives", async || {
        tell(true).await;
        admin.get("/api/alert-rules").await.expect(200)["list"][0]["state"] == "resolved"
    })
    .await;
    let all = admin.get("/api/investigations").await.expect(200);
    assert_eq!(all.as_array().unwrap().len(), 1, "exactly one: {all}");
    let rule = rule["id"].as_str().unwrap();
    let history = admin.get(&format!("/api/alert-rules/{rule}/history")).await.expect(200);
    let moves: Vec<_> = history.as_array().unwrap().iter().map(|row| row["toState"].as_str().unwrap()).collect();
    assert_eq!(moves, ["resolved", "firing"]);
    let page = admin.get(&format!("/alerts/{rule}")).await.expect(200).to_string();
    assert!(page.contains("alertmanager evaluates this rule") && page.contains("namespace=shop"), "{page}");
    server.stop().await;
}

#[tokio::test]
async fn a_notice_of_grafana_is_taken_and_what_cannot_be_taken_is_named() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let alert = |name: Option<&str>, fingerprint: &str| {
        let mut labels = json!({ "grafana_folder": "shop", "severity": "page" });
        if let Some(name) = name {
            labels["alertname"] = json!(name);
        }
        json!({
            "status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-11-28T10:00:00+01:00",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "https://grafana/alerting/grafana/x/view",
            "fingerprint": fingerprint, "silenceURL": "https://grafana/silence", "dashboardURL": "", "panelURL": "",
            "values": { "B": 44.25 }, "valueString": "[ var='B' value=44.25 ]", "orgId": 1,
        })
    };
    let notice = json!({
        "receiver": "rounds", "status": "firing", "orgId": 1, "version": "1", "groupKey": "{}:{}", "truncatedAlerts": 2,
        "title": "[FIRING:2]", "state": "alerting", "message": "…", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "https://grafana/", "alerts": [alert(Some("Slow"), "c6e1f2"), alert(None, "aa")],
    });
    let taken = admin.post("/api/alerts/grafana?source=grafana-eu", notice.clone()).await.expect(200);
    assert_eq!((&taken["fired"], &taken["ignored"][0]["fingerprint"]), (&json!(1), &json!("aa")));
    assert!(taken["ignored"][0]["reason"].as_str().unwrap().contains("alertname"), "{taken}");
    assert!(taken["warnings"][0].as_str().unwrap().contains("left out 2 alerts"), "{taken}");
    let rules = admin.get("/api/alert-rules").await.expect(200);
    let rule = &rules["list"][0];
    assert_eq!((&rule["name"], &rule["severity"]), (&json!("grafana-eu/Slow"), &json!("critical")));
    assert_eq!((&rule["lastValue"], &rule["firingSince"]), (&json!(44.25), &json!("2026-11-28T09:00:00Z")));
    // The same once more is nothing new, and another version is refused whole.
    assert_eq!(admin.post("/api/alerts/grafana?source=grafana-eu", notice.clone()).await.expect(200)["unchanged"], 1);
    let refused = admin.post("/api/alerts/alertmanager", notice).await.refused(400, "bad_request");
    assert!(refused.contains("version: found `1`; `4` is accepted"), "{refused}");
    server.stop().await;
}
