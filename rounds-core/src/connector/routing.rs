//! Which notices a channel hears of, and how often. Pure: a routing and a topic in, an answer out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::matcher::{Matcher, is_label_name};
use crate::alert::Severity;

/// What happened, as somebody is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// An alert fires.
    AlertFiring,
    /// An alert recovered.
    AlertResolved,
    /// A plan waits for a decision.
    PlanProposed,
    /// A step of a plan waits for its own approval.
    StepAwaitingApproval,
    /// A plan ended: completed, failed, rejected, expired or cancelled.
    PlanEnded,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::AlertFiring, Self::AlertResolved, Self::PlanProposed, Self::StepAwaitingApproval, Self::PlanEnded];

    /// The word that JSON and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlertFiring => "alert_firing",
            Self::AlertResolved => "alert_resolved",
            Self::PlanProposed => "plan_proposed",
            Self::StepAwaitingApproval => "step_awaiting_approval",
            Self::PlanEnded => "plan_ended",
        }
    }
}

/// Which notices a channel hears of, and how often. Every condition must hold, and an absent one holds for all: an empty
/// routing hears everything, at once, and once.
///
/// ```
/// # use rounds_core::connector::Routing;
/// let pager: Routing = serde_json::from_value(serde_json::json!({
///     "minSeverity": "critical", "matchers": ["env!=\"test\""], "repeatIntervalSec": 3600,
/// })).unwrap();
/// assert!(pager.validate().is_ok());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Routing {
    /// Only these kinds of notices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<NoticeKind>,
    /// Only what is at least so bad. What has no severity, such as a plan without an alert, is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// Only these severities; instead of `minSeverity`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub severities: Vec<Severity>,
    /// Only what each of these matches: labels of the rule and of its sample, and `severity` and `alertname`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matchers: Vec<Matcher>,
    /// Only what touches one of these namespaces: the targets of a plan, the label `namespace` of an alert.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The labels by which notices are grouped; none: by the alert rule or plan that they are about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// How long the first notice of a group waits for others, in seconds, 1 to 3600; absent: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait_sec: Option<u64>,
    /// How long after a message of a group its next one is sent at the earliest, in seconds, 1 to 86400 (a day).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval_sec: Option<u64>,
    /// Again after so many seconds, while the alert still fires or the plan still waits, 1 to 604800 (a week); absent:
    /// once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_interval_sec: Option<u64>,
}

/// A routing that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routing{}{field}: {message}", if field.is_empty() { "" } else { "." })]
pub struct InvalidRouting {
    /// The field, as JSON names it, such as `matchers[0]`; empty: the whole.
    pub field: String,
    /// What was found and what would be accepted.
    pub message: String,
}

/// What a notice is routed by.
#[derive(Debug, Clone, Copy)]
pub struct Topic<'a> {
    /// What happened.
    pub kind: NoticeKind,
    /// How bad it is; `None`: nothing says.
    pub severity: Option<Severity>,
    /// The labels of the rule and of its sample.
    pub labels: &'a BTreeMap<String, String>,
    /// The namespaces that it touches.
    pub namespaces: &'a [String],
}

impl Topic<'_> {
    /// The value of a label; absent is the empty text. `severity` is the alert's, unless there is a label of that name.
    fn label(&self, name: &str) -> Cow<'_, str> {
        match self.labels.get(name) {
            Some(value) => value.into(),
            None if name == "severity" => self.severity.map(|found| found.to_string()).unwrap_or_default().into(),
            None => "".into(),
        }
    }

    fn touches(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|found| found == namespace)
            || self.labels.get("namespace").is_some_and(|found| found == namespace)
    }
}

