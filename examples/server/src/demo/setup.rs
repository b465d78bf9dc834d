//! Brings up cluster and server, and configures them as an operator would: over the public API.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use rounds_core::plugin::Outbound;
use rounds_sandbox::Sandbox;
use serde_json::json;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::cluster;
use super::story::text;
use crate::boot::{App, Boot};
use crate::settings::{Overrides, SeedAdmin, ServerSettings};

/// The demo's admin.
pub const LOGIN: &str = "admin";

/// What runs.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    pub(super) url: String,
    pub(super) password: String,
    stop: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
    // Last, so that the database is closed before its folder goes.
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn shutdown(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.server.await.context("the server panicked")??;
        self.sandbox.shutdown().await;
        Ok(())
    }
}

pub(super) async fn start(listen: &str) -> anyhow::Result<Stage> {
    let sandbox = cluster::start().await?;
    let folder = tempfile::Builder::new().prefix("rounds-demo-").tempdir().context("making a temporary folder")?;
    let password = password();
    let overrides = Overrides { data_dir: Some(folder.path().to_owned()), ..Overrides::default() };
    // Of the environment only what finds and runs kubectl: the demo is the same everywhere.
    let mut settings = ServerSettings::read(&tools_only, overrides)?;
    settings.seed_admin = Some(SeedAdmin {
        email: Some("admin@example.com".into()),
        login: LOGIN.into(),
        name: Some("Demo Admin".into()),
        password: password.clone().into(),
    });
    // Cluster and metrics of the demo are in this very process.
    settings.outbound = Outbound::loopback();
    // A demo is watched, so what usually takes minutes takes seconds.
    settings.core.verification_stable = Duration::from_secs(3);
    settings.core.poll_interval = Duration::from_millis(500);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let url = format!("http://{}", listener.local_addr().context("reading the address")?);
    settings.public_url = Some(url.clone());
    let app = App::start(Boot::new(settings)?).await?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = tokio::spawn(async move { app.serve(listener, async move { stopped.cancelled().await }).await });
    Ok(Stage { sandbox, url, password, stop, server, _folder: folder })
}

fn tools_only(name: &str) -> Option<OsString> {
    #[allow(clippy::disallowed_methods, reason = "the demo is part of the binary, which may read its environment")]
    ["PATH", "KUBECTL", "HOME", "ROUNDS_LOG"].contains(&name).then(|| std::env::var_os(name)).flatten()
}

/// A password that nobody else knows, readable enough to be typed.
fn password() -> String {
    use rand::Rng as _;
    let letters: Vec<char> = "abcdefghjkmnpqrstuvwxyz23456789".chars().collect();
    let mut random = rand::rng();
    let mut word = || (0..5).map(|_| letters[random.random_range(0..letters.len())]).collect::<String>();
    [word(), word(), word()].join("-")
}

/// Datasource, connector, the agent's token and the alert rule; answers the rule's id.
///
/// # Errors
/// The server refused one of them.
pub async fn configure(client: &mut Client, sandbox: &Sandbox) -> anyhow::Result<String> {
    let datasource = json!({
        "type": "prometheus", "name": "prometheus", "isDefault": true,
        "config": { "url": sandbox.prometheus_url() },
    });
    let connector = json!({
        "type": "kubernetes", "name": "sandbox",
        "config": { "allowedNamespaces": [cluster::NAMESPACE] },
        "secret": sandbox.kubeconfig(),
    });
    for draft in [datasource, connector] {
        let made = client.post("/api/connectors", &draft).await?;
        let id = text(&made["connector"], "id").to_owned();
        client.post(&format!("/api/connectors/{id}/test"), &json!({})).await?;
    }
    let accounts = client.get("/api/serviceaccounts/search").await?;
    let agent = accounts["serviceAccounts"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|account| text(account, "login") == "@syntropize/rounds")
        .context("the service account @syntropize/rounds is not there")?;
    let tokens = format!("/api/serviceaccounts/{}/tokens", text(agent, "id"));
    client.post(&tokens, &json!({ "name": "demo" })).await?;
    let rule = client
        .post(
            "/api/alert-rules",
            &json!({
                "name": "Checkout errors",
                "description": "More than a fifth of all requests to the checkout fail.",
                "condition": { "query": cluster::query(), "operator": ">", "threshold": 0.2, "forDurationSec": 3 },
                "evaluationIntervalSec": 1,
                "severity": "critical",
                "labels": { "namespace": cluster::NAMESPACE, "deployment": cluster::DEPLOYMENT },
            }),
        )
        .await?;
    Ok(text(&rule, "id").to_owned())
}
