//! A notice as a mail. Pure.

use std::time::{Duration, SystemTime};

use askama::Template;
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use rounds_core::Timestamp;
use rounds_core::ports::Notice;
use sha2::{Digest as _, Sha256};

use crate::notifiers::items::{Item, Shown, shown, units};
use crate::notifiers::said::{Level, Room, Said, line};

const ROOM: Room = Room { title: 300, fact: 1_000, body: 8_000, commands: 24_000, items: 48_000 };
/// Characters of a subject. More is shown nowhere.
const SUBJECT: usize = 200;

/// What stands in a mail beside the notice.
pub(super) struct Headers<'a> {
    pub(super) from: &'a Mailbox,
    pub(super) to: &'a [Mailbox],
    pub(super) reply_to: Option<&'a Mailbox>,
    pub(super) subject_prefix: &'a str,
}

/// The part for programs that show HTML. Everything in it is escaped; nothing in it is fetched.
#[derive(Template)]
#[template(path = "email.html")]
struct Html<'a> {
    said: &'a Said,
    /// Of several things, each with the colour of its severity.
    items: Vec<(&'a Item, &'static str)>,
    more: Option<String>,
    colour: &'static str,
}

impl<'a> Html<'a> {
    fn of(said: &'a Said) -> Self {
        let shown = listed(said);
        let more = shown.more();
        let items = shown.items.into_iter().map(|item| (item, colour(item.level))).collect();
        Self { said, items, more, colour: colour(said.level) }
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Critical => "#b42318",
        Level::Error => "#b54708",
        Level::Warning => "#93590d",
        Level::Info => "#175cd3",
        Level::Good => "#067647",
    }
}

/// What there is room for, the same in both parts.
fn listed(said: &Said) -> Shown<&Item> {
    shown(&said.items, ROOM.items, |item| item, |item| units(&entry(item)))
}

/// An entry of several things, as text.
fn entry(item: &Item) -> String {
    let page = item.link.as_ref().unwrap_or(&item.path);
    format!("- [{}] {} ({})\n  {page}\n", item.tag, item.title, item.when)
}

/// The mail as it is sent, ASCII with CRLF line ends.
///
/// # Errors
/// The library cannot write it.
pub(super) fn render(
    notice: &Notice,
    link: &dyn Fn(&str) -> Option<String>,
    headers: &Headers<'_>,
) -> Result<Vec<u8>, String> {
    let said = Said::of(notice, link, ROOM);
    let domain = headers.from.email.domain();
    let mut builder = Message::builder()
        .from(headers.from.clone())
        .subject(line(&format!("{} {}", headers.subject_prefix, said.headline()), SUBJECT))
        .date(moment(notice.at))
        // The same for each delivery of the notice, so that a mailbox can tell a repetition.
        .message_id(Some(message_id("notice", &notice.idempotency_key, domain)));
    for to in headers.to {
        builder = builder.to(to.clone());
    }
    if let Some(to) = headers.reply_to {
        builder = builder.reply_to(to.clone());
    }
    if let Some(about) = notice.about.as_deref().filter(|about| !about.is_empty()) {
        // A message that was never sent, and that everything about one thing answers: programs make a thread of it, in
        // whatever order the messages come and whichever of them are there.
        let thread = message_id("about", about, domain);
        builder = builder.in_reply_to(thread.clone()).references(thread);
    }
    // RFC 3834: nobody on holiday answers it.
    for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
        builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned()));
    }
    let html = Html::of(&said).render().map_err(|error| error.to_string())?;
    let parts = MultiPart::alternative_plain_html(text(&said), html);
    builder.multipart(parts).map(|message| message.formatted()).map_err(|error| error.to_string())
}

