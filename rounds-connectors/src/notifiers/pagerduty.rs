//! `pagerduty`: alerts and waiting decisions as events of PagerDuty, which knows who is on call.
//!
//! Sources: PagerDuty's documentation of the Events API v2 ("Send an Alert Event", "Response Codes & Retry Logic",
//! "API Limits") and its Common Event Format.
//! **What becomes what:** an alert that fires triggers, and the end of that episode resolves; a plan or a step that waits
//! for a decision triggers, and the end of the plan resolves. Both carry what the notice is
//! [about](rounds_core::ports::Notice::about) as `dedup_key`, so a delivery that is repeated opens nothing new, and the next
//! episode is an incident of its own.
//! **Rights:** an integration key can send events to its one service; nothing else.
//! **Limits:** a summary of 1024 characters, a `dedup_key` of 255, 512 KB an event; what is longer is cut here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{
    CallContext, CheckReport, Notice, NoticeKind, Notifier, PortError, PortErrorKind, SecretHandle,
};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::post::{self, Answer};
use super::said::{Level, Room, Said, crop, line, places};
use crate::http::{self, ChosenBy, Client, ClientOptions};

const ROOM: Room = Room { title: 900, fact: 2_000, body: 8_000, commands: 16_000, items: 0 };
const SUMMARY: usize = 1_024;
const DEDUP_KEY: usize = 255;
/// Events of one message on their way at a time.
const AT_A_TIME: usize = 8;

/// Where PagerDuty keeps the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PagerdutyRegion {
    /// The United States: `events.pagerduty.com`.
    #[default]
    Us,
    /// Europe: `events.eu.pagerduty.com`.
    Eu,
}

/// The service of PagerDuty that is told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PagerdutyConfig {
    /// Where the account is: `us`, or `eu` for one whose address is `*.eu.pagerduty.com`.
    #[serde(default)]
    pub region: PagerdutyRegion,
    /// The address of the Events API, when it is behind a relay, such as `https://relay.example.com`. Empty: PagerDuty's
    /// own, in the region.
    #[serde(default)]
    pub api_url: Option<String>,
    /// How long PagerDuty may take to answer, in seconds.
    #[serde(default = "super::default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
}

rounds_core::register_connector! {
    kind: "pagerduty",
    title: "PagerDuty",
    role: Notifier,
    secret: Required("The integration key of an Events API v2 integration, 32 letters and digits: in PagerDuty, Services → the service → Integrations → Events API V2."),
    config: PagerdutyConfig,
    build: Pagerduty::new,
    check_secret: |_, secret| check_key(secret),
}

fn check_key(key: &SecretString) -> Result<(), BuildError> {
    let key = key.expose_secret().trim();
    if key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(BuildError::config(format!(
        "found {} characters; the integration key of an Events API v2 integration is expected, 32 letters and digits (it \
         is neither an API token nor the address of the integration)",
        key.chars().count()
    )))
}

/// A service of PagerDuty, as a [`Notifier`]. It only tells: decisions are made in Rounds.
pub struct Pagerduty {
    client: Client,
    url: Url,
    secret: SecretHandle,
    timeout: Duration,
    host: Arc<Host>,
}

