//! `email`, against a relay that takes messages without encryption: the servers of the kit speak no TLS.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rounds_core::conformance::connector::{ConnectorSubject, NotifierSubject, Served, Setup};
use rounds_core::plugin::Registration;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{first_example, linked};

struct Email;

/// One session with a relay.
async fn relay(mut stream: TcpStream, taken: Arc<AtomicU64>, told: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 relay ESMTP\r\n").await?;
    let mut recipients = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" => b"250-relay\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n",
            "MAIL" | "RSET" => {
                recipients.clear();
                b"250 ok\r\n"
            }
            "RCPT" => {
                recipients.extend(line.split(['<', '>']).nth(1).map(str::to_owned));
                b"250 ok\r\n"
            }
            "DATA" if recipients.is_empty() => b"503 who for?\r\n",
            "DATA" => {
                write.write_all(b"354 go\r\n").await?;
                while lines.next_line().await?.is_some_and(|line| line != ".") {}
                taken.fetch_add(1, Ordering::SeqCst);
                told.lock().unwrap().append(&mut recipients);
                b"250 queued\r\n"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"502 what?\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}

#[rounds_core::async_trait]
impl ConnectorSubject for Email {
    fn registration(&self) -> Registration {
        linked("email")
    }

    fn connector(&self, at: &str, _secret: &str) -> Setup {
        let (host, port) = at.strip_prefix("http://").and_then(|at| at.trim_end_matches('/').rsplit_once(':')).unwrap();
        let port: u16 = port.parse().unwrap();
        let (from, to) = ("rounds@example.com", ["ops@example.com", "ada@example.com"]);
        Setup::new(json!({ "host": host, "port": port, "security": "none", "from": from, "to": to }))
    }

    fn documented(&self) -> Value {
        first_example(include_str!("../../../../docs/connectors/email.md"))
    }

    fn greeting(&self) -> &'static [u8] {
        b"220 relay ESMTP\r\n"
    }

    async fn serve(&self, _secret: &str) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let taken: Arc<AtomicU64> = Arc::default();
        let counts = Arc::clone(&taken);
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let names = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, Arc::clone(&counts), Arc::clone(&names)));
            }
        });
        Served::new(address, move || taken.load(Ordering::SeqCst)).telling(move || told.lock().unwrap().clone())
    }

    fn waived(&self) -> Vec<(&'static str, &'static str)> {
        let http = "it is about statuses of HTTP; what each reply of SMTP means is in the connector's own tests";
        let requests =
            "the kit counts requests of HTTP; that one delivery is one session is in the connector's own tests";
        vec![
            ("statuses_have_their_kinds", http),
            ("what_the_other_side_asks_for_is_passed_on", http),
            ("nothing_is_tried_twice", requests),
        ]
    }
}

impl NotifierSubject for Email {
    fn has_no_idempotency_key(&self) -> Option<&'static str> {
        Some("the Message-ID is a digest of it, which the connector's own tests look at")
    }
}

rounds_core::notifier_conformance!(strict: Email);
