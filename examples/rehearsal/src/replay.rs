//! The outside of an incident, replayed: a cluster behind the real gate, datasources, a model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rounds_connectors::kubernetes::{Gate, Policy};
use rounds_core::Timestamp;
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, Completion, CompletionRequest, DataSet, Datasource,
    DatasourceInfo, DryRun, ExecutionAdapter, Line, Model, ModelInfo, Point, PortError, PortErrorKind, Query, ReadStep,
    Series, ToolCall,
};
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};

use crate::file::{AnsweredQuery, CommandAnswer, RecordedConnector, RecordedDatasource, RecordedModel};

/// What is said of anything that was not recorded. It is no answer, and so rules nothing out.
const NOT_RECORDED: &str = "this is not in the recording";

/// A cluster that answers as it did then. Reviews are those of today's gate.
pub(crate) struct ReplayedCluster {
    gate: Gate,
    namespaces: Vec<String>,
    commands: BTreeMap<String, CommandAnswer>,
    dry_runs: BTreeMap<String, CommandAnswer>,
}

impl ReplayedCluster {
    /// # Errors
    /// A recorded command that the gate would not let pass.
    pub(crate) fn new(recorded: &RecordedConnector) -> anyhow::Result<Self> {
        let gate = Gate::new(Policy::for_namespaces(recorded.namespaces.clone()));
        let keyed = |answers: &[CommandAnswer], mode: Mode| {
            let keyed = answers.iter().map(|answer| {
                let step = StepSpec::command(answer.run.argv());
                let reviewed = gate.review(&step, mode).map_err(|refusal| {
                    let run = answer.run.argv().join(" ");
                    anyhow::anyhow!("connector {}: `{run}` could not have run: {refusal}", recorded.name)
                })?;
                Ok((reviewed.command_text, answer.clone()))
            });
            keyed.collect::<anyhow::Result<BTreeMap<_, _>>>()
        };
        let (commands, dry_runs) = (keyed(&recorded.commands, Mode::Read)?, keyed(&recorded.dry_runs, Mode::Write)?);
        Ok(Self { gate, namespaces: recorded.namespaces.clone(), commands, dry_runs })
    }
}

fn answered(found: Option<&CommandAnswer>) -> Option<Result<StepOutput, StepError>> {
    let answer = found?;
    Some(match (&answer.output, &answer.error) {
        (Some(output), _) => Ok(StepOutput::text(output.clone()).with_exit_code(0)),
        (None, error) => {
            let said = error.clone().unwrap_or_default();
            Err(StepError::failed(said.clone(), StepOutput::default().with_exit_code(1).with_error_output(said)))
        }
    })
}

#[async_trait]
impl ExecutionAdapter for ReplayedCluster {
    fn describe(&self) -> AdapterInfo {
        let usage = "kubectl commands as words; get, describe, logs, top, events, rollout history and status read.";
        AdapterInfo::commands(usage).with_namespaces(self.namespaces.clone())
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.gate.review(step, mode)
    }

    async fn dry_run(&self, _cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        match answered(self.dry_runs.get(&step.command_text)) {
            Some(answer) => Ok(DryRun::by_server(answer?.output)),
            None => Ok(DryRun::not_by_server(format!("{NOT_RECORDED}: nobody asked the server about this"))),
        }
    }

    async fn read(&self, _cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let found = answered(self.commands.get(&step.step().command_text));
        found.unwrap_or_else(|| Err(StepError::not_started(NOT_RECORDED)))
    }

    async fn execute(&self, _cx: &CallContext, _step: ApprovedStep) -> Result<StepOutput, StepError> {
        Err(StepError::not_started("nothing is executed in a rehearsal"))
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a recording"))
    }
}

/// A datasource that answers as it did then.
pub(crate) struct ReplayedDatasource {
    recorded: RecordedDatasource,
    at: Timestamp,
}

impl ReplayedDatasource {
    pub(crate) fn new(recorded: RecordedDatasource, at: Timestamp) -> Self {
        Self { recorded, at }
    }
}

/// What a query is recorded under.
pub(crate) fn expression(query: &Query) -> String {
    let text = match query {
        Query::Instant { expr, .. } | Query::Range { expr, .. } | Query::Logs { expr, .. } => expr.clone(),
        Query::Labels { label: Some(label), .. } => format!("label_values({label})"),
        Query::Labels { label: None, .. } => "labels".into(),
        Query::Changes { .. } => "changes".into(),
        _ => String::new(),
    };
    squeezed(&text)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl Datasource for ReplayedDatasource {
    fn describe(&self) -> DatasourceInfo {
        let mut info = DatasourceInfo::metrics("PromQL");
        (info.logs, info.changes) = (self.recorded.logs, self.recorded.changes);
        info
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a recording"))
    }

    async fn query(&self, _cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let asked = expression(query);
        let found = self.recorded.queries.iter().find(|answer| squeezed(&answer.query) == asked);
        let AnsweredQuery { series, lines, names, error, .. } =
            found.ok_or_else(|| PortError::new(PortErrorKind::Unavailable, NOT_RECORDED))?;
        if let Some(error) = error {
            return Err(PortError::new(PortErrorKind::Unavailable, error.clone()));
        }
        let series = series.iter().map(|series| {
            let points = series.points.iter().map(|(at, value)| Point { at: *at, value: *value });
            let one = series.value.map(|value| Point { at: self.at, value });
            Series::new(series.labels.clone(), points.chain(one).collect())
        });
        let mut answer = DataSet::of_series(series.collect());
        answer.lines = lines.iter().map(|(at, text)| Line::new(*at, BTreeMap::new(), text.clone())).collect();
        answer.names.clone_from(names);
        Ok(answer)
    }
}

/// A model that says what it said then.
pub(crate) struct ReplayedModel {
    name: String,
    turns: Mutex<VecDeque<Completion>>,
}

impl ReplayedModel {
    pub(crate) fn new(recorded: &RecordedModel) -> Self {
        let mut number = 0;
        let turns = recorded.turns.iter().map(|turn| {
            let calls = turn.calls.iter().map(|call| {
                number += 1;
                ToolCall::new(format!("call-{number}"), call.tool.clone(), call.with.clone())
            });
            Completion::new(turn.text.clone(), calls.collect(), turn.usage.unwrap_or_default())
        });
        Self { name: recorded.name.clone(), turns: Mutex::new(turns.collect()) }
    }
}

#[async_trait]
impl Model for ReplayedModel {
    fn describe(&self) -> ModelInfo {
        ModelInfo::new(self.name.clone())
    }

    async fn check(&self, _cx: &CallContext) -> Result<CheckReport, PortError> {
        Ok(CheckReport::new("a recording"))
    }

    async fn complete(&self, _cx: &CallContext, _request: &CompletionRequest) -> Result<Completion, PortError> {
        let next = self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.ok_or_else(|| PortError::new(PortErrorKind::Protocol, "the recording of the model ends here"))
    }
}
