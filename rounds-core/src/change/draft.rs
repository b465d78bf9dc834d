//! What somebody tells of a change, checked: bounded, of one line, and without what looks like a credential.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ChangeKind;
use crate::redact::redact;
use crate::time::{Timestamp, truncate};

/// How far a teller's clock may be ahead of ours.
pub(crate) const AHEAD: TimeDelta = TimeDelta::minutes(5);
const TITLE: usize = 300;
const NAME: usize = 253;
const KEY: usize = 200;
const URL: usize = 2_000;
const LABELS: usize = 32;
const LABEL_VALUE: usize = 500;

/// A change cannot be recorded as it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidChange {
    /// The field.
    pub field: &'static str,
    /// What was found and what would be accepted.
    pub message: String,
}

impl InvalidChange {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

/// What a pipeline or a person tells of a change.
///
/// ```
/// use rounds_core::change::{ChangeDraft, ChangeKind};
///
/// let draft: ChangeDraft = serde_json::from_str(
///     r#"{ "kind": "deployment", "title": "web v42", "namespace": "shop", "idempotencyKey": "run-4711" }"#,
/// )?;
/// assert_eq!(draft, ChangeDraft::new(ChangeKind::Deployment, "web v42").in_namespace("shop").with_key("run-4711"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeDraft {
    /// What kind of thing changed.
    pub kind: ChangeKind,
    /// What changed, in a line of at most 300 characters: `web v42 by ada`.
    #[schemars(length(min = 1, max = 300))]
    pub title: String,
    /// Who tells it, such as `github-actions`.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub source: Option<String>,
    /// The namespace it is in. Absent: not in one, or in all, so that whoever asks about one namespace hears of it, too.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// The service or workload.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
    /// What else there is to say, at most 32: `{"version": "v42", "commit": "9f2c1ab"}`. No secrets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where people read more: an address that starts with `https://` or `http://`.
    #[serde(default)]
    #[schemars(length(max = 2000))]
    pub url: Option<String>,
    /// When it happened (RFC 3339); absent: now. At most five minutes ahead of the server's clock.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The same for every telling of the same change, such as a pipeline run's id: it is recorded once.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub idempotency_key: Option<String>,
}

impl ChangeDraft {
    /// A change that happened now.
    pub fn new(kind: ChangeKind, title: impl Into<String>) -> Self {
        Self {
            kind,
            title: title.into(),
            source: None,
            namespace: None,
            service: None,
            labels: BTreeMap::new(),
            url: None,
            at: None,
            idempotency_key: None,
        }
    }

    /// The same in a namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same at a moment.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// The same with a key that makes telling it again harmless.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The draft as it would be kept: checked, trimmed, and without what looks like a credential in what people and models
    /// read. The same draft comes out when it is given in again.
    ///
    /// # Errors
    /// The first field that does not hold.
    pub fn checked(mut self, now: Timestamp, oldest: Timestamp) -> Result<Self, InvalidChange> {
        self.title = redact(&line("title", &self.title, TITLE)?, &[]);
        self.source = optional("source", self.source, NAME)?;
        self.namespace = name("namespace", self.namespace)?;
        self.service = optional("service", self.service, NAME)?;
        self.idempotency_key = optional("idempotencyKey", self.idempotency_key, KEY)?;
        self.url = address(self.url)?;
        self.labels = labels(self.labels)?;
        self.at = self.at.map(truncate);
        if let Some(at) = self.at {
            if at - now > AHEAD {
                let found = at.to_rfc3339();
                let message = format!("found {found}, which is to come; a moment up to now ({now}) is accepted");
                return Err(InvalidChange::new("at", message));
            }
            if at < oldest {
                let found = at.to_rfc3339();
                let message = format!("found {found}, from before what is kept; a moment after {oldest} is accepted");
                return Err(InvalidChange::new("at", message));
            }
        }
        Ok(self)
    }
}

/// One line of text that says something. Characters that a terminal or a page could take for an order are refused.
fn line(field: &'static str, text: &str, most: usize) -> Result<String, InvalidChange> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidChange::new(field, format!("found nothing; a line of 1 to {most} characters is accepted")));
    }
    let found = text.chars().count();
    if found > most {
        let message = format!("found {found} characters; a line of at most {most} is accepted");
        return Err(InvalidChange::new(field, message));
    }
    if let Some(odd) = text.chars().find(|c| is_odd(*c)) {
        let message = format!("found the character U+{:04X}; one line of plain text is accepted", u32::from(odd));
        return Err(InvalidChange::new(field, message));
    }
    Ok(text.to_owned())
}

