//! A connector of one's own: steps for a service manager over HTTP, whose units start, stop and restart.
//!
//! This file is all that Rounds asks of it: a config, a registration and a port. How the service manager is spoken to is
//! in `protocol.rs`; a stand-in for it, for the example and its tests, in [`manager`].

pub mod manager;
mod protocol;

use async_trait::async_trait;
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, lookup};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::protocol::{Call, Manager, VERBS};

/// The docs of the fields are the help of the form that operators fill in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UnitsConfig {
    /// The service manager's address, such as `http://127.0.0.1:9000`.
    url: String,
    /// The units that steps may name. Empty: none.
    allowed_units: Vec<String>,
}

rounds_core::register_connector! {
    kind: "units",
    title: "Service manager",
    role: Execution,
    secret: Required("The service manager's API token."),
    config: UnitsConfig,
    build: |cx, config| Ok(Units(Manager::new(&config.url, cx.secret)?, config)),
}

struct Units(Manager, UnitsConfig);

#[async_trait]
impl ExecutionAdapter for Units {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo::commands("status|start|stop|restart <unit>")
    }

    // Pure: it knows what was proposed and the config, and everything that runs later is made of its answer.
    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        let [verb, unit] = step.words("<verb> <unit>")?;
        let tier = lookup("verb", verb, &VERBS)?;
        Refusal::unless_one_of("unit", unit, &self.1.allowed_units)?;
        Ok(ReviewedStep::command("units", [verb, unit], tier).on(Target::new("unit", unit)))
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::by_server(self.0.call(cx, step, Call::DryRun).await?))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(self.0.call(cx, step.step(), Call::Read).await?))
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(self.0.call(cx, step.step(), Call::Run(step.idempotency_key())).await?))
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new(self.0.version(cx).await?))
    }
}