impl fmt::Debug for Pagerduty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pagerduty")
            .field("url", &self.url.as_str())
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl Pagerduty {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its address may not be called.
    pub fn new(cx: BuildContext, config: PagerdutyConfig) -> Result<Self, BuildError> {
        let own = match config.region {
            PagerdutyRegion::Us => "https://events.pagerduty.com",
            PagerdutyRegion::Eu => "https://events.eu.pagerduty.com",
        };
        let named = config.api_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let mut url = super::address("apiUrl", named.unwrap_or(own), own)?;
        if url.query().is_some() {
            return Err(BuildError::config(format!("apiUrl: found `?`; an address such as {own} is expected")));
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v2", "enqueue"]);
        }
        let timeout = super::seconds("timeoutSec", config.timeout_sec)?;
        let client = http::client(&ClientOptions {
            url: &url,
            ca_certificate: None,
            host: &cx.host,
            chosen_by: ChosenBy::Connector,
        })?;
        Ok(Self { client, url, secret: cx.secret, timeout, host: cx.host })
    }

    async fn key(&self) -> Result<SecretString, PortError> {
        let key = self.secret.required().await?;
        check_key(&key).map_err(|error| PortError::new(PortErrorKind::Unauthorized, format!("the secret: {error}")))?;
        Ok(key.expose_secret().trim().into())
    }

    async fn enqueue(&self, mut event: Value, notice: Option<&Notice>) -> Result<(), PortError> {
        let key = self.key().await?;
        event["routing_key"] = json!(key.expose_secret());
        let what = format!("PagerDuty ({})", self.url.host_str().unwrap_or_default());
        let request = self.client.post(self.url.clone()).json(&event);
        let request = match notice {
            Some(notice) => post::keyed(request, notice),
            None => request,
        };
        let answer = post::ask(&self.client, &what, request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&what, &answer, &key)) }
    }
}

/// What a refusal of PagerDuty's means.
fn refused(what: &str, answer: &Answer, key: &SecretString) -> PortError {
    let mut error = post::failed(what, answer.status, &answer.headers);
    if answer.status == StatusCode::BAD_REQUEST {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let texts = said["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let texts: Vec<String> = texts.map(|text| line(text, 200).replace(key.expose_secret(), "[redacted]")).collect();
        let about_key = texts.iter().any(|text| text.contains("routing_key") || text.contains("routing key"));
        if about_key {
            error.kind = PortErrorKind::Unauthorized;
        }
        if !texts.is_empty() {
            error.message = format!("{}: {}", error.message, crop(&texts.join("; "), 400));
        }
    }
    error
}

/// The events of a notice: one, or where it tells of several things, one for each of them as it stands now.
fn events(notice: &Notice, link: &dyn Fn(&str) -> Option<String>) -> Vec<Value> {
    if notice.folded.is_empty() {
        return vec![event(notice, link)];
    }
    let mut stands: Vec<Notice> = Vec::new();
    for one in &notice.folded {
        let mut now = Notice::new(one.kind, notice.idempotency_key.clone(), one.at, one.title.clone());
        (now.severity, now.link, now.about) = (one.severity.clone(), one.link.clone(), one.about.clone());
        now.links.clone_from(&one.links);
        // What all of them have in common.
        now.labels.clone_from(&notice.labels);
        match stands.iter_mut().find(|before| dedup_key(before) == dedup_key(&now)) {
            Some(before) => *before = now,
            None => stands.push(now),
        }
    }
    stands.iter().map(|one| event(one, link)).collect()
}

/// The event of a notice, but for the key.
fn event(notice: &Notice, link: &dyn Fn(&str) -> Option<String>) -> Value {
    let dedup_key = dedup_key(notice);
    if matches!(notice.kind, NoticeKind::AlertResolved | NoticeKind::PlanEnded) {
        return json!({ "event_action": "resolve", "dedup_key": dedup_key });
    }
    let said = Said::of(notice, link, ROOM);
    let severity = match said.level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info | Level::Good => "info",
    };
    let mut details: Map<String, Value> =
        said.facts.iter().map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
    let asked = notice.asked.as_ref();
    // The same, for rules in PagerDuty that go by one of them.
    if !notice.labels.is_empty() {
        let label = |(name, value): (&String, &String)| (line(name, 100), json!(line(value, 500)));
        details.insert("labels".into(), notice.labels.iter().take(64).map(label).collect());
    }
    if let Some(asked) = asked {
        details.insert("where".into(), json!(places(asked)));
    }
    for (name, text) in [("description", &said.body), ("commands", &said.commands)] {
        if !text.is_empty() {
            details.insert(name.into(), json!(text));
        }
    }
    if let Some(question) = said.question {
        details.insert("decision".into(), json!(question));
    }
    if let Some(page) = said.link.as_ref().or(said.page.as_ref()) {
        details.insert("page".into(), json!(page));
    }
    let place = asked.and_then(|asked| asked.places.first());
    let namespace = place.and_then(|place| place.namespace.as_ref()).or_else(|| notice.labels.get("namespace"));
    let group = place.and_then(|place| place.connector.as_ref()).or_else(|| notice.labels.get("cluster"));
    let mut payload = json!({
        "summary": crop(&said.headline(), SUMMARY),
        // What is affected, as far as the notice says.
        "source": group.map_or_else(|| "rounds".to_owned(), |group| line(group, 200)),
        "severity": severity,
        "timestamp": notice.at.to_rfc3339(),
        "class": notice.kind,
        "custom_details": details,
    });
    for (name, value) in [("component", namespace), ("group", group)] {
        if let Some(value) = value {
            payload[name] = json!(line(value, 200));
        }
    }
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "payload": payload,
        "client": "Rounds",
    });
    if let Some(link) = &said.link {
        event["client_url"] = json!(link);
    }
    let page = said.link.iter().map(|link| (link, "Open in Rounds"));
    let links = page.chain(said.links.iter().map(|link| (&link.url, link.name.as_str())));
    let links: Vec<Value> = links.map(|(href, text)| json!({ "href": href, "text": text })).collect();
    if !links.is_empty() {
        event["links"] = json!(links);
    }
    event
}

