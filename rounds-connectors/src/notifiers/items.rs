//! What a message of several things lists: each of them with a link to its page. Pure.
//!
//! Every channel shows the same entries in its own markup, as many as it takes, and each whole: a half of a link leads
//! nowhere, and a half of an escape is markup. Of too many the worst that still stand are shown, and the rest is counted and is
//! a link away.

use std::collections::HashSet;

use rounds_core::ports::{Folded, Link, Notice};

use super::said::{Level, defanged, level, line};

/// The longest title of an entry. Rounds cuts them to about that.
const TITLE: usize = 210;

/// One of several things in one message, each piece bounded and without anything invisible.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) level: Level,
    /// A later one is about the same thing, so it is no longer as this one says.
    pub(super) superseded: bool,
    /// What it is, in capitals: `CRITICAL`, `RESOLVED`.
    pub(super) tag: String,
    /// One line.
    pub(super) title: String,
    /// When it happened: the time, and the day when that is another than the message's.
    pub(super) when: String,
    /// Its page, for a browser.
    pub(super) link: Option<String>,
    /// Its page as a path, when the server does not know where people reach it.
    pub(super) path: String,
}

/// What a notice folds together, oldest first; `link` is where a page is.
pub(super) fn items(notice: &Notice, link: &dyn Fn(&str) -> Option<String>) -> Vec<Item> {
    let about = |one: &Folded| one.about.clone().filter(|about| !about.is_empty());
    let mut later = HashSet::new();
    let last: Vec<bool> = notice.folded.iter().rev().map(|one| about(one).is_none_or(|it| later.insert(it))).collect();
    let item = |(one, is_last): (&Folded, &bool)| {
        let (level, tag) = level(one.kind, &one.severity, None);
        let format = if one.at.date_naive() == notice.at.date_naive() { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
        let link = link(&one.link);
        let path = if link.is_none() { line(&one.link, 200) } else { String::new() };
        let title = line(&defanged(&one.title), TITLE);
        Item { level, superseded: !is_last, tag, title, when: one.at.format(format).to_string(), link, path }
    };
    notice.folded.iter().zip(last.iter().rev()).map(item).collect()
}

/// Entries as a channel shows them.
pub(super) struct Shown<T> {
    pub(super) items: Vec<T>,
    /// How many there was no room for.
    pub(super) missing: usize,
}

impl<T> Shown<T> {
    /// The line that counts what is missing.
    pub(super) fn more(&self) -> Option<String> {
        (self.missing > 0).then(|| format!("and {} more", self.missing))
    }
}

/// As many entries as fit into a room, each whole and in their order. Where not all do, the worst are kept, and of those
/// that are as bad the oldest. What a later one supersedes goes first: an alert that ended must not be left as one that
/// fires.
pub(super) fn shown<'a, T>(
    items: &'a [Item],
    room: usize,
    render: impl Fn(&'a Item) -> T,
    size: impl Fn(&T) -> usize,
) -> Shown<T> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| (items[*at].superseded, items[*at].level, *at));
    let mut left = room;
    let mut kept: Vec<(usize, T)> = Vec::new();
    for at in order {
        let rendered = render(&items[at]);
        let Some(rest) = left.checked_sub(size(&rendered)) else { break };
        left = rest;
        kept.push((at, rendered));
    }
    kept.sort_by_key(|(at, _)| *at);
    let missing = items.len() - kept.len();
    Shown { items: kept.into_iter().map(|(_, rendered)| rendered).collect(), missing }
}

/// As many links as fit into a room, each whole and no longer than `longest`, and how many more there are.
pub(super) fn anchors(
    links: &[Link],
    room: usize,
    longest: usize,
    anchor: impl Fn(&str, &str) -> String,
) -> Vec<String> {
    // For the line that counts.
    let mut left = room.saturating_sub(40);
    let mut kept = Vec::new();
    for link in links.iter().map(|link| anchor(&link.url, &link.name)) {
        let length = units(&link);
        if let Some(rest) = left.checked_sub(length).filter(|_| length <= longest) {
            left = rest;
            kept.push(link);
        }
    }
    if kept.len() < links.len() {
        kept.push(format!("and {} more on the page", links.len() - kept.len()));
    }
    kept
}

/// The length of a text as services count it, with the line break that follows it.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count() + 1
}

