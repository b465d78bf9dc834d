//! Notices as Slack shows them. Pure.
//!
//! What a model wrote and what a cluster printed is in there, so text is escaped where Slack would read markup, commands
//! stand in blocks that have none, and nothing is longer than Slack takes.

use rounds_core::Timestamp;
use rounds_core::ports::{Asked, Notice, NoticeKind, Reply};
use rounds_core::step::Tier;
use serde_json::{Value, json};

use super::super::said::{crop, places};

/// The buttons.
pub(super) const APPROVE: &str = "rounds_approve";
pub(super) const REJECT: &str = "rounds_reject";
pub(super) const OPEN: &str = "rounds_open";

/// Characters of a line of text. Slack takes 3000 in a section, and escaping may make five of one.
const LINE: usize = 500;
/// Characters of commands or of a body.
const TEXT: usize = 2_500;

/// A message: its blocks, and the text of notifications.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) blocks: Vec<Value>,
}

/// Why a message that asks has no button to approve with.
enum Without {
    /// Clicks could not be proved.
    Buttons(&'static str),
    /// It has to be looked at on the page.
    Approve(&'static str),
}

/// Renders a notice. `buttons`: whether clicks can be proved, and if not, why.
pub(super) fn render(notice: &Notice, link: Option<&str>, buttons: Result<(), &'static str>) -> Rendered {
    let title = escape(&crop(&notice.title, LINE));
    let mut blocks = vec![section(format!("*{}*", title.replace('\n', " ")))];
    let mut elements: Vec<Value> = link.into_iter().map(open).collect();
    let mut notes = Vec::new();
    match &notice.asked {
        Some(asked) => {
            blocks.push(facts(asked));
            let commands = asked.commands.join("\n");
            blocks.extend(preformatted(&commands));
            match without(asked, &commands, buttons) {
                None => elements.extend([approve(asked), reject(asked)]),
                Some(Without::Approve(why)) => {
                    elements.push(reject(asked));
                    notes.push(why.to_owned());
                }
                Some(Without::Buttons(why)) => notes.push(why.to_owned()),
            }
        }
        None if notice.kind == NoticeKind::PlanEnded => blocks.extend(preformatted(&notice.body)),
        None if !notice.body.trim().is_empty() => blocks.push(section(escape(&crop(&notice.body, LINE)))),
        None => {}
    }
    if !notice.severity.is_empty() {
        notes.insert(0, format!("Severity: {}", crop(&notice.severity, 60)));
    }
    if link.is_none() && !notice.link.is_empty() {
        let path = crop(&notice.link, 200);
        notes.push(format!(
            "The page is {path} on the Rounds server, which was not told where people reach it (ROUNDS_PUBLIC_URL)."
        ));
    }
    if !notes.is_empty() {
        let text = escape(&notes.join("  ·  "));
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text, "verbatim": true }] }));
    }
    if !elements.is_empty() {
        blocks.push(json!({ "type": "actions", "block_id": "rounds", "elements": elements }));
    }
    Rendered { text: title, blocks }
}

fn without(asked: &Asked, commands: &str, buttons: Result<(), &'static str>) -> Option<Without> {
    if let Err(why) = buttons {
        return Some(Without::Buttons(why));
    }
    if asked.tier == Tier::Destructive {
        let why =
            "It is destructive: its page asks for the name of what is lost, so it is approved there and not here.";
        return Some(Without::Approve(why));
    }
    // Nobody approves here what they cannot see here.
    (commands.encode_utf16().count() > TEXT)
        .then_some(Without::Approve("It does not fit here in full: approve it on its page."))
}

/// What became of an answer.
pub(super) fn reply(reply: &Reply, link: Option<&str>) -> Value {
    let text = escape(&crop(&reply.text, LINE));
    if !reply.settled {
        return json!({ "response_type": "ephemeral", "replace_original": false, "text": text });
    }
    let mut blocks = vec![section(text.clone())];
    if let Some(link) = link {
        blocks.push(json!({ "type": "actions", "block_id": "rounds", "elements": [open(link)] }));
    }
    json!({ "replace_original": true, "text": text, "blocks": blocks })
}

fn facts(asked: &Asked) -> Value {
    let step = asked.step_ordinal.map(|ordinal| ("Step".to_owned(), (ordinal + 1).to_string()));
    let facts = [("Tier".to_owned(), asked.tier.to_string()), ("Where".to_owned(), places(asked).join("\n"))];
    let fields = step.into_iter().chain(facts).map(|(name, value)| format!("*{name}*\n{}", escape(&crop(&value, 390))));
    let fields = fields.chain([format!("*Expires*\n{}", moment(asked.expires_at))]);
    let fields: Vec<Value> = fields.map(|text| json!({ "type": "mrkdwn", "text": text, "verbatim": true })).collect();
    json!({ "type": "section", "fields": fields })
}

/// A moment in the reader's own time, and in UTC where that cannot be shown.
fn moment(at: Timestamp) -> String {
    format!("<!date^{}^{{date_short_pretty}}, {{time}}|{}>", at.timestamp(), at.format("%Y-%m-%d %H:%M UTC"))
}

