//! `units`: steps for the service manager.

use async_trait::async_trait;
use reqwest::Method;
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier, lookup};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::protocol::{Ask, Manager};

/// What a unit can be asked, and how much harm it does.
const VERBS: [(&str, Tier); 4] =
    [("status", Tier::Read), ("start", Tier::Write), ("restart", Tier::Write), ("stop", Tier::Destructive)];

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
    build: |cx, config| Ok(Units(Manager::new(&cx, &config.url)?, config.allowed_units)),
}

struct Units(Manager, Vec<String>);

impl Units {
    async fn run(&self, cx: &CallContext, step: &ReviewedStep, ask: Ask<'_>) -> Result<String, StepError> {
        let [verb, unit] = step.spec().words("<verb> <unit>").map(|words| words.map(str::to_owned))?;
        match verb.as_str() {
            "status" => Ok(self.0.call(cx, Method::GET, &["units", &unit], Ask::Look).await?),
            _ => Ok(self.0.call(cx, Method::POST, &["units", &unit, &verb], ask).await?),
        }
    }
}

#[async_trait]
impl ExecutionAdapter for Units {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo::commands("status|start|stop|restart <unit>")
    }

    // Pure: it knows what was proposed and the config, and everything that runs later is made of its answer.
    fn review(&self, step: &StepSpec, _: Mode) -> Result<ReviewedStep, Refusal> {
        let [verb, unit] = step.words("<verb> <unit>")?;
        let tier = lookup("verb", verb, &VERBS)?;
        Refusal::unless_one_of("unit", unit, &self.1)?;
        Ok(ReviewedStep::command("units", [verb, unit], tier).on(Target::new("unit", unit)))
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun::by_server(self.run(cx, step, Ask::WhatIf).await?))
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(self.run(cx, step.step(), Ask::Look).await?))
    }

    async fn execute(&self, cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        Ok(StepOutput::text(self.run(cx, step.step(), Ask::Once(&step.idempotency_key(), None)).await?))
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new(self.0.version(cx).await?))
    }
}