fn text(said: &Said) -> String {
    let mut text = format!("{}\n\n", said.headline());
    for (name, value) in &said.facts {
        text.push_str(&format!("{name}: {value}\n"));
    }
    let shown = listed(said);
    if !shown.items.is_empty() {
        text.push('\n');
        text.extend(shown.items.iter().map(|item| entry(item)));
    }
    if let Some(more) = shown.more() {
        text.push_str(&format!(
            "- {more}{}\n",
            said.link.as_ref().map(|link| format!(":\n  {link}")).unwrap_or_default()
        ));
    }
    for block in [&said.body, &said.commands] {
        if !block.is_empty() {
            // Indented, so that no line of it can look like one of ours.
            let lines: Vec<String> = block.lines().map(|line| format!("    {line}\n")).collect();
            text.push_str(&format!("\n{}", lines.concat()));
        }
    }
    if let Some(question) = said.question {
        text.push_str(&format!("\n{question}\n"));
    }
    if let Some(link) = &said.link {
        text.push_str(&format!("\nOpen in Rounds: {link}\n"));
    }
    for link in &said.links {
        text.push_str(&format!("{}: {}\n", link.name, link.url));
    }
    if let Some(page) = &said.page {
        text.push_str(&format!("\nThe page is {page}.\n"));
    }
    text
}

/// An id that says nothing and is the same for the same thing.
fn message_id(of: &str, key: &str, domain: &str) -> String {
    let digest = Sha256::digest(format!("rounds/{of}/{key}"));
    format!("<{}.{of}@{domain}>", hex::encode(&digest[..16]))
}

