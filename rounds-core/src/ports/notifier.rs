//! Who is told: the [`Notifier`] port.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{Answers, CallContext, CheckReport, PortError};
pub use crate::connector::NoticeKind;
use crate::connector::Topic;
use crate::id::{ConnectorId, NoticeId, OrgId, RequestId, TeamId};
use crate::step::Tier;
use crate::time::Timestamp;

/// What a notice asks people to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Asked {
    /// The request.
    pub request_id: RequestId,
    /// The digest of what is shown: a decision names it, so that it is about this and nothing else.
    pub digest: String,
    /// The step, counted from 0; `None`: the whole plan.
    pub step_ordinal: Option<u32>,
    /// The most harm that what is asked can do, as Rounds computed it.
    pub tier: Tier,
    /// Where it takes place.
    pub places: Vec<Place>,
    /// What runs, verbatim, in order.
    pub commands: Vec<String>,
    /// When it can no longer be approved.
    pub expires_at: Timestamp,
}

impl Asked {
    /// A question without commands and places: what a notifier's own tests ask.
    pub fn new(request_id: RequestId, digest: impl Into<String>, tier: Tier, expires_at: Timestamp) -> Self {
        Self {
            request_id,
            digest: digest.into(),
            step_ordinal: None,
            tier,
            places: Vec::new(),
            commands: Vec::new(),
            expires_at,
        }
    }
}

/// Where something takes place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The connector.
    pub connector_id: ConnectorId,
    /// Its name, when it still has one.
    pub connector: Option<String>,
    /// The namespace, where there is one.
    pub namespace: Option<String>,
}

/// What an address may hold only encoded, wherever it is put: beside what is no ASCII, what would end it in one of the languages
/// that messages are written in.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// An address elsewhere that helps whoever reads a notice: a runbook, a dashboard.
///
/// What is behind it is nobody's promise: somebody wrote it into a rule, or into the alert of another system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Link {
    /// What it is called, such as `runbook_url`.
    pub name: String,
    /// An `http` or `https` address in ASCII, without spaces, quotes, `<`, `>`, `|` and a user name.
    pub url: String,
}

impl Link {
    /// The longest address that is a link, in bytes.
    pub const LONGEST: usize = 2_000;

    /// A link, if the text is an address and nothing else. What an address may hold only percent-encoded is so
    /// afterwards; the name of its host has to be in ASCII (`xn--…`), so that it is what it looks like.
    #[must_use]
    pub fn new(name: impl Into<String>, text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") || text.len() > Self::LONGEST {
            return None;
        }
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
        if !is_host || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let mut url = format!("{scheme}://{host}");
        url.extend(utf8_percent_encode(path, ENCODED));
        (url.len() <= Self::LONGEST).then(|| Self { name: name.into(), url })
    }
}

/// One message to people. Delivered at least once, so receivers deduplicate by `idempotency_key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Notice {
    /// The notice.
    pub id: NoticeId,
    /// The organisation it concerns.
    pub org_id: OrgId,
    /// The same for every delivery of the same notice.
    pub idempotency_key: String,
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// The rest, as plain text.
    pub body: String,
    /// `critical`, `warning`, `info`, as the rule says it.
    pub severity: String,
    /// The page to open, as a path such as `/plans/018f…`.
    pub link: String,
    /// What it is about, the same in every notice about it: a plan (`plan/<id>`), or one episode of an alert, from firing to
    /// resolved (`alert/<rule>/<instance>/<firing since, in ms>`). Channels put messages in one thread by it, and open and
    /// close incidents. `None`: it was told before there was this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The labels of the alert: of its rule and of its sample, and `alertname`. Of a plan, those of the alert that it is
    /// to end.
    pub labels: BTreeMap<String, String>,
    /// Where to look further: the annotations of the alert that are addresses, at most five. Of a plan, those of the alert
    /// that it is to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The namespaces of a plan's targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The team it concerns. Rounds has routed by it already: a channel of a team gets what that team owns, and a channel
    /// of nobody in particular gets everything.
    #[serde(default)]
    pub owner_team_id: Option<TeamId>,
    /// What it asks to decide, when it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Which reminder it is, from 1; 0: it is told for the first time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeat: u32,
    /// What it folds together, oldest first, when the channel gathers notices; `title` and `body` tell of all of it, and
    /// `link` is the page that lists it. At most 100; a notice that asks for a decision is never folded. A channel that can
    /// show links renders these, each with the link to its page, and leaves out the `body`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<Folded>,
    /// Who has it already, of a channel that tells several: what [`PortError::delivered`] named when it was tried before.
    /// They are not told again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub delivered: BTreeSet<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One of several notices in one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Folded {
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// How bad it is, as in [`Notice::severity`].
    pub severity: String,
    /// The page to open, as a path.
    pub link: String,
    /// What it is about, as in [`Notice::about`]: of several about one thing, the last says how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Where to look further, as in [`Notice::links`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