impl Routing {
    /// Reads one from JSON, as it is written by hand, and checks it.
    ///
    /// # Errors
    /// The first field that does not hold, with what was found and what would be accepted.
    pub fn read(value: Value) -> Result<Self, InvalidRouting> {
        let read: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            InvalidRouting { field, message: error.into_inner().to_string() }
        })?;
        read.validate().map(|()| read)
    }

    /// Whether it is the routing that hears everything, at once, and once.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a channel with this routing hears of something.
    #[must_use]
    pub fn hears(&self, topic: &Topic<'_>) -> bool {
        let bad_enough = |least: Severity| topic.severity.is_some_and(|found| found >= least);
        (self.kinds.is_empty() || self.kinds.contains(&topic.kind))
            && self.min_severity.is_none_or(bad_enough)
            && (self.severities.is_empty() || topic.severity.is_some_and(|found| self.severities.contains(&found)))
            && self.matchers.iter().all(|matcher| matcher.matches(&topic.label(matcher.name())))
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|namespace| topic.touches(namespace)))
    }

    /// Whether notices are gathered to fewer messages.
    #[must_use]
    pub fn groups(&self) -> bool {
        self.group_wait_sec.is_some() || self.group_interval_sec.is_some()
    }

    /// The values of the labels by which something is grouped; `None`: it is grouped by what it is about.
    #[must_use]
    pub fn group(&self, topic: &Topic<'_>) -> Option<Vec<(String, String)>> {
        let values = self.group_by.iter().map(|name| (name.clone(), topic.label(name).into_owned()));
        (!self.group_by.is_empty()).then(|| values.collect())
    }

    /// Checks what serde cannot.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn validate(&self) -> Result<(), InvalidRouting> {
        let invalid = |field: &str, message: String| Err(InvalidRouting { field: field.into(), message });
        if self.min_severity.is_some() && !self.severities.is_empty() {
            return invalid("severities", "found with minSeverity; one of the two is accepted".into());
        }
        let lists = [
            ("kinds", self.kinds.len(), 16),
            ("severities", self.severities.len(), 16),
            ("matchers", self.matchers.len(), 32),
            ("namespaces", self.namespaces.len(), 256),
            ("groupBy", self.group_by.len(), 16),
        ];
        for (field, found, most) in lists {
            if found > most {
                return invalid(field, format!("found {found} entries; at most {most} are accepted"));
            }
        }
        let cut = |text: &str| text.chars().take(120).collect::<String>();
        for (at, namespace) in self.namespaces.iter().enumerate() {
            if namespace.trim() != namespace || namespace.is_empty() || namespace.len() > 253 {
                let message =
                    format!("found `{}`; the name of a namespace, 1 to 253 bytes, is accepted", cut(namespace));
                return invalid(&format!("namespaces[{at}]"), message);
            }
        }
        for (at, name) in self.group_by.iter().enumerate() {
            if !is_label_name(name) || name.len() > 200 {
                let message = format!("found `{}`; the name of a label, such as alertname, is accepted", cut(name));
                return invalid(&format!("groupBy[{at}]"), message);
            }
        }
        if !self.group_by.is_empty() && !self.groups() {
            return invalid(
                "groupBy",
                "found without groupWaitSec and groupIntervalSec; nothing is grouped without one".into(),
            );
        }
        let times = [
            ("groupWaitSec", self.group_wait_sec, 3600),
            ("groupIntervalSec", self.group_interval_sec, 86_400),
            ("repeatIntervalSec", self.repeat_interval_sec, 604_800),
        ];
        for (field, found, most) in times {
            if let Some(found) = found.filter(|found| !(1..=most).contains(found)) {
                return invalid(field, format!("found {found}; 1 to {most} seconds are accepted, or nothing"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routing(value: Value) -> Routing {
        serde_json::from_value(value).unwrap()
    }

    fn hears(
        value: Value,
        kind: NoticeKind,
        severity: Option<Severity>,
        labels: &[(&str, &str)],
        touched: &[&str],
    ) -> bool {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let namespaces: Vec<String> = touched.iter().map(|name| (*name).to_owned()).collect();
        routing(value).hears(&Topic { kind, severity, labels: &labels, namespaces: &namespaces })
    }

    #[test]
    fn an_empty_routing_hears_everything() {
        for kind in NoticeKind::ALL {
            assert!(hears(json!({}), kind, None, &[], &[]));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!(routing(json!({})).is_everything() && !routing(json!({ "repeatIntervalSec": 60 })).is_everything());
    }

    #[test]
    fn each_condition_must_hold() {
        use NoticeKind::{AlertFiring, PlanProposed};
        let firing =
            |value: Value, severity| hears(value, AlertFiring, Some(severity), &[("team", "payments")], &["app"]);
        assert!(firing(json!({ "kinds": ["alert_firing", "alert_resolved"] }), Severity::Info));
        assert!(!firing(json!({ "kinds": ["plan_proposed"] }), Severity::Info));
        assert!(firing(json!({ "minSeverity": "warning" }), Severity::High));
        assert!(!firing(json!({ "minSeverity": "warning" }), Severity::Info));
        assert!(firing(json!({ "severities": ["critical", "info"] }), Severity::Info));
        assert!(!firing(json!({ "severities": ["critical", "info"] }), Severity::Warning));
        assert!(firing(json!({ "matchers": ["team=~\"pay.*\"", "severity=\"info\""] }), Severity::Info));
        assert!(!firing(json!({ "matchers": ["team=~\"pay.*\"", "severity=\"info\""] }), Severity::Critical));
        assert!(firing(json!({ "namespaces": ["db", "app"] }), Severity::Info));
        assert!(!firing(json!({ "namespaces": ["db"] }), Severity::Info));
        assert!(!firing(json!({ "namespaces": ["app"], "minSeverity": "critical" }), Severity::Info), "and, not or");
        // An alert touches the namespace that its label names.
        assert!(hears(json!({ "namespaces": ["db"] }), AlertFiring, None, &[("namespace", "db")], &[]));
        // What has no severity is not bad enough, and what has no label has the empty one.
        assert!(!hears(json!({ "minSeverity": "info" }), PlanProposed, None, &[], &[]));
        assert!(!hears(json!({ "severities": ["info"] }), PlanProposed, None, &[], &[]));
        assert!(hears(json!({ "matchers": ["env!=\"test\"", "severity=\"\""] }), PlanProposed, None, &[], &[]));
        // A label says more than the severity that Rounds made of it.
        assert!(hears(
            json!({ "matchers": ["severity=page"] }),
            AlertFiring,
            Some(Severity::High),
            &[("severity", "page")],
            &[]
        ));
    }

    #[test]
    fn a_routing_that_cannot_work_names_its_field_and_what_would_be_accepted() {
        for (value, wanted) in [
            (json!({ "minSeverity": "info", "severities": ["info"] }), "routing.severities: found with minSeverity"),
            (json!({ "namespaces": ["a", " b"] }), "routing.namespaces[1]: found ` b`"),
            (json!({ "groupBy": ["..."], "groupWaitSec": 1 }), "routing.groupBy[0]: found `...`"),
            (json!({ "groupBy": ["team"] }), "routing.groupBy: found without groupWaitSec"),
            (json!({ "groupWaitSec": 0 }), "routing.groupWaitSec: found 0; 1 to 3600"),
            (json!({ "groupIntervalSec": 86_401 }), "routing.groupIntervalSec: found 86401"),
            (json!({ "repeatIntervalSec": 0 }), "routing.repeatIntervalSec: found 0"),
            (json!({ "matchers": vec!["a=b"; 33] }), "routing.matchers: found 33 entries"),
        ] {
            let error = routing(value.clone()).validate().unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{value}: {error}");
        }
        assert!(serde_json::from_value::<Routing>(json!({ "severity": "info" })).is_err(), "an unknown field");
    }
}
