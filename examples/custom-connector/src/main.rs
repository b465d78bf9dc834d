//! A connector of one's own, registered, configured by JSON and driven through a real approval.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

mod units;

use std::{sync::Arc, time::Duration};

use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::plugin::Registry;
use rounds_core::service::{Approval, ProposeRequest};
use rounds_core::step::StepSpec;
use rounds_core::testing::{MemoryStore, StaticIdentity};
use rounds_core::{Error, OrgId, Rounds};
use serde_json::{from_value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Units have no namespace, so only the wide grant lets somebody approve all steps at once.
    let ada =
        Principal::user(OrgId::default(), "ada", OrgRole::Admin).with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    let registry = Registry::linked()?;
    registry.require(&["units"])?;
    let identity = StaticIdentity::new([ada.clone()]);
    let rounds = Rounds::builder(Arc::new(MemoryStore::new()), Arc::new(identity)).registry(registry).build()?;
    let running = rounds.start();

    let draft = json!({ "type": "units", "name": "edge", "config": { "allowedUnits": ["nginx.service"] } });
    let units = rounds.connectors().create(&ada, from_value(draft)?).await?;
    let propose = |commands: &[[&str; 2]]| ProposeRequest {
        plan: Proposal {
            summary: "Bring the web server back".into(),
            steps: commands
                .iter()
                .map(|command| ProposedStep {
                    connector_id: units.id,
                    spec: StepSpec::command(*command),
                    continue_on_error: false,
                    risk_note: None,
                })
                .collect(),
        },
        rescue: None,
        investigation_id: None,
        linked_alert_rule_id: None,
    };

    // What the adapter refuses cannot become a plan.
    match rounds.plans().propose(&ada, propose(&[["stop", "sshd.service"]])).await {
        Err(Error::Refused(refusals)) => println!("refused: {}", refusals[0].message),
        other => anyhow::bail!("sshd.service is not an allowed unit, and yet: {other:?}"),
    }

    let steps = [["start", "nginx.service"], ["status", "nginx.service"]];
    let plan = rounds.plans().propose(&ada, propose(&steps)).await?.plan;
    rounds.plans().approve(&ada, plan.id, &Approval { auto_edit: true, digest: Some(plan.digest) }).await?;
    let done = rounds.plans().wait(&ada, plan.id, Duration::from_secs(10)).await?;
    for step in &done.steps {
        println!("{}: {}", step.review.command_text, step.output_text.as_deref().unwrap_or_default());
    }
    anyhow::ensure!(done.steps[1].output_text.as_deref() == Some("nginx.service is active"), "{done:?}");
    running.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
