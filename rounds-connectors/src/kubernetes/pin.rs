//! One way out for kubectl: a proxy on loopback, for one call, that connects to the cluster's server and to nothing else.
//!
//! kubectl resolves names by itself and follows redirects, with its credentials in hand. Given this proxy (`proxy-url` of the
//! kubeconfig that is written for it, known to kubectl since 1.19) it resolves nothing, and what a server leads it to
//! elsewhere is refused here: whatever it asks for, bytes only ever go to the addresses that were checked before it was
//! started. TLS is kubectl's own, from end to end; the proxy sees none of it.
//!
//! A server that answers without end is cut off, too: kubectl reads answers whole before it prints anything of them.
//!
//! Where kubectl would go through a proxy of the operator, it is given that one instead, and where it leads is for that one to say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request line with headers is a few hundred bytes.
const MAX_HEAD: usize = 16 * 1024;
/// To write a request, or to connect to one address.
const PATIENCE: Duration = Duration::from_secs(10);
/// kubectl opens a handful.
const MAX_CONNECTIONS: usize = 32;
/// What a server may send in one call, over all connections, as it is on the wire. A hundredth of it is shown.
const MAX_ANSWERS: u64 = 64 << 20;

/// Where a call may lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The host as the kubeconfig names it, an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The addresses that were checked.
    pub(crate) addresses: Vec<IpAddr>,
}

/// What went through.
#[derive(Debug, Default)]
struct Seen {
    reached: AtomicBool,
    /// Bytes that the server has sent.
    answered: AtomicU64,
    failed: Mutex<Option<String>>,
    refused: Mutex<Option<String>>,
}

impl Seen {
    fn is_flooded(&self) -> bool {
        self.answered.load(Ordering::SeqCst) > MAX_ANSWERS
    }
}

/// The proxy of one call; gone with the value, and its connections with it.
pub(crate) struct Pin {
    url: String,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Pin {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no free port on loopback.
    pub(crate) async fn open(to: Destination) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(to), Arc::clone(&seen)));
        Ok(Self { url, seen, _tasks: tasks })
    }

    /// What kubectl is given.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Why the server could not be reached: no connection to it was ever made, so nothing was ever sent.
    pub(crate) fn never_reached(&self) -> Option<String> {
        if self.seen.reached.load(Ordering::SeqCst) {
            return None;
        }
        self.seen.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That the server said more than anybody reads, and was cut off.
    pub(crate) fn flooded(&self) -> Option<String> {
        let cut = self.seen.is_flooded();
        cut.then(|| format!("its answers are longer than {} MiB, so the connection was cut", MAX_ANSWERS >> 20))
    }

    /// Where else kubectl was led, and was not let.
    pub(crate) fn led_astray(&self) -> Option<String> {
        self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, to: Arc<Destination>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(handle(stream, Arc::clone(&to), Arc::clone(&seen)));
            }
            // Out of file descriptors, perhaps; kubectl says that it cannot connect.
            Err(error) => {
                tracing::warn!(%error, "a connection of kubectl could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn handle(mut client: TcpStream, to: Arc<Destination>, seen: Arc<Seen>) {
    let Ok(Some(head)) = tokio::time::timeout(PATIENCE, head(&mut client)).await else { return };
    let Some((tunnel, asked)) = target(&head) else {
        return answer(&mut client, "400 Bad Request").await;
    };
    if !to.is(&asked) {
        let shown: String = asked.chars().filter(|c| c.is_ascii_graphic()).take(200).collect();
        seen.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(shown);
        return answer(&mut client, "421 Misdirected Request").await;
    }
    if seen.is_flooded() {
        // An answer, and not a connection that is lost: those are tried again until the time is over.
        return answer(&mut client, "421 Misdirected Request").await;
    }
    let mut server = match connect(&to).await {
        Ok(server) => server,
        Err(why) => {
            seen.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            return answer(&mut client, "502 Bad Gateway").await;
        }
    };
    seen.reached.store(true, Ordering::SeqCst);
    // Of plain HTTP the head itself is the server's, and so is all that follows on this connection, whatever it names.
    let begun = if tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await
    } else {
        server.write_all(&head).await
    };
    if begun.is_ok() {
        // It ends when either side ends it; how, they tell each other.
        let _ended = talk(&mut client, &mut server, &seen).await;
    }
}

/// Carries what the two say to each other, until both have ended or the server has said too much.
async fn talk(client: &mut TcpStream, server: &mut TcpStream, seen: &Seen) -> std::io::Result<()> {
    let ((mut asks, mut hears), (mut answers, mut asked)) = (client.split(), server.split());
    let up = async {
        tokio::io::copy(&mut asks, &mut asked).await?;
        asked.shutdown().await
    };
    let down = async {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let count = answers.read(&mut buffer).await?;
            if count == 0 {
                return hears.shutdown().await;
            }
            let all = seen.answered.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
            if all > MAX_ANSWERS {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            hears.write_all(&buffer[..count]).await?;
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}

async fn answer(client: &mut TcpStream, status: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // Who does not read it has gone.
    let _told = client.write_all(text.as_bytes()).await;
}

/// The head of a request, byte by byte to its end, so that nothing after it is taken. `None`: there is none.
async fn head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return None;
        }
        head.push(client.read_u8().await.ok()?);
    }
    Some(head)
}

