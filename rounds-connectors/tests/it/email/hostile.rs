//! Servers that want something else than mail, and what was said to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rounds_core::plugin::{BuildContext, Host, Registry};
use rounds_core::ports::{CallContext, PortErrorKind, SecretHandle};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{PASSWORD, channel};
use crate::receiver::{asking, cx};

/// What a server does: says this when something came, the first of it at once. Empty: keeps silent.
struct Hostile {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    sessions: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start(script: &[&str], endless: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let script: Arc<Vec<String>> = Arc::new(script.iter().map(|said| (*said).to_owned()).collect());
        let hears = Arc::clone(&heard);
        let sessions: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&sessions);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(play(stream, Arc::clone(&script), endless, Arc::clone(&hears)));
            }
        });
        Self { port, heard, sessions }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

async fn play(mut stream: TcpStream, script: Arc<Vec<String>>, endless: Option<&str>, heard: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 4_096];
    for (at, said) in script.iter().enumerate() {
        if at > 0 {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => heard.lock().unwrap().extend_from_slice(&chunk[..count]),
            }
        }
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
    if let Some(endless) = endless {
        while stream.write_all(endless.as_bytes()).await.is_ok() {}
        return;
    }
    // Silent, and listening to the end.
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        heard.lock().unwrap().extend_from_slice(&chunk[..count]);
    }
}

fn signed_in() -> Value {
    json!({ "username": "ada" })
}

#[tokio::test]
async fn who_offers_no_starttls_hears_neither_password_nor_message() {
    for offers in ["250 x\r\n", "250-x\r\n250 AUTH PLAIN LOGIN\r\n", "250-x\r\n250 XSTARTTLS\r\n"] {
        let server = Hostile::start(&["220 hi\r\n", offers], None).await;
        let error = channel(server.port, Some(PASSWORD), signed_in()).send(&cx(), &asking()).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Protocol && error.to_string().contains("STARTTLS"), "{error}");
        let heard = server.heard();
        assert!(heard.starts_with("EHLO [127.0.0.1]\r\n") && heard.lines().count() == 1, "{heard}");
    }
    let server = Hostile::start(&["220 hi\r\n", "250 STARTTLS\r\n"], None).await;
    let error = channel(server.port, Some(PASSWORD), signed_in()).send(&cx(), &asking()).await.unwrap_err();
    assert!(error.to_string().contains("STARTTLS"), "its own name is no offer: {error}");
}

