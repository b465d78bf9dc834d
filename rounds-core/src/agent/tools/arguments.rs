//! Arguments as models write them: checked by code, with errors that say what would be accepted.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::id::ConnectorId;
use crate::investigation::ReadingId;
use crate::ports::{ConnectorView, ToolSpec, Toolbox};
use crate::step::StepSpec;
use crate::time::Timestamp;

/// The tool's description for a model.
pub(super) fn spec<T: JsonSchema>(name: &str, description: &str) -> ToolSpec {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.remove("title");
    ToolSpec { name: name.into(), description: description.into(), schema: schema.to_value() }
}

/// Reads arguments; nothing that is not known passes.
pub(super) fn parse<T: DeserializeOwned + JsonSchema>(arguments: &Value) -> Result<T, String> {
    if let Value::String(text) = arguments {
        let found: String = text.chars().take(200).collect();
        return Err(format!("the arguments are no JSON object; found: {found}"));
    }
    serde_path_to_error::deserialize(arguments).map_err(|error| {
        let fields = spec::<T>("", "").schema;
        let known: Vec<&str> = fields["properties"]
            .as_object()
            .map(|fields| fields.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let place = match error.path().to_string().as_str() {
            "." => String::new(),
            path => format!("{path}: "),
        };
        format!("wrong arguments: {place}{}; accepted fields: {}", error.inner(), known.join(", "))
    })
}

/// A reading, written `R3`.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(with = "String")]
pub(super) struct Cite(pub ReadingId);

impl<'de> Deserialize<'de> for Cite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().trim_start_matches(['R', 'r']).parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        number
            .map(|number| Self(ReadingId(number)))
            .ok_or_else(|| D::Error::custom(format!("found {value}; a reading such as \"R3\" is expected")))
    }
}

pub(super) fn cited(citations: &[Cite]) -> Vec<ReadingId> {
    let mut cited: Vec<ReadingId> = citations.iter().map(|cite| cite.0).collect();
    cited.sort_unstable();
    cited.dedup();
    cited
}

/// A stretch of time that ends at a moment, or now.
pub(super) fn stretch(
    now: Timestamp,
    minutes: u32,
    until: Option<Timestamp>,
) -> Result<(Timestamp, Timestamp), String> {
    /// Thirty days: longer questions are for people.
    const MOST: u32 = 30 * 24 * 60;
    if !(1..=MOST).contains(&minutes) {
        return Err(format!("minutes: found {minutes}; 1 to {MOST} are accepted"));
    }
    let end = until.unwrap_or(now).min(now);
    let start = end.checked_sub_signed(chrono::TimeDelta::minutes(minutes.into()));
    start.map(|start| (start, end)).ok_or_else(|| format!("until: found {end}, which is before all time"))
}

/// A connector by its name, its id, or because it is the only one.
pub(super) fn connector(tools: &dyn Toolbox, wanted: Option<&str>) -> Result<ConnectorView, String> {
    let mut all = tools.connectors();
    let known = || all.iter().map(|view| view.name.as_str()).collect::<Vec<_>>().join(", ");
    let place = match wanted {
        Some(wanted) => all.iter().position(|view| view.name == wanted || view.id.to_string() == wanted),
        None => (all.len() == 1).then_some(0),
    };
    match (place, wanted) {
        (Some(place), _) => Ok(all.swap_remove(place)),
        (None, _) if all.is_empty() => Err("there is no connector to run commands on".into()),
        (None, Some(wanted)) => {
            let wanted: String = wanted.chars().take(80).collect();
            Err(format!("connector: there is none called `{wanted}`; known: {}", known()))
        }
        (None, None) => Err(format!("connector: name one of {}", known())),
    }
}

/// A datasource by its name or id; `None`: the rule's own, or the default.
pub(super) fn datasource(tools: &dyn Toolbox, wanted: Option<&str>) -> Result<Option<ConnectorId>, String> {
    let Some(wanted) = wanted else { return Ok(None) };
    let all = tools.datasources();
    let found = all.iter().find(|view| view.name == wanted || view.id.to_string() == wanted);
    found.map(|view| Some(view.id)).ok_or_else(|| {
        let wanted: String = wanted.chars().take(80).collect();
        let known: Vec<&str> = all.iter().map(|view| view.name.as_str()).collect();
        format!("datasource: there is none called `{wanted}`; known: {}", known.join(", "))
    })
}

/// A step as a model writes it: words for a command, or a kind with its parameters.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    /// The connector's name. May be left out when there is only one.
    #[serde(default)]
    pub connector: Option<String>,
    /// The command in words, one argument each, without the program's name: ["get", "pods", "-n", "app"].
    #[serde(default)]
    pub argv: Vec<String>,
    /// The manifest, for commands that read one.
    #[serde(default)]
    pub stdin: Option<String>,
    /// The kind of step, for connectors whose steps are no commands.
    #[serde(default)]
    pub kind: Option<String>,
    /// The parameters of such a step, as the connector's description says.
    #[serde(default)]
    pub params: Option<Value>,
}

impl Written {
    pub fn spec(self) -> Result<StepSpec, String> {
        match (self.kind, self.params) {
            (kind, None) if kind.as_deref().is_none_or(|kind| kind == StepSpec::RUN_COMMAND) => {
                if self.argv.is_empty() {
                    return Err("argv: a command of at least one word is expected".into());
                }
                let command = StepSpec::command(self.argv);
                Ok(match self.stdin {
                    Some(stdin) => command.with_stdin(stdin),
                    None => command,
                })
            }
            (Some(kind), Some(params)) if self.argv.is_empty() && self.stdin.is_none() => Ok(StepSpec { kind, params }),
            _ => Err("write either argv (and stdin), or kind and params".into()),
        }
    }
}
