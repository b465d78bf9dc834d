//! What every answer carries, and that the description covers every route.

use reqwest::Method;
use serde_json::json;

use crate::support;

#[tokio::test(flavor = "multi_thread")]
async fn every_described_operation_is_routed_and_closed_to_nobody_unless_it_says_so() {
    let server = support::empty().await;
    let nobody = server.anonymous();
    let document = nobody.get("/api/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let id = rounds_core::PlanId::new().to_string();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let open = operation["security"] == json!([]);
            let real = path.split('/').map(|part| if part.starts_with('{') { id.as_str() } else { part });
            let real = real.collect::<Vec<_>>().join("/");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let answer = nobody.call(method.clone(), &real, None).await;
            if open {
                assert!(![401, 404, 405].contains(&answer.status.as_u16()), "{method} {real}: {}", answer.status);
            } else {
                answer.refused(401, "unauthorized");
            }
        }
    }
    assert!(operations > 70, "{operations}");
    for (path, _) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api")) {
        assert!(path.is_ascii());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_routed_is_json_under_api_and_every_answer_carries_the_headers() {
    let server = support::empty().await;
    let nobody = server.anonymous();
    let missing = nobody.get("/api/nothing/here").await;
    let csp = missing.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(!csp.contains("unsafe"), "{csp}");
    assert!(csp.contains("frame-ancestors 'none'") && csp.contains("default-src 'none'"), "{csp}");
    assert_eq!(missing.headers["x-content-type-options"], "nosniff");
    assert!(missing.headers.contains_key("referrer-policy"));
    missing.refused(404, "not_found");
    nobody.call(Method::PATCH, "/api/plans", None).await.refused(405, "method_not_allowed");
    nobody.delete("/api/openapi.json").await.refused(405, "method_not_allowed");
    // On a page, a person reads it.
    for (method, path) in [(Method::GET, "/logout"), (Method::GET, "/plans/x/approve"), (Method::POST, "/actions")] {
        let answer = nobody.call(method, path, None).await;
        let page = answer.body.as_str().unwrap_or_default();
        assert!(answer.status == 405 && page.contains("<h1>") && page.contains("Nothing was done"), "{path}: {page}");
    }
    let live = nobody.get("/api/health/live").await;
    let cookie = live.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("rounds_csrf=") && cookie.contains("SameSite=Lax"), "{cookie}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_secure_behind_a_trusted_proxy_over_tls_and_only_then() {
    for (trusted, expected) in [(true, true), (false, false)] {
        let server = support::with(|settings| settings.trust_proxy = trusted).await;
        server.admin().await;
        let body = json!({ "user": "root", "password": support::PASSWORD, "next": "//evil.test" });
        let request = server.anonymous().request(Method::POST, "/api/login").header("x-forwarded-proto", "https");
        let answer = support::Answer::read(request.json(&body), "login".into()).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        assert_eq!(cookie.contains("Secure"), expected, "{cookie}");
        assert_eq!(answer.expect(200)["redirectUrl"], "/");
        server.stop().await;
    }
}
