//! "Who hears what": the routing of a notification channel, as fields of its form and in words.

use rounds_core::alert::Severity;
use rounds_core::connector::{Connector, NoticeKind, Role, Routing};
use serde_json::{Map, Value, json};

use super::KindForm;
use crate::pages::error::PageError;
use crate::pages::form::{Fields, crop};

/// The field that says that the form has this part; without it, what there is stays.
const THERE: &str = "routing";
/// Lists, typed one per line.
const LINES: [&str; 3] = ["matchers", "namespaces", "groupBy"];
/// Numbers of seconds.
const SECONDS: [&str; 3] = ["groupWaitSec", "groupIntervalSec", "repeatIntervalSec"];
const SEVERITIES: [Severity; 6] =
    [Severity::Info, Severity::Low, Severity::Medium, Severity::Warning, Severity::High, Severity::Critical];

/// Something to tick.
pub(in crate::pages) struct Tick {
    pub(in crate::pages) value: String,
    pub(in crate::pages) label: &'static str,
    pub(in crate::pages) on: bool,
}

fn kind_label(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::AlertFiring => "Alert fires",
        NoticeKind::AlertResolved => "Alert recovers",
        NoticeKind::PlanProposed => "Plan waits for approval",
        NoticeKind::StepAwaitingApproval => "Step waits for approval",
        NoticeKind::PlanEnded => "Plan ended",
        _ => "Other",
    }
}

impl KindForm {
    /// Whether something of the routing was typed under this name with this value.
    fn has(&self, name: &str, value: &str) -> bool {
        let name = format!("routing.{name}");
        self.typed.0.iter().any(|(found, typed)| *found == name && typed == value)
    }

    pub(in crate::pages) fn routing_kinds(&self) -> Vec<Tick> {
        let tick = |kind: &NoticeKind| Tick {
            value: kind.as_str().into(),
            label: kind_label(*kind),
            on: self.has("kinds", kind.as_str()),
        };
        NoticeKind::ALL.iter().map(tick).collect()
    }

    pub(in crate::pages) fn routing_severities(&self) -> Vec<Tick> {
        let tick = |severity: &Severity| {
            let value = severity.to_string();
            Tick { on: self.has("severities", &value), label: "", value }
        };
        SEVERITIES.iter().map(tick).collect()
    }

    pub(in crate::pages) fn routing(&self, name: &str) -> &str {
        self.typed.get(&format!("routing.{name}"))
    }

    /// What is wrong with a field of the routing.
    pub(in crate::pages) fn routing_wrong(&self, name: &str) -> Option<String> {
        let is_it = |field: &str| {
            let rest = field.strip_prefix("routing.").and_then(|rest| rest.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        // Which of a list it is stands in the name.
        self.wrong.iter().find(|(field, _)| is_it(field)).map(|(field, why)| format!("{field}: {why}"))
    }
}

/// A routing as fields of a form.
pub(super) fn typed(routing: &Routing) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(routing) else { return Vec::new() };
    let one = |name: &str, value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (format!("routing.{name}"), text)
    };
    let texts = |list: &[Value]| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    fields
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Array(list) if LINES.contains(&name.as_str()) => vec![(format!("routing.{name}"), texts(list))],
            Value::Array(list) => list.iter().map(|value| one(name, value)).collect(),
            value => vec![one(name, value)],
        })
        .collect()
}

/// What a form says; `None`: it has no such part.
pub(super) fn read(fields: &Fields) -> Result<Option<Routing>, PageError> {
    if !fields.ticked(THERE) {
        return Ok(None);
    }
    let mut routing = Map::new();
    for name in ["kinds", "severities"] {
        let key = format!("routing.{name}");
        let ticked: Vec<&String> = fields.0.iter().filter(|(found, _)| *found == key).map(|(_, value)| value).collect();
        routing.insert(name.into(), json!(ticked));
    }
    if let Some(least) = fields.text("routing.minSeverity") {
        routing.insert("minSeverity".into(), json!(least));
    }
    for name in LINES {
        let lines = fields.get(&format!("routing.{name}")).lines().map(str::trim).filter(|line| !line.is_empty());
        routing.insert(name.into(), json!(lines.collect::<Vec<_>>()));
    }
    for name in SECONDS {
        if let Some(text) = fields.text(&format!("routing.{name}")) {
            let number: u64 = text.parse().map_err(|_| {
                let found = crop(text);
                PageError::invalid(format!("routing.{name}: found `{found}`; a whole number of seconds is accepted"))
            })?;
            routing.insert(name.into(), json!(number));
        }
    }
    Routing::read(Value::Object(routing)).map(Some).map_err(|error| PageError::invalid(error.to_string()))
}

/// A duration in the largest unit that it is a whole number of.
fn duration(seconds: u64) -> String {
    match seconds {
        0 => "0 s".into(),
        _ if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// Who hears what, in one line; `None`: it is no channel.
pub(super) fn summary(connector: &Connector) -> Option<String> {
    if connector.role != Role::Notifier {
        return None;
    }
    let routing = &connector.routing;
    let listed = |words: Vec<String>| words.join(", ");
    let mut hears = Vec::new();
    if !routing.kinds.is_empty() {
        hears.push(listed(routing.kinds.iter().map(|kind| kind_label(*kind).to_lowercase()).collect()));
    }
    if let Some(least) = routing.min_severity {
        hears.push(format!("{least} or worse"));
    }
    if !routing.severities.is_empty() {
        hears.push(listed(routing.severities.iter().map(ToString::to_string).collect()));
    }
    if !routing.matchers.is_empty() {
        hears.push(listed(routing.matchers.iter().map(ToString::to_string).collect()));
    }
    if !routing.namespaces.is_empty() {
        hears.push(format!("namespace {}", routing.namespaces.join(" or ")));
    }
    let mut words = match hears.is_empty() {
        true => "hears everything".to_owned(),
        false => format!("hears: {}", hears.join("; ")),
    };
    if routing.groups() {
        let by = if routing.group_by.is_empty() { "alert or plan".into() } else { routing.group_by.join(", ") };
        words.push_str(&format!(" · one message per {by}"));
        if let Some(wait) = routing.group_wait_sec {
            words.push_str(&format!(" after {}", duration(wait)));
        }
        if let Some(interval) = routing.group_interval_sec {
            words.push_str(&format!(", at most every {}", duration(interval)));
        }
    }
    if let Some(every) = routing.repeat_interval_sec {
        words.push_str(&format!(" · again every {}", duration(every)));
    }
    Some(words)
}
