//! `discord`: a message through a channel's webhook.
//!
//! Sources: Discord's documentation of "Execute Webhook", "Embed Limits", "Allowed Mentions" and "Rate Limits", API v10.
//! **Rights:** the address of a webhook can post to its one channel and change the webhook itself; nothing else.
//! **Limits:** 2000 characters of content, 256 of an embed's title, 4096 of its description, 25 fields of 1024, 6000 over
//! the whole embed; what is longer is cut here and says so. Discord drops no duplicates, so a notice whose answer was
//! lost may appear twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError, PortErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::items::{Item, anchors, encoded, shown, units};
use super::post::{self, Answer, Hook, Service};
use super::said::{Level, Room, Said, crop, line};
use crate::http;

const DISCORD: Service = Service {
    name: "Discord",
    hosts: &["discord.com", "ptb.discord.com", "canary.discord.com", "discordapp.com"],
    example: "https://discord.com/api/webhooks/123/abc",
};

/// With these the embed is below 6000 characters even when every one of them has to be escaped. Entries are counted as they
/// are rendered.
const ROOM: Room = Room { title: 300, fact: 150, body: 600, commands: 2_400, items: 3_500 };
/// Characters of a field.
const FIELD: usize = 1_024;

/// The channel of Discord that is told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscordConfig {
    /// The id of a thread of the webhook's channel to post to, such as `1093298736472928316`. Empty: the channel itself.
    #[serde(default)]
    pub thread_id: Option<String>,
    /// Another host than Discord's that the address in the secret may name, such as a relay: `relay.example.com`,
    /// `relay.example.com:8443`, `http://relay.internal:8080`. Empty: only Discord's own.
    #[serde(default)]
    pub allowed_host: Option<String>,
    /// How long Discord may take to answer, in seconds.
    #[serde(default = "super::default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
}

rounds_core::register_connector! {
    kind: "discord",
    title: "Discord",
    role: Notifier,
    secret: Required("The address of a webhook of the channel: in Discord, Edit Channel → Integrations → Webhooks → Copy Webhook URL."),
    config: DiscordConfig,
    build: Discord::new,
    check_secret: |_, secret| DISCORD.read(secret).map(drop),
}

/// A channel of Discord, as a [`Notifier`]. It only tells: decisions are made in Rounds.
pub struct Discord {
    hook: Hook,
    thread: Option<String>,
    timeout: Duration,
    host: Arc<Host>,
}

impl fmt::Debug for Discord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discord").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl Discord {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its host may not be called.
    pub fn new(cx: BuildContext, config: DiscordConfig) -> Result<Self, BuildError> {
        let thread = config.thread_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        if let Some(id) = &thread
            && (id.len() > 20 || !id.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(BuildError::config(format!(
                "threadId: found `{}`; the digits of a thread's id are expected, such as 1093298736472928316 (in Discord \
                 with developer mode on: the thread's menu → Copy Thread ID)",
                line(id, 40)
            )));
        }
        let timeout = super::seconds("timeoutSec", config.timeout_sec)?;
        Ok(Self { hook: Hook::new(&cx, &DISCORD, config.allowed_host.as_deref())?, thread, timeout, host: cx.host })
    }

    async fn post(&self, notice: &Notice) -> Result<(), PortError> {
        let (mut url, what) = self.hook.address().await?;
        // With `wait` the answer says whether it is in the channel, and not only that it was taken.
        url.query_pairs_mut().append_pair("wait", "true");
        if let Some(thread) = &self.thread {
            url.query_pairs_mut().append_pair("thread_id", thread);
        }
        let body = render(&Said::of(notice, &|path| self.host.link(path), ROOM), notice);
        let request = post::keyed(self.hook.client().post(url).json(&body), notice);
        let answer = post::ask(self.hook.client(), &what, request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&what, &answer)) }
    }

    async fn test(&self) -> Result<CheckReport, PortError> {
        let (mut url, what) = self.hook.address().await?;
        url.set_query(None);
        let token = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned();
        let answer = post::ask(self.hook.client(), &what, self.hook.client().get(url)).await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&what, &answer));
        }
        let webhook: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(channel) = webhook["channel_id"].as_str() else {
            let message = format!("{what} did not answer as Discord does: is the address that of a webhook?");
            return Err(PortError::new(PortErrorKind::Protocol, message));
        };
        // The answer has the token in it, and whoever answers may put it anywhere.
        let shown = |text: &str| {
            let text = if token.is_empty() { text.to_owned() } else { text.replace(&token, "[redacted]") };
            line(&text, 80)
        };
        let name = shown(webhook["name"].as_str().unwrap_or("without a name"));
        let report = CheckReport::new(format!("the webhook \"{name}\" is there; nothing was posted"));
        Ok(report.with_facts([("channel".to_owned(), shown(channel))]))
    }
}

