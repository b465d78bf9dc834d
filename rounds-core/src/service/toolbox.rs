//! What an investigator works with: reads, through the same gate as plans, each recorded as evidence.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::error::Error;
use super::live::Live;
use super::review::review;
use super::shared::Shared;
use crate::connector::Role;
use crate::id::{ConnectorId, OrgId};
use crate::investigation::{Evidence, EvidenceSource, ReadingId};
use crate::plugin::Built;
use crate::ports::store::StoreExt;
use crate::ports::{CallContext, ConnectorView, DataSet, ExecutionAdapter, Query, ReadStep, Reading, Toolbox};
use crate::step::{Mode, Refusal, ReviewedStep, StepOutput, StepSpec};
use crate::time::{Timestamp, elapsed};

/// How much of an answer is kept with the report.
const EXCERPT: usize = 4 * 1024;
/// How many readings one run may make.
const MAX_READINGS: usize = 500;

pub(crate) struct Bench {
    shared: Arc<Shared>,
    org: OrgId,
    datasource: Option<ConnectorId>,
    adapters: Vec<(ConnectorView, Live<dyn ExecutionAdapter>)>,
    evidence: Mutex<Vec<Evidence>>,
    /// The first reading that was refused because there were enough; the others after it are the same one.
    refused: Mutex<Option<ReadingId>>,
}

impl Bench {
    pub async fn new(shared: Arc<Shared>, org: OrgId, datasource: Option<ConnectorId>) -> Result<Self, Error> {
        let mut adapters = Vec::new();
        for row in shared.store.connectors(&org).await? {
            let row = row.value;
            if row.role != Role::Execution {
                continue;
            }
            match shared.live.build(&row) {
                Ok(Built::Execution(port)) => {
                    let view = ConnectorView {
                        id: row.id,
                        kind: row.kind.clone(),
                        name: row.name.clone(),
                        info: port.describe(),
                    };
                    adapters.push((view, Live { row: Arc::new(row), port }));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(connector = %row.name, %error, "a connector cannot be used"),
            }
        }
        adapters.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Ok(Self { shared, org, datasource, adapters, evidence: Mutex::default(), refused: Mutex::default() })
    }

    /// What was read in this run.
    pub fn evidence(&self) -> Vec<Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, source: EvidenceSource, at: Timestamp, answer: Result<&str, &str>) -> ReadingId {
        let (ok, text) = match answer {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        let duration = elapsed(at, self.shared.now());
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        let id = ReadingId(u32::try_from(evidence.len()).unwrap_or(u32::MAX).saturating_add(1));
        evidence.push(Evidence {
            id,
            source,
            at,
            duration_ms: super::shared::millis(duration),
            ok,
            excerpt: text[..text.floor_char_boundary(EXCERPT)].to_owned(),
            truncated: text.len() > EXCERPT,
        });
        id
    }

    /// Records a refusal. Once the readings are spent the first one stands for all: an investigator that does not
    /// take no for an answer must not fill the memory with it.
    async fn refuse(&self, source: EvidenceSource, at: Timestamp, said: &str) -> ReadingId {
        // Nor may it keep the thread, on which its own time limit waits.
        tokio::task::yield_now().await;
        let spent = self.spent();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = *refused {
            return first;
        }
        let id = self.record(source, at, Err(said));
        if spent {
            *refused = Some(id);
        }
        id
    }

    fn spent(&self) -> bool {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner).len() >= MAX_READINGS
    }

    async fn ask(&self, datasource: Option<ConnectorId>, query: &Query) -> Result<(ConnectorId, DataSet), String> {
        if self.spent() {
            return Err(format!("this run has made its {MAX_READINGS} readings"));
        }
        let wanted = datasource.or(self.datasource);
        let live = self.shared.live.datasource(self.shared.store.as_ref(), &self.org, wanted).await;
        let live = live.map_err(|error| error.to_string())?;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let answer = live.port.query(&cx, query).await.map_err(|error| error.to_string())?;
        Ok((live.row.id, answer))
    }

    fn adapter(&self, id: ConnectorId) -> Result<&Live<dyn ExecutionAdapter>, Refusal> {
        self.adapters.iter().find(|(view, _)| view.id == id).map(|(_, live)| live).ok_or_else(|| {
            let known: Vec<String> =
                self.adapters.iter().map(|(view, _)| format!("{} ({})", view.id, view.name)).collect();
            Refusal::new("unknown_connector", format!("there is no connector {id}; known: {}", known.join(", ")))
        })
    }
}

