//! Rounds embedded in under sixty lines: an alert fires, a plan is proposed, a person approves, the alert resolves.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{sync::Arc, time::Duration};

use rounds_core::access::{OrgRole, Principal};
use rounds_core::alert::Operator;
use rounds_core::plan::VerificationStatus;
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::SoleAgent;
use rounds_core::service::{Approval, ConnectorDraft, PlanFilter, RuleDraft};
use rounds_core::testing::{FakeAdapter, FakeDatasource, MemoryStore, ScriptedInvestigator};
use rounds_core::{OrgId, Rounds, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Who is who. An embedder answers from its own accounts.
    let org = OrgId::default();
    let ada = Principal::user(org.clone(), "ada", OrgRole::Admin);
    let agent = Principal::agent(org, "@syntropize/rounds");
    let identity = SoleAgent::new(agent);

    // What is watched and where steps run. Real ones come from rounds-connectors, or are your own.
    let (errors, cluster) = (FakeDatasource::default(), FakeAdapter::default());
    errors.set(0.9);
    let registry = Registry::new([
        Registration::datasource("errors", "Error rate", Arc::new(errors.clone())),
        Registration::execution("cluster", "A cluster", Arc::new(cluster.clone())),
    ])?;
    let ms = Duration::from_millis;
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(identity))
        .registry(registry)
        .investigator(Arc::new(ScriptedInvestigator::reading("get app/web").proposing("restart app/web")))
        .settings(Settings { verification_stable: ms(200), poll_interval: ms(200), ..Settings::default() })
        .build()?;
    let running = rounds.start();
    for kind in ["errors", "cluster"] {
        rounds.connectors().ensure(&ada, ConnectorDraft::new(kind, kind)).await?;
    }
    rounds.alerts().ensure(&ada, RuleDraft::new("errors", "error_ratio", Operator::Gt, 0.5).with_interval(1)).await?;
    let mut events = rounds.subscribe();
    while rounds.plans().list(&ada, &PlanFilter::default()).await?.items.is_empty() {
        println!("{:?} changed", events.recv().await?.subject);
    }
    let plan = rounds.plans().list(&ada, &PlanFilter::default()).await?.items.remove(0);
    rounds.plans().approve(&ada, plan.id, &Approval::of(&plan)).await?;
    let paused = rounds.plans().wait(&ada, plan.id, Duration::from_secs(10)).await?;
    let request = paused.waiting_for().map(|request| request.id);
    rounds.approvals().approve(&ada, request.ok_or_else(|| anyhow::anyhow!("the step waits"))?).await?;
    rounds.plans().wait(&ada, plan.id, Duration::from_secs(10)).await?;
    errors.set(0.0); // In the real world the step does this.
    while rounds.plans().get(&ada, plan.id).await?.verification.status != VerificationStatus::Recovered {
        events.recv().await?;
    }
    println!("ran {:?}, and the alert recovered", cluster.executed());
    running.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
