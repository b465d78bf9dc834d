//! A little service over plain HTTP/1.1 and its client, in which each flaw of a connector can be switched on.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rounds_core::conformance::connector::Served;
use rounds_core::plugin::{BuildContext, BuildError, Outbound};
use rounds_core::ports::{CallContext, PortError, PortErrorKind, SecretHandle};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Serves units: `GET /status/…`, `POST /restart/…` (an effect, unless `?dry`), `GET /many`.
pub(super) async fn serve(token: &str) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let effects = Arc::new(AtomicU64::new(0));
    let (token, counted) = (format!("authorization: bearer {token}").to_lowercase(), Arc::clone(&effects));
    let told = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (token, counted, names) = (token.clone(), Arc::clone(&counted), Arc::clone(&names));
            tokio::spawn(async move {
                let request = whole_request(&mut socket).await;
                let head = request.lines().next().unwrap_or_default().to_owned();
                let (status, body) = match head.split(' ').collect::<Vec<_>>()[..] {
                    _ if !request.to_lowercase().contains(&token) => (401, "who are you?".to_owned()),
                    ["GET", path, _] if path.contains("bad") => (400, "no such thing can be asked".into()),
                    ["GET", "/many", _] => (200, format!("ok {}", "many ".repeat(100))),
                    ["GET", ..] => (200, "ok it is active".into()),
                    ["POST", path, _] if path.ends_with("?dry") => (200, "ok it would restart".into()),
                    ["POST", ..] => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        names.lock().unwrap().extend(addressees(&request));
                        (200, "ok it restarted".into())
                    }
                    _ => (404, "nothing there".into()),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    Served::new(address, move || effects.load(Ordering::SeqCst)).telling(move || told.lock().unwrap().clone())
}

/// Whom a message is for.
fn addressees(request: &str) -> Vec<String> {
    let body = request.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    let body: serde_json::Value = body.unwrap_or_default();
    body["to"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

async fn whole_request(socket: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match socket.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return text,
        }
    }
}

/// An answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

/// No answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: PortError,
    pub(super) sent: bool,
}

/// The client: whole, but for its flaw.
pub(super) struct Wire {
    url: String,
    address: SocketAddr,
    secret: SecretHandle,
    outbound: Outbound,
    pub(super) flaw: String,
    kept: Mutex<Option<SecretString>>,
    pub(super) count: AtomicUsize,
}

impl Wire {
    /// The flaw comes by way of the host, which the kit takes from the subject.
    pub(super) fn new(cx: &BuildContext, url: &str) -> Result<Self, BuildError> {
        let wrong =
            || BuildError::config(format!("url: an address such as http://127.0.0.1:9 is accepted, and not {url:?}"));
        let address = url.strip_prefix("http://").and_then(|rest| rest.parse().ok()).ok_or_else(wrong)?;
        let flaw = cx.host.child_env.get("FLAW").cloned().unwrap_or_default();
        if flaw == "connects when it is built" {
            let _ = std::net::TcpStream::connect(address);
        }
        Ok(Self {
            url: url.into(),
            address,
            secret: cx.secret.clone(),
            outbound: cx.host.outbound.clone(),
            flaw,
            kept: Mutex::default(),
            count: AtomicUsize::new(0),
        })
    }

    pub(super) fn has(&self, flaw: &str) -> bool {
        self.flaw == flaw
    }

    /// As a review must not.
    pub(super) fn calls_at_once(&self) {
        if let Ok(mut socket) = std::net::TcpStream::connect(self.address) {
            let _ = socket.write_all(b"GET /status/x HTTP/1.1\r\n\r\n");
            let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = socket.read(&mut [0; 16]);
        }
    }

    async fn token(&self) -> Result<SecretString, PortError> {
        if self.has("keeps its secret") {
            if let Some(kept) = self.kept.lock().unwrap().clone() {
                return Ok(kept);
            }
            let secret = self.secret.required().await?;
            *self.kept.lock().unwrap() = Some(secret.clone());
            return Ok(secret);
        }
        match self.secret.required().await {
            Err(_) if self.has("calls without its secret") => Ok("none".into()),
            result => result,
        }
    }