#[async_trait]
impl Toolbox for Bench {
    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    fn connectors(&self) -> Vec<ConnectorView> {
        self.adapters.iter().map(|(view, _)| view.clone()).collect()
    }

    async fn query(&self, datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet> {
        let at = self.shared.now();
        let expr = expression(&query);
        match self.ask(datasource, &query).await {
            Ok((id, answer)) => {
                let source = EvidenceSource::Query { datasource_id: Some(id), expr };
                Reading { id: self.record(source, at, Ok(&describe(&answer))), answer: Ok(answer) }
            }
            Err(error) => {
                let source = EvidenceSource::Query { datasource_id: datasource.or(self.datasource), expr };
                Reading { id: self.refuse(source, at, &error).await, answer: Err(error) }
            }
        }
    }

    async fn read(&self, connector: ConnectorId, step: StepSpec) -> Reading<StepOutput> {
        let at = self.shared.now();
        let asked = crate::canonical::to_string(&step.params);
        let result = async {
            if self.spent() {
                return Err((asked.clone(), format!("this run has made its {MAX_READINGS} readings")));
            }
            let refused = |refusal: Refusal| (asked.clone(), format!("the gate refuses this: {refusal}"));
            let live = self.adapter(connector).map_err(refused)?;
            let reviewed = review(&self.shared, live, &step, Mode::Read).await;
            let reviewed = reviewed.map_err(|stopped| refused(stopped.into_refusal(&live.row.name)))?;
            let command = reviewed.command_text.clone();
            let read = ReadStep::new(reviewed).map_err(refused)?;
            // The shorter of both: an investigation has readings to make before its own time is over.
            let limit = self.shared.settings.step_timeout;
            let limit = live.port.describe().step_timeout.map_or(limit, |own| own.min(limit));
            let cx = CallContext::with_timeout(limit);
            match live.port.read(&cx, read).await {
                Ok(output) => Ok((command, output.capped())),
                Err(error) => Err((command, format!("{error}\n{}", error.output.error_output))),
            }
        };
        let source = |command| EvidenceSource::Command { connector_id: connector, command };
        match result.await {
            Ok((command, output)) => {
                let id = self.record(source(command), at, Ok(&output.output));
                Reading { id, answer: Ok(output) }
            }
            Err((command, error)) => {
                let id = self.refuse(source(command), at, &error).await;
                Reading { id, answer: Err(error) }
            }
        }
    }

    async fn review(&self, connector: ConnectorId, step: &StepSpec, mode: Mode) -> Result<ReviewedStep, Refusal> {
        let live = self.adapter(connector)?;
        review(&self.shared, live, step, mode).await.map_err(|stopped| stopped.into_refusal(&live.row.name))
    }
}

fn expression(query: &Query) -> String {
    match query {
        Query::Instant { expr, .. } => expr.clone(),
        Query::Range { expr, start, end, step } => {
            format!("{expr} [{} … {} / {} s]", start.to_rfc3339(), end.to_rfc3339(), step.as_secs_f64())
        }
        Query::Labels { label: Some(label), .. } => format!("values of label {label}"),
        Query::Labels { label: None, .. } => "names of labels".into(),
        Query::Logs { expr, .. } => expr.clone(),
        Query::Changes { namespace, .. } => format!("changes in {}", namespace.as_deref().unwrap_or("all namespaces")),
    }
}

/// An answer as text, for the excerpt.
fn describe(answer: &DataSet) -> String {
    let mut text = String::new();
    for series in &answer.series {
        let labels: Vec<String> = series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let first = series.points.first().map(|point| point.value);
        let last = series.points.last().map(|point| point.value);
        let line = match (series.points.len(), first, last) {
            (1, _, Some(value)) => format!("{{{}}} {value}\n", labels.join(",")),
            (points, Some(first), Some(last)) => {
                format!("{{{}}} {points} points, first {first}, last {last}\n", labels.join(","))
            }
            _ => format!("{{{}}} no points\n", labels.join(",")),
        };
        text.push_str(&line);
    }
    for line in &answer.lines {
        text.push_str(&format!("{} {}\n", line.at.to_rfc3339(), line.text));
    }
    text.push_str(&answer.names.join("\n"));
    if text.is_empty() {
        text.push_str("(empty)");
    }
    for warning in &answer.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    text
}
