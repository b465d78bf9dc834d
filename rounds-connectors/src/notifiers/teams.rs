//! `teams`: an Adaptive Card through a webhook of the Workflows app of Microsoft Teams.
//!
//! Sources: Microsoft's documentation of "Create incoming webhooks with Workflows", the Adaptive Cards schema 1.4, and the
//! limits of messages in Teams. The older connector cards (`MessageCard`) are retired and not spoken here; an address of
//! that time (`*.webhook.office.com`) that takes Adaptive Cards still works.
//! **Rights:** whoever knows the address can start that one workflow; nothing else.
//! **Limits:** a message in Teams is at most 28 KB, so a card is cut to 24 KB and says so. A workflow answers before the
//! card is posted (HTTP 202), so "delivered" means that the workflow has it; and it drops no duplicates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use rounds_core::plugin::{BuildContext, BuildError, Host};
use rounds_core::ports::{CallContext, CheckReport, Notice, Notifier, PortError, PortErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::items::{Item, shown};
use super::post::{self, Answer, Hook, Service};
use super::said::{Level, Room, Said};
use crate::http;

const TEAMS: Service = Service {
    name: "Microsoft Teams",
    hosts: &[".logic.azure.com", ".powerplatform.com", ".webhook.office.com", ".logic.azure.us", ".logic.azure.cn"],
    example: "https://prod-01.westeurope.logic.azure.com/workflows/abc/triggers/manual/paths/invoke?sig=xyz",
};

/// Bytes of a message. Teams takes 28 KB, and counts what the workflow adds.
const MESSAGE: usize = 24 * 1024;
/// Entries of a message of several things are counted in bytes of the card.
const ROOM: Room = Room { title: 500, fact: 400, body: 3_000, commands: 8_000, items: 16_000 };
/// Lines of commands that get a block of their own; the rest share one.
const LINES: usize = 40;
/// Buttons of a card.
const ACTIONS: usize = 6;

/// The channel or chat of Microsoft Teams that is told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TeamsConfig {
    /// Another host than Microsoft's that the address in the secret may name, such as a relay: `relay.example.com`,
    /// `relay.example.com:8443`, `http://relay.internal:8080`. Empty: only Microsoft's own.
    #[serde(default)]
    pub allowed_host: Option<String>,
    /// How long the workflow may take to answer, in seconds.
    #[serde(default = "super::default_timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_sec: u64,
}

rounds_core::register_connector! {
    kind: "teams",
    title: "Microsoft Teams",
    role: Notifier,
    secret: Required("The address of a workflow's webhook: in Teams, the channel → ⋯ → Workflows → Send webhook alerts to a channel."),
    config: TeamsConfig,
    build: Teams::new,
    check_secret: |_, secret| TEAMS.read(secret).map(drop),
}

/// A channel or chat of Microsoft Teams, as a [`Notifier`]. It only tells: decisions are made in Rounds.
pub struct Teams {
    hook: Hook,
    timeout: Duration,
    host: Arc<Host>,
}

impl fmt::Debug for Teams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teams").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl Teams {
    /// Checks the config in full and connects to nothing.
    ///
    /// # Errors
    /// The config has a wrong value, or its host may not be called.
    pub fn new(cx: BuildContext, config: TeamsConfig) -> Result<Self, BuildError> {
        let timeout = super::seconds("timeoutSec", config.timeout_sec)?;
        Ok(Self { hook: Hook::new(&cx, &TEAMS, config.allowed_host.as_deref())?, timeout, host: cx.host })
    }

    async fn post(&self, notice: &Notice) -> Result<(), PortError> {
        let (url, what) = self.hook.address().await?;
        let body = message(notice, &|path| self.host.link(path));
        let request = post::keyed(self.hook.client().post(url).json(&body), notice);
        let answer = post::ask(self.hook.client(), &what, request).await?;
        judge(&what, &answer)
    }

    async fn test(&self) -> Result<CheckReport, PortError> {
        let (mut url, what) = self.hook.address().await?;
        // Any request to the address itself may start the workflow, so only its host is asked.
        url.set_path("/");
        url.set_query(None);
        let status = post::ask(self.hook.client(), &what, self.hook.client().request(Method::HEAD, url)).await?.status;
        let report = CheckReport::new(format!(
            "{what} can be reached; whether the workflow posts shows only when a notice is sent, and none was"
        ));
        Ok(report.with_facts([("answer of the host".to_owned(), format!("HTTP {}", status.as_u16()))]))
    }
}

