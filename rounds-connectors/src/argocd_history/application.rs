//! Applications, as Argo CD lists them, and what of them is a change.

use std::collections::BTreeMap;

use rounds_core::Timestamp;
use rounds_core::ports::Line;
use rounds_core::redact::redact;
use serde::Deserialize;

use crate::source::one_line;

/// Characters kept of one text that somebody else wrote.
const TEXT: usize = 300;
const NAME: usize = 253;
/// Sources of an application that are named.
const SOURCES: usize = 5;

#[derive(Debug, Deserialize)]
pub(super) struct Applications {
    /// `null` when there are none, and always there: an object without it is another service's.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) items: Option<Vec<Application>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Application {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    pub(super) project: String,
    destination: Destination,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Destination {
    namespace: String,
    name: String,
    server: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    history: Option<Vec<Deployment>>,
    resources: Option<Vec<Resource>>,
    operation_state: Option<OperationState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    namespace: String,
}

/// One row of `status.history`: a sync that succeeded.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Deployment {
    id: i64,
    revision: String,
    revisions: Option<Vec<String>>,
    deployed_at: Option<Timestamp>,
    source: Source,
    sources: Option<Vec<Source>>,
    initiated_by: InitiatedBy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Source {
    #[serde(rename = "repoURL")]
    repo_url: String,
    path: String,
    chart: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InitiatedBy {
    username: String,
    automated: bool,
}

/// The operation that runs, or ran last.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationState {
    phase: String,
    message: String,
    started_at: Option<Timestamp>,
    operation: Operation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Operation {
    initiated_by: InitiatedBy,
    sync: Option<serde::de::IgnoredAny>,
}

impl InitiatedBy {
    fn text(&self) -> String {
        match (self.automated, one_line(&self.username, 80)) {
            (true, _) => ", by automated sync".into(),
            (false, name) if name.is_empty() => String::new(),
            (false, name) => format!(", by {name:?}"),
        }
    }
}

impl Application {
    /// Whether something of it is in a namespace.
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        let resources = self.status.resources.iter().flatten();
        self.spec.destination.namespace == namespace || resources.into_iter().any(|found| found.namespace == namespace)
    }

    /// Its deployments in a stretch of time, and the sync that runs or failed in it.
    pub(super) fn changes(&self, start: Timestamp, end: Timestamp) -> Vec<Line> {
        let within = |at: &Option<Timestamp>| at.filter(|at| (start..=end).contains(at));
        let (name, project) = (one_line(&self.metadata.name, NAME), one_line(&self.spec.project, NAME));
        let mut lines = Vec::new();
        for deployment in self.status.history.iter().flatten() {
            let Some(at) = within(&deployment.deployed_at) else { continue };
            let (revision, what) = deployment.what();
            let mut labels = self.labels();
            labels.insert("revision".into(), revision.clone());
            labels.insert("historyId".into(), deployment.id.to_string());
            let by = deployment.initiated_by.text();
            let text = format!("Argo CD deployed {name} (project {project}): revision {revision}{what}{by}");
            lines.push(Line::new(at, labels, text));
        }
        if let Some(operation) = &self.status.operation_state
            && operation.operation.sync.is_some()
            && operation.phase != "Succeeded"
            && let Some(at) = within(&operation.started_at)
        {
            // What succeeded is in the history.
            let phase = one_line(&operation.phase, 40);
            let by = operation.operation.initiated_by.text();
            let said = one_line(&redact(&operation.message, &[]), TEXT);
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            let text = format!("Argo CD began a sync of {name} (project {project}), which is {phase} now{by}{said}");
            lines.push(Line::new(at, self.labels(), text));
        }
        lines
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let destination = &self.spec.destination;
        let cluster = if destination.name.is_empty() { &destination.server } else { &destination.name };
        let labels = [
            ("source", "argocd"),
            ("application", &self.metadata.name),
            ("appNamespace", &self.metadata.namespace),
            ("project", &self.spec.project),
            ("namespace", &destination.namespace),
            ("cluster", cluster),
        ];
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        labels.map(|(name, value)| (name.to_owned(), one_line(&redact(value, &[]), NAME))).collect()
    }
}

impl Deployment {
    /// The revision, and where it is from.
    fn what(&self) -> (String, String) {
        let several = self.revisions.as_deref().unwrap_or_default();
        let revisions: Vec<String> = match (self.revision.is_empty(), several) {
            (true, several) => several.iter().take(SOURCES).map(|revision| one_line(revision, 80)).collect(),
            (false, _) => vec![one_line(&self.revision, 80)],
        };
        let revision = if revisions.is_empty() { "unknown".to_owned() } else { revisions.join(", ") };
        let sources = self.sources.as_deref().filter(|sources| !sources.is_empty());
        let sources = sources.unwrap_or(std::slice::from_ref(&self.source));
        let named: Vec<String> = sources
            .iter()
            .take(SOURCES)
            .filter(|source| !source.repo_url.is_empty())
            .map(|source| {
                // An address may hold the password of a repository.
                let repository = one_line(&redact(&source.repo_url, &[]), TEXT);
                let within = if source.chart.is_empty() { &source.path } else { &source.chart };
                let within = one_line(within, TEXT);
                if within.is_empty() { repository } else { format!("{repository} {within}") }
            })
            .collect();
        let what = if named.is_empty() { String::new() } else { format!(" of {}", named.join(" and ")) };
        (revision, what)
    }
}
