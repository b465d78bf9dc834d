//! The application, started and shut down twice in one process, the second time on what the first left.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use rounds_core::investigation::Proposal;
use rounds_core::step::StepSpec;
use rounds_embedded::app::App;
use rounds_embedded::remediation::{assemble, principal, routes};
use serde_json::{Value, json};
use tower::ServiceExt as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for run in 1..=2 {
        let app = App::open(dir.path()).await?;
        let (rounds, store) = assemble(&app).await?;
        let running = rounds.start();
        let router = App::routes().merge(routes(rounds.clone())).with_state(app.clone());
        let ask = async |who: &str, method: &str, path: &str, body: Value| {
            let request = Request::builder().method(method).uri(path).header("x-user", who);
            let request = request.header("content-type", "application/json").body(Body::from(body.to_string()))?;
            let answer = router.clone().oneshot(request).await?;
            let (status, body) = (answer.status(), to_bytes(answer.into_body(), 1 << 20).await?);
            println!("run {run}: {who} {method} {path}: {status}");
            anyhow::Ok((status, serde_json::from_slice::<Value>(&body).unwrap_or_default()))
        };

        let lead = principal("u-1");
        let fleet = rounds.connectors().list(&lead).await?.into_iter().find(|found| found.name == "fleet");
        let fleet = fleet.ok_or_else(|| anyhow::anyhow!("the fleet is a connector"))?;
        let proposal =
            Proposal::new("Restart the checkout").step(fleet.id, StepSpec::command(["restart", "shop/checkout"]));
        let plan = rounds.plans().propose(&lead, proposal).await?.plan;
        let approve = format!("/plans/{}/approve", plan.id);
        // The developer only looks, and the other team's engineer decides for the other team.
        for who in ["u-30", "u-18"] {
            let (status, _) = ask(who, "POST", &approve, json!({ "digest": plan.digest })).await?;
            anyhow::ensure!(status == 403, "{who} may not approve: {status}");
        }
        ask("u-17", "POST", &approve, json!({ "digest": plan.digest })).await?;
        // Without auto-edit the step waits for an approval of its own.
        let paused = rounds.plans().wait(&lead, plan.id, Duration::from_secs(10)).await?;
        let step = paused
            .waiting_for()
            .map(|request| request.id)
            .ok_or_else(|| anyhow::anyhow!("the step waits: {paused:?}"))?;
        rounds.approvals().approve(&principal("u-17"), step).await?;
        let done = rounds.plans().wait(&lead, plan.id, Duration::from_secs(10)).await?;
        println!("run {run}: {} is {}", done.summary, done.status.as_str());
        let (_, plans) = ask("u-30", "GET", "/plans", Value::Null).await?;
        anyhow::ensure!(plans.as_array().map(Vec::len) == Some(run), "each run finds what was before: {plans}");

        running.shutdown(Duration::from_secs(5)).await;
        store.close().await;
        app.close().await?;
    }
    Ok(())
}
