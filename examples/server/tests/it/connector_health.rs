//! One connector's failure is seen on its page, in the API and in the metrics, and stops nothing else.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};

use crate::support::{self, Client, Server};

/// A Prometheus that accepts each connection and answers nothing, until it does.
async fn prometheus(hangs: Arc<AtomicBool>) -> String {
    let app = Router::new().fallback(move || {
        let hangs = Arc::clone(&hangs);
        async move {
            if hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let now = chrono::Utc::now().timestamp();
            let result = json!([{ "metric": {}, "value": [now, "0"] }]);
            axum::Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result } }))
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn made(admin: &Client, draft: Value) -> String {
    let made = admin.post("/api/connectors", draft).await.expect(201);
    made["connector"]["id"].as_str().unwrap().to_owned()
}

async fn rule(admin: &Client, name: &str, datasource: &str, threshold: f64) -> String {
    let condition = json!({ "query": "up", "operator": ">", "threshold": threshold, "forDurationSec": 0 });
    let draft = json!({ "name": name, "condition": condition, "evaluationIntervalSec": 1, "severity": "high",
        "labels": {}, "datasourceId": datasource });
    admin.post("/api/alert-rules", draft).await.expect(201)["id"].as_str().unwrap().to_owned()
}

fn health<'a>(found: &'a Value, name: &str) -> &'a Value {
    let all = found["connectors"].as_array().unwrap();
    &all.iter().find(|connector| connector["name"] == name).unwrap()["health"]
}

async fn text(admin: &Client, path: &str) -> String {
    admin.get(path).await.expect(200).as_str().unwrap().to_owned()
}

