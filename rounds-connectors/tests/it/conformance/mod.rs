//! Every connector of this crate, put through the conformance kit; nothing is skipped without a written reason.

#[cfg(feature = "alert-rules")]
mod alert_rules;
#[cfg(feature = "alertmanager")]
mod alertmanager;
#[cfg(feature = "argocd")]
mod argocd;
#[cfg(feature = "argocd")]
mod argocd_history;
#[cfg(feature = "discord")]
mod discord;
#[cfg(feature = "email")]
mod email;
#[cfg(feature = "flux")]
mod flux;
#[cfg(all(feature = "github", feature = "gitlab"))]
mod github;
#[cfg(all(feature = "github", feature = "gitlab"))]
mod gitlab;
#[cfg(feature = "http")]
mod http_request;
#[cfg(feature = "kubernetes")]
mod kubectl;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "loki")]
mod loki;
#[cfg(feature = "models")]
mod models;
#[cfg(feature = "pagerduty")]
mod pagerduty;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "secrets")]
mod secrets;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "teams")]
mod teams;
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

/// The first example of a page of the documentation: a config.
fn first_example(page: &str) -> serde_json::Value {
    let example = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    serde_json::from_str(example).unwrap()
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

/// The first config that a page for operators shows, which stands in a block of JSON.
#[allow(dead_code, reason = "no connector of every set of features has such a page")]
fn documented(page: &str) -> serde_json::Value {
    let block = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of JSON");
    let shown: serde_json::Value = serde_json::from_str(block).expect("the documented config is JSON");
    // Shown as it is posted: the config stands beside kind and name.
    shown.get("config").cloned().unwrap_or(shown)
}