    /// One request.
    pub(super) async fn ask(&self, cx: &CallContext, method: &str, path: &str, body: &str) -> Result<Answered, Fault> {
        let token = self.token().await.map_err(|error| Fault { error, sent: false })?;
        let limit = match self.flaw.as_str() {
            "ignores its deadline" => Duration::from_secs(3600),
            _ => cx.timeout,
        };
        let exchange = self.exchange(self.address, method, path, body, &token);
        let cancelled = async {
            match self.has("ignores that its caller went away") {
                true => std::future::pending().await,
                false => cx.cancel.cancelled().await,
            }
        };
        let fault = |kind, message: String| Fault { error: PortError::new(kind, message), sent: true };
        let answer = tokio::select! {
            () = cancelled => Err(fault(PortErrorKind::Unavailable, "its caller went away".into())),
            answer = tokio::time::timeout(limit, exchange) => {
                answer.unwrap_or_else(|_| Err(fault(PortErrorKind::Timeout, format!("no answer within {limit:?}"))))
            }
        };
        match answer {
            Ok(Answered { status: 301..=308, location: Some(to), .. }) if self.has("follows redirects") => {
                let to = to.trim_start_matches("http://").split('/').next().unwrap_or_default().parse();
                self.exchange(to.unwrap(), method, path, body, &token).await
            }
            Ok(Answered { status: 500.., .. }) if self.has("tries again") => {
                self.exchange(self.address, method, path, body, &token).await
            }
            Err(mut fault) if self.has("tells its secret when nothing works") => {
                fault.error.message = format!("{} ({})", fault.error.message, token.expose_secret());
                Err(fault)
            }
            answer => answer,
        }
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: &str,
        token: &SecretString,
    ) -> Result<Answered, Fault> {
        let fault = |sent, kind, message: String| Fault { error: PortError::new(kind, message), sent };
        if !self.has("calls any address") {
            let checked = self.outbound.check(&address.ip().to_string(), address.ip());
            checked.map_err(|refused| fault(false, PortErrorKind::Invalid, refused.to_string()))?;
        }
        let refused_kind = match self.has("takes nobody there for good") {
            true => PortErrorKind::Protocol,
            false => PortErrorKind::Unavailable,
        };
        let socket = TcpStream::connect(address).await;
        let mut socket = socket.map_err(|error| {
            fault(self.has("doubts what is proven"), refused_kind, format!("{} is not there: {error}", self.url))
        })?;
        let bearer = token.expose_secret();
        if self.has("logs its secret") {
            tracing::debug!(header = %format!("Bearer {bearer}"), "asking");
        }
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {bearer}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let broken = |error: std::io::Error| fault(true, PortErrorKind::Unavailable, format!("it broke off: {error}"));
        if self.has("leaves its work behind") {
            // Whoever drops this future does not drop the task.
            let (send, receive) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let mut answer = Vec::new();
                let _ = socket.write_all(request.as_bytes()).await;
                let _ = socket.read_to_end(&mut answer).await;
                let _ = send.send(answer);
            });
            let answer = receive.await.unwrap_or_default();
            return self.parsed(&answer, token);
        }
        socket.write_all(request.as_bytes()).await.map_err(broken)?;
        let most = if self.has("reads without a bound") { usize::MAX } else { 16 << 20 };
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let read = socket.read(&mut buffer);
            let read = match self.has("has a deadline for each read") {
                // The whole has none.
                true => tokio::time::timeout(Duration::from_secs(3600), read).await.unwrap(),
                false => read.await,
            };
            match read.map_err(broken)? {
                0 => break,
                read if answer.len() < most => answer.extend_from_slice(&buffer[..read]),
                _ => return Err(fault(true, PortErrorKind::Protocol, "the answer is too large".into())),
            }
            if most == usize::MAX && answer.len() > 1 << 20 {
                // What is read is forgotten, so that a test that shows no bound has one.
                answer.truncate(1 << 16);
            }
        }
        self.parsed(&answer, token)
    }

    fn parsed(&self, answer: &[u8], token: &SecretString) -> Result<Answered, Fault> {
        let fault = |kind, message: &str| Fault { error: PortError::new(kind, message), sent: true };
        let text = String::from_utf8_lossy(answer).into_owned();
        let lenient = self.has("takes anything for an answer");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return match lenient {
                true => Ok(Answered { status: 200, retry_after: None, location: None, body: text }),
                false => Err(fault(PortErrorKind::Unavailable, "the answer was cut off")),
            };
        };
        let headers: BTreeMap<String, &str> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim()))
            .collect();
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).filter(|_| head.starts_with("HTTP/1.1 "));
        let Some(status) = status else { return Err(fault(PortErrorKind::Protocol, "this is no HTTP")) };
        let length: Option<usize> = headers.get("content-length").and_then(|length| length.parse().ok());
        let halves = self.has("makes half an answer a whole one");
        if length.is_some_and(|length| length > body.len()) && !halves && !lenient {
            return Err(fault(PortErrorKind::Unavailable, "the answer was cut off"));
        }
        let retry_after = headers.get("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let body = match self.flaw.as_str() {
            "says back what it is told" | "says all of an output" => body.to_owned(),
            "says all that it is told" => body.replace(token.expose_secret(), "…"),
            _ => {
                let plain = body.replace(token.expose_secret(), "…");
                plain.chars().filter(|c| !c.is_control()).take(500).collect()
            }
        };
        Ok(Answered { status, retry_after, location: headers.get("location").map(|to| (*to).to_owned()), body })
    }

    /// An answer that is one of this service's.
    pub(super) fn judged(&self, answer: Answered) -> Result<String, PortError> {
        let kind = match answer.status {
            _ if self.has("calls every failure a protocol error") && answer.status != 200 => PortErrorKind::Protocol,
            200 if answer.body.starts_with("ok") => return Ok(answer.body),
            200 if self.has("takes anything for an answer") => return Ok(answer.body),
            200 if self.has("makes half an answer a whole one") => return Ok(answer.body),
            401 | 403 => PortErrorKind::Unauthorized,
            429 => PortErrorKind::RateLimited,
            408 | 500.. => PortErrorKind::Unavailable,
            400 => PortErrorKind::Invalid,
            _ => PortErrorKind::Protocol,
        };
        let error = PortError::new(kind, format!("status {}: {}", answer.status, answer.body));
        Err(match self.has("forgets how long to wait") {
            true => error,
            false => error.with_retry_after(answer.retry_after),
        })
    }
}