/// What a refusal of Discord's means, and what to do about it.
fn refused(what: &str, answer: &Answer) -> PortError {
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut error = post::failed(what, answer.status, &answer.headers);
    let advice = match (answer.status, said["code"].as_u64()) {
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            // In the body it has fractions of a second.
            let wait = said["retry_after"].as_f64().and_then(|wait| http::wait(wait.ceil()));
            error.retry_after = wait.or(error.retry_after);
            "it takes no more just now".to_owned()
        }
        (StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(10_003)) => {
            "there is no such thread: check `threadId`".to_owned()
        }
        (StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            error.kind = PortErrorKind::Unauthorized;
            "the webhook is gone or its address is wrong: make a new one in Discord and set the secret anew".to_owned()
        }
        (_, Some(220_001)) => {
            "the webhook's channel is a forum, where a message needs a thread: set `threadId`".to_owned()
        }
        (_, Some(code)) => format!("Discord's error code {code}"),
        (_, None) => return error,
    };
    error.message = format!("{}: {advice}", error.message);
    error
}

/// The message. What others wrote is escaped; nobody is mentioned, whatever it holds.
fn render(said: &Said, notice: &Notice) -> Value {
    let colour = match said.level {
        Level::Critical => 0xD9_2D20,
        Level::Error => 0xF7_9009,
        Level::Warning => 0xFD_B022,
        Level::Info => 0x2E_90FA,
        Level::Good => 0x12_B76A,
    };
    let mut description = list(said);
    if !said.body.is_empty() {
        description.push_str(&escape(&said.body));
    }
    if !said.commands.is_empty() {
        if !description.is_empty() {
            description.push('\n');
        }
        // A fence within would end ours.
        let commands = said.commands.replace("``", "`\u{200B}`");
        description.push_str(&format!("```\n{commands}\n```"));
    }
    if let Some(question) = said.question {
        description.push_str(&format!("\n**{question}**"));
    }
    let facts = said.facts.iter().map(|(name, value)| (*name, value.as_str()));
    let page = said.page.iter().map(|page| ("Page", page.as_str()));
    let mut fields: Vec<Value> = facts
        .chain(page)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| json!({ "name": name, "value": crop(&escape(value), FIELD), "inline": name != "Labels" }))
        .collect();
    let links = anchors(&said.links, FIELD, FIELD, anchor).join("\n");
    if !links.is_empty() {
        fields.push(json!({ "name": "Links", "value": links, "inline": false }));
    }
    let mut embed = json!({
        "color": colour, "description": description, "fields": fields, "timestamp": notice.at.to_rfc3339(),
    });
    if let Some(link) = &said.link {
        embed["title"] = json!("Open in Rounds");
        embed["url"] = json!(link);
    }
    json!({
        "content": format!("**\\[{}\\]** {}", escape(&said.tag), escape(&said.title)),
        "embeds": [embed],
        "allowed_mentions": { "parse": [] },
    })
}

/// What a message of several things tells of, an entry a line.
fn list(said: &Said) -> String {
    let entry = |item: &Item| {
        let title = match &item.link {
            Some(link) => anchor(link, &item.title),
            None => format!("{} ({})", escape(&item.title), escape(&item.path)),
        };
        format!("- **\\[{}\\]** {title} · {}", escape(&item.tag), escape(&item.when))
    };
    let shown = shown(&said.items, ROOM.items, entry, |entry| units(entry));
    let more = shown.more().map(|more| match &said.link {
        Some(link) => format!("- {}", anchor(link, &more)),
        None => format!("- {more}"),
    });
    shown.items.into_iter().chain(more).collect::<Vec<_>>().join("\n")
}

/// A text that opens an address, neither of which can end the other.
fn anchor(url: &str, text: &str) -> String {
    format!("[{}]({})", escape(text), encoded(url, &['(', ')', '<', '>', '\\', '`', '|', '*']))
}

/// Text as it is: Discord takes a backslash before any punctuation as "no markup here".
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[async_trait]
impl Notifier for Discord {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        http::within(cx, self.timeout, DISCORD.name, self.test()).await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        http::within(cx, self.timeout, DISCORD.name, self.post(notice)).await
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::ports::{Link, NoticeKind};
    use rounds_core::{RequestId, Timestamp};

    use super::super::items::several;
    use super::*;

    fn units(value: &Value) -> usize {
        value.as_str().unwrap_or_default().encode_utf16().count()
    }

    fn rendered(notice: &Notice) -> Value {
        render(&Said::of(notice, &|path| Some(format!("https://rounds.example{path}")), ROOM), notice)
    }

    #[test]
    fn what_others_wrote_is_no_markup_no_link_and_mentions_nobody() {
        let at = Timestamp::UNIX_EPOCH;
        let mut notice =
            Notice::new(NoticeKind::AlertFiring, "k", at, "@everyone <@1> [click](https://evil.example) # x");
        notice.body = "||hidden|| `x` **b** <https://evil.example> :smile:".into();
        notice.labels.insert("team".into(), "<@&7>".into());
        let body = rendered(&notice);
        assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
        let texts = format!("{} {} {}", body["content"], body["embeds"][0]["description"], body["embeds"][0]["fields"]);
        for live in ["<@", "](", "||h", "https:/", " `x", " **b", " :smile", "\\<@"] {
            assert!(!texts.contains(live), "{live}: {texts}");
        }
        assert!(body["content"].as_str().unwrap().contains(r"\@everyone \<\@1\>"), "{texts}");
    }

