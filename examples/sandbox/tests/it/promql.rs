use serde_json::Value;

use crate::world::World;

async fn get(w: &World, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
    // The client's own TLS is not used here, but it asks for a provider when it is built.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let response =
        reqwest::Client::new().get(format!("{}{path}", w.sandbox.prometheus_url())).query(query).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_query_api_answers_as_prometheus_does() {
    let w = World::new().await;
    w.metric("kube_deployment_spec_replicas{deployment=\"{d}\"}", |v| v == 3.0).await;
    for (query, expected) in [
        ("1 + 2 * 3", "7"),
        ("scalar(kube_deployment_spec_replicas{deployment=\"{d}\"}) * 2", "6"),
        ("sum by (deployment) (kube_deployment_spec_replicas{deployment=\"{d}\"})", "3"),
        ("kube_deployment_spec_replicas{deployment=\"{d}\"} > bool 2", "1"),
        ("count(kube_pod_info{namespace=\"{ns}\"})", "3"),
        ("absent(no_such_series)", "1"),
        (
            "kube_deployment_status_replicas_available{deployment=\"{d}\"} / on(namespace, deployment) kube_deployment_spec_replicas",
            "1",
        ),
        ("max_over_time(kube_deployment_spec_replicas{deployment=\"{d}\"}[1m])", "3"),
        ("max_over_time((kube_deployment_spec_replicas{deployment=\"{d}\"} * 2)[1m:1s])", "6"),
        ("count(kube_pod_status_ready{condition=\"true\"} * on(pod) group_left(node) kube_pod_info)", "3"),
        ("clamp_max(vector(5), 2)", "2"),
    ] {
        let query = w.fill(query);
        w.sandbox.wait_for_metric(&query, |v| v.to_string() == expected, crate::world::SOON).await.unwrap();
        let (status, body) = get(&w, "/api/v1/query", &[("query", &query)]).await;
        assert_eq!((status, &body["status"]), (200, &Value::from("success")), "{query}: {body}");
    }
    let now = chrono::Utc::now().timestamp();
    let (start, end) = ((now - 5).to_string(), now.to_string());
    let range = [("query", "up"), ("start", &*start), ("end", &*end), ("step", "1")];
    let (_, body) = get(&w, "/api/v1/query_range", &range).await;
    assert_eq!(body["data"]["resultType"], "matrix", "{body}");
    let (_, body) = get(&w, "/api/v1/label/deployment/values", &[]).await;
    assert!(body["data"].as_array().unwrap().contains(&Value::from(w.name.as_str())), "{body}");
    let (_, body) = get(&w, "/api/v1/series", &[("match[]", "up")]).await;
    assert_eq!(body["data"][0]["__name__"], "up");
}

#[tokio::test]
async fn malformed_and_unsupported_queries_say_why() {
    let w = World::new().await;
    for query in ["sum(", "", "rate(up)", "holt_winters(up[5m], 0.5, 0.5)", "count_values(\"v\", up)"] {
        let (status, body) = get(&w, "/api/v1/query", &[("query", query)]).await;
        assert_eq!(status, 400, "{query}: {body}");
        assert_eq!(body["errorType"], "bad_data");
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_exposition_has_the_usual_names() {
    let w = World::new().await;
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/metrics", w.sandbox.prometheus_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    for name in [
        "kube_deployment_spec_replicas{",
        "kube_pod_status_phase{",
        "http_requests_total{",
        "container_memory_working_set_bytes{",
    ] {
        assert!(text.contains(name), "{name} is missing");
    }
}