impl Notice {
    /// A notice of the default organisation with nothing but a title: what a notifier's own tests send.
    pub fn new(kind: NoticeKind, idempotency_key: impl Into<String>, at: Timestamp, title: impl Into<String>) -> Self {
        Self {
            id: NoticeId::new(),
            org_id: OrgId::default(),
            idempotency_key: idempotency_key.into(),
            kind,
            at,
            title: title.into(),
            body: String::new(),
            severity: String::new(),
            link: String::new(),
            about: None,
            labels: BTreeMap::new(),
            links: Vec::new(),
            namespaces: Vec::new(),
            owner_team_id: None,
            asked: None,
            repeat: 0,
            folded: Vec::new(),
            delivered: BTreeSet::new(),
        }
    }

    /// What it is routed by.
    #[must_use]
    pub fn topic(&self) -> Topic<'_> {
        Topic {
            kind: self.kind,
            severity: serde_json::from_value(serde_json::Value::String(self.severity.clone())).ok(),
            labels: &self.labels,
            namespaces: &self.namespaces,
        }
    }
}

/// Tells people, through one channel.
///
/// **Implemented by** connector authors. **Called by** the outbox, which retries with backoff what
/// [`PortError::is_transient`] calls so, and keeps the rest as dead letters. An implementation MUST NOT retry by
/// itself, and SHOULD pass the idempotency key on. Cancel safe.
///
/// ```
/// use rounds_core::async_trait;
/// use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError};
///
/// struct Terminal;
///
/// #[async_trait]
/// impl Notifier for Terminal {
///     async fn check(&self, _: &CallContext) -> Result<CheckReport, PortError> {
///         Ok(CheckReport::new("somebody is looking"))
///     }
///
///     async fn send(&self, _: &CallContext, notice: &Notice) -> Result<(), PortError> {
///         println!("[{}] {} {}", notice.idempotency_key, notice.title, notice.link);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tests the channel without disturbing anybody, where it can.
    ///
    /// # Errors
    /// What was tried and what went wrong.
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError>;

    /// Delivers one notice, to everybody who is not in [`Notice::delivered`].
    ///
    /// # Errors
    /// It was not delivered, or nobody knows; or to some, whom [`PortError::delivered`] names.
    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError>;

    /// The way back, for a channel whose messages can be answered. The default is a channel that only tells.
    fn answers(&self) -> Option<&dyn Answers> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_address_and_nothing_else_is_a_link() {
        let url = |text: &str| Link::new("runbook_url", text).map(|link| link.url);
        for (text, expected) in [
            ("https://wiki.example.com/a?b=c&d=(e)#f", "https://wiki.example.com/a?b=c&d=(e)#f"),
            (" HTTP://10.0.0.1:3000 ", "http://10.0.0.1:3000"),
            ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
            ("https://x.example?left={\"a\"}|<b>`\\^", "https://x.example?left=%7B%22a%22%7D%7C%3Cb%3E%60%5C%5E"),
            ("https://x.example/ü\u{202e}", "https://x.example/%C3%BC%E2%80%AE"),
        ] {
            assert_eq!(url(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "see https://x.example",
            "https://x.example and more",
            "https://x.example/\nBcc: evil@evil.example",
            "https://x.example/\u{0}",
            "https://",
            "https:///path",
            "https://ü.example/",
            "https://wiki.example.com@evil.example/",
            "https://wiki.example.com\\@evil.example/",
            "https://<!channel>/",
            "https://{{ $labels.host }}/",
            "javascript://x.example/%0aalert(1)",
            "javascript:alert(1)//http://x.example",
            "data:text/html,x",
            "//x.example",
            "mailto:a@b.example",
            "@everyone",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
        assert_eq!(url(&format!("https://x.example/{}", "|".repeat(1_000))), None, "it is longer than it looks");
    }
}