/// An address that no markup ends: what a channel reads as its own is percent-encoded, which changes nothing about where
/// it leads.
pub(super) fn encoded(url: &str, reserved: &[char]) -> String {
    let mut safe = String::with_capacity(url.len());
    for c in url.chars() {
        if c.is_whitespace() || c.is_control() || reserved.contains(&c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                safe.push_str(&format!("%{byte:02X}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A message of several things, the last of which is the worst.
#[cfg(test)]
pub(super) fn several(count: usize, title: &str) -> Notice {
    let mut notice = Notice::new(
        rounds_core::ports::NoticeKind::AlertFiring,
        "group/1",
        rounds_core::Timestamp::UNIX_EPOCH,
        "several",
    );
    let one = |at: usize| {
        serde_json::json!({
            "kind": "alert_firing", "at": "1970-01-01T00:00:00Z", "title": format!("{title} {at}"),
            "severity": if at + 1 == count { "critical" } else { "info" },
            "link": format!("/alerts/{at}"), "about": format!("alert/{at}"),
        })
    };
    notice.folded = serde_json::from_value((0..count).map(one).collect()).unwrap_or_default();
    notice.body = "- something (/alerts/1)".into();
    notice.link = "/alerts".into();
    notice.severity = "critical".into();
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_whole_and_in_their_order_and_the_worst_are_kept() {
        let link = |path: &str| Some(format!("https://rounds.example{path}"));
        let all = items(&several(10, "errors"), &link);
        let render = |item: &Item| format!("[{}] {} {}", item.tag, item.title, item.link.clone().unwrap());
        let all_shown = shown(&all, 10_000, render, |text| units(text));
        assert_eq!((all_shown.items.len(), all_shown.more()), (10, None));
        assert_eq!(all_shown.items[9], "[CRITICAL] errors 9 https://rounds.example/alerts/9");
        let few = shown(&all, 150, render, |text| units(text));
        assert_eq!(few.items, [all_shown.items[0].clone(), all_shown.items[1].clone(), all_shown.items[9].clone()]);
        assert_eq!(few.more().as_deref(), Some("and 7 more"));
        let none = shown(&all, 10, render, |text| units(text));
        assert_eq!((none.items.len(), none.more().as_deref()), (0, Some("and 10 more")));
    }

    #[test]
    fn what_is_over_is_not_left_as_what_fires() {
        let mut notice = several(0, "");
        let one = |kind: &str, at: usize| {
            serde_json::json!({
                "kind": kind, "at": "1970-01-01T00:00:00Z", "title": format!("errors {at}"), "severity": "critical",
                "link": "/alerts/1", "about": if at == 9 { String::new() } else { format!("alert/{at}") },
            })
        };
        let pairs = [("alert_firing", 0..3), ("alert_resolved", 0..2), ("alert_firing", 9..11)];
        let folded = pairs.into_iter().flat_map(|(kind, ats)| ats.map(move |at| one(kind, at)));
        notice.folded = serde_json::from_value(folded.collect()).unwrap();
        let all = items(&notice, &|_| None);
        let render = |item: &Item| format!("{} {}", item.tag, item.title);
        let kept = |count: usize| shown(&all, count, render, |_| 1);
        let stands =
            ["CRITICAL errors 2", "RESOLVED errors 0", "RESOLVED errors 1", "CRITICAL errors 9", "CRITICAL errors 10"];
        assert_eq!(kept(5).items, stands, "how each stands");
        assert_eq!((kept(5).more().as_deref(), kept(7).items.len()), (Some("and 2 more"), 7));
        assert_eq!(kept(3).items, ["CRITICAL errors 2", "CRITICAL errors 9", "CRITICAL errors 10"]);
        for room in 0..7 {
            let kept = kept(room).items;
            for at in 0..2 {
                let has = |tag: &str| kept.contains(&format!("{tag} errors {at}"));
                assert!(!has("CRITICAL") || has("RESOLVED"), "{room}: {kept:?}");
            }
        }
    }

    #[test]
    fn an_entry_is_one_line_without_anything_that_becomes_a_link_and_says_its_path_where_no_link_is_known() {
        let mut notice = several(2, "a\n- [x](https://evil.example)\u{202e}");
        notice.folded[0].at = rounds_core::Timestamp::MIN_UTC;
        let found = items(&notice, &|_| None);
        assert_eq!(found[1].title, "a - [x](https[:]//evil.example)\u{FFFD} 1");
        assert_eq!((found[1].when.as_str(), found[1].path.as_str()), ("00:00 UTC", "/alerts/1"));
        assert!(found[0].when.len() > "00:00 UTC".len(), "another day is said: {}", found[0].when);
    }

    #[test]
    fn an_address_cannot_end_the_markup_that_it_stands_in() {
        assert_eq!(
            encoded("https://x.example/a|b>\n(c) ü", &['|', '>', '(', ')']),
            "https://x.example/a%7Cb%3E%0A%28c%29%20ü"
        );
    }
}