/// What an incident is known by: the same for everything about one episode or one plan.
fn dedup_key(notice: &Notice) -> String {
    // A notice of before has no `about`; its page is at least of the same plan or rule.
    let about = notice.about.as_deref().filter(|about| !about.is_empty());
    let about = about.unwrap_or(if notice.link.is_empty() { &notice.idempotency_key } else { &notice.link });
    let key = format!("rounds/{about}");
    let is_plain = key.len() <= DEDUP_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { key } else { format!("rounds/{}", hex::encode(Sha256::digest(about))) }
}

#[async_trait]
impl Notifier for Pagerduty {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        http::within(cx, self.timeout, "PagerDuty", async {
            // What is resolved and was never triggered is dropped.
            self.enqueue(json!({ "event_action": "resolve", "dedup_key": "rounds/check" }), None).await?;
            Ok(CheckReport::new(
                "PagerDuty takes events with this key: one was sent that resolves nothing, and nobody was paged",
            ))
        })
        .await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        // What is about one incident goes in order; a message that tells of a hundred would take too long one by one.
        let mut incidents: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in events(notice, &|path| self.host.link(path)) {
            incidents.entry(event["dedup_key"].to_string()).or_default().push(event);
        }
        let tell = |events: Vec<Value>| async move {
            for event in events {
                // Where one of several fails all are sent again, which changes nothing for those that were taken.
                self.enqueue(event, Some(notice)).await?;
            }
            Ok(())
        };
        // Each event has the channel's time, all of them the call's.
        let rounds = u32::try_from(incidents.len().div_ceil(AT_A_TIME)).unwrap_or(u32::MAX).max(1);
        let all = stream::iter(incidents.into_values()).map(tell).buffer_unordered(AT_A_TIME).try_collect::<()>();
        http::within(cx, self.timeout.saturating_mul(rounds), "PagerDuty", all).await
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::ports::{Asked, Place};
    use rounds_core::step::Tier;
    use rounds_core::{ConnectorId, RequestId, Timestamp};

    use super::*;

    fn notice(kind: NoticeKind, about: &str) -> Notice {
        let mut notice = Notice::new(kind, "k", Timestamp::UNIX_EPOCH, "errors");
        notice.about = Some(about.into());
        notice
    }

