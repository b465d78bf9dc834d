//! A notice in the words that every channel uses. Pure.
//!
//! What a model wrote, what a cluster printed and what labels hold is in a notice, so each piece is cleaned, bounded and
//! made harmless here as far as that is the same everywhere: nothing invisible, nothing that turns the direction of text,
//! no address that a program makes a link of. What a channel itself reads as markup or mentions is its own to escape.
//! Commands are shown as they run, so they are cleaned and cut and nothing else.

use rounds_core::ports::{Asked, Link, Notice, NoticeKind};
use rounds_core::step::Tier;

use super::items::{Item, items};

/// Places, and labels, that are named; more are counted.
const NAMED: usize = 8;
/// Characters of the name of a link.
const NAME: usize = 60;
/// Characters of the host of a link.
const HOST: usize = 80;

/// How bad it is, where a channel shows that by a colour or a priority. It is in [`Said::tag`] as a word too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Somebody is woken.
    Critical,
    /// Somebody looks now.
    Error,
    /// Somebody looks soon, or decides.
    Warning,
    /// Good to know.
    Info,
    /// It is over.
    Good,
}

/// A notice in pieces, each bounded and without anything invisible.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) level: Level,
    /// What it is, in capitals: `CRITICAL`, `DECISION NEEDED`.
    pub(super) tag: String,
    /// One line.
    pub(super) title: String,
    /// Names and values, each one line, in the order in which they matter.
    pub(super) facts: Vec<(&'static str, String)>,
    /// What a person wrote about the rule; may be empty, and is where there are [`items`](Self::items).
    pub(super) body: String,
    /// What a message of several things tells of.
    pub(super) items: Vec<Item>,
    /// What runs or ran, verbatim; may be empty.
    pub(super) commands: String,
    /// What is asked of the reader, and where it is decided.
    pub(super) question: Option<&'static str>,
    /// The page, for a browser; of several things, the one that lists them.
    pub(super) link: Option<String>,
    /// Where to look further; the name says the host too.
    pub(super) links: Vec<Link>,
    /// Where the page is, when the server does not know where people reach it.
    pub(super) page: Option<String>,
}

/// How much of the long pieces is kept, in UTF-16 units, which is what the services count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) title: usize,
    pub(super) fact: usize,
    pub(super) body: usize,
    pub(super) commands: usize,
    /// Of all entries of a message of several things together, in whatever the channel counts.
    pub(super) items: usize,
}

impl Room {
    /// Half of it, for a second try where bytes are counted and characters turned out to be long.
    pub(super) fn halved(self) -> Self {
        Self {
            title: self.title / 2,
            fact: self.fact / 2,
            body: self.body / 2,
            commands: self.commands / 2,
            items: self.items / 2,
        }
    }
}

impl Said {
    /// The pieces of a notice; `link` is where a page is.
    pub(super) fn of(notice: &Notice, link: &dyn Fn(&str) -> Option<String>, room: Room) -> Self {
        let (level, tag) = level(notice.kind, &notice.severity, notice.asked.as_ref());
        let items = items(notice, link);
        let link = link(&notice.link);
        let (body, commands) = match (&notice.asked, notice.kind) {
            (Some(asked), _) => (String::new(), asked.commands.join("\n")),
            (None, _) if !items.is_empty() => (String::new(), String::new()),
            // Of a plan that ended, the body is what it did.
            (None, NoticeKind::PlanEnded) => (String::new(), notice.body.clone()),
            (None, _) => (body(notice), String::new()),
        };
        let page = (link.is_none() && !notice.link.is_empty()).then(|| {
            let path = line(&notice.link, 200);
            format!("{path} on the Rounds server, which was not told where people reach it (ROUNDS_PUBLIC_URL)")
        });
        Self {
            level,
            tag,
            title: line(&defanged(&notice.title), room.title),
            facts: facts(notice, room.fact),
            body: block(defanged(&body).trim(), room.body),
            commands: block(commands.trim_end(), room.commands),
            items,
            question: notice.asked.as_ref().map(question),
            link,
            links: links(notice),
            page,
        }
    }

    /// The tag and the title in one line.
    pub(super) fn headline(&self) -> String {
        format!("[{}] {}", self.tag, self.title)
    }
}

fn question(asked: &Asked) -> &'static str {
    match (asked.step_ordinal, asked.tier) {
        (None, Tier::Destructive) => {
            "A plan waits for a decision and can destroy something. It is decided in Rounds, on its page, and not here."
        }
        (Some(_), Tier::Destructive) => {
            "A step waits for a decision and can destroy something. It is decided in Rounds, on its page, and not here."
        }
        (None, _) => "A plan waits for a decision. It is decided in Rounds, on its page, and not here.",
        (Some(_), _) => "A step waits for a decision. It is decided in Rounds, on its page, and not here.",
    }
}

