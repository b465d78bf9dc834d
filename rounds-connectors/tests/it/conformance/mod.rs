//! Every connector of this crate, put through the conformance kit; nothing is skipped without a written reason.

#[cfg(feature = "flux")]
mod flux;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "models")]
mod models;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "secrets")]
mod secrets;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "webhook")]
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use rounds_core::conformance::connector::Served;
use rounds_core::plugin::{Registration, Registry};

/// A kind of this crate, as a server finds it.
fn linked(kind: &str) -> Registration {
    Registry::linked().unwrap().get(kind).unwrap().clone()
}

/// Counts what a server was made to do.
#[derive(Clone, Default)]
struct Effects(Arc<AtomicU64>);

impl Effects {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Serves this on a loopback port, and tells the effects that it counts.
async fn served(app: Router, effects: Effects) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served::new(address, move || effects.0.load(Ordering::SeqCst))
}
