//! Notices as Slack shows them. Pure.
//!
//! What a model wrote and what a cluster printed is in there, so text is escaped where Slack would read markup, commands
//! stand in blocks that have none, and nothing is longer than Slack takes.

use rounds_core::Timestamp;
use rounds_core::ports::{Asked, Notice, NoticeKind, Reply};
use rounds_core::step::Tier;
use serde_json::{Value, json};

use super::super::items::{Item, anchors, encoded, items, shown, units};
use super::super::said::{body, crop, labels, line, links, places};

/// The buttons.
pub(super) const APPROVE: &str = "rounds_approve";
pub(super) const REJECT: &str = "rounds_reject";
pub(super) const OPEN: &str = "rounds_open";

/// Characters of the text of a section, as it is sent: an escape counts as long as it is.
const SECTION: usize = 3_000;
/// Characters of a field of a section.
const FIELD: usize = 2_000;
/// Characters of commands.
const TEXT: usize = 2_500;
/// Characters of all entries of a message of several things. Slack says no sum and refuses a message of some 13,000.
const ENTRIES: usize = 9_000;
/// Characters of the links of an alert.
const LINKS: usize = 4_000;

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

/// Renders a notice. `link`: where a page is. `buttons`: whether clicks can be proved, and if not, why.
pub(super) fn render(
    notice: &Notice,
    link: &dyn Fn(&str) -> Option<String>,
    buttons: Result<(), &'static str>,
) -> Rendered {
    let entries = items(notice, link);
    let link = link(&notice.link);
    let link = link.as_deref();
    let title = escaped(&line(&notice.title, SECTION), SECTION - 2);
    let mut blocks = vec![section(format!("*{title}*"))];
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
        None if !entries.is_empty() => blocks.extend(list(&entries, link)),
        None if notice.kind == NoticeKind::PlanEnded => blocks.extend(preformatted(&notice.body)),
        None => {
            let body = body(notice);
            if !body.trim().is_empty() {
                blocks.push(section(escaped(body.trim(), SECTION)));
            }
        }
    }
    // Some other place than this server's, so they stand by their names and hosts and apart from the buttons.
    blocks.extend(sections(anchors(&links(notice), LINKS, SECTION, anchor).into_iter()));
    if !notice.severity.is_empty() {
        notes.insert(0, format!("Severity: {}", crop(&notice.severity, 60)));
    }
    notes.extend(labels(notice, 1_000).map(|labels| format!("Labels: {labels}")));
    if link.is_none() && !notice.link.is_empty() {
        let path = crop(&notice.link, 200);
        notes.push(format!(
            "The page is {path} on the Rounds server, which was not told where people reach it (ROUNDS_PUBLIC_URL)."
        ));
    }
    if !notes.is_empty() {
        let text = escaped(&notes.join("  ·  "), FIELD);
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
    // These words are Rounds' own, and mark what is to be typed.
    let text = cut(&reply.text, SECTION, |_, c, _| entity(c));
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
    let fields =
        step.into_iter().chain(facts).map(|(name, value)| format!("*{name}*\n{}", escaped(&value, FIELD - 20)));
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

/// What a message of several things tells of, an entry a line.
fn list(entries: &[Item], link: Option<&str>) -> Vec<Value> {
    let entry = |item: &Item| {
        let title = match &item.link {
            Some(link) => anchor(link, &item.title),
            None => format!("{} ({})", escaped(&item.title, SECTION / 3), escaped(&item.path, SECTION / 3)),
        };
        format!("• *[{}]* {title} · {}", escaped(&item.tag, 200), item.when)
    };
    let shown = shown(entries, ENTRIES, entry, |entry| units(entry));
    let more = shown.more().map(|more| match link {
        Some(link) => format!("• {}", anchor(link, &more)),
        None => format!("• {more}"),
    });
    sections(shown.items.into_iter().chain(more))
}

/// Lines in as few sections as hold them, each line whole.
fn sections(lines: impl Iterator<Item = String>) -> Vec<Value> {
    let mut texts: Vec<String> = Vec::new();
    for line in lines.filter(|line| units(line) <= SECTION) {
        match texts.last_mut() {
            Some(text) if units(text) + units(&line) <= SECTION => {
                text.push('\n');
                text.push_str(&line);
            }
            _ => texts.push(line),
        }
    }
    texts.into_iter().map(section).collect()
}

/// A text that opens an address.
fn anchor(url: &str, text: &str) -> String {
    let url = encoded(url, &['<', '>', '|']).replace('&', "&amp;");
    format!("<{url}|{}>", escaped(text, SECTION / 3))
}

/// Text as it is, in at most so many characters: what does not fit is cut, and never in the middle of an escape.
fn escaped(text: &str, most: usize) -> String {
    cut(text, most, escape)
}

fn cut(text: &str, most: usize, escape: impl Fn(Option<char>, char, Option<char>) -> String) -> String {
    let text: Vec<char> = crop(text, most).chars().collect();
    let (mut whole, mut kept, mut length) = (String::new(), 0, 0);
    for (at, c) in text.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| text.get(at)).copied();
        let piece = escape(before, *c, text.get(at + 1).copied());
        length += piece.encode_utf16().count();
        if length > most {
            whole.truncate(kept);
            whole.push('…');
            return whole;
        }
        whole.push_str(&piece);
        // Up to here there is room for the sign that something was cut.
        if length < most {
            kept = whole.len();
        }
    }
    whole
}