/// What is said about an alert, without what its links say.
pub(super) fn body(notice: &Notice) -> String {
    let links = notice.links.iter().filter(|link| Link::new("", &link.url).is_some());
    let said: Vec<String> = links.map(|link| format!("{}: {}", link.name, link.url)).collect();
    let lines: Vec<&str> = notice.body.split('\n').filter(|line| !said.iter().any(|said| said == line)).collect();
    lines.join("\n")
}

/// Where to look further, each by what it is [`called`]. Looked at once more: whoever made the notice may have made these.
pub(super) fn links(notice: &Notice) -> Vec<Link> {
    let links = notice.links.iter().filter_map(|link| Link::new(link.name.as_str(), &link.url));
    links.map(|link| Link::new(called(&link), &link.url).unwrap_or(link)).collect()
}

/// What a link is shown as: its name and the host it leads to, `runbook_url (wiki.example.com)`.
///
/// Whoever writes an alert names its annotations, and a link stands beside what is Rounds' own. So the host is always
/// there, and a name that is more than a name (`Open in Rounds`) is not: the host stands alone.
fn called(link: &Link) -> String {
    let is_name = (1..=NAME).contains(&link.name.len())
        && link.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let host = host(&link.url);
    if is_name { format!("{} ({host})", link.name) } else { host }
}

/// The host of a link, and its port where it has one. Of a long one the end is kept, which says whose it is.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match host.len().checked_sub(HOST) {
        // In ASCII, as every link is; were it not, the whole is better than nothing.
        Some(over) if over > 0 => host.get(over + 1..).map_or_else(|| host.to_owned(), |end| format!("…{end}")),
        _ => host.to_owned(),
    }
}

pub(super) fn level(kind: NoticeKind, severity: &str, asked: Option<&Asked>) -> (Level, String) {
    if let Some(asked) = asked {
        let level = if asked.tier == Tier::Destructive { Level::Error } else { Level::Warning };
        return (level, "DECISION NEEDED".into());
    }
    match kind {
        NoticeKind::AlertResolved => (Level::Good, "RESOLVED".into()),
        NoticeKind::PlanEnded => (Level::Info, "PLAN ENDED".into()),
        NoticeKind::PlanProposed | NoticeKind::StepAwaitingApproval => (Level::Warning, "DECISION NEEDED".into()),
        _ => {
            let severity = line(severity, 40);
            let level = match severity.to_ascii_lowercase().as_str() {
                "critical" | "fatal" | "emergency" | "page" => Level::Critical,
                "high" | "error" | "major" => Level::Error,
                "warning" | "medium" | "minor" => Level::Warning,
                "info" | "low" | "none" => Level::Info,
                // A word that nobody knows is not made small.
                _ => Level::Error,
            };
            let tag = if severity.is_empty() { "FIRING".to_owned() } else { severity.to_uppercase() };
            (level, tag)
        }
    }
}

fn facts(notice: &Notice, room: usize) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !notice.severity.is_empty() {
        facts.push(("Severity", line(&notice.severity, room.min(60))));
    }
    if let Some(asked) = &notice.asked {
        facts.push(("Tier", asked.tier.to_string()));
        facts.push(("Where", line(&places(asked).join(", "), room)));
        facts.extend(asked.step_ordinal.map(|ordinal| ("Step", (u64::from(ordinal) + 1).to_string())));
        facts.push(("Expires", asked.expires_at.format("%Y-%m-%d %H:%M UTC").to_string()));
    }
    facts.extend(labels(notice, room).map(|labels| ("Labels", labels)));
    facts
}

/// The labels in a line, if there are any.
pub(super) fn labels(notice: &Notice, room: usize) -> Option<String> {
    let labels = notice.labels.iter().take(NAMED);
    let mut labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", line(value, 200))).collect();
    more(&mut labels, notice.labels.len());
    (!labels.is_empty()).then(|| line(&defanged(&labels.join(", ")), room))
}

/// Where what is asked takes place, as `connector · namespace`.
pub(super) fn places(asked: &Asked) -> Vec<String> {
    let mut places: Vec<String> = asked
        .places
        .iter()
        .take(NAMED)
        .map(|place| {
            let connector = place.connector.clone().unwrap_or_else(|| place.connector_id.to_string());
            let namespace = place.namespace.as_deref().unwrap_or("no namespace");
            format!("{} · {}", line(&connector, 60), line(namespace, 63))
        })
        .collect();
    more(&mut places, asked.places.len());
    places
}

