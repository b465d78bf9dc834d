//! Recording: the same line with a live outside, and everything that crosses the border written down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rounds_core::Timestamp;
use rounds_core::ports::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, Completion, CompletionRequest, DataSet, Datasource,
    DatasourceInfo, DryRun, ExecutionAdapter, Inverse, Model, ModelInfo, PortError, Query, ReadStep,
};
use rounds_core::redact::redact;
use rounds_core::step::{Mode, Refusal, ReviewedStep, StepError, StepOutput, StepSpec};
use serde_json::Value;

use crate::file::{
    AnsweredQuery, Call, CommandAnswer, Incident, RecordedConnector, RecordedDatasource, RecordedModel, RecordedSeries,
    Turn, Words,
};
use crate::replay::expression;
use crate::run::{Outcome, Outside, through_the_line};

/// The live outside of an incident.
#[derive(Default)]
pub struct Sources {
    /// Kubernetes adapters by the names of their connectors, at most four.
    pub clusters: Vec<(String, Arc<dyn ExecutionAdapter>)>,
    /// Datasources by name, the default first, at most four.
    pub datasources: Vec<(String, Arc<dyn Datasource>)>,
    /// The model; `None`: the playbook investigates.
    pub model: Option<Arc<dyn Model>>,
}

/// Records an incident while it is investigated.
pub struct Recorder;

impl Recorder {
    /// Investigates what `incident` says of the alert, with these sources, and gives the incident with all that was answered.
    /// What looks like a credential is taken out. Nothing is changed anywhere, and no plan goes to anybody.
    ///
    /// # Errors
    /// The temporary database cannot be made.
    pub async fn record(mut incident: Incident, sources: Sources) -> anyhow::Result<(Incident, Outcome)> {
        let alert = &mut incident.alert;
        alert.description = redact(&alert.description, &[]);
        for value in alert.labels.values_mut().chain(alert.rule_labels.values_mut()) {
            *value = redact(value, &[]);
        }
        let tape = Arc::new(Mutex::new(Incident {
            connectors: Vec::new(),
            datasources: Vec::new(),
            model: None,
            ..incident.clone()
        }));
        let mut outside = Outside { clusters: Vec::new(), datasources: Vec::new(), model: None };
        for (place, (name, adapter)) in sources.clusters.into_iter().enumerate() {
            let namespaces = adapter.describe().namespaces;
            let recorded =
                RecordedConnector { name: name.clone(), namespaces, commands: Vec::new(), dry_runs: Vec::new() };
            lock(&tape).connectors.push(recorded);
            outside.clusters.push((name, Arc::new(TapedCluster { adapter, tape: Arc::clone(&tape), place })));
        }
        for (place, (name, source)) in sources.datasources.into_iter().enumerate() {
            let info = source.describe();
            let recorded =
                RecordedDatasource { name: name.clone(), logs: info.logs, changes: info.changes, queries: Vec::new() };
            lock(&tape).datasources.push(recorded);
            outside.datasources.push((name, Arc::new(TapedDatasource { source, tape: Arc::clone(&tape), place })));
        }
        if let Some(model) = sources.model {
            lock(&tape).model = Some(RecordedModel { name: model.describe().name, turns: Vec::new() });
            outside.model = Some(Arc::new(TapedModel { model, tape: Arc::clone(&tape) }));
        }
        let outcome = through_the_line(&incident, outside).await?;
        incident = lock(&tape).clone();
        // The least that any later run must do as well.
        incident.expect.plan = Some(outcome.plan.is_some());
        Ok((incident, outcome))
    }
}