    #[test]
    fn what_ends_resolves_what_began_and_nothing_else() {
        for (begins, ends, about) in [
            (NoticeKind::AlertFiring, NoticeKind::AlertResolved, "alert/1/2/3"),
            (NoticeKind::PlanProposed, NoticeKind::PlanEnded, "plan/1"),
            (NoticeKind::StepAwaitingApproval, NoticeKind::PlanEnded, "plan/1"),
        ] {
            let (begun, ended) = (event(&notice(begins, about), &|_| None), event(&notice(ends, about), &|_| None));
            assert_eq!((&begun["event_action"], &ended["event_action"]), (&json!("trigger"), &json!("resolve")));
            assert_eq!(
                (&begun["dedup_key"], &ended["dedup_key"]),
                (&json!(format!("rounds/{about}")), &begun["dedup_key"])
            );
        }
        let other = event(&notice(NoticeKind::AlertFiring, "alert/1/2/4"), &|_| None);
        assert_ne!(other["dedup_key"], "rounds/alert/1/2/3");
        let mut old = notice(NoticeKind::AlertResolved, "");
        old.link = "/alerts/1".into();
        assert_eq!(event(&old, &|_| None)["dedup_key"], "rounds//alerts/1");
    }

    #[test]
    fn a_message_of_several_things_opens_and_closes_each_of_them() {
        let folded = |kind: &str, about: &str| {
            let at = "1970-01-01T00:00:00Z";
            let links = json!([
                { "name": "runbook_url", "url": "https://wiki.example/2" },
                { "name": "dashboard_url", "url": "javascript:alert(1)" },
            ]);
            json!({
                "kind": kind, "at": at, "title": about, "severity": "critical", "link": "/alerts/1", "about": about,
                "links": links,
            })
        };
        let mut several = notice(NoticeKind::AlertFiring, "");
        several.folded = serde_json::from_value(json!([
            folded("alert_firing", "alert/1"),
            folded("alert_firing", "alert/2"),
            folded("alert_resolved", "alert/1"),
            folded("plan_ended", "plan/1"),
        ]))
        .unwrap();
        let events = events(&several, &|path| Some(format!("https://rounds.example{path}")));
        let told: Vec<_> =
            events.iter().map(|event| (event["event_action"].as_str(), event["dedup_key"].as_str())).collect();
        let (trigger, resolve) = (Some("trigger"), Some("resolve"));
        assert_eq!(
            told,
            [(resolve, Some("rounds/alert/1")), (trigger, Some("rounds/alert/2")), (resolve, Some("rounds/plan/1")),]
        );
        assert_eq!(events[1]["payload"]["summary"], "[CRITICAL] alert/2");
        let links = json!([
            { "href": "https://rounds.example/alerts/1", "text": "Open in Rounds" },
            { "href": "https://wiki.example/2", "text": "runbook_url (wiki.example)" },
        ]);
        assert_eq!(events[1]["links"], links);
    }

    #[test]
    fn severities_are_pagerdutys_own_words() {
        for (severity, expected) in [
            ("critical", "critical"),
            ("high", "error"),
            ("warning", "warning"),
            ("medium", "warning"),
            ("low", "info"),
            ("info", "info"),
        ] {
            let mut firing = notice(NoticeKind::AlertFiring, "a");
            firing.severity = severity.into();
            assert_eq!(event(&firing, &|_| None)["payload"]["severity"], expected);
        }
    }

    #[test]
    fn nothing_is_longer_than_pagerduty_takes() {
        for filler in ["x", "\u{1}", "🚨"] {
            let long = filler.repeat(50_000);
            let mut notice = notice(NoticeKind::PlanProposed, &long);
            (notice.title, notice.body, notice.severity) = (long.clone(), long.clone(), long.clone());
            notice.labels = (0..200).map(|i| (format!("{i}{long}"), long.clone())).collect();
            let mut asked = Asked::new(RequestId::new(), "d", Tier::Write, Timestamp::UNIX_EPOCH);
            asked.commands = vec![long.clone(); 20];
            let place = |_| Place {
                connector_id: ConnectorId::new(),
                connector: Some(long.clone()),
                namespace: Some(long.clone()),
            };
            asked.places = (0..100).map(place).collect();
            for asked in [None, Some(asked)] {
                notice.asked = asked;
                let event = event(&notice, &|_| Some("https://rounds.example/plans/1".into()));
                let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
                assert!(length(&event["payload"]["summary"]) <= SUMMARY && length(&event["dedup_key"]) <= DEDUP_KEY);
                assert!(event.to_string().len() < 512 * 1024, "{}", event.to_string().len());
            }
        }
    }
}