    #[test]
    fn each_of_several_things_links_to_its_page_and_the_rest_is_counted() {
        let body = rendered(&several(3, "errors in a](https://evil.example) **b"));
        let description = body["embeds"][0]["description"].as_str().unwrap();
        let lines: Vec<&str> = description.lines().collect();
        let first = r"- **\[INFO\]** [errors in a\]\(https\[\:\]\/\/evil\.example\) \*\*b 0](https://rounds.example/alerts/0) · 00\:00 UTC";
        assert_eq!((lines[0], lines.len()), (first, 3));
        assert_eq!(body["embeds"][0]["url"], "https://rounds.example/alerts");
        // Every entry whole, whatever it holds: as many opening as closing ends.
        let body = rendered(&several(100, &"*[](".repeat(30)));
        let description = body["embeds"][0]["description"].as_str().unwrap();
        let lines: Vec<&str> = description.lines().collect();
        let (more, entries) = lines.split_last().unwrap();
        let left = 100 - entries.len();
        assert_eq!(*more, format!("- [and {left} more](https://rounds.example/alerts)"));
        assert!(entries.iter().all(|line| line.contains("](https://rounds.example/alerts/") && line.ends_with("UTC")));
        assert!(entries.last().unwrap().contains("CRITICAL") && description.encode_utf16().count() <= 4_096);
    }

    #[test]
    fn annotations_that_are_addresses_are_links_by_their_names_and_hosts() {
        let mut notice = Notice::new(NoticeKind::AlertFiring, "k", Timestamp::UNIX_EPOCH, "x");
        let link = |name: &str, url: &str| Link::new(name, url).unwrap();
        notice.links = vec![
            link("runbook_url", "https://wiki.example/a_(b)?c=*d*"),
            link("v6", "https://[2001:db8::1]/a"),
            link("@everyone](https://evil.example", "https://x.example"),
            link("too long", &format!("https://x.example/{}", "(".repeat(1_000))),
        ];
        let body = rendered(&notice);
        let fields = body["embeds"][0]["fields"].as_array().unwrap();
        let links = fields.iter().find(|field| field["name"] == "Links").unwrap();
        let expected = r"[runbook\_url \(wiki\.example\)](https://wiki.example/a_%28b%29?c=%2Ad%2A)
[v6 \(\[2001\:db8\:\:1\]\)](https://[2001:db8::1]/a)
[x\.example](https://x.example)
and 1 more on the page";
        assert_eq!(links["value"], expected);
    }

    #[test]
    fn commands_cannot_leave_their_block() {
        let at = Timestamp::UNIX_EPOCH;
        let mut notice = Notice::new(NoticeKind::PlanProposed, "k", at, "x");
        let mut asked = rounds_core::ports::Asked::new(RequestId::new(), "d", rounds_core::step::Tier::Write, at);
        asked.commands = vec!["echo ``` `````` @everyone".into(), "```".into()];
        notice.asked = Some(asked);
        let body = rendered(&notice);
        let description = body["embeds"][0]["description"].as_str().unwrap();
        assert_eq!(description.matches("```").count(), 2, "{description}");
    }

    #[test]
    fn nothing_is_longer_than_discord_takes() {
        let at = Timestamp::UNIX_EPOCH;
        for filler in ["*", "x", "🚨"] {
            let long = filler.repeat(20_000);
            let mut notice = Notice::new(NoticeKind::PlanProposed, "k", at, long.clone());
            notice.body.clone_from(&long);
            notice.severity.clone_from(&long);
            notice.link.clone_from(&long);
            let address =
                |at: usize| Link::new(format!("{at}{long}"), &format!("https://x.example/{}", "(".repeat(at * 200)));
            notice.links = (0..5).filter_map(address).collect();
            notice.labels = (0..50).map(|i| (format!("{i}{long}"), long.clone())).collect();
            let mut asked = rounds_core::ports::Asked::new(RequestId::new(), "d", rounds_core::step::Tier::Write, at);
            asked.commands = vec![long.clone(); 5];
            asked.places = (0..30)
                .map(|_| rounds_core::ports::Place {
                    connector_id: rounds_core::ConnectorId::new(),
                    connector: Some(long.clone()),
                    namespace: Some(long.clone()),
                })
                .collect();
            for asked in [None, Some(asked)] {
                notice.asked = asked;
                for link in [None, Some("https://rounds.example/plans/1".to_owned())] {
                    let body = render(&Said::of(&notice, &|_| link.clone(), ROOM), &notice);
                    let embed = &body["embeds"][0];
                    let fields = embed["fields"].as_array().unwrap();
                    assert!(units(&body["content"]) <= 2_000 && fields.len() <= 25);
                    assert!(units(&embed["description"]) <= 4_096);
                    assert!(fields.iter().all(|field| (1..=1_024).contains(&units(&field["value"]))));
                    let fields: usize = fields.iter().map(|field| units(&field["name"]) + units(&field["value"])).sum();
                    let all = fields + units(&embed["description"]) + units(&embed["title"]);
                    assert!(all <= 6_000, "{all}");
                }
            }
        }
    }
}