/// Whether a tunnel is asked for, and where to: `host:port`.
fn target(head: &[u8]) -> Option<(bool, String)> {
    let line = std::str::from_utf8(head.split(|&c| c == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    match (words.next()?, words.next()?) {
        ("CONNECT", authority) => Some((true, authority.to_owned())),
        (_, address) => {
            let url = url::Url::parse(address).ok().filter(|url| url.scheme() == "http")?;
            Some((false, format!("{}:{}", url.host_str()?, url.port_or_known_default()?)))
        }
    }
}

impl Destination {
    fn is(&self, authority: &str) -> bool {
        let Some((host, port)) = authority.rsplit_once(':') else { return false };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let same = match (host.parse::<IpAddr>(), self.host.parse::<IpAddr>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => host.eq_ignore_ascii_case(&self.host),
        };
        same && port.parse() == Ok(self.port)
    }
}

/// Connects to the first of the addresses that takes it.
async fn connect(to: &Destination) -> Result<TcpStream, String> {
    let mut why = format!("{} has no address", to.host);
    for address in &to.addresses {
        let address = SocketAddr::new(*address, to.port);
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests go out at once.
                let _slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no connection within {} s", PATIENCE.as_secs()),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn say(pin: &Pin, text: &str) -> String {
        let mut stream = TcpStream::connect(pin.url().strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    /// A server that says back one line, and its address.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut line = [0; 5];
                stream.read_exact(&mut line).await.unwrap();
                stream.write_all(&line).await.unwrap();
            }
        });
        address
    }

    fn to(host: &str, address: SocketAddr) -> Destination {
        Destination { host: host.into(), port: address.port(), addresses: vec![address.ip()] }
    }

    #[tokio::test]
    async fn only_the_server_that_was_checked_is_connected_to() {
        let (server, other) = (echo().await, echo().await);
        let pin = Pin::open(to("k.example", server)).await.unwrap();
        let port = server.port();
        let said = say(&pin, &format!("CONNECT K.example:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello")).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("hello"), "{said}");
        assert_eq!(say(&pin, &format!("GET http://k.example:{port}/x HTTP/1.1\r\n\r\n")).await, "GET h");
        assert_eq!((pin.led_astray(), pin.never_reached()), (None, None));
        for elsewhere in [
            format!("CONNECT {other} HTTP/1.1\r\n\r\n"),
            format!("CONNECT k.example:{} HTTP/1.1\r\n\r\n", other.port()),
            format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"),
            format!("CONNECT k.example.:{port} HTTP/1.1\r\n\r\n"),
            format!("GET http://{other}/latest/meta-data HTTP/1.1\r\n\r\n"),
        ] {
            assert!(say(&pin, &elsewhere).await.starts_with("HTTP/1.1 421 "), "{elsewhere}");
        }
        assert_eq!(pin.led_astray(), Some(other.to_string()));
        for odd in ["GET /x HTTP/1.1\r\n\r\n", "CONNECT\r\n\r\n", "\u{1}\r\n\r\n"] {
            assert!(say(&pin, odd).await.starts_with("HTTP/1.1 400 "), "{odd:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_was_never_reached_is_proof_that_nothing_was_sent() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let pin = Pin::open(to("::1", closed)).await.unwrap();
        assert_eq!(pin.never_reached(), None, "nobody asked");
        let said = say(&pin, &format!("CONNECT [::1]:{} HTTP/1.1\r\n\r\n", closed.port())).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
        assert!(pin.never_reached().unwrap().contains("refused"));
    }

    #[tokio::test]
    async fn a_server_that_never_ends_is_cut_off_over_all_its_connections() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move { while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {} });
            }
        });
        let pin = Pin::open(to("k.example", address)).await.unwrap();
        assert_eq!(pin.flooded(), None);
        let drink = async || {
            let mut stream = TcpStream::connect(pin.url().strip_prefix("http://").unwrap()).await.unwrap();
            let ask = format!("CONNECT k.example:{} HTTP/1.1\r\n\r\n", address.port());
            stream.write_all(ask.as_bytes()).await.unwrap();
            let (mut buffer, mut all) = (vec![0; 1 << 20], 0);
            // It ends, one way or another.
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                all += count as u64;
            }
            all
        };
        let (one, other) = tokio::join!(drink(), drink());
        assert!(one + other <= MAX_ANSWERS + 1024, "{one} {other}");
        assert!(pin.flooded().unwrap().contains("64 MiB"));
        assert!(drink().await < 1024, "it stays shut");
    }

    #[tokio::test]
    async fn nothing_listens_after_the_call() {
        let pin = Pin::open(to("k.example", echo().await)).await.unwrap();
        let address = pin.url().strip_prefix("http://").unwrap().to_owned();
        drop(pin);
        let gone = async {
            while TcpStream::connect(&address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }
}
