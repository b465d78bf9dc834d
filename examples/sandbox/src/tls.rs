//! TLS for the API: kubectl sends its bearer token over nothing else.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

/// A fresh self-signed certificate for loopback, and the server that presents it.
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub(crate) fn generate() -> anyhow::Result<Identity> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        Ok(Identity { certificate_pem: made.cert.pem(), config: Arc::new(config) })
    }

    /// Accepts connections; handshakes run beside each other, so that a slow client holds up nobody.
    pub(crate) fn listen(&self, tcp: TcpListener, stop: CancellationToken) -> io::Result<TlsListener> {
        let local = tcp.local_addr()?;
        let acceptor = TlsAcceptor::from(self.config.clone());
        let (ready, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = tcp.accept() => match accepted {
                        Ok((stream, peer)) => (stream, peer),
                        Err(error) => {
                            tracing::debug!(%error, "accepting a connection");
                            continue;
                        }
                    },
                    () = stop.cancelled() => return,
                };
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                tokio::spawn(async move {
                    let (stream, peer) = stream;
                    let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream));
                    if let Ok(Ok(tls)) = handshake.await {
                        // Nobody listens once the server has stopped.
                        let _stopped = ready.send((tls, peer)).await;
                    }
                });
            }
        });
        Ok(TlsListener { accepted, local })
    }
}

/// Connections that have completed their handshake.
pub(crate) struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    local: SocketAddr,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // The acceptor has stopped, and the server is being stopped with it.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