fn section(text: String) -> Value {
    // Verbatim: bare addresses and names of channels in it stay text.
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// Text as it is: there is no markup in there, so none can be smuggled in or broken out of.
fn preformatted(text: &str) -> Option<Value> {
    let text = crop(text, TEXT);
    (!text.trim().is_empty()).then(|| {
        json!({
            "type": "rich_text",
            "elements": [{ "type": "rich_text_preformatted", "elements": [{ "type": "text", "text": text }] }],
        })
    })
}

fn open(link: &str) -> Value {
    json!({ "type": "button", "action_id": OPEN, "text": plain("Open in Rounds"), "url": link })
}

fn approve(asked: &Asked) -> Value {
    let (title, text) = match asked.step_ordinal {
        None => ("Approve this plan?", "It begins at once. Each of its steps still waits for an approval of its own."),
        Some(_) => ("Approve this step?", "It runs at once."),
    };
    json!({
        "type": "button", "action_id": APPROVE, "style": "primary", "text": plain("Approve"), "value": value(asked),
        "confirm": {
            "title": plain(title), "text": plain(text), "confirm": plain("Approve"), "deny": plain("Not now"),
        },
    })
}

fn reject(asked: &Asked) -> Value {
    json!({ "type": "button", "action_id": REJECT, "style": "danger", "text": plain("Reject"), "value": value(asked) })
}

/// What a click carries back: the request, and the digest of what was shown.
fn value(asked: &Asked) -> String {
    json!({ "v": 1, "request": asked.request_id, "digest": asked.digest }).to_string()
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text })
}

/// The three characters that Slack reads as markup of its own.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rounds_core::RequestId;

    use super::*;

    fn asking(tier: Tier, command: &str) -> Notice {
        let at = DateTime::UNIX_EPOCH;
        let mut asked = Asked::new(RequestId::new(), "v1:sha256:00", tier, at);
        asked.commands = vec![command.to_owned()];
        let mut notice = Notice::new(NoticeKind::PlanProposed, "k", at, "Plan waits: <!channel> & <https://evil|here>");
        notice.link = "/plans/1".into();
        notice.asked = Some(asked);
        notice
    }

    fn actions(rendered: &Rendered) -> Vec<String> {
        let block = rendered.blocks.iter().find(|block| block["type"] == "actions");
        let elements = block.and_then(|block| block["elements"].as_array()).cloned().unwrap_or_default();
        elements.iter().map(|element| element["action_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_a_model_wrote_is_no_markup() {
        let rendered = render(&asking(Tier::Write, "echo ``` <!here>"), None, Ok(()));
        let text = json!(rendered.blocks).to_string();
        assert!(!text.contains("<!channel>") && !text.contains("<https:"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; "), "{text}");
        // A preformatted block has no markup, so what runs is shown as it is.
        let commands = &rendered.blocks[2]["elements"][0];
        assert_eq!(commands["type"], "rich_text_preformatted");
        assert_eq!(commands["elements"][0]["text"], "echo ``` <!here>");
    }

    #[test]
    fn a_destructive_plan_and_one_that_does_not_fit_cannot_be_approved_by_a_button() {
        let link = Some("https://rounds.example/plans/1");
        let of = |tier, command: &str, buttons| actions(&render(&asking(tier, command), link, buttons));
        assert_eq!(of(Tier::Write, "x", Ok(())), [OPEN, APPROVE, REJECT]);
        assert_eq!(of(Tier::Destructive, "x", Ok(())), [OPEN, REJECT]);
        assert_eq!(of(Tier::Write, &"x".repeat(TEXT + 1), Ok(())), [OPEN, REJECT]);
        assert_eq!(of(Tier::Write, "x", Err("no signing secret")), [OPEN]);
        let said = json!(render(&asking(Tier::Destructive, "x"), link, Ok(())).blocks).to_string();
        assert!(said.contains("It is destructive"), "{said}");
        let said = json!(render(&asking(Tier::Write, "x"), None, Err("no signing secret")).blocks).to_string();
        assert!(said.contains("no signing secret") && said.contains("ROUNDS_PUBLIC_URL"), "{said}");
    }

    #[test]
    fn nothing_is_longer_than_slack_takes() {
        let long = "&".repeat(20_000);
        let mut notice = asking(Tier::Write, &long);
        notice.title.clone_from(&long);
        notice.severity.clone_from(&long);
        let asked = notice.asked.as_mut().unwrap();
        let place = |i: usize| rounds_core::ports::Place {
            connector_id: rounds_core::ConnectorId::new(),
            connector: Some(format!("{i}{long}")),
            namespace: Some(long.clone()),
        };
        asked.places = (0..100).map(place).collect();
        let rendered = render(&notice, Some("https://rounds.example/plans/1"), Ok(()));
        assert!(rendered.text.len() < 4_000 && rendered.blocks.len() < 50);
        fn longest(value: &Value) -> usize {
            match value {
                Value::String(text) => text.len(),
                Value::Array(items) => items.iter().map(longest).max().unwrap_or(0),
                Value::Object(map) => map.values().map(longest).max().unwrap_or(0),
                _ => 0,
            }
        }
        assert!(longest(&json!(rendered.blocks)) <= 3_000);
        assert!(longest(&rendered.blocks[1]) <= 2_000, "a field");
        notice.asked = None;
        notice.body = long;
        assert!(longest(&json!(render(&notice, None, Ok(())).blocks)) <= 3_000);
    }
}
