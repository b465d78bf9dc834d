//! `vault://`, against a server that answers as Vault's HTTP API does.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use rounds_connectors::secrets::VaultSecrets;
use rounds_core::plugin::Host;
use rounds_core::ports::{PortErrorKind, SecretResolver};
use secrecy::ExposeSecret;

async fn vault() -> String {
    let app = Router::new().fallback(|uri: Uri, headers: HeaderMap| async move {
        if headers.get("x-vault-token").is_none_or(|token| token != "s.token") {
            return (StatusCode::FORBIDDEN, r#"{"errors":["permission denied"]}"#.to_owned());
        }
        match uri.path() {
            "/v1/secret/data/prod" => {
                (StatusCode::OK, r#"{"data":{"data":{"kubeconfig":"two"},"metadata":{}}}"#.into())
            }
            "/v1/kv/prod" => (StatusCode::OK, r#"{"data":{"kubeconfig":"one","number":7}}"#.into()),
            "/v1/odd/prod" => (StatusCode::OK, "hunter2".into()),
            _ => (StatusCode::NOT_FOUND, r#"{"errors":[]}"#.into()),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn a_vault_reference_reads_a_field_of_either_version_of_the_engine() {
    let address = vault().await;
    let secrets = VaultSecrets::new(&address, "s.token".into(), &Arc::new(Host::default())).unwrap();
    for (reference, expected) in [("vault://secret/data/prod#kubeconfig", "two"), ("vault://kv/prod#kubeconfig", "one")]
    {
        assert_eq!(secrets.resolve(reference).await.unwrap().expose_secret(), expected);
    }
}

#[tokio::test]
async fn rule_12_what_vault_refuses_says_why_and_never_a_secret() {
    let address = vault().await;
    let secrets = VaultSecrets::new(&address, "s.token".into(), &Arc::new(Host::default())).unwrap();
    for (reference, kind, word) in [
        ("vault://kv/absent#kubeconfig", PortErrorKind::Invalid, "/data/"),
        ("vault://kv/prod#absent", PortErrorKind::Unauthorized, "`absent`"),
        ("vault://kv/prod#number", PortErrorKind::Unauthorized, "no text"),
        ("vault://kv/prod", PortErrorKind::Invalid, "vault://path#field"),
        ("vault://kv/../sys/raw#x", PortErrorKind::Invalid, "`..`"),
        ("vault://odd/prod#x", PortErrorKind::Protocol, "not JSON"),
    ] {
        let error = secrets.resolve(reference).await.unwrap_err();
        let text = error.to_string();
        assert!(error.kind == kind && text.contains(word) && !text.contains("hunter2"), "{reference}: {text}");
    }
    let other = VaultSecrets::new(&address, "s.other".into(), &Arc::new(Host::default())).unwrap();
    let error = other.resolve("vault://kv/prod#kubeconfig").await.unwrap_err();
    assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("s.other"), "{error}");
}
