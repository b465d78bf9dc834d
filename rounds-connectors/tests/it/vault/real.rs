//! `vault://`, against a real server: one of the Vault family at `ROUNDS_TEST_VAULT_ADDR`, unsealed, with a token in
//! `ROUNDS_TEST_VAULT_TOKEN` that may do everything. Without them these tests say so and end.

#![allow(clippy::disallowed_methods, reason = "tests are clients of their own, and find the server in the environment")]

use std::time::Duration;

use rounds_connectors::secrets::{SecretId, VaultConfig, VaultLogin, VaultSecrets};
use rounds_core::plugin::Host;
use rounds_core::ports::{PortErrorKind, SecretResolver};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

struct Real {
    address: String,
    token: String,
    http: reqwest::Client,
}

impl Real {
    fn find() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let (Some(address), Some(token)) = (variable("ROUNDS_TEST_VAULT_ADDR"), variable("ROUNDS_TEST_VAULT_TOKEN"))
        else {
            println!("skipped: ROUNDS_TEST_VAULT_ADDR and ROUNDS_TEST_VAULT_TOKEN name no server");
            return None;
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        Some(Self { address, token, http: reqwest::Client::new() })
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.address);
        let mut request = self.http.request(method.parse().unwrap(), url).header("X-Vault-Token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, Some(body)).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    fn with(&self, login: VaultLogin) -> VaultSecrets {
        VaultSecrets::with(VaultConfig::new(&self.address, login), &Host::default()).unwrap()
    }
}

#[tokio::test]
async fn a_token_reads_and_what_is_not_there_is_said_without_a_secret() {
    let Some(real) = Real::find() else { return };
    let at = format!("rounds-{}", rounds_core::PlanId::new());
    real.done("POST", &format!("sys/mounts/{at}"), json!({ "type": "kv" })).await;
    real.done("POST", &format!("{at}/app/prod"), json!({ "kubeconfig": "hunter2", "number": 7 })).await;
    let secrets = real.with(VaultLogin::Token(real.token.clone().into()));
    let found = secrets.resolve(&format!("vault://{at}/app/prod#kubeconfig")).await.unwrap();
    assert_eq!(found.expose_secret(), "hunter2");
    for (path, kind) in [
        ("app/prod#absent", PortErrorKind::Unauthorized),
        ("app/prod#number", PortErrorKind::Unauthorized),
        ("app/absent#kubeconfig", PortErrorKind::Invalid),
    ] {
        let error = secrets.resolve(&format!("vault://{at}/{path}")).await.unwrap_err();
        assert!(error.kind == kind && !error.to_string().contains("hunter2"), "{path}: {:?} {error}", error.kind);
    }
    let stranger = real.with(VaultLogin::Token("hvs.nobody".into()));
    let error = stranger.resolve(&format!("vault://{at}/app/prod#kubeconfig")).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("hvs.nobody"), "{error}");
    real.call("DELETE", &format!("sys/mounts/{at}"), None).await;
}

#[tokio::test]
async fn approle_logs_in_renews_and_logs_in_anew() {
    let Some(real) = Real::find() else { return };
    let name = format!("rounds-{}", rounds_core::PlanId::new());
    real.done("POST", &format!("sys/mounts/{name}"), json!({ "type": "kv" })).await;
    real.done("POST", &format!("{name}/prod"), json!({ "kubeconfig": "one" })).await;
    let policy = format!("path \"{name}/*\" {{ capabilities = [\"read\"] }}");
    // Not every server of the family has policies; one without lets every token read.
    let (policies, _) = real.call("POST", &format!("sys/policy/{name}"), Some(json!({ "policy": policy }))).await;
    real.done("POST", &format!("sys/auth/auth-{name}"), json!({ "type": "approle" })).await;
    let role = format!("auth/auth-{name}/role/rounds");
    let limits = json!({ "token_policies": [name], "token_ttl": "3s", "token_max_ttl": "9s" });
    real.done("POST", &role, limits).await;
    let (_, answer) = real.call("GET", &format!("{role}/role-id"), None).await;
    let role_id = answer["data"]["role_id"].as_str().unwrap().to_owned();
    let answer = real.done("POST", &format!("{role}/secret-id"), json!({})).await;
    let secret_id = answer["data"]["secret_id"].as_str().unwrap().to_owned();
    let (_dir, file) = super::file(&secret_id);

    let secret_id = SecretId { file: file.clone(), wrapped: false };
    let secrets = real.with(VaultLogin::AppRole { mount: format!("auth-{name}"), role_id: role_id.clone(), secret_id });
    let reference = format!("vault://{name}/prod#kubeconfig");
    // Longer than a token lasts, and than it can be renewed: every read finds one that works.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(14) {
        let found = secrets.resolve(&reference).await;
        assert_eq!(found.unwrap_or_else(|e| panic!("after {:?}: {e}", began.elapsed())).expose_secret(), "one");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    if policies < 300 {
        let error = secrets.resolve("vault://secret/elsewhere#x").await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Unauthorized, "{error}");
    }
    secrets.close(Duration::from_secs(5)).await;

    std::fs::write(&file, "00000000-aaaa-bbbb-cccc-000000000000").unwrap();
    let secret_id = SecretId { file, wrapped: false };
    let wrong = real.with(VaultLogin::AppRole { mount: format!("auth-{name}"), role_id, secret_id });
    let error = wrong.resolve(&reference).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("aaaa-bbbb"), "{error}");
    println!("a wrong secret id: {error}");
    for path in [format!("sys/auth/auth-{name}"), format!("sys/policy/{name}"), format!("sys/mounts/{name}")] {
        real.call("DELETE", &path, None).await;
    }
}
