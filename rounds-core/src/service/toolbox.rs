//! What an investigator works with: reads, through the same gate as plans, each recorded as evidence.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::error::Error;
use super::guard::{SLACK, guarded};
use super::live::Live;
use super::meter::Meter;
use super::notebook::Notebook;
use super::review::review;
use super::shared::Shared;
use super::{changes, prepare, undo};
use crate::access::{Action, Denied, Principal, Scope};
use crate::connector::Role;
use crate::id::{ConnectorId, OrgId};
use crate::investigation::{Evidence, EvidenceSource, Findings, Proposal, ReadingId};
use crate::plan::Plan;
use crate::plugin::Built;
use crate::ports::store::{ListQuery, RecordKind, StoreExt};
use crate::ports::{
    CallContext, ConnectorView, DataSet, DatasourceView, ExecutionAdapter, Line, Model, PortError, PortErrorKind,
    PreviewedStep, ProposalPreview, Query, ReadStep, Reading, Toolbox,
};
use crate::step::{Mode, Refusal, ReviewedStep, StepOutput, StepSpec, Target, Tier};
use crate::time::Timestamp;

/// How many readings one run may make.
const MAX_READINGS: usize = 500;

pub(crate) struct Bench {
    shared: Arc<Shared>,
    org: OrgId,
    agent: Principal,
    deadline: Timestamp,
    datasource: Option<ConnectorId>,
    adapters: Vec<(ConnectorView, Live<dyn ExecutionAdapter>)>,
    datasources: Vec<DatasourceView>,
    model: Result<Option<Arc<dyn Model>>, String>,
    notebook: Arc<Notebook>,
    /// The first reading that was refused because there were enough; the others after it are the same one.
    refused: Mutex<Option<ReadingId>>,
}

/// For whom and how long an investigation reads.
pub(crate) struct Bearings {
    pub org: OrgId,
    pub agent: Principal,
    pub deadline: Timestamp,
    /// The rule's own datasource.
    pub datasource: Option<ConnectorId>,
}

