//! Brings up cluster and server, and configures them as an operator would: over the public API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use rounds_sandbox::Sandbox;
use serde_json::json;

use super::client::Client;
use super::cluster;
use super::story::text;
use crate::boot::{App, FirstAdmin};
use crate::settings::ServerSettings;

pub(super) const LOGIN: &str = "admin";

/// What runs.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    pub(super) url: String,
    pub(super) password: String,
    app: App,
    // Last, so that the database is closed before its folder goes.
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn shutdown(self) {
        self.app.shutdown(Duration::from_secs(10)).await;
        self.sandbox.shutdown().await;
    }
}

pub(super) async fn start(listen: SocketAddr) -> anyhow::Result<Stage> {
    let sandbox = cluster::start().await?;
    let folder = tempfile::Builder::new().prefix("rounds-demo-").tempdir().context("making a temporary folder")?;
    let password = password();
    let mut settings = ServerSettings::in_folder(folder.path());
    settings.listen = listen;
    settings.first_admin = Some(FirstAdmin {
        email: "admin@example.com".into(),
        login: LOGIN.into(),
        name: "Demo Admin".into(),
        password: password.clone().into(),
    });
    // A demo is watched, so what usually takes minutes takes seconds.
    settings.core.verification_stable = Duration::from_secs(3);
    settings.core.poll_interval = Duration::from_millis(500);
    let app = App::start(settings).await?;
    let url = format!("http://{}", app.address());
    Ok(Stage { sandbox, url, password, app, _folder: folder })
}

/// A password that nobody else knows, readable enough to be typed.
fn password() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}-{}", &id[..4], &id[4..8], &id[8..12])
}

/// Datasource, connector, the agent's token and the alert rule; answers the rule's id.
pub(super) async fn configure(client: &mut Client, sandbox: &Sandbox) -> anyhow::Result<String> {
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
