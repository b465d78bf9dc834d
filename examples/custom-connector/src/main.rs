//! The connector at work: registered, configured by JSON, and driven through a real approval.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{sync::Arc, time::Duration};

use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::investigation::Proposal;
use rounds_core::plugin::{Host, Outbound, Registry};
use rounds_core::service::{Approval, ConnectorDraft};
use rounds_core::step::StepSpec;
use rounds_core::testing::{MemoryStore, StaticIdentity};
use rounds_core::{Error, OrgId, Rounds};
use rounds_custom_connector::manager;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The process is ours, so its TLS provider is, too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = manager::serve("a token", &["nginx.service", "sshd.service"]).await?.url;

    // Units have no namespace, so only the wide grant lets somebody approve all steps at once.
    let ada =
        Principal::user(OrgId::default(), "ada", OrgRole::Admin).with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    let registry = Registry::linked()?;
    registry.require(&["units", "unit-journal", "unit-board"])?;
    let identity = StaticIdentity::new([ada.clone()]);
    // The stand-in is on this machine, which connectors may not call by themselves.
    let host = Host { outbound: Outbound::loopback(), ..Host::default() };
    let rounds =
        Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(identity)).registry(registry).host(host).build()?;
    let running = rounds.start();

    let config = json!({ "url": url, "allowedUnits": ["nginx.service"] });
    let draft = ConnectorDraft::new("units", "edge").with_config(config).with_secret("a token");
    let edge = rounds.connectors().ensure(&ada, draft).await?.id;
    println!("reached {}", rounds.connectors().test(&ada, edge).await?.message);

    // What the adapter refuses cannot become a plan.
    let unsafe_plan = Proposal::new("Lock everybody out").step(edge, StepSpec::command(["stop", "sshd.service"]));
    match rounds.plans().propose(&ada, unsafe_plan).await {
        Err(Error::Refused(refusals)) => println!("refused: {}", refusals[0].message),
        other => anyhow::bail!("sshd.service is not an allowed unit, and yet: {other:?}"),
    }

    let proposal = Proposal::new("Bring the web server back")
        .step(edge, StepSpec::command(["start", "nginx.service"]))
        .step(edge, StepSpec::command(["status", "nginx.service"]));
    let plan = rounds.plans().propose(&ada, proposal).await?.plan;
    println!("{}: {}", plan.steps[0].review.command_text, plan.steps[0].dry_run_text.as_deref().unwrap_or_default());
    rounds.plans().approve(&ada, plan.id, &Approval::of(&plan).with_auto_edit()).await?;
    let done = rounds.plans().wait(&ada, plan.id, Duration::from_secs(10)).await?;
    for step in &done.steps {
        println!("{}: {}", step.review.command_text, step.output_text.as_deref().unwrap_or_default());
    }
    anyhow::ensure!(done.steps[1].output_text.as_deref() == Some("nginx.service is active"), "{done:?}");
    running.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
