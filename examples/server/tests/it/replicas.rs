//! Two servers on one PostgreSQL: real processes, a real Prometheus protocol, a kill.

#![allow(clippy::disallowed_methods, reason = "the tests spawn servers and are their clients, in real time")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::{Form, Json, Router};
use reqwest::Client;
use rounds_store::testing::TestDatabase;
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "correct-horse";

/// What speaks Prometheus here: every query answers 1, and when each was asked is kept.
#[derive(Clone, Default)]
struct Metrics(Arc<Mutex<HashMap<String, Vec<Instant>>>>);

impl Metrics {
    async fn serve(&self) -> String {
        let answer = async |State(metrics): State<Self>, Form(query): Form<HashMap<String, String>>| {
            let asked = query.get("query").cloned().unwrap_or_default();
            metrics.0.lock().unwrap().entry(asked).or_default().push(Instant::now());
            let sample = json!({ "metric": {}, "value": [1_700_000_000, "1"] });
            Json(json!({ "status": "success", "data": { "resultType": "vector", "result": [sample] } }))
        };
        let router = Router::new().fallback(answer).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn asked(&self) -> HashMap<String, Vec<Instant>> {
        self.0.lock().unwrap().clone()
    }
}

struct Server {
    child: Child,
    url: String,
    _data: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(database: &TestDatabase) -> (Child, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_rounds-server"))
        .env_clear()
        .env("HOME", data.path())
        .env("ROUNDS_DATA_DIR", data.path())
        .env("DATABASE_URL", database.url())
        .env("ROUNDS_SECRET_KEY", "a".repeat(64))
        .env("SEED_ADMIN_LOGIN", "ada")
        .env("SEED_ADMIN_PASSWORD", PASSWORD)
        .env("ROUNDS_ALLOW", "metrics:plain-http")
        .env("ROUNDS_OUTBOUND_ALLOW", "loopback")
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, data)
}

fn listening((mut child, data): (Child, TempDir)) -> Server {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url =
        line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it did not start: {line:?}")).to_owned();
    Server { child, url, _data: data }
}

/// A client that is signed in, with the token that its writes echo.
async fn signed_in(server: &Server) -> (Client, String) {
    let cookies = |answer: &reqwest::Response| -> Vec<String> {
        let set = answer.headers().get_all("set-cookie").iter();
        set.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
    };
    let (bare, login) = (Client::new(), json!({ "user": "ada", "password": PASSWORD }));
    let answer = bare.post(format!("{}/api/login", server.url)).json(&login).send().await.unwrap();
    let mut kept = cookies(&answer);
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    if !kept.iter().any(|cookie| cookie.starts_with("rounds_csrf=")) {
        let seen = bare.get(format!("{}/api/user", server.url)).header("cookie", kept.join("; ")).send().await.unwrap();
        kept.extend(cookies(&seen));
    }
    let csrf = kept.iter().find_map(|cookie| cookie.strip_prefix("rounds_csrf=")).unwrap_or_default().to_owned();
    let headers = [(reqwest::header::COOKIE, kept.join("; ").parse().unwrap())].into_iter().collect();
    (Client::builder().default_headers(headers).build().unwrap(), csrf)
}

async fn eventually(what: &str, done: impl AsyncFn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done().await {
        assert!(Instant::now() < limit, "this never happened: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_rules_and_one_that_is_killed_leaves_none_behind() {
    // An error says that another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = TestDatabase::create().await;
    // Both start on an empty database in the same moment: one migrates, one seeds, both serve.
    let starting = [spawn(&database), spawn(&database)];
    let [mut first, second] = starting.map(listening);
    let (client, csrf) = signed_in(&second).await;
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{}{path}", second.url)).header("x-csrf-token", &csrf).json(&body);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let get = async |path: &str| {
        let answer = client.get(format!("{}{path}", second.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let accounts = get("/api/serviceaccounts/search").await;
    assert_eq!(accounts["totalCount"], 1, "one service account was seeded: {accounts}");

    let metrics = Metrics::default();
    let url = metrics.serve().await;
    post("/api/connectors", json!({ "type": "prometheus", "name": "metrics", "config": { "url": url } })).await;
    for number in 0..20 {
        let rule = json!({ "name": format!("rule {number}"), "evaluationIntervalSec": 1, "severity": "high", "labels": {},
            "condition": { "query": format!("up_{number}"), "operator": ">", "threshold": 0.5, "forDurationSec": 0 } });
        post("/api/alert-rules", rule).await;
    }
    let firing = async || {
        let rules = get("/api/alert-rules").await;
        rules["list"].as_array().unwrap().iter().filter(|rule| rule["state"] == "firing").count()
    };
    eventually("every rule fires", async || firing().await == 20).await;
    // Exactly one investigation for each, whoever saw it fire; there is no token, so each is skipped and says why.
    eventually("every firing is answered", async || {
        let found = get("/api/investigations?limit=100").await;
        let found =
            found.as_array().or_else(|| found["list"].as_array()).or_else(|| found["investigations"].as_array());
        found.is_some_and(|all| all.len() == 20 && all.iter().all(|one| one["status"] == "skipped"))
    })
    .await;

    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let killed = Instant::now();
    eventually("every rule is asked again", async || {
        let asked = metrics.asked();
        (0..20).all(|number| asked[&format!("up_{number}")].iter().filter(|at| **at > killed).count() >= 3)
    })
    .await;
    // Two at once would ask more often than the interval. Creating a rule asks once, too.
    let seconds =
        metrics.asked().values().flat_map(|asked| asked.iter()).max().unwrap().duration_since(killed).as_secs();
    for (query, asked) in metrics.asked().into_iter().filter(|(query, _)| query.starts_with("up_")) {
        let after = asked.iter().filter(|at| **at > killed).count() as u64;
        assert!(after <= seconds + 3, "{query} was asked {after} times in {seconds} s");
    }
    let audit = get("/api/admin/audit-log/verify").await;
    assert_eq!(audit["ok"], true, "{audit}");
}
