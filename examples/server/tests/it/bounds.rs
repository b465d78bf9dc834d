//! Every answer carries its headers, begins in time, and says nothing of what is inside.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{self, Answer};

#[tokio::test(flavor = "multi_thread")]
async fn pages_assets_errors_and_streams_all_carry_the_security_headers() {
    let server = support::empty().await;
    let admin = server.admin().await;
    for (method, path) in [
        (Method::GET, "/login"),
        (Method::GET, "/account"),
        (Method::GET, "/actions"),
        (Method::GET, "/no/such/page"),
        (Method::GET, "/plans/none"),
        (Method::GET, "/assets/app.css"),
        (Method::GET, "/assets/none.js"),
        (Method::GET, "/api/user"),
        (Method::GET, "/api/none"),
        (Method::GET, "/api/events"),
        (Method::GET, "/api/openapi.json"),
        (Method::GET, "/metrics"),
        (Method::PATCH, "/login"),
        (Method::POST, "/login"),
        (Method::POST, "/api/plans"),
    ] {
        // Only the head: a stream has no end.
        let answer = admin.request(method.clone(), path).send().await.unwrap();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.headers().get(name).map(|found| found.to_str().unwrap()), Some(value), "{method} {path}");
        }
        let csp = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"), "{method} {path}: {csp}");
        assert!(answer.headers().contains_key("cache-control"), "{method} {path}");
        assert!(!answer.headers().contains_key("strict-transport-security"), "{method} {path}: this is no TLS");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_to_keep_to_tls_over_tls_and_only_then() {
    for (trusted, expected) in [(true, true), (false, false)] {
        let server = support::with(|settings| settings.trust_proxy = trusted).await;
        for path in ["/login", "/api/none", "/assets/app.css"] {
            let request = server.anonymous().request(Method::GET, path).header("x-forwarded-proto", "https");
            let answer = Answer::read(request, path.into()).await;
            assert_eq!(answer.headers.contains_key("strict-transport-security"), expected, "{path}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_begin_in_time_is_given_up_and_says_so() {
    let server = support::with(|settings| settings.answer_within = Duration::from_millis(1500)).await;
    let admin = server.admin().await;
    let draft = json!({ "type": "silent", "name": "silent", "config": { "key": "x" } });
    let made = admin.post("/api/connectors", draft).await.expect(201);
    let id = made["connector"]["id"].as_str().unwrap().to_owned();
    let refused = admin.post(&format!("/api/connectors/{id}/test"), json!({})).await;
    assert!(refused.headers.contains_key("retry-after") && refused.headers.contains_key("content-security-policy"));
    let message = refused.refused(503, "timeout");
    assert!(message.contains("1.5 s"), "{message}");
    // A page says it as a page.
    let page = admin.form(&format!("/settings/connectors/{id}/test"), &[]).await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.body.as_str().unwrap().contains("<!doctype html>"), "{}", page.body);
    // What was asked to wait may: nothing decides this plan.
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    server.adapter.script(rounds_core::testing::FakeOutcome::Hang(std::sync::Arc::default()));
    let path = format!("/api/plans/{}/approve?wait=3", plan["id"].as_str().unwrap());
    let waited = admin.post(&path, json!({})).await.expect(200);
    assert_eq!(waited["outcome"]["kind"], "paused_for_approval", "{waited}");
    // A stream begins in time and goes on.
    let mut stream = admin.request(Method::GET, "/api/events").send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert!(stream.chunk().await.unwrap().is_some());
    admin.post(&format!("/api/plans/{}/cancel", plan["id"].as_str().unwrap()), json!({})).await.expect(200);
    let next = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.expect("the stream goes on");
    assert!(next.unwrap().is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_and_one_that_does_not_end_are_refused() {
    let server = support::with(|settings| settings.answer_within = Duration::from_secs(2)).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/login HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\
         connection: close\r\n\r\n{{\"user\":"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_string(&mut answer)).await;
    read.expect("the server does not wait for ever").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("slow_body"), "{answer}");

    let large = "x".repeat(1024 * 1024 + 1);
    let body = json!({ "user": large, "password": "x" });
    server.anonymous().post("/api/login", body).await.refused(413, "too_large");
    let form = server.anonymous().form("/login", &[("user", &large)]).await;
    assert_eq!(form.status, 413);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sql_path_or_trace_is_in_an_answer_when_the_store_fails() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let agent = server.agent(&admin).await;
    let connector = server.connector(&admin).await;
    let plan = admin.propose(&connector, &[["scale", "app/web"]]).await;
    let plan = plan["id"].as_str().unwrap().to_owned();
    let id = rounds_core::PlanId::new().to_string();
    let document = admin.get("/api/openapi.json").await.expect(200);
    let mut asked: Vec<(Method, String)> = ["/account", "/actions", "/alerts", "/admin/audit", "/investigations"]
        .into_iter()
        .map(|page| (Method::GET, page.to_owned()))
        .chain([(Method::GET, format!("/plans/{plan}")), (Method::POST, "/api/login".to_owned())])
        .collect();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // Streams have no end, and these two read no table.
        if path.contains("/stream") || ["/api/events", "/api/openapi.json", "/metrics"].contains(&path.as_str()) {
            continue;
        }
        let path = path.replace("/api/plans/{id}", &format!("/api/plans/{plan}"));
        let parts = path.split('/').map(|part| if part.starts_with('{') { id.as_str() } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        for (method, _) in methods.as_object().unwrap() {
            asked.push((Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap(), path.clone()));
        }
    }
    asked.retain(|(_, path)| path != "/api/logout");
    let mut failed = 0;
    // First what handlers read, then what tells who is asking.
    for drop in [&["plan", "alert_rule", "investigation", "connector", "audit", "setting"][..], &["access_grant"]] {
        for table in drop {
            server.sql(&format!("PRAGMA foreign_keys = OFF; DROP TABLE rounds_{table}")).await;
        }
        for (method, path) in &asked {
            let body = match path.as_str() {
                "/api/login" => json!({ "user": "root", "password": support::PASSWORD }),
                _ => json!({}),
            };
            for client in [&admin, &agent] {
                let body = (*method != Method::GET).then(|| body.clone());
                let answer = client.call(method.clone(), path, body).await;
                if !answer.status.is_server_error() {
                    continue;
                }
                failed += 1;
                let said = answer.body.to_string();
                for inside in ["table", "rounds_", "SELECT", "sqlite", "SQLite", "sqlx", "Query", ".rs:", "rounds.db"] {
                    assert!(!said.contains(inside), "{method} {path}: {said}");
                }
            }
        }
    }
    assert!(failed > 60, "only {failed} answers failed");
    server.stop().await;
}