/// What an answer means, and what to do about it.
fn judge(what: &str, answer: &Answer) -> Result<(), PortError> {
    let status = answer.status;
    if status.is_success() {
        // Addresses of the older kind answer 200 and say in the text what Teams thought of it.
        let said = answer.line();
        let Some((_, error)) =
            said.split_once("HTTP error ").filter(|_| said.starts_with("Webhook message delivery failed"))
        else {
            return Ok(());
        };
        let digits: String = error.chars().take_while(char::is_ascii_digit).collect();
        let status =
            digits.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
        let message = format!("{what} took the message and Teams did not: HTTP {}", status.as_u16());
        return Err(
            PortError::new(http::status_kind(status), message).with_retry_after(http::retry_after(&answer.headers))
        );
    }
    let mut error = post::failed(what, status, &answer.headers);
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = said["error"]["code"]
        .as_str()
        .filter(|code| (1..=60).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
            error.kind = PortErrorKind::Unauthorized;
            Some(
                "the workflow is gone, switched off or its address is not complete: look at it in the Workflows app, and set the secret anew",
            )
        }
        StatusCode::PAYLOAD_TOO_LARGE => Some("the workflow does not take a message of this size"),
        _ => None,
    };
    for part in [code, advice].into_iter().flatten() {
        error.message = format!("{}: {part}", error.message);
    }
    Err(error)
}

/// The message, small enough for Teams.
fn message(notice: &Notice, link: &dyn Fn(&str) -> Option<String>) -> Value {
    let mut room = ROOM;
    loop {
        let message = card(&Said::of(notice, link, room), room.items);
        // What a room of nothing leaves is ours and small.
        if room.commands == 0 || message.to_string().len() <= MESSAGE {
            return message;
        }
        room = room.halved();
    }
}

/// What others wrote stands in text runs, which have no markup: a text block would make links and mentions of it.
fn card(said: &Said, items: usize) -> Value {
    let (style, colour) = match said.level {
        Level::Critical => ("attention", "Attention"),
        Level::Error | Level::Warning => ("warning", "Warning"),
        Level::Info => ("accent", "Accent"),
        Level::Good => ("good", "Good"),
    };
    let heading = json!([
        { "type": "TextRun", "text": format!("[{}] ", plain(&said.tag)), "weight": "Bolder", "size": "Large", "color": colour },
        { "type": "TextRun", "text": plain(&said.title), "weight": "Bolder", "size": "Large" },
    ]);
    let mut body = vec![json!({
        "type": "Container", "style": style, "bleed": true,
        "items": [{ "type": "RichTextBlock", "inlines": heading }],
    })];
    let page = said.page.iter().map(|page| ("Page", page.as_str()));
    for (name, value) in said.facts.iter().map(|(name, value)| (*name, value.as_str())).chain(page) {
        body.push(json!({
            "type": "RichTextBlock", "spacing": "Small",
            "inlines": [
                { "type": "TextRun", "text": format!("{name}: "), "weight": "Bolder" },
                { "type": "TextRun", "text": plain(value) },
            ],
        }));
    }
    let shown = shown(&said.items, items, entry, |block| block.to_string().len());
    let more = shown.more().map(|more| block(vec![opening(&more, said.link.as_deref())]));
    body.extend(shown.items.into_iter().chain(more));
    if !said.body.is_empty() {
        body.extend(lines(&said.body, "Default", "Medium"));
    }
    if !said.commands.is_empty() {
        body.push(json!({
            "type": "Container", "style": "emphasis", "items": lines(&said.commands, "Monospace", "None"),
        }));
    }
    if let Some(question) = said.question {
        body.push(json!({ "type": "TextBlock", "text": question, "wrap": true, "weight": "Bolder" }));
    }
    let mut content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": plain(&said.headline()),
        "msteams": { "width": "Full" },
        "body": body,
    });
    // At most six, which is what Teams shows of a card.
    let page = said.link.iter().map(|link| ("Open in Rounds", link));
    let links = page.chain(said.links.iter().map(|link| (link.name.as_str(), &link.url))).take(ACTIONS);
    let actions: Vec<Value> = links.map(|(title, url)| open(&plain(title), url)).collect();
    if !actions.is_empty() {
        content["actions"] = json!(actions);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": content,
        }],
    })
}

