//! What the demo breaks: a shop in a sandbox cluster, and the image that somebody is about to roll out.

use std::time::Duration;

use anyhow::Context as _;
use rounds_sandbox::{ImageBehaviour, Sandbox, Workload};

pub(super) const NAMESPACE: &str = "shop";
pub(super) const DEPLOYMENT: &str = "checkout";
const GOOD_IMAGE: &str = "registry.example/shop/checkout:1.8.2";
const BAD_IMAGE: &str = "registry.example/shop/checkout:1.8.3-rc1";
const UP: Duration = Duration::from_secs(60);

/// A cluster with a healthy workload.
pub(super) async fn start() -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::builder().speed(4.0).start().await.context("starting the sandbox cluster")?;
    sandbox.images().register(GOOD_IMAGE, ImageBehaviour::Runs);
    sandbox.images().register(BAD_IMAGE, ImageBehaviour::Missing);
    let mut checkout = Workload::new(NAMESPACE, DEPLOYMENT, GOOD_IMAGE);
    // All old pods may go before new ones are ready, so a bad image is an outage at once.
    checkout.rolling_update = Some(("100%".into(), "0".into()));
    sandbox.create_workload(checkout).await.context("creating the workload")?;
    sandbox
        .wait_until(|cluster| cluster.rolled_out(NAMESPACE, DEPLOYMENT), UP)
        .await
        .context("waiting for the workload to be up")?;
    Ok(sandbox)
}

/// What the alert asks.
pub(super) fn query() -> String {
    format!("max(http_request_errors_ratio{{namespace=\"{NAMESPACE}\",deployment=\"{DEPLOYMENT}\"}})")
}

/// Somebody rolls out an image that does not exist.
pub(super) async fn break_it(sandbox: &Sandbox) -> anyhow::Result<()> {
    sandbox.break_image(NAMESPACE, DEPLOYMENT, BAD_IMAGE).await.context("breaking the workload")
}
