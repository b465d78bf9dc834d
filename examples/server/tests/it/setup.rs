//! The first steps.

use secrecy::SecretString;
use serde_json::json;

use rounds_server::settings::SeedAdmin;

use crate::support::{self, PASSWORD};

fn admin(login: &str) -> serde_json::Value {
    json!({ "email": format!("{login}@example.org"), "login": login, "name": login, "password": PASSWORD })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_once_for_ever_however_many_ask_at_a_time() {
    let server = support::empty().await;
    let nobody = server.anonymous();
    let status = nobody.get("/api/setup/status").await.expect(200);
    assert_eq!((&status["hasAdmin"], &status["configured"]), (&json!(false), &json!(false)));
    let short = json!({ "login": "ada", "password": "short" });
    nobody.post("/api/setup/admin", short).await.refused(400, "bad_request");
    let asked = futures::future::join_all((0..4).map(|n| {
        let nobody = nobody.clone();
        async move { nobody.post("/api/setup/admin", admin(&format!("ada{n}"))).await }
    }))
    .await;
    let mut made = Vec::new();
    for answer in asked {
        if answer.status.as_u16() == 201 {
            made.push(answer.body["userId"].clone());
        } else {
            answer.refused(409, "already_set_up");
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    nobody.post("/api/setup/admin", admin("eve")).await.refused(409, "already_set_up");
    let status = nobody.get("/api/setup/status").await.expect(200);
    assert_eq!(status["hasAdmin"], true);
    assert!(status["bootstrappedAt"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_admin_closes_the_wizard_too() {
    let server = support::with(|settings| {
        settings.seed_admin = Some(SeedAdmin {
            email: Some("ada@example.org".into()),
            login: "ada".into(),
            name: None,
            password: SecretString::from(PASSWORD),
        });
    })
    .await;
    server.anonymous().post("/api/setup/admin", admin("eve")).await.refused(409, "already_set_up");
    let ada = server.sign_in("ada@example.org").await;
    let me = ada.get("/api/user").await.expect(200);
    assert_eq!((&me["login"], &me["isServerAdmin"]), (&json!("ada"), &json!(true)));
    assert_eq!(me["orgs"][0], json!({ "orgId": "main", "name": "Main Org.", "role": "Admin" }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_are_alike_and_limited() {
    let server = support::empty().await;
    server.admin().await;
    let nobody = server.anonymous();
    let wrong = async |user: &str| nobody.post("/api/login", json!({ "user": user, "password": "wrong-horse" })).await;
    let known = wrong("root").await.refused(401, "invalid_login");
    assert_eq!(known, wrong("nobody").await.refused(401, "invalid_login"));
    for _ in 0..9 {
        wrong("root").await.refused(401, "invalid_login");
    }
    let limited = wrong("ROOT").await;
    assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    limited.refused(429, "too_many_logins");
    // The right password is not looked at either, or guessing would go on.
    let right = json!({ "user": "root", "password": PASSWORD });
    nobody.post("/api/login", right).await.refused(429, "too_many_logins");
    wrong("somebody-else").await.refused(401, "invalid_login");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_language_model_goes_in_and_never_comes_out() {
    let server = support::empty().await;
    let admin = server.admin().await;
    let draft = json!({ "provider": "anthropic", "apiKey": "sk-hunter2", "model": "some-model" });
    let set = admin.put("/api/system/llm", draft).await.expect(200);
    assert_eq!((&set["hasKey"], set.get("apiKey")), (&json!(true), None));
    // Another model, the same key.
    admin.put("/api/system/llm", json!({ "provider": "anthropic", "model": "another" })).await.expect(200);
    let shown = admin.get("/api/system/llm").await.expect(200);
    assert_eq!((&shown["hasKey"], &shown["model"]), (&json!(true), &json!("another")));
    let log = admin.get("/api/admin/audit-log").await.expect(200);
    assert!(!format!("{shown}{log}").contains("hunter2"));
    assert_eq!(admin.get("/api/setup/status").await.expect(200)["hasLLM"], true);
    admin.put("/api/system/llm", json!({ "provider": "x", "model": "m" })).await.refused(400, "bad_request");
    let orgs_admin = server.user(&admin, "olga", "Admin").await;
    orgs_admin.put("/api/system/llm", json!({ "provider": "ollama", "model": "m" })).await.refused(403, "forbidden");
    server.stop().await;
}