/// The names of this server's connectors, which share the process's metrics with those of others.
fn named(server: &Server, name: &str) -> String {
    format!("{name}-{}", server.key())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datasource_that_hangs_and_a_channel_that_fails_are_named_and_stop_nothing_else() {
    let server = support::with(|settings| settings.core.query_timeout = Duration::from_secs(1)).await;
    let admin = server.admin().await;
    let (metrics, silent) = (named(&server, "metrics"), named(&server, "silent"));
    let (pager, broken) = (named(&server, "pager"), named(&server, "broken"));
    let hangs = Arc::new(AtomicBool::new(true));
    let url = prometheus(Arc::clone(&hangs)).await;
    let fixed = json!({ "key": server.key(), "value": 1.0 });
    let good = made(&admin, json!({ "type": "fixed", "name": metrics, "config": fixed, "isDefault": true })).await;
    let bad = made(&admin, json!({ "type": "prometheus", "name": silent, "config": { "url": url } })).await;
    let down = format!("{}-down", server.key());
    support::break_pager(&down, true);
    made(&admin, json!({ "type": "pager", "name": pager, "config": { "key": server.key() } })).await;
    made(&admin, json!({ "type": "pager", "name": broken, "config": { "key": down } })).await;
    assert_eq!(
        admin.get("/api/connectors").await.expect(200)["connectors"][0]["health"],
        Value::Null,
        "not called yet"
    );

    // Several rules on the one that hangs, so that it takes every place it can get.
    for number in 0..8 {
        rule(&admin, &format!("waits {number}"), &bad, 5.0).await;
    }
    let fires = rule(&admin, "fires", &good, 0.5).await;
    admin.until(&format!("/api/alert-rules/{fires}"), |rule| rule["state"] == "firing").await;
    let told = || support::paged(server.key()).len();
    for _ in 0..300 {
        if told() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(told(), 1, "the channel that works was told");

    let both =
        |found: &Value| health(found, &silent)["state"] == "failing" && health(found, &broken)["state"] == "failing";
    let found = admin.until("/api/connectors", both).await;
    assert_eq!(health(&found, &metrics)["state"], "ok");
    assert_eq!(health(&found, &pager)["state"], "ok");
    let why = health(&found, &silent);
    assert!(why["failingSince"].is_string() && why["consecutiveFailures"].as_u64().unwrap() >= 1, "{why}");
    assert_eq!(why["lastSuccessAt"], Value::Null);
    assert_eq!(health(&found, &broken)["lastFailure"], "the pager is down");

    let page = text(&admin, "/settings/datasources").await;
    assert_eq!(page.matches("failing since").count(), 1, "{page}");
    assert!(text(&admin, "/settings/notifications").await.contains("the pager is down"));
    let page = text(&admin, &format!("/settings/datasources/{bad}")).await;
    assert!(page.contains("id=\"health\"") && page.contains("pill danger\">failing"), "{page}");
    let page = text(&admin, &format!("/settings/datasources/{good}")).await;
    assert!(page.contains("pill ok\">works") && !page.contains("failing"), "{page}");
    let exposed = text(&admin, "/metrics").await;
    let up = |kind: &str, name: &str, role: &str| {
        format!("rounds_connector_up{{kind=\"{kind}\",connector=\"{name}\",role=\"{role}\"}}")
    };
    for (line, value) in [
        (up("prometheus", &silent, "datasource"), 0),
        (up("fixed", &metrics, "datasource"), 1),
        (up("pager", &broken, "notifier"), 0),
        (up("pager", &pager, "notifier"), 1),
    ] {
        assert!(exposed.contains(&format!("{line} {value}\n")), "{line} {value}: {exposed}");
    }
    for line in [
        format!(
            "rounds_connector_calls_total{{kind=\"pager\",connector=\"{broken}\",role=\"notifier\",result=\"failed\"}} "
        ),
        format!(
            "rounds_connector_call_duration_seconds_count{{kind=\"fixed\",connector=\"{metrics}\",role=\"datasource\"}} "
        ),
    ] {
        assert!(exposed.contains(&line), "{line}: {exposed}");
    }

    // Both are mended, and that is seen without anybody testing them.
    hangs.store(false, Ordering::SeqCst);
    support::break_pager(&down, false);
    let cluster = server.connector(&admin).await;
    admin.propose(&cluster, &[["scale", "app/web"]]).await;
    let both = |found: &Value| health(found, &silent)["state"] == "ok" && health(found, &broken)["state"] == "ok";
    let found = admin.until("/api/connectors", both).await;
    let mended = health(&found, &silent);
    assert_eq!((&mended["failingSince"], &mended["consecutiveFailures"]), (&Value::Null, &json!(0)));
    assert!(mended["lastSuccessAt"].is_string() && mended["lastFailure"].is_string(), "{mended}");
    assert!(!text(&admin, "/settings/datasources").await.contains("failing since"));
    let exposed = text(&admin, "/metrics").await;
    assert!(exposed.contains(&format!("{} 1\n", up("prometheus", &silent, "datasource"))), "{exposed}");

    // Deleted, it is no alarm for ever.
    hangs.store(true, Ordering::SeqCst);
    admin.until("/api/connectors", |found| health(found, &silent)["state"] == "failing").await;
    admin.delete(&format!("/api/connectors/{bad}")).await.expect(204);
    let exposed = text(&admin, "/metrics").await;
    assert!(!exposed.contains(&format!("{} 0\n", up("prometheus", &silent, "datasource"))), "{exposed}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_is_sent_back_as_it_was_shown_keeps_its_health_and_one_that_is_changed_begins_anew() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({ "type": "pager", "name": named(&server, "pager"), "config": { "key": server.key() } });
    let id = made(&admin, draft).await;
    admin.post(&format!("/api/connectors/{id}/test"), json!({})).await.expect(200);
    let path = format!("/api/connectors/{id}");
    let shown = admin.get(&path).await.expect(200)["connector"].clone();
    assert_eq!(shown["health"]["state"], "ok", "a test is a call: {shown}");
    let kept = admin.put(&path, shown.clone()).await.expect(200);
    assert_eq!(kept["connector"]["health"], shown["health"]);
    let changed = admin.put(&path, json!({ "config": { "key": "another" } })).await.expect(200);
    assert_eq!(changed["connector"]["health"], Value::Null);
    server.stop().await;
}
