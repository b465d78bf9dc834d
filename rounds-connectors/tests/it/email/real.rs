#![allow(clippy::disallowed_methods, reason = "tests start a real mail server")]

use std::path::Path;
use std::process::Stdio;

use rounds_core::ports::{Notice, NoticeKind, PortErrorKind};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Certificates, PASSWORD, certificates, channel};
use crate::receiver::{asking, cx};

/// `aiosmtpd`, ended with the test.
pub(super) struct Server {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
    pub(super) port: u16,
    authority: String,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start(mode: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = here.join("../target/tools/aiosmtpd/bin/python");
        assert!(
            python.exists(),
            "no aiosmtpd: this test talks to a real mail server; `.ci/install aiosmtpd` provides it"
        );
        let Certificates { authority, chain, key } = certificates();
        let dir = tempfile::tempdir().unwrap();
        let (chain_file, key_file) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
        std::fs::write(&chain_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
        let mut child = Command::new(python)
            .arg(here.join("tests/it/email/smtpd.py"))
            .arg(mode)
            .args([chain_file, key_file])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = said.next_line().await.unwrap().expect("the server ended").parse().unwrap();
        Self { _child: child, said, port, authority, _dir: dir }
    }

    /// The next message that it took.
    pub(super) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.said.next_line().await.unwrap().expect("the server ended")).unwrap()
    }

    fn config(&self, change: Value) -> Value {
        let mut config = json!({ "username": "ada", "caCertificate": self.authority });
        for (name, value) in change.as_object().unwrap() {
            config[name] = value.clone();
        }
        config
    }
}

#[tokio::test]
async fn a_notice_is_delivered_encrypted_and_signed_in_with_starttls_and_with_tls() {
    for mode in ["starttls", "tls"] {
        let mut server = Server::start(mode).await;
        let config = server.config(json!({ "security": mode, "to": ["Ada <ada@example.com>", "ops@example.com"] }));
        let mail = channel(server.port, Some(&format!("{PASSWORD}\n")), config);
        mail.send(&cx(), &asking()).await.unwrap();
        let message = server.message().await;
        assert_eq!(message["from"], "rounds@example.com");
        assert_eq!(message["to"], json!(["ada@example.com", "ops@example.com"]));
        assert_eq!((&message["tls"], &message["user"]), (&json!(true), &json!("ada")), "{mode}");
        let text = message["text"].as_str().unwrap();
        for part in [
            "From: Rounds <rounds@example.com>\r\n",
            "To: Ada <ada@example.com>, ops@example.com\r\n",
            "Subject: [Rounds] [DECISION NEEDED] Plan waits for approval: <b>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "kubectl rollout restart deployment/web -n app",
            "prod-eu",
            "https://rounds.example/plans/1",
            "text/plain",
            "text/html",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What a test of the channel asks brings nobody a message.
        let checked = mail.check(&cx()).await.unwrap();
        assert!(checked.message.contains("none was sent") && checked.facts["signed in as"] == "ada", "{checked:?}");
        assert!(checked.facts["encryption"].starts_with("TLS"), "{checked:?}");
        let mut again = asking();
        again.title = "the next".into();
        mail.send(&cx(), &again).await.unwrap();
        assert!(server.message().await["text"].as_str().unwrap().contains("the next"));
    }
}

#[tokio::test]
async fn lines_that_smtp_would_read_as_its_own_arrive_as_they_are() {
    let mut server = Server::start("starttls").await;
    let mail = channel(server.port, Some(PASSWORD), server.config(json!({})));
    let mut notice = Notice::new(NoticeKind::AlertFiring, "k", asking().at, "Fehler über 5 %\r\n.\r\nRCPT TO:<evil@x>");
    notice.body = ".\r\n.\r\nQUIT\r\n..\r\nübrig".into();
    mail.send(&cx(), &notice).await.unwrap();
    let message = server.message().await;
    assert_eq!(message["to"], json!(["ops@example.com"]));
    let text = message["text"].as_str().unwrap();
    assert!(text.trim_end().ends_with("--"), "the message is whole, to its last boundary: {text}");
}

#[tokio::test]
async fn what_a_server_refuses_is_tried_again_only_if_it_says_so() {
    use PortErrorKind as K;
    let mut server = Server::start("starttls").await;
    let (port, config) = (server.port, |change: Value| server.config(change));
    for (title, secret, config, kind, part) in [
        ("x later", PASSWORD, config(json!({})), K::Unavailable, "451 \"4.3.0 try again later\""),
        ("x spam", PASSWORD, config(json!({})), K::Invalid, "554"),
        ("x", "wrong hunter2", config(json!({})), K::Unauthorized, "535"),
        ("x", PASSWORD, config(json!({ "username": "eve" })), K::Unauthorized, "535"),
        ("x", PASSWORD, config(json!({ "to": ["gone@example.com"] })), K::Invalid, "550 \"5.1.1"),
        ("x", PASSWORD, config(json!({ "to": ["full@example.com"] })), K::Unavailable, "452"),
        ("x", PASSWORD, config(json!({ "to": ["gone@example.com", "full@example.com"] })), K::Unavailable, "452"),
        (
            "x",
            PASSWORD,
            config(json!({ "caCertificate": certificates().authority })),
            K::Unavailable,
            "invalid peer certificate",
        ),
        ("x", PASSWORD, config(json!({ "host": "127.0.0.1" })), K::Unavailable, "TLS could not be begun"),
        ("x", PASSWORD, config(json!({ "security": "tls" })), K::Unavailable, "TLS could not be begun"),
    ] {
        let mut notice = asking();
        notice.title = title.into();
        let error = channel(port, Some(secret), config).send(&cx(), &notice).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.kind == kind && text.contains(part), "{part}: {:?} {text}", error.kind);
        assert!(!text.contains("hunter2"), "{text}");
    }
    // A test of the channel says who would not be told, and why.
    let both = json!({ "to": ["full@example.com", "ops@example.com"] });
    let checked = channel(port, Some(PASSWORD), config(both)).check(&cx()).await.unwrap_err();
    assert!(checked.is_transient() && checked.to_string().contains("full@example.com (452"), "{checked}");
    let all_refused = json!({ "to": ["gone@example.com", "gone@example.org"] });
    let error = channel(port, Some(PASSWORD), config(all_refused)).send(&cx(), &asking()).await.unwrap_err();
    assert!(!error.is_transient() && error.delivered.is_empty(), "{error}");
    for named in ["gone@example.com (550", "gone@example.org (550"] {
        assert!(error.to_string().contains(named), "{error}");
    }
    let nobody = channel(port, None, json!({ "caCertificate": server.authority }));
    let error = nobody.send(&cx(), &asking()).await.unwrap_err();
    assert!(error.kind == K::Unauthorized && error.to_string().contains("530"), "{error}");
    // None of them was told anything.
    channel(port, Some(PASSWORD), config(json!({}))).send(&cx(), &asking()).await.unwrap();
    assert_eq!(server.message().await["to"], json!(["ops@example.com"]), "the first that it took");
}