fn more(named: &mut Vec<String>, all: usize) {
    if all > named.len() {
        named.push(format!("and {} more", all - named.len()));
    }
}

/// One line of at most so many UTF-16 units, with a sign where it was cut.
pub(super) fn line(text: &str, longest: usize) -> String {
    crop(&text.split_whitespace().collect::<Vec<_>>().join(" "), longest)
}

/// The beginning of a text, with a sign where it was cut.
pub(super) fn crop(text: &str, longest: usize) -> String {
    match fits(text, longest) {
        Ok(whole) => whole,
        Err(_) => {
            let mut kept = fits(text, longest.saturating_sub(1)).unwrap_or_else(|(kept, _)| kept);
            kept.push('…');
            kept
        }
    }
}

/// The beginning of a text of lines, and a line that says how much is missing.
pub(super) fn block(text: &str, longest: usize) -> String {
    const MARKER: usize = 60;
    let text = &text.replace("\r\n", "\n");
    match fits(text, longest) {
        Ok(whole) => whole,
        Err(_) => {
            let (kept, cut) = match fits(text, longest.saturating_sub(MARKER)) {
                Ok(kept) => (kept, 0),
                Err(found) => found,
            };
            format!("{kept}…\n[cut here: {cut} more characters are on its page]")
        }
    }
}

/// A text without anything invisible, if it fits; else what fits of it, and how many characters do not.
fn fits(text: &str, longest: usize) -> Result<String, (String, usize)> {
    let mut kept = String::new();
    let mut length = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = visible(c);
        length += c.len_utf16();
        if length > longest {
            return Err((kept, 1 + rest.count()));
        }
        kept.push(c);
    }
    Ok(kept)
}

/// A character that a reader sees: what is invisible, turns text around or controls a terminal becomes the sign for that.
fn visible(c: char) -> char {
    match c {
        '\n' => c,
        '\t' => ' ',
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' => '\u{FFFD}',
        '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' => '\u{FFFD}',
        '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' => '\u{FFFD}',
        '\u{E0000}'..='\u{E0FFF}' => '\u{FFFD}',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    }
}