/// A moment as the header takes it: from 1970, and of four-digit years.
fn moment(at: Timestamp) -> SystemTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or_default().min(253_402_300_799);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use rounds_core::RequestId;
    use rounds_core::ports::{Asked, Link, NoticeKind};
    use rounds_core::step::Tier;

    use super::*;
    use crate::notifiers::items::several;

    fn mail(notice: &Notice) -> String {
        let to = ["Ada <ada@example.com>".parse().unwrap(), "ops@example.com".parse().unwrap()];
        let headers = Headers {
            from: &"Rounds <rounds@example.com>".parse().unwrap(),
            to: &to,
            reply_to: None,
            subject_prefix: "[Rounds]",
        };
        let link = |path: &str| Some(format!("https://rounds.example{path}"));
        String::from_utf8(render(notice, &link, &headers).unwrap()).unwrap()
    }

    /// The headers of the mail itself, unfolded.
    fn headers(mail: &str) -> Vec<(String, String)> {
        let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        head.split("\r\n")
            .map(|line| {
                line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_else(|| panic!("{line}"))
            })
            .collect()
    }

    fn header(mail: &str, name: &str) -> String {
        let all = headers(mail);
        let mut found = all.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let value = found.next().unwrap_or_else(|| panic!("no {name}: {all:?}")).1.clone();
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    fn notice(title: &str) -> Notice {
        let mut notice = Notice::new(NoticeKind::AlertFiring, "alert/1/2", Timestamp::UNIX_EPOCH, title);
        notice.about = Some("alert/1/2/3".into());
        notice.severity = "critical".into();
        notice
    }

    #[test]
    fn no_text_becomes_a_header() {
        let names = |mail: &str| headers(mail).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let plain = names(&mail(&notice("errors")));
        for break_ in ["\r\n", "\n", "\r", "\r\n\r\n", "\u{2028}", "\u{85}", "é\r\n", "=?utf-8?q?=0D=0A?="] {
            let mut wicked = notice(&format!("errors{break_}Bcc: evil@evil.example{break_}X-Evil: 1"));
            wicked.severity = format!("critical{break_}Bcc: evil@evil.example");
            wicked.about = Some(format!("x{break_}Bcc: evil@evil.example"));
            wicked.idempotency_key = format!("x{break_}Bcc: evil@evil.example");
            let mail = mail(&wicked);
            assert_eq!(names(&mail), plain, "{break_:?}");
            assert!(mail.is_ascii() && !mail.replace("\r\n", "").contains(['\r', '\n']), "{break_:?}");
        }
    }

    #[test]
    fn a_repetition_has_the_same_id_and_what_is_about_one_thing_is_one_thread() {
        let (first, again) = (mail(&notice("errors")), mail(&notice("errors")));
        assert_eq!(header(&first, "Message-ID"), header(&again, "Message-ID"));
        let mut over = notice("errors");
        over.idempotency_key = "alert/1/3".into();
        let over = mail(&over);
        assert_ne!(header(&first, "Message-ID"), header(&over, "Message-ID"));
        for name in ["In-Reply-To", "References"] {
            assert_eq!(header(&first, name), header(&over, name));
            assert!(header(&first, name).ends_with("@example.com>"));
        }
        let mut other = notice("errors");
        other.about = Some("alert/1/2/4".into());
        assert_ne!(header(&first, "References"), header(&mail(&other), "References"));
        assert_eq!(header(&first, "Auto-Submitted"), "auto-generated");
        assert_eq!(header(&first, "Subject"), "[Rounds] [CRITICAL] errors");
        assert_eq!(header(&first, "Date"), "Thu, 01 Jan 1970 00:00:00 +0000");
    }

    #[test]
    fn the_html_is_escaped_and_fetches_nothing() {
        let mut notice = notice("<script>alert(1)</script><img src=x>");
        notice.body = "\"><img src=\"https://evil.example/x.png\">".into();
        notice.labels.insert("team".into(), "<b>".into());
        let said = Said::of(&notice, &|_| Some("https://rounds.example/plans/1?a=\"><b>".into()), ROOM);
        let html = Html::of(&said).render().unwrap();
        for tag in ["<script", "<img", "<link", "<style", "<b>", "url("] {
            assert!(!html.contains(tag), "{tag}: {html}");
        }
        assert_eq!(html.matches("http").count(), 1 + 1, "the link, and the text of an address that is no link: {html}");
    }

    #[test]
    fn both_parts_say_what_is_asked_and_where_it_is_decided() {
        let mut notice = notice("Plan waits");
        let mut asked = Asked::new(RequestId::new(), "d", Tier::Destructive, Timestamp::UNIX_EPOCH);
        asked.commands = vec!["kubectl delete pod web -n app".into()];
        notice.asked = Some(asked);
        let said = Said::of(&notice, &|_| Some("https://rounds.example/plans/1".into()), ROOM);
        let html = Html::of(&said).render().unwrap();
        for part in [text(&said), html] {
            for word in
                ["DECISION NEEDED", "destructive", "kubectl delete pod web -n app", "decided in Rounds", "/plans/1"]
            {
                assert!(part.contains(word), "{word}: {part}");
            }
        }
    }

    #[test]
    fn both_parts_link_each_of_several_things_to_its_page() {
        let said = |count, title: &str| {
            Said::of(&several(count, title), &|path| Some(format!("https://rounds.example{path}")), ROOM)
        };
        let few = said(2, "<b>errors</b>\n- forged");
        let html = Html::of(&few).render().unwrap();
        for at in 0..2 {
            let link = format!(
                "<a href=\"https://rounds.example/alerts/{at}\">&#60;b&#62;errors&#60;/b&#62; - forged {at}</a>"
            );
            assert!(html.contains(&link), "{link}: {html}");
        }
        let text = text(&few);
        let first = "- [INFO] <b>errors</b> - forged 0 (00:00 UTC)\n  https://rounds.example/alerts/0\n";
        assert!(text.contains(first) && !text.contains("more"), "{text}");
        assert!(text.contains("Open in Rounds: https://rounds.example/alerts\n"), "{text}");
        // All that one message can hold.
        let most = said(100, &"é".repeat(200));
        for part in [super::text(&most), Html::of(&most).render().unwrap()] {
            assert_eq!(part.matches("https://rounds.example/alerts/").count(), 100);
        }
    }

    #[test]
    fn annotations_that_are_addresses_are_links_and_no_headers() {
        let mut notice = notice("errors");
        notice.links = vec![
            Link::new("runbook_url", "https://wiki.example/a?b=\"c\"&d").unwrap(),
            Link::new("x\r\nBcc: evil@evil.example", "https://wiki.example/x").unwrap(),
        ];
        let said = Said::of(&notice, &|_| None, ROOM);
        let html = Html::of(&said).render().unwrap();
        let link = "<a href=\"https://wiki.example/a?b=%22c%22&#38;d\">runbook_url (wiki.example)</a>";
        assert!(html.contains(link), "{html}");
        let text = text(&said);
        let lines =
            "runbook_url (wiki.example): https://wiki.example/a?b=%22c%22&d\nwiki.example: https://wiki.example/x\n";
        assert!(text.contains(lines), "{text}");
        assert!(headers(&mail(&notice)).iter().all(|(name, _)| name != "Bcc"));
    }

    #[test]
    fn a_moment_that_a_header_cannot_hold_is_no_panic() {
        for at in [Timestamp::MIN_UTC, Timestamp::MAX_UTC] {
            let mut notice = notice("x");
            notice.at = at;
            mail(&notice);
        }
    }
}