fn open(title: &str, url: &str) -> Value {
    json!({ "type": "Action.OpenUrl", "title": title, "url": url })
}

fn block(inlines: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "spacing": "Small", "inlines": inlines })
}

/// A run that opens an address, if there is one.
fn opening(text: &str, link: Option<&str>) -> Value {
    let mut run = json!({ "type": "TextRun", "text": plain(text) });
    if let Some(link) = link {
        run["selectAction"] = json!({ "type": "Action.OpenUrl", "url": link });
    }
    run
}

/// One of several things, in a line.
fn entry(item: &Item) -> Value {
    let path = if item.path.is_empty() { String::new() } else { format!(" ({})", item.path) };
    block(vec![
        json!({ "type": "TextRun", "text": format!("[{}] ", plain(&item.tag)), "weight": "Bolder" }),
        opening(&item.title, item.link.as_deref()),
        json!({ "type": "TextRun", "text": plain(&format!("{path} · {}", item.when)), "isSubtle": true }),
    ])
}

/// A block a line: a line break within a run is not shown everywhere.
fn lines(text: &str, font: &str, spacing: &str) -> Vec<Value> {
    let run = |text: &str, spacing: &str| {
        // An empty run is refused.
        let text = if text.is_empty() { " " } else { text };
        let inline = json!({ "type": "TextRun", "text": plain(text), "fontType": font });
        json!({ "type": "RichTextBlock", "spacing": spacing, "inlines": [inline] })
    };
    let mut rest = text.splitn(LINES, '\n').enumerate();
    rest.by_ref().map(|(at, line)| run(line, if at == 0 { "Medium" } else { spacing })).collect()
}

/// Cards replace `{{DATE(…)}}` and the like in any text.
fn plain(text: &str) -> String {
    text.replace("{{", "{ {")
}

#[async_trait]
impl Notifier for Teams {
    async fn check(&self, cx: &CallContext) -> Result<CheckReport, PortError> {
        http::within(cx, self.timeout, TEAMS.name, self.test()).await
    }

    async fn send(&self, cx: &CallContext, notice: &Notice) -> Result<(), PortError> {
        http::within(cx, self.timeout, TEAMS.name, self.post(notice)).await
    }
}

#[cfg(test)]
mod tests {
    use rounds_core::ports::{Asked, Link, NoticeKind};
    use rounds_core::step::Tier;
    use rounds_core::{RequestId, Timestamp};

    use super::super::items::several;
    use super::*;

    fn asking(commands: Vec<String>) -> Notice {
        let at = Timestamp::UNIX_EPOCH;
        let mut notice =
            Notice::new(NoticeKind::PlanProposed, "k", at, "**b** [x](https://evil.example) <at>all</at> {{DATE(x)}}");
        let mut asked = Asked::new(RequestId::new(), "d", Tier::Write, at);
        asked.commands = commands;
        notice.asked = Some(asked);
        notice
    }