/// Text in which no program finds an address to make a link of.
pub(super) fn defanged(text: &str) -> String {
    text.replace("://", "[:]//").replace("www.", "www[.]").replace("WWW.", "WWW[.]").replace("mailto:", "mailto[:]")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rounds_core::RequestId;
    use rounds_core::ports::Place;

    use super::*;

    const ROOM: Room = Room { title: 200, fact: 300, body: 1_000, commands: 1_000, items: 1_000 };

    fn notice(kind: NoticeKind) -> Notice {
        let mut notice = Notice::new(kind, "k", DateTime::UNIX_EPOCH, "errors is firing");
        notice.link = "/plans/1".into();
        notice
    }

    fn asking(tier: Tier) -> Notice {
        let mut notice = notice(NoticeKind::PlanProposed);
        let mut asked = Asked::new(RequestId::new(), "d", tier, DateTime::UNIX_EPOCH);
        asked.commands = vec!["kubectl delete pod web -n app".into()];
        let place = |i: usize| Place {
            connector_id: rounds_core::ConnectorId::new(),
            connector: Some(format!("prod-{i}")),
            namespace: (i > 0).then(|| "app".to_owned()),
        };
        asked.places = (0..10).map(place).collect();
        notice.asked = Some(asked);
        notice
    }

    #[test]
    fn who_is_asked_sees_tier_place_commands_and_where_it_is_decided() {
        let said = Said::of(&asking(Tier::Destructive), &|_| None, ROOM);
        assert_eq!((said.level, said.tag.as_str()), (Level::Error, "DECISION NEEDED"));
        let fact = |name| said.facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.clone()).unwrap_or_default();
        assert_eq!((fact("Tier").as_str(), fact("Expires").as_str()), ("destructive", "1970-01-01 00:00 UTC"));
        assert!(fact("Where").starts_with("prod-0 · no namespace, prod-1 · app, "), "{}", fact("Where"));
        assert!(fact("Where").ends_with("and 2 more"), "{}", fact("Where"));
        assert_eq!(said.commands, "kubectl delete pod web -n app");
        assert!(said.question.unwrap().contains("decided in Rounds"));
        assert!(said.page.unwrap().contains("ROUNDS_PUBLIC_URL"));
    }

    #[test]
    fn severity_is_a_word_and_an_unknown_one_is_not_made_small() {
        for (severity, level, tag) in [
            ("critical", Level::Critical, "CRITICAL"),
            ("high", Level::Error, "HIGH"),
            ("warning", Level::Warning, "WARNING"),
            ("medium", Level::Warning, "MEDIUM"),
            ("low", Level::Info, "LOW"),
            ("info", Level::Info, "INFO"),
            ("sev-1", Level::Error, "SEV-1"),
            ("", Level::Error, "FIRING"),
        ] {
            let mut firing = notice(NoticeKind::AlertFiring);
            firing.severity = severity.into();
            let said = Said::of(&firing, &|_| None, ROOM);
            assert_eq!((said.level, said.tag.as_str()), (level, tag));
        }
        let mut over = notice(NoticeKind::AlertResolved);
        over.severity = "critical".into();
        assert_eq!(Said::of(&over, &|_| None, ROOM).headline(), "[RESOLVED] errors is firing");
    }

    #[test]
    fn nothing_invisible_and_no_address_that_becomes_a_link_is_left() {
        let mut firing = notice(NoticeKind::AlertFiring);
        firing.title = "a\u{202E}b\r\nBcc: c\u{0}\u{200B} https://evil.example".into();
        firing.body = "see\thttp://evil.example\r\nwww.evil.example\u{1b}[31m".into();
        firing.labels.insert("runbook".into(), "https://evil.example\u{2066}".into());
        let said = Said::of(&firing, &|_| None, ROOM);
        assert_eq!(said.title, "a\u{FFFD}b Bcc: c\u{FFFD}\u{FFFD} https[:]//evil.example");
        assert_eq!(said.body, "see http[:]//evil.example\nwww[.]evil.example\u{FFFD}[31m");
        assert_eq!(said.facts, [("Labels", "runbook=https[:]//evil.example\u{FFFD}".to_owned())]);
    }

    #[test]
    fn only_an_address_is_a_link_whatever_it_is_called() {
        let mut firing = notice(NoticeKind::AlertFiring);
        let mut forged = Link::new("x", "https://x.example").unwrap();
        forged.url = "javascript:alert(1)".into();
        firing.links = vec![Link::new("run\nbook https://evil.example", "https://wiki.example/a").unwrap(), forged];
        firing.links.extend(Link::new("runbook_url", "https://wiki.example/b"));
        firing.body = "runbook_url: https://wiki.example/b\nx: javascript:alert(1)".into();
        let said = Said::of(&firing, &|_| None, ROOM);
        assert_eq!(said.body, "x: javascript:alert(1)", "what is a link is not said twice, and what is none is text");
        let names: Vec<&str> = said.links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["wiki.example", "runbook_url (wiki.example)"]);
    }

    #[test]
    fn a_link_says_the_host_it_leads_to_and_is_called_nothing_that_is_rounds_own() {
        let named = |name: &str, url: &str| {
            let mut firing = notice(NoticeKind::AlertFiring);
            firing.links.extend(Link::new(name, url));
            Said::of(&firing, &|_| None, ROOM).links.pop().unwrap().name
        };
        for name in ["Open in Rounds", "Approve ✅", "", "a(b)", "x: y", "ünder", &"x".repeat(61)] {
            assert_eq!(named(name, "https://evil.example/rounds"), "evil.example", "{name}");
        }
        assert_eq!(named("Approve", "https://evil.example:8443?rounds"), "Approve (evil.example:8443)");
        assert_eq!(named("a.b-c_1", "http://[2001:db8::1]#x"), "a.b-c_1 ([2001:db8::1])");
        let long = format!("https://rounds.example.{}.evil.example/", "x".repeat(500));
        let name = named(&"x".repeat(60), &long);
        assert!(name.ends_with(".evil.example)") && name.contains("(…x"), "whose it is, is at the end: {name}");
        assert_eq!(name.chars().count(), 60 + " ()".len() + HOST);
    }

    #[test]
    fn what_is_cut_says_so_and_is_no_longer_than_its_room() {
        let units = |text: &str| text.encode_utf16().count();
        for filler in ["x", "é", "🚨"] {
            let mut asking = asking(Tier::Write);
            asking.title = filler.repeat(3_000);
            asking.asked.as_mut().unwrap().commands = vec![filler.repeat(5_000)];
            let said = Said::of(&asking, &|_| None, ROOM);
            assert!(units(&said.title) <= 200 && said.title.ends_with('…'));
            assert!(units(&said.commands) <= 1_000, "{}", units(&said.commands));
            let kept = said.commands.chars().take_while(|c| *c != '…').count();
            let missing = format!("[cut here: {} more characters are on its page]", 5_000 - kept);
            assert!(said.commands.ends_with(&missing), "{missing}: {}", said.commands);
        }
        assert_eq!(line("abc", 3), "abc");
        assert_eq!(line("abcd", 3), "ab…");
        assert_eq!(line("abcd", 0), "…");
    }
}