/// A character between its neighbours: the three that Slack reads as its own as it wants them written, and marks of bold,
/// italic, struck and code text kept off the words beside them, where alone they are marks.
fn escape(before: Option<char>, c: char, after: Option<char>) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    match c {
        // At the beginning of a line it would quote.
        '>' if before.is_none_or(|c| c == '\n') => "\u{200B}&gt;".into(),
        '*' | '_' | '~' | '`' if !(is_word(before) && is_word(after)) => format!("\u{200B}{c}\u{200B}"),
        c => entity(c),
    }
}

fn entity(c: char) -> String {
    match c {
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rounds_core::RequestId;
    use rounds_core::ports::Link;

    use super::super::super::items::several;
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
        let rendered = render(&asking(Tier::Write, "echo ``` <!here>"), &|_| None, Ok(()));
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
        let link: &dyn Fn(&str) -> Option<String> = &|path| Some(format!("https://rounds.example{path}"));
        let of = |tier, command: &str, buttons| actions(&render(&asking(tier, command), link, buttons));
        assert_eq!(of(Tier::Write, "x", Ok(())), [OPEN, APPROVE, REJECT]);
        assert_eq!(of(Tier::Destructive, "x", Ok(())), [OPEN, REJECT]);
        assert_eq!(of(Tier::Write, &"x".repeat(TEXT + 1), Ok(())), [OPEN, REJECT]);
        assert_eq!(of(Tier::Write, "x", Err("no signing secret")), [OPEN]);
        let said = json!(render(&asking(Tier::Destructive, "x"), link, Ok(())).blocks).to_string();
        assert!(said.contains("It is destructive"), "{said}");
        let said = json!(render(&asking(Tier::Write, "x"), &|_| None, Err("no signing secret")).blocks).to_string();
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
        let rendered = render(&notice, &|_| Some("https://rounds.example/plans/1".into()), Ok(()));
        assert!(rendered.text.len() < 4_000 && rendered.blocks.len() < 50);
        fn longest(value: &Value) -> usize {
            match value {
                Value::String(text) => text.encode_utf16().count(),
                Value::Array(items) => items.iter().map(longest).max().unwrap_or(0),
                Value::Object(map) => map.values().map(longest).max().unwrap_or(0),
                _ => 0,
            }
        }
        assert!(longest(&json!(rendered.blocks)) <= 3_000);
        assert!(longest(&rendered.blocks[1]) <= 2_000, "a field");
        notice.asked = None;
        notice.body = long;
        assert!(longest(&json!(render(&notice, &|_| None, Ok(())).blocks)) <= 3_000);
    }

    fn texts(rendered: &Rendered) -> Vec<String> {
        let texts = rendered.blocks.iter().filter_map(|block| block["text"]["text"].as_str());
        texts.map(str::to_owned).collect()
    }

    #[test]
    fn a_text_is_as_long_as_slack_takes_and_never_ends_in_the_middle_of_an_escape() {
        assert_eq!(escaped("short", SECTION), "short");
        for (filler, escape) in [("x", "x"), ("&", "&amp;"), ("🚨", "🚨"), ("<", "&lt;"), ("* ", "\u{200B}*\u{200B} ")]
        {
            for most in SECTION - 8..=SECTION {
                let text = escaped(&filler.repeat(4_000), most);
                let length = text.encode_utf16().count();
                assert!(length <= most && length + escape.len() >= most, "{filler}: {length} of {most}");
                let kept = text.strip_suffix('…').unwrap();
                assert_eq!(kept.trim_end(), escape.repeat(kept.matches(escape.trim_end()).count()).trim_end());
            }
        }
        let mut notice = asking(Tier::Write, "x");
        notice.asked = None;
        (notice.kind, notice.body) = (NoticeKind::AlertFiring, "word ".repeat(580));
        notice.labels.insert("namespace".into(), "<!here>".into());
        let context = render(&notice, &|_| None, Ok(())).blocks.pop().unwrap_or_default().to_string();
        assert!(context.contains("Labels: namespace=&lt;!here&gt;"), "{context}");
        assert!(texts(&render(&notice, &|_| None, Ok(())))[1].len() > 2_890, "it fits, and is there");
    }

    #[test]
    fn a_reply_is_in_our_words_with_our_marks_and_what_others_are_called_mentions_nobody() {
        let said = reply(&Reply::to_them("<!here> is not in `users`"), None);
        assert_eq!(said["text"], "&lt;!here&gt; is not in `users`");
    }

    #[test]
    fn each_of_several_things_links_to_its_page_and_the_rest_is_counted() {
        let link: &dyn Fn(&str) -> Option<String> = &|path| Some(format!("https://rounds.example{path}?a=1&b=2"));
        let few = render(&several(2, "<!channel> |x>\n```"), link, Err("no"));
        let first = "• *[INFO]* <https://rounds.example/alerts/0?a=1&amp;b=2|&lt;!channel&gt; |x&gt; \
                     \u{200B}`\u{200B}\u{200B}`\u{200B}\u{200B}`\u{200B} 0> · 00:00 UTC";
        assert_eq!(texts(&few)[1].lines().next(), Some(first));
        assert_eq!((texts(&few)[1].lines().count(), texts(&few).len()), (2, 2));
        let list = few.blocks.iter().find(|block| block["type"] == "actions").unwrap();
        assert_eq!(list["elements"][0]["url"], "https://rounds.example/alerts?a=1&b=2");
        let many = render(&several(100, &"&".repeat(200)), link, Err("no"));
        assert!(many.blocks.len() <= 50 && texts(&many).iter().all(|text| text.encode_utf16().count() <= SECTION));
        let lines: Vec<String> = texts(&many)[1..].iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let (more, entries) = lines.split_last().unwrap();
        let left = 100 - entries.len();
        assert_eq!(*more, format!("• <https://rounds.example/alerts?a=1&amp;b=2|and {left} more>"));
        assert!(entries.iter().all(|line| line.contains("<https://rounds.example/alerts/") && line.ends_with("UTC")));
        assert!(entries.last().unwrap().contains("CRITICAL"));
        let all = render(&several(60, "errors of the checkout are many"), link, Err("no"));
        assert!(!texts(&all).concat().contains("more>"), "usual ones are all there");
        let paths = render(&several(2, "x"), &|_| None, Err("no"));
        assert!(texts(&paths)[1].contains("x 1 (/alerts/1)") && !texts(&paths)[1].contains("<"));
    }

    #[test]
    fn annotations_that_are_addresses_are_links_by_their_names_and_hosts() {
        let mut notice = asking(Tier::Write, "x");
        let link = |name: &str, url: &str| Link::new(name, url).unwrap();
        notice.links = vec![
            link("runbook_url", "https://wiki.example/a?b=c&d=e|f"),
            link("<!channel>|>", &format!("https://x.example/{}", "y".repeat(1_900))),
            link("a", &format!("https://x.example/{}", "y".repeat(1_900))),
            link("b", &format!("https://x.example/{}", "y".repeat(1_900))),
        ];
        let texts = texts(&render(&notice, &|_| None, Ok(())));
        let links: Vec<&str> = texts[1..].iter().flat_map(|text| text.lines()).collect();
        assert_eq!(links[0], "<https://wiki.example/a?b=c&amp;d=e%7Cf|runbook_url (wiki.example)>");
        assert!(links[1].ends_with("yyy|x.example>"), "{}", links[1]);
        assert!(links[2].ends_with("|a (x.example)>"), "{}", links[2]);
        assert_eq!(links[3], "and 1 more on the page", "each is whole or not there");
    }

    #[test]
    fn a_link_that_is_longer_than_a_section_is_counted() {
        let mut notice = asking(Tier::Write, "x");
        // Each of them is five characters as it is sent.
        let long = format!("https://x.example/?{}", "&".repeat(700));
        notice.links.extend(
            [("long", long.as_str()), ("b", "https://x.example/b")].map(|(name, url)| Link::new(name, url).unwrap()),
        );
        let texts = texts(&render(&notice, &|_| None, Ok(())));
        assert_eq!(texts[1], "<https://x.example/b|b (x.example)>\nand 1 more on the page");
    }
}
