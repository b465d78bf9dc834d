//! Changes, told and read over HTTP.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, in real time")]

use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_tells_a_change_once_and_people_read_it_by_time_and_namespace() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let account = admin.post("/api/serviceaccounts", json!({ "name": "pipeline", "role": "Editor" })).await.expect(201);
    let tokens = format!("/api/serviceaccounts/{}/tokens", account["id"].as_str().unwrap());
    let token = admin.post(&tokens, json!({ "name": "ci" })).await.expect(201);
    let pipeline = server.anonymous().with_bearer(token["key"].as_str().unwrap());

    let told = json!({ "kind": "deployment", "title": "web v42", "source": "ci", "namespace": "shop", "service": "web",
        "labels": { "version": "v42" }, "url": "https://ci.example.com/runs/4711", "idempotencyKey": "run-4711" });
    let first = pipeline.post("/api/changes", told.clone()).await.expect(201);
    let again = pipeline.post("/api/changes", told.clone()).await.expect(200);
    assert_eq!(first, again);
    assert_eq!(first["recordedByLogin"], "sa-pipeline");
    let mut other = told.clone();
    other["title"] = json!("web v43");
    pipeline.post("/api/changes", other).await.refused(409, "idempotency_key_reused");
    admin
        .post("/api/changes", json!({ "kind": "feature_flag", "title": "dark mode", "namespace": "bank" }))
        .await
        .expect(201);

    let vera = server.user(&admin, "vera", "Viewer").await;
    let titles = async |query: &str| {
        let listed = vera.get(&format!("/api/changes{query}")).await.expect(200);
        let listed = listed.as_array().expect("an array").clone();
        listed.iter().map(|change| change["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(titles("").await, ["dark mode", "web v42"]);
    assert_eq!(titles("?namespace=shop").await, ["web v42"]);
    assert_eq!(titles("?limit=1").await, ["dark mode"]);
    let tomorrow = (Utc::now() + TimeDelta::days(1)).format("%Y-%m-%dT%H:%M:%SZ");
    assert!(titles(&format!("?from={tomorrow}")).await.is_empty());
    assert_eq!(titles(&format!("?to={tomorrow}")).await.len(), 2);

    for wrong in ["?limit=0", "?limit=1001", "?from=yesterday", "?since=1"] {
        vera.get(&format!("/api/changes{wrong}")).await.refused(400, "bad_request");
    }
    for (wrong, field) in [
        (json!({ "kind": "deploy", "title": "x" }), "deployment"),
        (json!({ "kind": "other", "title": "" }), "title"),
        (json!({ "kind": "other", "title": "x", "url": "javascript:alert(1)" }), "url"),
        (json!({ "kind": "other", "title": "x", "at": "2999-01-01T00:00:00Z" }), "at"),
        (json!({ "kind": "other", "title": "x", "who": "me" }), "who"),
    ] {
        let said = admin.post("/api/changes", wrong).await.refused(400, "bad_request");
        assert!(said.contains(field), "{said}");
    }
    vera.post("/api/changes", json!({ "kind": "other", "title": "x" })).await.refused(403, "forbidden");
    let agent = server.agent(&admin).await;
    agent.post("/api/changes", json!({ "kind": "other", "title": "x" })).await.refused(403, "forbidden");
    server.stop().await;
}
