//! A recorded incident, as a file.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rounds_core::alert::{Operator, Severity};
use rounds_core::ports::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::Expectations;

/// The one version of the format that there is.
pub const VERSION: u32 = 1;

/// A recorded incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incident {
    /// The version of the format: 1.
    pub version: u32,
    /// What happened, in a line.
    pub title: String,
    /// When the investigation begins; the clock of the rehearsal starts here.
    pub at: DateTime<Utc>,
    /// The alert that fired.
    pub alert: Alert,
    /// The Kubernetes connectors, with what their commands answered.
    #[serde(default)]
    pub connectors: Vec<RecordedConnector>,
    /// The datasources, with what they answered. The first is the default.
    #[serde(default)]
    pub datasources: Vec<RecordedDatasource>,
    /// What the model said; without one the playbook investigates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<RecordedModel>,
    /// Whether a model starts from what the playbook finds. Its readings then come first, and citations count from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub facts: bool,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expectations,
}

/// The alert that fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// The rule's name.
    pub name: String,
    /// The rule's description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// PromQL.
    pub query: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what.
    pub threshold: f64,
    /// How long it must hold, in seconds.
    #[serde(default)]
    pub for_sec: u64,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// The labels of the rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rule_labels: BTreeMap<String, String>,
    /// The labels of the sample.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value that fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Since when it fires.
    pub firing_since: DateTime<Utc>,
}

/// A Kubernetes connector. Its gate is the real one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedConnector {
    /// Its name.
    pub name: String,
    /// The namespaces it may touch.
    pub namespaces: Vec<String>,
    /// What commands that read answered.
    #[serde(default)]
    pub commands: Vec<CommandAnswer>,
    /// What the server's dry-run said of commands that change something.
    #[serde(default)]
    pub dry_runs: Vec<CommandAnswer>,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandAnswer {
    /// The command, without `kubectl`: words with spaces between them, or a list of words. However it is written, it is
    /// compared as the gate renders it.
    pub run: Words,
    /// What it printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A command in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// With spaces between them.
    Text(String),
    /// One by one.
    List(Vec<String>),
}

impl Words {
    /// The words.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Self::List(words) => words.clone(),
        }
    }
}

/// A datasource of metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedDatasource {
    /// Its name.
    pub name: String,
    /// Whether it has logs, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs: bool,
    /// Whether it knows changes, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changes: bool,
    /// What it answered.
    #[serde(default)]
    pub queries: Vec<AnsweredQuery>,
}

/// What a query answered. The expression alone tells queries apart, white space aside: at one moment and over a range the
/// same is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnsweredQuery {
    /// The expression; of a question for names, `labels` or `label_values(NAME)`; of one for changes, `changes`.
    pub query: String,
    /// Numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<RecordedSeries>,
    /// Texts with their time: log lines, changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<(DateTime<Utc>, String)>,
    /// Names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Why there is no answer, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedSeries {
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its one value, at the time of the rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its points, instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<(DateTime<Utc>, f64)>,
}

/// What a model said, turn by turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedModel {
    /// Its name.
    pub name: String,
    /// Its turns.
    pub turns: Vec<Turn>,
}

/// One turn of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Turn {
    /// What it said beside its calls.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The tools it called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub with: Value,
}

/// A file that is no recorded incident.
#[derive(Debug)]
pub struct Unreadable(String);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Incident {
    /// Reads a file's text: YAML, or JSON, which is YAML.
    ///
    /// # Errors
    /// It is no incident; the error says where and what was expected.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let incident: Self = serde_saphyr::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        if incident.version != VERSION {
            let found = incident.version;
            return Err(Unreadable(format!("version: found {found}; this program reads version {VERSION}")));
        }
        for (field, found) in [("connectors", incident.connectors.len()), ("datasources", incident.datasources.len())] {
            if found > crate::run::MOST {
                let most = crate::run::MOST;
                return Err(Unreadable(format!("{field}: found {found}; at most {most} are replayed")));
            }
        }
        let mut names = Vec::new();
        let connectors = incident.connectors.iter().map(|connector| &connector.name);
        for name in connectors.chain(incident.datasources.iter().map(|datasource| &datasource.name)) {
            if name == crate::run::MODEL || names.contains(&name) {
                return Err(Unreadable(format!(
                    "name: `{name}` is taken; connectors and datasources have names of their own"
                )));
            }
            names.push(name);
        }
        for command in
            incident.connectors.iter().flat_map(|connector| connector.commands.iter().chain(&connector.dry_runs))
        {
            if command.output.is_some() == command.error.is_some() {
                let run = command.run.argv().join(" ");
                return Err(Unreadable(format!("run: {run}: an `output` or an `error` is expected, and not both")));
            }
        }
        Ok(incident)
    }

    /// As a file's text.
    ///
    /// # Errors
    /// It holds what YAML cannot say.
    pub fn to_text(&self) -> Result<String, Unreadable> {
        serde_saphyr::to_string(self).map_err(|error| Unreadable(error.to_string()))
    }
}