    /// Every text of a block that has markup.
    fn markup(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| markup(item, found)),
            Value::Object(map) => {
                if map.get("type").and_then(Value::as_str) != Some("TextRun") {
                    found.extend(
                        ["text", "title", "value"]
                            .iter()
                            .filter_map(|name| map.get(*name)?.as_str())
                            .map(str::to_owned),
                    );
                }
                map.values().for_each(|value| markup(value, found));
            }
            _ => {}
        }
    }

    #[test]
    fn what_others_wrote_stands_where_there_is_no_markup() {
        let mut notice = asking(vec!["echo [a](https://x.example) **".into()]);
        notice.labels.insert("team".into(), "<at>all</at>".into());
        let message = message(&notice, &|path| Some(format!("https://rounds.example{path}")));
        let mut texts = Vec::new();
        markup(&message, &mut texts);
        let ours = "A plan waits for a decision. It is decided in Rounds, on its page, and not here.";
        assert_eq!(texts, ["Open in Rounds", ours]);
        assert!(
            !message.to_string().contains("{{DATE") && message.to_string().contains("echo [a](https://x.example) **")
        );
        assert!(message["attachments"][0]["content"].get("entities").is_none());
    }

    fn content(message: &Value) -> &Value {
        &message["attachments"][0]["content"]
    }

    #[test]
    fn each_of_several_things_opens_its_page_and_the_rest_is_counted() {
        let link: &dyn Fn(&str) -> Option<String> = &|path| Some(format!("https://rounds.example{path}"));
        let entries = |message: &Value| -> Vec<(String, String)> {
            let blocks = content(message)["body"].as_array().unwrap();
            let runs = blocks.iter().filter_map(|block| block["inlines"].as_array()).flatten();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let opens = |run: &Value| Some((text(&run["text"]), text(run.get("selectAction")?.get("url")?)));
            runs.filter_map(opens).collect()
        };
        let few = message(&several(2, "[x](https://evil.example)"), link);
        let expected =
            |at: usize| (format!("[x](https[:]//evil.example) {at}"), format!("https://rounds.example/alerts/{at}"));
        assert_eq!(entries(&few), [expected(0), expected(1)]);
        assert_eq!(content(&few)["actions"][0]["url"], "https://rounds.example/alerts");
        let many = message(&several(100, &"🚨".repeat(80)), link);
        let shown = entries(&many);
        let left = 100 - (shown.len() - 1);
        assert_eq!(shown.last().unwrap(), &(format!("and {left} more"), "https://rounds.example/alerts".to_owned()));
        assert!(shown.len() > 20 && many.to_string().len() <= MESSAGE, "{}", shown.len());
        assert!(entries(&message(&several(2, "x"), &|_| None)).is_empty(), "a path opens nothing");
    }

    #[test]
    fn annotations_that_are_addresses_are_buttons_by_their_names_and_hosts() {
        let mut notice = asking(vec!["x".into()]);
        let name = |at: usize| if at == 0 { "Open in Rounds {{DATE(x)}}".to_owned() } else { format!("url_{at}") };
        let link = |at: usize| Link::new(name(at), "https://wiki.example/a").unwrap();
        notice.links = (0..9).map(link).collect();
        let message = message(&notice, &|path| Some(format!("https://rounds.example{path}")));
        let actions = content(&message)["actions"].as_array().unwrap();
        assert_eq!(actions.len(), ACTIONS);
        assert_eq!(actions[1], open("wiki.example", "https://wiki.example/a"));
        assert_eq!(actions[2], open("url_1 (wiki.example)", "https://wiki.example/a"));
    }

    #[test]
    fn a_message_is_no_larger_than_teams_takes_and_says_what_was_cut() {
        for filler in ["x", "\"", "🚨", "\n", "{{", "a\n"] {
            let mut notice = asking(vec![filler.repeat(20_000); 3]);
            notice.labels = (0..50).map(|i| (format!("{i}{}", filler.repeat(500)), filler.repeat(900))).collect();
            notice.title = filler.repeat(2_000);
            let message = message(&notice, &|_| None);
            let text = message.to_string();
            assert!(text.len() <= 28 * 1024, "{filler:?}: {}", text.len());
            if filler.trim() == filler {
                assert!(text.contains("more characters are on its page"), "{filler:?}");
            }
        }
    }
}
