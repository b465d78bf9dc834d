//! `vault://`, against a server that answers as Vault's HTTP API does.

mod kit;
mod real;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rounds_connectors::secrets::{SecretId, VaultConfig, VaultLogin, VaultSecrets};
use rounds_core::plugin::Host;
use rounds_core::ports::{PortError, PortErrorKind, SecretResolver};
use secrecy::ExposeSecret;
use serde_json::json;
use server::{Token, Vault};
use tempfile::TempDir;

const PROD: &str = "vault://secret/prod#kubeconfig";

fn with_token(vault: &Vault, token: &str) -> VaultSecrets {
    VaultSecrets::new(&vault.address, token.into(), &Arc::new(Host::default())).unwrap()
}

fn with(vault: &Vault, login: VaultLogin) -> VaultSecrets {
    VaultSecrets::with(VaultConfig::new(&vault.address, login), &Host::default()).unwrap()
}

/// A file with this in it.
fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credential");
    std::fs::write(&path, format!("{text}\n")).unwrap();
    (dir, path)
}

fn approle(vault: &Vault, file: PathBuf, wrapped: bool) -> VaultSecrets {
    vault.with(|inside| inside.approle = Some(("role-1".into(), "secret-id-1".into())));
    let secret_id = SecretId { file, wrapped };
    with(vault, VaultLogin::AppRole { mount: "approle".into(), role_id: "role-1".into(), secret_id })
}

async fn read(secrets: &VaultSecrets, reference: &str) -> String {
    secrets.resolve(reference).await.unwrap().expose_secret().to_owned()
}

async fn refused(secrets: &VaultSecrets, reference: &str) -> PortError {
    secrets.resolve(reference).await.unwrap_err()
}

/// Waits until something is so.
async fn until(so: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it never became so");
}

#[tokio::test]
async fn a_reference_is_what_vault_kv_get_takes_or_the_path_of_the_http_api() {
    let vault = Vault::start().await;
    let secrets = with_token(&vault, "s.root");
    for (reference, expected) in [
        ("vault://secret/prod#kubeconfig", "two"),
        ("vault://secret/data/prod#kubeconfig", "two"),
        ("vault://secret/app/data/prod#kubeconfig", "deep"),
        ("vault://team/a/kv/prod#kubeconfig", "two"),
        ("vault://team/a/kv/data/prod#kubeconfig", "two"),
        ("vault://kv/prod#kubeconfig", "one"),
        ("vault://kv/data/prod#kubeconfig", "one in data"),
    ] {
        assert_eq!(read(&secrets, reference).await, expected, "{reference}");
    }
    read(&secrets, PROD).await;
    assert_eq!(vault.calls("GET sys/internal/ui/mounts/secret/prod"), 1, "the version of an engine is asked for once");
}

#[tokio::test]
async fn where_vault_does_not_tell_the_version_only_the_path_of_version_2_is_taken_as_it_is() {
    let vault = Vault::start().await;
    vault.with(|inside| inside.no_mounts = true);
    let secrets = with_token(&vault, "s.root");
    assert_eq!(read(&secrets, "vault://team/a/kv/data/prod#kubeconfig").await, "two");
    for untold in [PROD, "vault://kv/prod#kubeconfig"] {
        let error = refused(&secrets, untold).await.to_string();
        assert!(error.contains("/data/"), "{error}");
    }
    assert_eq!(vault.calls("GET kv/prod"), 0, "another engine would make a credential of it");
}

