//! What Alertmanager said: alerts and silences.

use std::collections::BTreeMap;

use rounds_core::Timestamp;
use rounds_core::ports::{Line, Point, Series};
use serde::Deserialize;

use super::matcher::{NAME, STATE};
use crate::source::one_line;

/// Characters kept of one text that people wrote.
const TEXT: usize = 300;
/// Matchers looked at of one silence.
const MATCHERS: usize = 20;
/// Labels kept of one alert.
const LABELS: usize = 64;

/// An alert, as `GET /api/v2/alerts` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    pub(super) starts_at: Timestamp,
    status: AlertStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertStatus {
    state: String,
    #[serde(default)]
    silenced_by: Option<Vec<String>>,
    #[serde(default)]
    inhibited_by: Option<Vec<String>>,
}

impl Alert {
    /// `firing`, or `suppressed` when a silence or another alert keeps it quiet.
    pub(super) fn state(&self) -> &'static str {
        if self.status.state == "suppressed" { "suppressed" } else { "firing" }
    }

    /// The series `ALERTS{…} 1`, as Prometheus writes it of its own alerts.
    pub(super) fn series(&self, at: Timestamp) -> Series {
        let mut labels = bounded(&self.labels);
        labels.insert("__name__".into(), NAME.into());
        labels.insert(STATE.into(), self.state().into());
        Series::new(labels, vec![Point { at, value: 1.0 }])
    }

    /// That it began, in a line.
    pub(super) fn line(&self) -> Line {
        let name = self.labels.get("alertname").map_or("an alert without a name", String::as_str);
        let severity = self.labels.get("severity").map(|severity| format!(" (severity {})", one_line(severity, 40)));
        let by = |what: &str, ids: &Option<Vec<String>>| {
            let count = ids.as_ref().map_or(0, Vec::len);
            (count > 0).then(|| format!(", {what} now"))
        };
        let suppressed =
            by("silenced", &self.status.silenced_by).or_else(|| by("inhibited", &self.status.inhibited_by));
        let said = ["summary", "description", "message"].iter().find_map(|name| self.annotations.get(*name));
        let said = said.map(|said| format!(": {}", one_line(said, TEXT)));
        let text = format!(
            "alert {} began{}{}{}",
            one_line(name, TEXT),
            severity.unwrap_or_default(),
            suppressed.unwrap_or_default(),
            said.unwrap_or_default()
        );
        let mut labels = bounded(&self.labels);
        labels.insert(STATE.into(), self.state().into());
        Line::new(self.starts_at, labels, text)
    }
}

/// A silence, as `GET /api/v2/silences` lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silence {
    #[serde(default)]
    id: String,
    #[serde(default)]
    pub(super) matchers: Vec<SilenceMatcher>,
    pub(super) starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
    status: SilenceStatus,
}

#[derive(Debug, Deserialize)]
struct SilenceStatus {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SilenceMatcher {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    /// Absent before version 0.22, which had no others.
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl Silence {
    /// Whether it may keep alerts of a namespace quiet: unless it names another one.
    pub(super) fn may_be_about(&self, namespace: &str) -> bool {
        let named = self.matchers.iter().filter(|matcher| matcher.name == "namespace");
        // Of more than anybody writes, the rest counts as fitting.
        named.take(MATCHERS).all(|matcher| {
            let same = match matcher.is_regex {
                true => {
                    match regex::RegexBuilder::new(&format!("^(?:{})$", matcher.value)).size_limit(256 * 1024).build() {
                        Ok(regex) => regex.is_match(namespace),
                        // What cannot be read may be about it.
                        Err(_) => return true,
                    }
                }
                false => matcher.value == namespace,
            };
            same == matcher.is_equal
        })
    }

    /// Whether it began or ended in a stretch of time.
    pub(super) fn may_show(&self, start: Timestamp, end: Timestamp) -> bool {
        (start..=end).contains(&self.starts_at) || (start..=end).contains(&self.ends_at)
    }

    /// What began or ended in a stretch of time.
    pub(super) fn lines(&self, start: Timestamp, end: Timestamp) -> Vec<Line> {
        let within = |at: &Timestamp| (start..=end).contains(at);
        let matchers: Vec<String> = self
            .matchers
            .iter()
            .take(MATCHERS)
            .map(|matcher| {
                let operator = match (matcher.is_equal, matcher.is_regex) {
                    (true, false) => "=",
                    (false, false) => "!=",
                    (true, true) => "=~",
                    (false, true) => "!~",
                };
                format!("{}{operator}{:?}", one_line(&matcher.name, 80), one_line(&matcher.value, 80))
            })
            .collect();
        let what = format!("{{{}}}", matchers.join(", "));
        let by = format!("by {:?}: {:?}", one_line(&self.created_by, 80), one_line(&self.comment, TEXT));
        let labels = BTreeMap::from([("silence".to_owned(), one_line(&self.id, 80))]);
        let mut lines = Vec::new();
        // One that has not begun yet has silenced nothing.
        if within(&self.starts_at) && self.status.state != "pending" {
            let until = self.ends_at.format("%Y-%m-%dT%H:%M:%SZ");
            lines.push(Line::new(
                self.starts_at,
                labels.clone(),
                format!("silence of {what} began, until {until}, {by}"),
            ));
        }
        if within(&self.ends_at) && self.status.state == "expired" {
            lines.push(Line::new(self.ends_at, labels, format!("silence of {what} ended, {by}")));
        }
        lines
    }
}

/// What `GET /api/v2/status` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default)]
    pub(super) version_info: Option<VersionInfo>,
    #[serde(default)]
    pub(super) cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionInfo {
    #[serde(default)]
    pub(super) version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) status: String,
}

fn bounded(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.iter().take(LABELS).map(|(name, value)| (one_line(name, 200), one_line(value, TEXT))).collect()
}
