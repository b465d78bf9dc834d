//! The connectors of code forges, each against a stand-in that keeps a git repository.

pub(crate) mod git;
mod github;
mod github_app;
mod github_revert;
mod gitlab;
pub(crate) mod hub;
pub(crate) mod lab;
pub(crate) mod server;

use std::sync::Arc;
use std::time::Duration;

use rounds_core::plan::{Plan, StepStatus};
use rounds_core::plugin::{BuildContext, Host, Outbound, Registration, Registry};
use rounds_core::ports::{ExecutionAdapter, SecretHandle};
use rounds_core::service::{Approval, ConnectorDraft};
use rounds_core::step::StepSpec;
use rounds_core::testing::AdapterRig;
use rounds_core::{Error, Settings};

/// What a connector is built from here.
fn context(secret: &str) -> BuildContext {
    let host = Host {
        outbound: Outbound::loopback(),
        public_url: Some("https://rounds.example.com".into()),
        ..Host::default()
    };
    BuildContext::new("forge", SecretHandle::inline(secret.to_owned().into()), Arc::new(host))
}

async fn rig(adapter: Arc<dyn ExecutionAdapter>) -> AdapterRig {
    let settings = Settings {
        poll_interval: Duration::from_millis(20),
        step_timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    let registry = Registry::new([Registration::execution("forge", "Forge", adapter)]).unwrap();
    AdapterRig::with(registry, ConnectorDraft::new("forge", "forge"), settings).await.unwrap()
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Approves a plan and sees it to its end.
async fn approve(rig: &AdapterRig, plan: &Plan) -> Plan {
    let plans = rig.rounds().plans();
    plans.approve(rig.person(), plan.id, &Approval::of(plan).with_auto_edit()).await.unwrap();
    plans.wait(rig.person(), plan.id, PATIENCE).await.unwrap()
}

/// Tries a step again, as a person who has looked.
async fn again(rig: &AdapterRig, plan: &Plan) -> Plan {
    let plans = rig.rounds().plans();
    plans.retry(rig.person(), plan.id, 0, plan.steps[0].status == StepStatus::Interrupted).await.unwrap();
    plans.wait(rig.person(), plan.id, PATIENCE).await.unwrap()
}

fn error(plan: &Plan) -> &str {
    plan.steps[0].error_text.as_deref().unwrap_or_default()
}

fn output(plan: &Plan) -> &str {
    plan.steps[0].output_text.as_deref().unwrap_or_default()
}

fn preview(plan: &Plan) -> &str {
    plan.steps[0].dry_run_text.as_deref().unwrap_or_default()
}

/// Why a step is refused before anything is asked.
async fn refusal(rig: &AdapterRig, step: StepSpec) -> String {
    match rig.propose([step]).await {
        Err(Error::Refused(refusals)) => refusals[0].message.clone(),
        Err(other) => panic!("another error: {other}"),
        Ok(plan) => panic!("it passes: {}", plan.steps[0].review.command_text),
    }
}

/// The first config example of a connector's page.
pub(crate) fn documented(page: &str) -> serde_json::Value {
    let json = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(json).unwrap()
}