/// Arguments without what looks like a credential. A question that holds one is not sent when it is asked for the first time
/// either, so that replay misses nothing.
fn without_secrets(arguments: &Value) -> Value {
    let text = redact(&arguments.to_string(), &[]);
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

type Tape = Arc<Mutex<Incident>>;

fn lock(tape: &Tape) -> MutexGuard<'_, Incident> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

struct TapedCluster {
    adapter: Arc<dyn ExecutionAdapter>,
    tape: Tape,
    place: usize,
}

impl TapedCluster {
    fn keep(&self, step: &ReviewedStep, dry_run: bool, answer: Result<&str, &str>) {
        let run = Words::List(step.argv().into_iter().map(str::to_owned).collect());
        let (output, error) = match answer {
            Ok(output) => (Some(redact(output, &[])), None),
            Err(error) => (None, Some(redact(error, &[]))),
        };
        let mut tape = lock(&self.tape);
        let Some(connector) = tape.connectors.get_mut(self.place) else { return };
        let kept = if dry_run { &mut connector.dry_runs } else { &mut connector.commands };
        // The first answer stands: it is what the conclusion was drawn from.
        if !kept.iter().any(|other| other.run == run) {
            kept.push(CommandAnswer { run, output, error });
        }
    }
}

#[async_trait]
impl ExecutionAdapter for TapedCluster {
    fn describe(&self) -> AdapterInfo {
        self.adapter.describe()
    }

    fn review(&self, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        self.adapter.review(step, mode)
    }

    async fn discover(&self, cx: &CallContext, refusal: &Refusal) -> Result<bool, PortError> {
        self.adapter.discover(cx, refusal).await
    }

    async fn inverse(&self, cx: &CallContext, step: &ReviewedStep) -> Result<Inverse, StepError> {
        self.adapter.inverse(cx, step).await
    }

    /// Left out: a recording holds commands and their answers, so a rehearsal could not give this one again.
    async fn changes(
        &self,
        _: &CallContext,
        _: (Timestamp, Timestamp),
        _: Option<&str>,
    ) -> Result<Option<DataSet>, PortError> {
        Ok(None)
    }

    async fn dry_run(&self, cx: &CallContext, step: &ReviewedStep) -> Result<DryRun, StepError> {
        let said = self.adapter.dry_run(cx, step).await;
        match &said {
            Ok(preview) => self.keep(step, true, Ok(&preview.text)),
            Err(error) => self.keep(step, true, Err(&error.to_string())),
        }
        said
    }

    async fn read(&self, cx: &CallContext, step: ReadStep) -> Result<StepOutput, StepError> {
        let reviewed = step.step().clone();
        let said = self.adapter.read(cx, step).await;
        match &said {
            Ok(output) => self.keep(&reviewed, false, Ok(&output.output)),
            Err(error) => self.keep(&reviewed, false, Err(&format!("{error}\n{}", error.output.error_output))),
        }
        said
    }

    async fn execute(&self, _cx: &CallContext, _step: ApprovedStep) -> Result<StepOutput, StepError> {
        Err(StepError::not_started("nothing is executed while an incident is recorded"))
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.adapter.check(cx).await
    }
}

struct TapedDatasource {
    source: Arc<dyn Datasource>,
    tape: Tape,
    place: usize,
}

#[async_trait]
impl Datasource for TapedDatasource {
    fn describe(&self) -> DatasourceInfo {
        self.source.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.source.check(cx).await
    }

    async fn query(&self, cx: &CallContext, query: &Query) -> Result<DataSet, PortError> {
        let said = self.source.query(cx, query).await;
        let mut kept = AnsweredQuery { query: expression(query), ..AnsweredQuery::default() };
        match &said {
            Ok(answer) => {
                // JSON and YAML have no words for these that everybody reads alike.
                let finite = |value: &f64| value.is_finite();
                kept.series = answer
                    .series
                    .iter()
                    .map(|series| RecordedSeries {
                        labels: series.labels.iter().map(|(name, value)| (name.clone(), redact(value, &[]))).collect(),
                        value: None,
                        points: series
                            .points
                            .iter()
                            .map(|p| (p.at, p.value))
                            .filter(|(_, value)| finite(value))
                            .collect(),
                    })
                    .collect();
                kept.lines = answer.lines.iter().map(|line| (line.at, redact(&line.text, &[]))).collect();
                kept.names.clone_from(&answer.names);
            }
            Err(error) => kept.error = Some(redact(&error.to_string(), &[])),
        }
        let mut tape = lock(&self.tape);
        if let Some(datasource) = tape.datasources.get_mut(self.place)
            && !datasource.queries.iter().any(|other| other.query == kept.query)
        {
            datasource.queries.push(kept);
        }
        drop(tape);
        said
    }
}

struct TapedModel {
    model: Arc<dyn Model>,
    tape: Tape,
}

#[async_trait]
impl Model for TapedModel {
    fn describe(&self) -> ModelInfo {
        self.model.describe()
    }

    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        self.model.check(cx).await
    }

    async fn complete(&self, cx: &CallContext, request: &CompletionRequest) -> Result<Completion, PortError> {
        let said = self.model.complete(cx, request).await?;
        let calls =
            said.tool_calls.iter().map(|call| Call { tool: call.name.clone(), with: without_secrets(&call.arguments) });
        let turn = Turn { text: redact(&said.text, &[]), calls: calls.collect(), usage: Some(said.usage) };
        if let Some(model) = &mut lock(&self.tape).model {
            model.turns.push(turn);
        }
        Ok(said)
    }
}