#[tokio::test]
async fn rule_12_no_engine_but_key_value_is_read_behind_a_namespace_either() {
    let vault = Vault::start().await;
    let secrets = with_token(&vault, "s.root");
    assert_eq!(read(&secrets, "vault://ns/secret/data/prod#kubeconfig").await, "two");
    // What Vault tells of the engine counts, though it tells it without the namespace.
    let error = refused(&secrets, "vault://ns/database/creds/admin#password").await;
    assert!(error.kind == PortErrorKind::Invalid && error.to_string().contains("type `database`"), "{error}");
    for no_mounts in [false, true] {
        vault.with(|inside| inside.no_mounts = no_mounts);
        for (reference, path) in [
            ("vault://ns/database/creds/admin#password", "ns/database/creds/admin"),
            ("vault://ns/database/data/admin#password", "ns/database/data/admin"),
            ("vault://ns/identity/data/x#password", "ns/identity/data/x"),
            ("vault://ns/team/cubbyhole/data/x#password", "ns/team/cubbyhole/data/x"),
        ] {
            let error = refused(&secrets, reference).await;
            assert!(matches!(error.kind, PortErrorKind::Invalid | PortErrorKind::Unauthorized), "{error}");
            assert_eq!(vault.calls(&format!("GET {path}")), 0, "{error}");
        }
    }
    // An engine under a name that says nothing.
    let error = refused(&secrets, "vault://ns/db/data/admin#password").await.to_string();
    assert!(error.contains("not that of a key-value engine") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn rule_12_what_vault_refuses_says_why_and_never_a_secret() {
    let vault = Vault::start().await;
    let secrets = with_token(&vault, "s.root");
    for (reference, kind, word) in [
        ("vault://kv/absent#kubeconfig", PortErrorKind::Invalid, "no such secret"),
        ("vault://secret/gone#kubeconfig", PortErrorKind::Invalid, "was deleted"),
        ("vault://kv/prod#absent", PortErrorKind::Unauthorized, "`absent`"),
        ("vault://kv/prod#number", PortErrorKind::Unauthorized, "no text"),
        ("vault://kv/prod#object", PortErrorKind::Unauthorized, "structure"),
        ("vault://secret/prod#empty", PortErrorKind::Unauthorized, "is empty"),
        ("vault://kv/prod", PortErrorKind::Invalid, "vault://path#field"),
        ("vault://kv/../sys/raw#x", PortErrorKind::Invalid, "`..`"),
        ("vault://auth/token/lookup-self#id", PortErrorKind::Invalid, "key-value"),
        ("vault://database/creds/admin#password", PortErrorKind::Invalid, "`database`"),
        ("vault://other/prod#x", PortErrorKind::Unauthorized, "policy"),
    ] {
        let error = refused(&secrets, reference).await;
        let text = error.to_string();
        assert!(error.kind == kind && text.contains(word) && !text.contains("hunter2"), "{reference}: {text}");
        assert!(!text.contains("s.root") && !format!("{error:?}").contains("s.root"), "{text}");
    }
    let error = refused(&with_token(&vault, "s.other"), "vault://kv/prod#kubeconfig").await;
    assert!(error.kind == PortErrorKind::Unauthorized && !error.to_string().contains("s.other"), "{error}");
    assert!(!format!("{:?}", with_token(&vault, "s.other")).contains("s.other"));
    vault.with(|inside| inside.always = Some((200, json!("hunter2"))));
    let error = refused(&secrets, "vault://kv/prod#kubeconfig").await;
    assert!(error.kind == PortErrorKind::Protocol && !error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_vault_itself_is_said_in_its_own_words() {
    let vault = Vault::start().await;
    let secrets = with_token(&vault, "s.root");
    let (_dir, path) = file("eyJ.first.sig");
    for (status, kind, word) in [
        (429, PortErrorKind::RateLimited, "no more requests"),
        (472, PortErrorKind::Unavailable, "disaster recovery"),
        (473, PortErrorKind::Unavailable, "performance standby"),
        (500, PortErrorKind::Unavailable, "Vault failed"),
        (501, PortErrorKind::Unavailable, "not initialized"),
        (503, PortErrorKind::Unavailable, "sealed"),
        (307, PortErrorKind::Invalid, "VAULT_ADDR"),
    ] {
        vault.with(|inside| inside.always = Some((status, json!({ "errors": ["Vault is sealed"] }))));
        for secrets in [&secrets, &with(&vault, kubernetes(path.clone()))] {
            let error = refused(secrets, PROD).await;
            assert!(error.kind == kind && error.to_string().contains(word), "{status}: {error}");
        }
    }
    vault.with(|inside| inside.always = None);
    assert_eq!(read(&secrets, PROD).await, "two", "and it works again");
}

fn kubernetes(jwt_file: PathBuf) -> VaultLogin {
    VaultLogin::Kubernetes { mount: "k8s/cluster-a".into(), role: "rounds".into(), jwt_file }
}

#[tokio::test]
async fn approle_logs_in_once_for_many_who_wait() {
    let vault = Vault::start().await;
    let (_dir, path) = file("secret-id-1");
    vault.with(|inside| inside.login_takes = Duration::from_millis(200));
    let secrets = approle(&vault, path, false);
    let many = (0..30).map(|_| read(&secrets, PROD));
    assert!(futures::future::join_all(many).await.iter().all(|found| found == "two"));
    assert_eq!(vault.calls("POST auth/approle/login"), 1);
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_end_the_login_of_the_others() {
    let vault = Vault::start().await;
    let (_dir, path) = file("hvs.wrapping");
    let made = ("auth/approle/role/rounds/secret-id".to_owned(), "secret-id-1".to_owned());
    vault.with(|inside| {
        inside.wrapped.insert("hvs.wrapping".into(), made);
        inside.login_takes = Duration::from_millis(300);
    });
    let secrets = approle(&vault, path, true);
    let impatient = tokio::time::timeout(Duration::from_millis(100), secrets.resolve(PROD)).await;
    assert!(impatient.is_err());
    assert_eq!(read(&secrets, PROD).await, "two", "the wrapping token was used up, and nothing was lost");
    assert_eq!(vault.calls("POST sys/wrapping/unwrap"), 1);
    assert_eq!(vault.calls("POST auth/approle/login"), 1);
}

#[tokio::test]
async fn a_wrapped_secret_id_is_opened_once_and_one_from_elsewhere_is_not_believed() {
    let vault = Vault::start().await;
    let (_dir, path) = file("hvs.wrapping");
    let made = ("auth/approle/role/rounds/secret-id".to_owned(), "secret-id-1".to_owned());
    vault.with(|inside| inside.wrapped.insert("hvs.wrapping".into(), made.clone()));
    let secrets = approle(&vault, path.clone(), true);
    assert_eq!(read(&secrets, PROD).await, "two");
    // Another login, with the same secret id.
    vault.with(|inside| inside.tokens.clear());
    assert_eq!(read(&secrets, PROD).await, "two");
    assert_eq!(vault.calls("POST sys/wrapping/unwrap"), 1);

    let error = refused(&approle(&vault, path.clone(), true), PROD).await.to_string();
    assert!(error.contains("somebody else") && !error.contains("hvs.wrapping"), "{error}");
    let planted = ("cubbyhole/wrap".to_owned(), "theirs".to_owned());
    vault.with(|inside| inside.wrapped.insert("hvs.planted".into(), planted));
    std::fs::write(&path, "hvs.planted").unwrap();
    let error = refused(&approle(&vault, path, true), PROD).await.to_string();
    assert!(error.contains("cubbyhole/wrap") && error.contains("do not use it"), "{error}");
    assert_eq!(vault.calls("POST sys/wrapping/unwrap"), 2, "what is not believed is not opened");
}

#[tokio::test]
async fn the_service_account_token_is_read_anew_at_each_login() {
    let vault = Vault::start().await;
    let (_dir, path) = file("eyJ.first.sig");
    vault.with(|inside| inside.kubernetes = Some(("rounds".into(), "eyJ.first.sig".into())));
    let secrets = with(&vault, kubernetes(path.clone()));
    assert_eq!(read(&secrets, PROD).await, "two");
    vault.with(|inside| {
        inside.kubernetes = Some(("rounds".into(), "eyJ.second.sig".into()));
        inside.tokens.clear();
    });
    std::fs::write(&path, "eyJ.second.sig").unwrap();
    assert_eq!(read(&secrets, PROD).await, "two");
    assert_eq!(vault.calls("POST auth/k8s/cluster-a/login"), 2);
}

#[tokio::test]
async fn a_refused_login_says_what_vault_said_and_is_not_repeated_at_once() {
    let vault = Vault::start().await;
    let (_dir, path) = file("eyJ.wrong.sig");
    vault.with(|inside| inside.kubernetes = Some(("other".into(), "eyJ.right.sig".into())));
    let secrets = with(&vault, kubernetes(path.clone()));
    let error = refused(&secrets, PROD).await;
    let text = error.to_string();
    assert_eq!(error.kind, PortErrorKind::Unauthorized);
    for word in ["auth/k8s/cluster-a", "role rounds", "invalid role name"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("eyJ"), "{text}");
    for _ in 0..5 {
        assert!(refused(&secrets, PROD).await.to_string().contains("not tried again"));
    }
    assert_eq!(vault.calls("POST auth/k8s/cluster-a/login"), 1, "some methods lock out who tries too often");
    // Another credential is another try.
    vault.with(|inside| inside.kubernetes = Some(("rounds".into(), "eyJ.right.sig".into())));
    std::fs::write(&path, "eyJ.right.sig").unwrap();
    assert_eq!(read(&secrets, PROD).await, "two");
}

#[tokio::test]
async fn a_token_is_renewed_while_nobody_asks_and_got_anew_when_it_cannot_be() {
    let vault = Vault::start().await;
    let (_dir, path) = file("secret-id-1");
    vault.with(|inside| inside.grants = Some(Token { max: Duration::from_secs(5), ..Token::new(2) }));
    let secrets = approle(&vault, path, false);
    assert_eq!(read(&secrets, PROD).await, "two");
    until(|| vault.calls("POST auth/token/renew-self") >= 1).await;
    assert_eq!(vault.calls("POST auth/approle/login"), 1);
    // Its maximum comes, and with it another login, with nobody asking.
    until(|| vault.calls("POST auth/approle/login") >= 2).await;
    let before = vault.calls("POST auth/approle/login");
    assert_eq!(read(&secrets, PROD).await, "two");
    assert!(vault.calls("POST auth/approle/login") <= before + 1);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_replaced_before_it_ends() {
    let vault = Vault::start().await;
    let (_dir, path) = file("secret-id-1");
    vault.with(|inside| inside.grants = Some(Token { renewable: false, ..Token::new(2) }));
    let secrets = approle(&vault, path, false);
    assert_eq!(read(&secrets, PROD).await, "two");
    until(|| vault.calls("POST auth/approle/login") >= 2).await;
    assert_eq!(vault.calls("POST auth/token/renew-self"), 0);
    assert_eq!(read(&secrets, PROD).await, "two");
}

#[tokio::test]
async fn a_token_that_was_given_is_renewed_too_and_a_renewal_that_fails_does_not_cost_it() {
    let vault = Vault::start().await;
    vault.with(|inside| {
        inside.tokens.insert("s.given".into(), Token::new(3));
        inside.no_renewals = true;
    });
    let secrets = with_token(&vault, "s.given");
    assert_eq!(read(&secrets, PROD).await, "two");
    until(|| vault.calls("POST auth/token/renew-self") >= 1).await;
    assert_eq!(read(&secrets, PROD).await, "two", "what lasts is used");
    vault.with(|inside| {
        inside.tokens.insert("s.given".into(), Token::new(3));
        inside.no_renewals = false;
    });
    let failed = vault.calls("POST auth/token/renew-self");
    until(|| vault.calls("POST auth/token/renew-self") > failed).await;
    secrets.close(Duration::from_secs(1)).await;
    assert_eq!(vault.calls("POST auth/token/revoke-self"), 0, "it is not Rounds' to revoke");
}

#[tokio::test]
async fn nothing_renews_a_token_that_nobody_holds_any_more() {
    let vault = Vault::start().await;
    vault.with(|inside| inside.tokens.insert("s.given".into(), Token::new(2)));
    let secrets = with_token(&vault, "s.given");
    let metrics = tokio::runtime::Handle::current().metrics();
    let idle = metrics.num_alive_tasks();
    assert_eq!(read(&secrets, PROD).await, "two");
    assert!(metrics.num_alive_tasks() > idle, "something keeps it fresh");
    drop(secrets);
    // What is left serves connections that close as their client is dropped.
    until(|| metrics.num_alive_tasks() <= idle).await;
}

#[tokio::test]
async fn a_token_in_a_file_is_read_anew_and_the_one_before_is_not_used() {
    let vault = Vault::start().await;
    vault.with(|inside| {
        inside.tokens.insert("s.one".into(), Token::new(60));
        inside.tokens.insert("s.two".into(), Token::new(60));
    });
    let (_dir, path) = file("s.one");
    let secrets = with(&vault, VaultLogin::TokenFile(path.clone()));
    assert_eq!(read(&secrets, PROD).await, "two");
    vault.with(|inside| inside.tokens.remove("s.one"));
    let error = refused(&secrets, PROD).await;
    assert!(error.kind == PortErrorKind::Unauthorized && error.to_string().contains("is over"), "{error}");
    std::fs::write(&path, "s.two\n").unwrap();
    assert_eq!(read(&secrets, PROD).await, "two");
    std::fs::remove_file(&path).unwrap();
    let error = refused(&secrets, PROD).await.to_string();
    assert!(error.contains("ROUNDS_VAULT_TOKEN_FILE"), "{error}");
}

#[tokio::test]
async fn a_403_is_answered_by_one_fresh_login_and_one_more_read() {
    let vault = Vault::start().await;
    let (_dir, path) = file("secret-id-1");
    let secrets = approle(&vault, path, false);
    assert_eq!(read(&secrets, PROD).await, "two");
    // Somebody revoked it.
    vault.with(|inside| inside.tokens.clear());
    let many = (0..10).map(|_| read(&secrets, PROD));
    assert!(futures::future::join_all(many).await.iter().all(|found| found == "two"));
    assert_eq!(vault.calls("POST auth/approle/login"), 2, "one for all of them");
    // What policy closes is not opened by logging in again and again.
    for _ in 0..5 {
        let error = refused(&secrets, "vault://other/prod#x").await;
        assert!(error.kind == PortErrorKind::Unauthorized && error.to_string().contains("policy"), "{error}");
    }
    assert_eq!(vault.calls("POST auth/approle/login"), 3);
}

#[tokio::test]
async fn a_token_of_our_own_is_revoked_at_the_end_and_nothing_is_asked_after() {
    let vault = Vault::start().await;
    let (_dir, path) = file("secret-id-1");
    let secrets = approle(&vault, path, false);
    assert_eq!(read(&secrets, PROD).await, "two");
    secrets.close(Duration::from_secs(5)).await;
    assert_eq!(vault.calls("POST auth/token/revoke-self"), 1);
    assert_eq!(vault.with(|inside| inside.tokens.len()), 1, "only the root's is left");
    assert!(refused(&secrets, PROD).await.to_string().contains("stops"));
}

#[tokio::test]
async fn requests_go_to_the_namespace() {
    let vault = Vault::start().await;
    vault.with(|inside| inside.namespace = Some("team/b"));
    let config = |namespace: Option<&str>| {
        let config = VaultConfig::new(&vault.address, VaultLogin::Token("s.root".into()));
        VaultSecrets::with(config.with_namespace(namespace.map(str::to_owned)), &Host::default())
    };
    assert_eq!(read(&config(Some("/team/b/")).unwrap(), PROD).await, "two");
    assert_eq!(refused(&config(None).unwrap(), PROD).await.kind, PortErrorKind::Unauthorized);
    assert!(config(Some("a b")).unwrap_err().to_string().contains("VAULT_NAMESPACE"));
}

#[tokio::test]
async fn only_the_certificate_that_the_operator_trusts_is_trusted() {
    let (vault, pem) = Vault::start_with_tls().await;
    let (_, other) = Vault::start_with_tls().await;
    let config = |pem: &str, address: &str| {
        let config = VaultConfig::new(address, VaultLogin::Token("s.root".into()));
        VaultSecrets::with(config.with_ca_certificate(Some(pem.to_owned())), &Host::default())
    };
    assert_eq!(read(&config(&pem, &vault.address).unwrap(), PROD).await, "two");
    for (pem, address) in [(&other, vault.address.clone()), (&pem, vault.address.replace("localhost", "127.0.0.1"))] {
        let error = refused(&config(pem, &address).unwrap(), PROD).await;
        assert!(error.kind == PortErrorKind::Unavailable && error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(vault.calls("GET secret/data/prod"), 1, "nothing was asked where nobody is trusted");
    let error = config("no certificate", &vault.address).unwrap_err().to_string();
    assert!(error.contains("VAULT_CACERT") && !error.contains("caCertificate"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_hangs_costs_each_caller_ten_seconds_and_no_more() {
    // Nobody accepts: the paused clock moves on as soon as everybody waits.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (_dir, path) = file("secret-id-1");
    let secret_id = SecretId { file: path, wrapped: false };
    let login = VaultLogin::AppRole { mount: "approle".into(), role_id: "role-1".into(), secret_id };
    for login in [login, VaultLogin::Token("s.root".into())] {
        let secrets = VaultSecrets::with(VaultConfig::new(&address, login), &Host::default()).unwrap();
        let began = tokio::time::Instant::now();
        let all = futures::future::join_all((0..5).map(|_| secrets.resolve(PROD))).await;
        for error in all.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.kind, PortErrorKind::Timeout, "{error}");
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_config_that_cannot_be_right_names_its_setting() {
    let made = |address: &str, login: VaultLogin| {
        VaultSecrets::with(VaultConfig::new(address, login), &Host::default()).unwrap_err().to_string()
    };
    let token = || VaultLogin::Token("s.root".into());
    for address in
        ["vault.example:8200", "ftp://vault", "https://:hunter2@vault", "https://vault/?a", "unix:///run/vault"]
    {
        let error = made(address, token());
        assert!(error.contains("VAULT_ADDR") && !error.contains("hunter2"), "{error}");
    }
    let role = |mount: &str, role: &str| VaultLogin::Kubernetes {
        mount: mount.into(),
        role: role.into(),
        jwt_file: "/a".into(),
    };
    for mount in ["auth/kubernetes", "a//b", "../sys", "a?b", ""] {
        assert!(made("https://vault", role(mount, "rounds")).contains("ROUNDS_VAULT_MOUNT"), "{mount}");
    }
    assert!(made("https://vault", role("kubernetes", " ")).contains("ROUNDS_VAULT_ROLE"));
    assert!(made("https://vault", VaultLogin::Token("".into())).contains("VAULT_TOKEN"));
}