impl Bench {
    pub async fn new(shared: Arc<Shared>, bearings: Bearings, notebook: Arc<Notebook>) -> Result<Self, Error> {
        let Bearings { org, agent, deadline, datasource } = bearings;
        let (mut adapters, mut datasources) = (Vec::new(), Vec::new());
        for row in shared.store.connectors(&org).await? {
            let row = row.value;
            if !matches!(row.role, Role::Execution | Role::Datasource) {
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
                Ok(Built::Datasource(port)) => datasources.push(DatasourceView {
                    id: row.id,
                    name: row.name,
                    info: port.describe(),
                    is_default: row.is_default,
                }),
                Ok(_) => {}
                Err(error) => tracing::warn!(connector = %row.name, %error, "a connector cannot be used"),
            }
        }
        adapters.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        datasources.sort_by(|a, b| a.name.cmp(&b.name));
        let model = match shared.live.model(shared.store.as_ref(), &org).await {
            Ok(None) => Ok(None),
            Ok(Some(live)) => Ok(Some(Arc::new(Meter {
                shared: Arc::clone(&shared),
                notebook: Arc::clone(&notebook),
                model: live.port,
            }) as Arc<dyn Model>)),
            Err(error @ Error::Store(_)) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        Ok(Self {
            shared,
            org,
            agent,
            deadline,
            datasource,
            adapters,
            datasources,
            model,
            notebook,
            refused: Mutex::default(),
        })
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
        let id = self.notebook.record(source, at, Err(said));
        if spent {
            *refused = Some(id);
        }
        id
    }

    fn spent(&self) -> bool {
        self.notebook.readings() >= MAX_READINGS
    }

    /// What every reading asks first.
    async fn may_read(&self) -> Result<(), String> {
        if self.spent() {
            return Err(format!("this run has made its {MAX_READINGS} readings"));
        }
        self.permits(Action::ConnectorsRead).await.map_err(|denied| denied.to_string())
    }

    async fn ask(
        &self,
        datasource: Option<ConnectorId>,
        query: &Query,
    ) -> Result<(Option<ConnectorId>, DataSet), String> {
        self.may_read().await?;
        if let (Query::Changes { start, end, namespace }, None) = (query, datasource) {
            return self.changes(query, (*start, *end), namespace.as_deref()).await.map(|answer| (None, answer));
        }
        let (id, answer) = self.ask_one(datasource.or(self.datasource), query).await?;
        Ok((Some(id), answer))
    }

    async fn ask_one(&self, wanted: Option<ConnectorId>, query: &Query) -> Result<(ConnectorId, DataSet), String> {
        let live = self.shared.live.datasource(self.shared.store.as_ref(), &self.org, wanted).await;
        let live = live.map_err(|error| error.to_string())?;
        let cx = CallContext::with_timeout(self.shared.settings.query_timeout);
        let answer = guarded(&self.shared, cx.timeout + SLACK, live.port.query(&cx, query)).await;
        let answer = answer.map_err(|broken| format!("the datasource {}: {broken}", live.row.name))?;
        Ok((live.row.id, answer.map_err(|error| error.to_string())?))
    }

    /// What changed, from everybody who knows: what Rounds itself did, what was recorded, the datasources of changes, and the
    /// systems that plans run on. Who could not be asked is named: it rules nothing out, and the others are worth hearing.
    async fn changes(
        &self,
        query: &Query,
        between: (Timestamp, Timestamp),
        namespace: Option<&str>,
    ) -> Result<DataSet, String> {
        let (mut all, mut silent, mut asked) = (DataSet::default(), Vec::new(), 2);
        let mut add = |who: &str, answer: Result<DataSet, String>| match answer {
            Ok(answer) => {
                all.truncated |= answer.truncated;
                all.warnings.extend(answer.warnings);
                all.lines.extend(answer.lines);
            }
            Err(error) => silent.push(format!("{who} could not be asked: {error}")),
        };
        add("Rounds' own plans", own_changes(&self.shared, &self.org, between, namespace).await);
        add("the recorded changes", self.recorded(between, namespace).await);
        for source in self.datasources.iter().filter(|source| source.info.changes) {
            asked += 1;
            add(&source.name, self.ask_one(Some(source.id), query).await.map(|(_, answer)| answer));
        }
        for (view, live) in &self.adapters {
            let limit = self.shared.settings.query_timeout;
            let cx = CallContext::with_timeout(limit);
            match guarded(&self.shared, limit + SLACK, live.port.changes(&cx, between, namespace)).await {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(answer))) => add(&view.name, Ok(answer)),
                Ok(Err(error)) => add(&view.name, Err(error.to_string())),
                Err(broken) => add(&view.name, Err(broken.to_string())),
            }
            asked += 1;
        }
        if silent.len() == asked {
            return Err(silent.join("; "));
        }
        all.warnings.extend(silent);
        all.lines.sort_by_key(|line| line.at);
        Ok(all)
    }

    async fn recorded(&self, between: (Timestamp, Timestamp), namespace: Option<&str>) -> Result<DataSet, String> {
        self.permits(Action::ChangesRead).await.map_err(|denied| denied.to_string())?;
        let lines = changes::lines(&self.shared, &self.org, between, namespace).await;
        let (lines, full) = lines.map_err(|error| error.to_string())?;
        Ok(DataSet::of_lines(lines).with_truncated(full))
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

    fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn datasources(&self) -> Vec<DatasourceView> {
        self.datasources.clone()
    }

    fn model(&self) -> Result<Option<Arc<dyn Model>>, PortError> {
        self.model.clone().map_err(|error| PortError::new(PortErrorKind::Invalid, error))
    }

    async fn permits(&self, action: Action) -> Result<(), Denied> {
        let scopes = [Scope::of(action)];
        self.shared.authorize(&self.agent, action, &scopes).await
    }

    async fn query(&self, datasource: Option<ConnectorId>, query: Query) -> Reading<DataSet> {
        let at = self.shared.now();
        let (expr, metric) = (expression(&query), metric(&query));
        match self.ask(datasource, &query).await {
            Ok((id, answer)) => {
                let source = EvidenceSource::Query { datasource_id: id, expr, metric };
                Reading { id: self.notebook.record(source, at, Ok(&describe(&answer))), answer: Ok(answer) }
            }
            Err(error) => {
                let source = EvidenceSource::Query { datasource_id: datasource.or(self.datasource), expr, metric };
                Reading { id: self.refuse(source, at, &error).await, answer: Err(error) }
            }
        }
    }

    async fn read(&self, connector: ConnectorId, step: StepSpec) -> Reading<StepOutput> {
        let at = self.shared.now();
        let asked = crate::canonical::to_string(&step.params);
        let result = async {
            self.may_read().await.map_err(|refused| (asked.clone(), refused))?;
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
            match guarded(&self.shared, cx.timeout + SLACK, live.port.read(&cx, read)).await {
                Err(broken) => Err((command, format!("the connector {}: {broken}", live.row.name))),
                Ok(Ok(output)) => Ok((command, output.capped())),
                Ok(Err(error)) => Err((command, format!("{error}\n{}", error.output.error_output))),
            }
        };
        let source = |command| EvidenceSource::Command { connector_id: connector, command };
        match result.await {
            Ok((command, output)) => {
                let id = self.notebook.record(source(command), at, Ok(&output.output));
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

    async fn preview(&self, proposal: &Proposal) -> Result<ProposalPreview, String> {
        self.permits(Action::PlansPropose).await.map_err(|denied| denied.to_string())?;
        prepare::check_summary(&proposal.summary).map_err(|error| error.to_string())?;
        let steps =
            prepare::steps(&self.shared, &self.org, &proposal.steps).await.map_err(|error| error.to_string())?;
        let way_back = undo::proposal(&self.shared, &self.org, &proposal.summary, &steps).await;
        let way_back = way_back.map_err(|error| error.to_string())?;
        let previewed = steps
            .into_iter()
            .map(|step| PreviewedStep { review: step.review, dry_run: step.dry_run_text.unwrap_or_default() });
        Ok(ProposalPreview::new(previewed.collect()).with_way_back(way_back))
    }

    fn evidence(&self) -> Vec<Evidence> {
        self.notebook.evidence()
    }

    fn note(&self, so_far: &Findings) {
        self.notebook.note(so_far);
    }
}

/// What Rounds' own plans did in that time: the first suspect, and the one that nobody else can name.
async fn own_changes(
    shared: &Shared,
    org: &OrgId,
    (start, end): (Timestamp, Timestamp),
    namespace: Option<&str>,
) -> Result<DataSet, String> {
    let query = ListQuery { org: Some(org.clone()), newest_first: true, ..ListQuery::new(RecordKind::Plan) };
    let page = shared.store.list(&query).await.map_err(|error| error.to_string())?;
    let (mut lines, more) = (Vec::new(), page.next.is_some());
    let mut oldest = None;
    for record in page.records {
        let plan = Plan::try_from(record.value).map_err(|error| error.to_string())?;
        oldest = Some(plan.created_at);
        for step in &plan.steps {
            let Some(at) = step.executed_at.filter(|at| (start..=end).contains(at)) else { continue };
            let wanted = |target: &Target| namespace.is_none_or(|wanted| target.namespace.as_deref() == Some(wanted));
            if step.review.tier == Tier::Read || !step.review.targets.iter().any(wanted) {
                continue;
            }
            let labels = [("source", "rounds".to_owned()), ("plan", plan.id.to_string())];
            let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
            lines.push(Line::new(at, labels, format!("{} ({})", step.review.command_text, step.status.as_str())));
        }
    }
    // Older plans than were looked at may have run in that time, too.
    Ok(DataSet::of_lines(lines).with_truncated(more && oldest.is_some_and(|oldest| oldest > start)))
}

/// The PromQL of a query for numbers.
fn metric(query: &Query) -> Option<String> {
    match query {
        Query::Instant { expr, .. } | Query::Range { expr, .. } => Some(expr.clone()),
        Query::Labels { .. } | Query::Logs { .. } | Query::Changes { .. } => None,
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
        let labels: Vec<String> = line.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" {{{}}}", labels.join(", ")) };
        text.push_str(&format!("{}{labels} {}\n", line.at.to_rfc3339(), line.text));
    }
    text.push_str(&answer.names.join("\n"));
    if text.is_empty() {
        text.push_str("(empty)");
    }
    for warning in &answer.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    if answer.truncated {
        text.push_str("\n[the source left something out]");
    }
    text
}