/// Control characters, line separators, and what changes the direction of writing.
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn optional(field: &'static str, text: Option<String>, most: usize) -> Result<Option<String>, InvalidChange> {
    text.map(|text| line(field, &text, most)).transpose()
}

fn name(field: &'static str, text: Option<String>) -> Result<Option<String>, InvalidChange> {
    let name = optional(field, text, NAME)?;
    match name.as_deref().filter(|name| name.contains(char::is_whitespace)) {
        Some(_) => {
            Err(InvalidChange::new(field, "found a name with spaces in it; one name is accepted, such as `shop`"))
        }
        None => Ok(name),
    }
}

fn address(text: Option<String>) -> Result<Option<String>, InvalidChange> {
    let Some(text) = optional("url", text, URL)? else { return Ok(None) };
    let refuse = |found: &str| {
        let message = format!("found {found}; an address such as https://ci.example.com/runs/4711 is accepted");
        Err(InvalidChange::new("url", message))
    };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    // What is shown as a link must be one: no script, no password, no spaces.
    let Some(rest) = rest else { return refuse("neither https:// nor http://") };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || text.contains(char::is_whitespace) || text.contains(['"', '<', '>', '\\', '`']) {
        return refuse("no address");
    }
    if host.contains('@') {
        return refuse("a user name or password in it");
    }
    let text = redact(&text, &[]);
    Ok(Some(text))
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InvalidChange> {
    if labels.len() > LABELS {
        let message = format!("found {}; at most {LABELS} are accepted", labels.len());
        return Err(InvalidChange::new("labels", message));
    }
    let mut kept = BTreeMap::new();
    for (name, value) in labels {
        let name = line("labels", &name, NAME)?;
        let value = if value.is_empty() { value } else { line("labels", &value, LABEL_VALUE)? };
        // Name and value together: a value alone does not say that it is a password.
        let together = redact(&format!("{name}={value}"), &[]);
        let value = match together.strip_prefix(&format!("{name}=")) {
            Some(value) => value.to_owned(),
            None => "[redacted]".to_owned(),
        };
        kept.insert(name, value);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::after_ms;

    fn now() -> Timestamp {
        after_ms(Timestamp::UNIX_EPOCH, 1_767_225_600_000)
    }

    fn checked(draft: serde_json::Value) -> Result<ChangeDraft, InvalidChange> {
        let draft: ChangeDraft = serde_json::from_value(draft).expect("a draft");
        draft.checked(now(), now() - TimeDelta::days(30))
    }

    #[test]
    fn what_does_not_hold_is_named_with_what_would_be_accepted() {
        let long = "x".repeat(301);
        let many: BTreeMap<String, String> = (0..33).map(|i| (format!("l{i}"), String::new())).collect();
        for (more, field) in [
            (serde_json::json!({ "title": " " }), "title: found nothing"),
            (serde_json::json!({ "title": long }), "title: found 301 characters"),
            (serde_json::json!({ "title": "a\nb" }), "title: found the character U+000A"),
            (serde_json::json!({ "title": "a\u{202e}b" }), "title: found the character U+202E"),
            (serde_json::json!({ "namespace": "a b" }), "namespace: "),
            (serde_json::json!({ "labels": many }), "labels: found 33"),
            (serde_json::json!({ "url": "javascript:alert(1)" }), "url: found neither"),
            (serde_json::json!({ "url": "https://me:pw@ci/" }), "url: found a user name"),
            (serde_json::json!({ "url": "https://" }), "url: found no address"),
            (serde_json::json!({ "idempotencyKey": "" }), "idempotencyKey: found nothing"),
            (serde_json::json!({ "at": now() + TimeDelta::minutes(6) }), "at: "),
            (serde_json::json!({ "at": now() - TimeDelta::days(31) }), "at: "),
        ] {
            let mut draft = serde_json::json!({ "kind": "deployment", "title": "web v42" });
            draft.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let error = checked(draft).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(serde_json::from_str::<ChangeDraft>(r#"{"kind":"deploy","title":"x"}"#).is_err());
        assert!(serde_json::from_str::<ChangeDraft>(r#"{"kind":"other","title":"x","who":"me"}"#).is_err());
    }

    #[test]
    fn what_looks_like_a_credential_is_not_kept_and_checking_twice_changes_nothing() {
        let once = checked(serde_json::json!({
            "kind": "config", "title": "set password=hunter2hunter2 on web",
            "labels": { "dbPassword": "hunter2hunter2", "version": "v42" },
        }))
        .expect("kept");
        let text = serde_json::to_string(&once).expect("JSON");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(once.labels["version"], "v42");
        assert_eq!(once.clone().checked(now(), now() - TimeDelta::days(30)), Ok(once));
    }
}