#[tokio::test]
async fn who_refuses_tls_after_offering_it_hears_no_more() {
    for (answer, kind) in [
        ("454 4.7.0 not now\r\n", PortErrorKind::Unavailable),
        ("502 no\r\n", PortErrorKind::Invalid),
        ("250 ok\r\n", PortErrorKind::Protocol),
    ] {
        let server = Hostile::start(&["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", answer], None).await;
        let error = channel(server.port, Some(PASSWORD), signed_in()).send(&cx(), &asking()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(server.sessions.load(Ordering::SeqCst), 1, "trying again is its caller's");
        assert!(server.heard().ends_with("STARTTLS\r\n"), "{}", server.heard());
    }
}

#[tokio::test]
async fn bytes_before_tls_are_refused_and_nothing_is_said_to_whoever_put_them_there() {
    // In one piece with the answer, and one after the other.
    let injected = "220 go\r\n250-x\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n";
    let at_once = Hostile::start(&["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", injected], None).await;
    let then = "250-x\r\n250 AUTH PLAIN\r\n235 ok\r\n";
    let later = Hostile::start(&["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n", then], None).await;
    for server in [at_once, later] {
        let error = channel(server.port, Some(PASSWORD), signed_in()).send(&cx(), &asking()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("before TLS began") || text.contains("TLS could not be begun"), "{text}");
        let heard = server.heard();
        for word in ["AUTH", "MAIL", "hunter2", "aHVudGVyMg"] {
            assert!(!heard.contains(word), "{heard}");
        }
    }
}

#[tokio::test]
async fn who_hangs_or_talks_without_an_end_costs_the_time_limit_and_no_memory() {
    let plain = json!({ "security": "none" });
    let limit = || CallContext::with_timeout(Duration::from_millis(200));
    for script in [
        &[""][..],
        &["220 hi\r\n"],
        &["220-hi\r\n"],
        &["220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"],
    ] {
        let server = Hostile::start(script, None).await;
        let mail = channel(server.port, None, plain.clone());
        let error = mail.send(&limit(), &asking()).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Timeout && error.is_transient(), "{script:?}: {error}");
    }
    for (script, endless) in [
        (&[""][..], "x"),
        (&["220 hi\r\n"], "250-and more\r\n"),
        (&["220 "], "\u{0}\u{ff}"),
        (&["220 hi\r\n", "250 x\r\n"], "250-"),
    ] {
        let server = Hostile::start(script, Some(endless)).await;
        let error = channel(server.port, None, plain.clone()).send(&cx(), &asking()).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Protocol && error.to_string().contains("read"), "{script:?}: {error}");
    }
    // Who hangs after the message was taken has taken it.
    let took = ["220 hi\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 queued\r\n"];
    let server = Hostile::start(&took, None).await;
    channel(server.port, None, plain)
        .send(&CallContext::with_timeout(Duration::from_secs(20)), &asking())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_guard_of_addresses_holds_for_mail_too() {
    let server = Hostile::start(&["220 hi\r\n"], None).await;
    let registry = Registry::linked().unwrap();
    let config = |host: &str| json!({ "host": host, "port": server.port, "from": "a@b.example", "to": ["c@d.example"], "security": "none" });
    for inside in ["127.0.0.1", "::1", "[::ffff:10.0.0.1]", "169.254.169.254"] {
        let error = registry.check_on("email", &config(inside), Arc::new(Host::default())).unwrap_err().to_string();
        assert!(error.contains("host") && error.contains("ROUNDS_OUTBOUND_ALLOW"), "{inside}: {error}");
    }
    let cx_ = BuildContext::new("mail", SecretHandle::none(), Arc::new(Host::default()));
    let rounds_core::plugin::Built::Notifier(mail) = registry.build("email", cx_, config("localhost")).unwrap() else {
        panic!("no notifier");
    };
    let error = mail.send(&cx(), &asking()).await.unwrap_err();
    assert!(error.kind == PortErrorKind::Invalid && error.to_string().contains("ROUNDS_OUTBOUND_ALLOW"), "{error}");
    assert_eq!(server.heard(), "");
}

#[tokio::test]
async fn a_config_that_cannot_work_and_a_secret_that_is_none_are_refused_in_words() {
    let registry = Registry::linked().unwrap();
    let whole = json!({ "host": "smtp.example.com", "from": "a@b.example", "to": ["c@d.example"] });
    registry.check("email", &whole).unwrap();
    for (name, value, part) in [
        ("password", json!("hunter2"), "unknown field `password`"),
        ("caCertificate", json!("nonsense"), "caCertificate"),
        ("timeoutSec", json!(0), "timeoutSec"),
        ("security", json!("none"), ""),
    ] {
        let mut config = whole.clone();
        config[name] = value;
        let checked = registry.check("email", &config).map_err(|error| error.to_string());
        match part {
            "" => checked.unwrap(),
            part => assert!(checked.unwrap_err().contains(part), "{name}"),
        }
    }
    for secret in ["", "\n", "hunter2\nhunter2", "hunter2\0"] {
        let cx = BuildContext::new("x", SecretHandle::none(), Arc::new(Host::default()));
        let error = registry.get("email").unwrap().check_secret(&cx, &secret.into()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    // A name without a password, and the other way round.
    for (secret, config) in [(None, signed_in()), (Some(PASSWORD), json!({}))] {
        let error = channel(1, secret, config).send(&cx(), &asking()).await.unwrap_err();
        assert!(error.kind == PortErrorKind::Unauthorized && error.to_string().contains("`username`"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