#[tokio::test]
async fn whom_the_server_lets_wait_get_it_at_the_next_try_nobody_gets_it_twice_and_who_is_refused_keeps_it_from_nobody()
{
    let mut server = Server::start("starttls").await;
    let to = ["ada@example.com", "new@example.com", "gone@example.com", "New <newer@example.com>"];
    let mail = channel(server.port, Some(PASSWORD), server.config(json!({ "to": to })));
    let mut notice = asking();
    let error = mail.send(&cx(), &notice).await.unwrap_err();
    assert!(error.is_transient() && error.retry_after.is_some_and(|wait| wait.as_secs() >= 60), "{error:?}");
    for named in ["new@example.com (451", "newer@example.com (451", "gone@example.com (550", "for 1 recipients"] {
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
    assert!(!error.to_string().contains("ada@example.com"), "{error}");
    assert_eq!(error.delivered, ["ada@example.com"]);
    notice.delivered.extend(error.delivered);
    let first = server.message().await;
    let error = mail.send(&cx(), &notice).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("gone@example.com (550"), "{error}");
    assert_eq!(error.delivered, ["new@example.com", "newer@example.com"]);
    notice.delivered.extend(error.delivered);
    let second = server.message().await;
    assert_eq!(
        (&first["to"], &second["to"]),
        (&json!(["ada@example.com"]), &json!(["new@example.com", "newer@example.com"]))
    );
    // It is one message: the same id, and everybody it is for.
    let header = |message: &Value, name: &str| {
        let text = message["text"].as_str().unwrap().to_owned();
        text.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
    };
    for name in ["Message-ID: ", "To: "] {
        assert_eq!(header(&first, name), header(&second, name));
    }
    assert!(header(&first, "To: ").contains("gone@example.com"));
    // Whoever is left is refused for good: nobody else hears of that.
    let error = mail.send(&cx(), &notice).await.unwrap_err();
    assert!(!error.is_transient() && error.delivered.is_empty(), "{error:?}");
    // The list is mended: all that are on it have it.
    let mended = server.config(json!({ "to": ["ada@example.com", "new@example.com"] }));
    channel(server.port, Some(PASSWORD), mended).send(&cx(), &notice).await.unwrap();
    let mut next = asking();
    next.title = "the next".into();
    mail.send(&cx(), &next).await.unwrap_err();
    assert!(server.message().await["text"].as_str().unwrap().contains("the next"), "nothing came in between");
}

#[tokio::test]
async fn a_relay_on_this_machine_may_do_without_encryption_and_says_so() {
    let mut server = Server::start("plain").await;
    let relay = channel(server.port, None, json!({ "security": "none" }));
    relay.send(&cx(), &asking()).await.unwrap();
    let message = server.message().await;
    assert_eq!((&message["tls"], &message["user"]), (&json!(false), &json!(null)));
    let checked = relay.check(&cx()).await.unwrap();
    assert!(checked.facts["encryption"].contains("NONE"), "{checked:?}");
    // It offers none, and nothing less than that is agreed to.
    let error =
        channel(server.port, Some(PASSWORD), json!({ "username": "ada" })).send(&cx(), &asking()).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Protocol && error.to_string().contains("does not offer STARTTLS"), "{error}");
}
