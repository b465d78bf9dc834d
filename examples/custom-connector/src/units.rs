//! An execution adapter for something that is not Kubernetes: a service manager whose units start and stop.
//!
//! A connector is a config struct, a port, and one registration. Here the service manager lives in this process; a
//! real one would be asked over its own protocol in `dry_run`, `read`, `execute` and `check`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use rounds_core::plugin::{BuildContext, BuildError};
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, ExecutionAdapter, PortError, ReadStep,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// The config; the docs of its fields are the form's help.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UnitsConfig {
    /// The units that steps may name. Empty: none.
    allowed_units: Vec<String>,
}

rounds_core::register_connector! {
    kind: "units",
    title: "Service manager",
    role: Execution,
    secret: None,
    config: UnitsConfig,
    build: |_cx: BuildContext, config: UnitsConfig| Ok::<_, BuildError>(Units::new(config.allowed_units)),
}

struct Units {
    allowed: Vec<String>,
    running: Mutex<BTreeMap<String, bool>>,
}

/// What a step asks, once it is parsed: nothing else of the proposal goes on from here.
struct Command<'a> {
    verb: &'a str,
    unit: &'a str,
}

impl Units {
    fn new(allowed: Vec<String>) -> Self {
        let running = allowed.iter().map(|unit| (unit.clone(), false)).collect();
        Self { allowed, running: Mutex::new(running) }
    }

    fn parse<'a>(&self, params: &'a serde_json::Value) -> Result<Command<'a>, Refusal> {
        let words: Vec<&str> =
            params["argv"].as_array().into_iter().flatten().filter_map(|word| word.as_str()).collect();
        let &[verb, unit] = words.as_slice() else {
            return Err(Refusal::new("shape", format!("found {words:?}; `<status|start|stop> <unit>` is accepted")));
        };
        if !["status", "start", "stop"].contains(&verb) {
            return Err(Refusal::new("unknown_verb", format!("found `{verb}`; status, start and stop are accepted")));
        }
        if !self.allowed.iter().any(|allowed| allowed == unit) {
            let allowed = self.allowed.join(", ");
            return Err(Refusal::new("unit_not_allowed", format!("found `{unit}`; accepted: {allowed}")));
        }
        Ok(Command { verb, unit })
    }

    fn apply(&self, step: &ReviewedStep) -> Result<StepOutput, StepError> {
        let refused = |refusal: Refusal| StepError::not_started(refusal.message);
        let command = self.parse(&step.params).map_err(refused)?;
        let mut running =
            self.running.lock().map_err(|_| StepError::not_started("the service manager is in disorder"))?;
        let state = running.entry(command.unit.to_owned()).or_default();
        match command.verb {
            "start" => *state = true,
            "stop" => *state = false,
            _ => {}
        }
        let word = if *state { "active" } else { "inactive" };
        Ok(StepOutput { exit_code: Some(0), output: format!("{} is {word}", command.unit), ..Default::default() })
    }
}

#[async_trait]
impl ExecutionAdapter for Units {
    fn describe(&self) -> AdapterInfo {
        AdapterInfo {
            step_kinds: vec![StepSpec::RUN_COMMAND.into()],
            usage: "status|start|stop <unit>".into(),
            namespaces: Vec::new(),
            step_timeout: None,
        }
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        let Command { verb, unit } = self.parse(&step.params)?;
        let tier = match verb {
            "status" => Tier::Read,
            "start" => Tier::Write,
            _ => Tier::Destructive,
        };
        if mode == Mode::Read && tier != Tier::Read {
            return Err(Refusal::new("mode", format!("found `{verb}`; an investigation may only use status")));
        }
        Ok(ReviewedStep {
            kind: step.kind.clone(),
            verb: verb.into(),
            command_text: format!("units {verb} {unit}"),
            params: json!({ "argv": [verb, unit] }),
            targets: vec![Target { namespace: None, kind: "unit".into(), name: Some(unit.into()) }],
            tier,
            reversible: true,
            idempotent: true,
            notes: Vec::new(),
        })
    }

    async fn dry_run(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        Ok(DryRun { text: format!("{} would run; units has no dry-run", step.command_text), checked_by_server: false })
    }

    async fn read(&self, _cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        self.apply(step.step())
    }

    async fn execute(&self, _cx: &CallContext, step: ApprovedStep) -> Result<StepOutput, StepError> {
        self.apply(step.step())
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport { message: format!("{} units", self.allowed.len()), facts: BTreeMap::new() })
    }
}
