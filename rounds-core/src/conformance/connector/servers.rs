//! Servers that no connector should have to meet, over plain TCP: what they do is a few bytes, and they count.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// As much of an answer without end as a server sends before it gives up: whoever takes this much has no bound.
const ENDLESS: u64 = 128 * 1024 * 1024;

/// The most of a request that is kept.
const REQUEST: usize = 4 * 1024 * 1024;

/// How long a client that says nothing is waited for before it is answered: some protocols let the server speak first.
const HESITATION: Duration = Duration::from_millis(300);

/// What a server does to whoever connects.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// Takes what it is sent, and says nothing.
    Silent,
    /// Begins an answer and goes on with it for ever, a byte at a time.
    Drip,
    /// Begins an answer's head and goes on with it for ever, a byte at a time.
    DripHead,
    /// Sends a body as fast as it is read, for ever.
    EndlessBody,
    /// Sends one header as fast as it is read, for ever.
    EndlessHeader,
    /// Sends bytes that are of no protocol.
    Garbage,
    /// Hangs up without a word.
    HangsUp,
    /// Promises a longer body than it sends, and hangs up.
    CutOff,
    /// Says that the place is elsewhere.
    Redirect { status: u16, to: String },
    /// Gives this answer to everything.
    Answer(Answer),
    /// Gives back all that it was sent, in an error with this status.
    Echo { status: u16, json: bool },
}

/// An answer in full.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, headers: "", body: body.into() }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, content_type, headers, body } = self;
        let length = body.len();
        let mut bytes = format!(
            "HTTP/1.1 {status} As asked\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

/// What a server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open: watch::Sender<usize>,
    sent: AtomicU64,
    endless: AtomicBool,
    requests: Mutex<Vec<Vec<u8>>>,
}

/// A server on a port of its own, until it is dropped.
pub(super) struct Server {
    pub(super) address: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `greeting` is what the protocol lets a server say first; `content_type` what its answers are.
    pub(super) async fn new(behaviour: Behaviour, greeting: &'static [u8], content_type: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    seen.open.send_modify(|open| *open += 1);
                    let (seen, behaviour) = (Arc::clone(&seen), behaviour.clone());
                    tokio::spawn(async move {
                        let _ = serve(socket, &behaviour, greeting, content_type, &seen).await;
                        seen.open.send_modify(|open| *open -= 1);
                    });
                }
            }
        });
        Self { address, seen, task }
    }

    /// How many connections were made to it.
    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// What it was asked, each as it came; only whole HTTP requests.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|request| String::from_utf8_lossy(request).into_owned()).collect()
    }

    /// Whether somebody read all of an answer that was as good as endless.
    pub(super) fn was_read_without_end(&self) -> bool {
        self.seen.endless.load(Ordering::SeqCst)
    }

    /// How many bytes of endless answers somebody took.
    pub(super) fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::SeqCst)
    }

    /// Waits until somebody has connected. Whoever calls it bounds it.
    pub(super) async fn met(&self) {
        let mut open = self.seen.open.subscribe();
        while self.connections() == 0 {
            let _ = open.changed().await;
        }
    }

    /// Waits until nobody is connected. Whoever calls it bounds it.
    pub(super) async fn alone(&self) {
        let mut open = self.seen.open.subscribe();
        let _ = open.wait_for(|open| *open == 0).await;
    }
}

async fn serve(
    mut socket: TcpStream,
    behaviour: &Behaviour,
    greeting: &[u8],
    content_type: &str,
    seen: &Seen,
) -> io::Result<()> {
    socket.write_all(greeting).await?;
    if matches!(behaviour, Behaviour::HangsUp) {
        return Ok(());
    }
    let patience = (!matches!(behaviour, Behaviour::Silent)).then_some(HESITATION);
    let (request, whole) = request(&mut socket, patience).await?;
    if whole {
        seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    }
    match behaviour {
        Behaviour::Silent | Behaviour::HangsUp => {}
        Behaviour::Drip => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
            socket.write_all(head.as_bytes()).await?;
            drip(&mut socket, b"1\r\n \r\n").await?;
        }
        Behaviour::DripHead => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
            drip(&mut socket, b"x").await?;
        }
        Behaviour::EndlessBody => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n");
            let begin = if content_type.contains("event-stream") { "data: \"" } else { "{\"data\":\"" };
            socket.write_all(format!("{head}{begin}").as_bytes()).await?;
            endless(&mut socket, seen).await?;
        }
        Behaviour::EndlessHeader => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nx-long: ").await?;
            endless(&mut socket, seen).await?;
        }
        Behaviour::Garbage => {
            let bytes: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            socket.write_all(&bytes).await?;
            return close(socket).await;
        }
        Behaviour::CutOff => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 100000\r\n\r\n");
            socket.write_all(format!("{head}{{\"data\":").as_bytes()).await?;
            return Ok(());
        }
        Behaviour::Redirect { status, to } => {
            let answer = format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {to}/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            socket.write_all(answer.as_bytes()).await?;
            return close(socket).await;
        }
        Behaviour::Answer(answer) => {
            socket.write_all(&answer.bytes()).await?;
            return close(socket).await;
        }
        Behaviour::Echo { status, json } => {
            let asked = String::from_utf8_lossy(&request).into_owned();
            let answer = if *json {
                let error =
                    serde_json::json!({ "message": asked, "type": "error", "code": *status, "status": "error" });
                let body = serde_json::json!({
                    "error": error, "message": asked, "errors": [asked], "errorType": asked, "status": "error",
                });
                Answer::new(*status, "application/json", body.to_string())
            } else {
                Answer::new(*status, "text/plain", asked)
            };
            socket.write_all(&answer.bytes()).await?;
            return close(socket).await;
        }
    }
    // What is left is to see the other side go.
    let mut rest = vec![0; 64 * 1024];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Writes the same again and again, slowly, until the other side goes.
async fn drip(socket: &mut TcpStream, what: &[u8]) -> io::Result<()> {
    loop {
        socket.write_all(what).await?;
        // A drip is a matter of time: nothing waits for this one.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes as fast as it is read, up to [`ENDLESS`].
async fn endless(socket: &mut TcpStream, seen: &Seen) -> io::Result<()> {
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < ENDLESS {
        socket.write_all(&chunk).await?;
        sent += chunk.len() as u64;
        seen.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
    }
    seen.endless.store(true, Ordering::SeqCst);
    Ok(())
}

/// Ends an answer so that the other side gets all of it.
async fn close(mut socket: TcpStream) -> io::Result<()> {
    socket.shutdown().await?;
    let mut rest = vec![0; 64 * 1024];
    let drained = async { while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), drained).await;
    Ok(())
}

/// Reads one request, and says whether it is a whole one of HTTP. With a patience, a pause ends it, too.
async fn request(socket: &mut TcpStream, patience: Option<Duration>) -> io::Result<(Vec<u8>, bool)> {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while request.len() < REQUEST {
        let read = socket.read(&mut buffer);
        let read = match patience {
            Some(patience) => match tokio::time::timeout(patience, read).await {
                Ok(read) => read?,
                Err(_) => return Ok((request, false)),
            },
            None => read.await?,
        };
        if read == 0 {
            return Ok((request, false));
        }
        request.extend_from_slice(&buffer[..read]);
        if is_whole(&request) {
            return Ok((request, true));
        }
    }
    Ok((request, false))
}

/// Whether these bytes are a whole HTTP/1.1 request.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let body = &request[end + 4..];
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    };
    if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return body.ends_with(b"0\r\n\r\n");
    }
    body.len() >= header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// An address where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("its address"))
}
