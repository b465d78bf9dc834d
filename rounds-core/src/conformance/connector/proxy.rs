//! Between a connector and its real server: the effect happens, and the answer does not arrive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Served;

/// What becomes of the first answer after an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It never comes, and the connection stays.
    Withheld,
    /// The connection ends within its first line.
    CutInHead,
    /// The connection ends within its body, or, when it has none, right before its end.
    CutInBody,
}

/// A way to a server, until it is dropped.
pub(super) struct Proxy {
    pub(super) address: String,
    struck: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Passes everything on, until the server counts more effects than it does now.
    pub(super) async fn before(served: &Served, loss: Loss) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let here = listener.local_addr().expect("its address").to_string();
        let (scheme, rest) = served.address.split_once("://").unwrap_or(("http", &served.address));
        let (there, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = format!("{scheme}://{here}{path}");
        let (there, effects, before) = (there.to_owned(), Arc::clone(&served.effects), served.effects());
        let struck = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let struck = Arc::clone(&struck);
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(&there).await else { continue };
                    let (effects, struck) = (Arc::clone(&effects), Arc::clone(&struck));
                    let strikes = move || effects() > before && !struck.swap(true, Ordering::SeqCst);
                    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                    let asked = tokio::spawn(pass(near_read, far_write));
                    tokio::spawn(async move {
                        let _ = answer(far_read, near_write, loss, strikes, asked).await;
                    });
                }
            }
        });
        Self { address, struck, task }
    }

    /// Whether an answer was lost.
    pub(super) fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    loss: Loss,
    strikes: impl Fn() -> bool,
    asked: JoinHandle<io::Result<()>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let chunk = &buffer[..read];
        if !strikes() {
            to.write_all(chunk).await?;
            continue;
        }
        let end_of_head = chunk.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let kept = match (loss, end_of_head) {
            (Loss::Withheld, _) => 0,
            (Loss::CutInHead, _) => read.min(8),
            (Loss::CutInBody, Some(head)) if head < read => head + (read - head) / 2,
            (Loss::CutInBody, Some(head)) => head - 3,
            (Loss::CutInBody, None) => read / 2,
        };
        to.write_all(&chunk[..kept]).await?;
        if loss == Loss::Withheld {
            // The connection stays until the other side gives it up.
            let _ = asked.await;
        } else {
            asked.abort();
        }
        return Ok(());
    }
}
