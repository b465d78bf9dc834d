//! Several notices as one message. Pure.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::connector::NoticeKind;
use crate::id::NoticeId;
use crate::plugin::Host;
use crate::ports::store::Member;
use crate::ports::{Folded, Notice};
use crate::time::Timestamp;

/// How many notices are told as one; a channel with more is told twice.
pub(crate) const MOST: usize = 100;
/// How many of them the body lists.
const LISTED: usize = 25;
/// The longest title, in characters.
const TITLE_MAX: usize = 200;
/// The longest body of a notice that is gathered, in characters: its page has the rest.
const BODY_MAX: usize = 4000;

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{} …", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

/// A title is one line, so that nothing in it looks like the next entry of a list.
fn line(title: &str) -> String {
    cut(&title.split_whitespace().collect::<Vec<_>>().join(" "), TITLE_MAX)
}

/// What is kept of a notice while it waits to be told with others.
pub(crate) fn kept(mut notice: Notice) -> Notice {
    notice.body = cut(&notice.body, BODY_MAX);
    notice
}

/// The page of several notices: their own, when that is one, or else the list that has all of them on it.
fn page(members: &[Member]) -> String {
    let shared = |of: fn(&str) -> &str| {
        let found: BTreeSet<&str> = members.iter().map(|member| of(&member.notice.link)).collect();
        if let [one] = Vec::from_iter(found)[..] { Some(one.to_owned()) } else { None }
    };
    // `/alerts/018f…` is on `/alerts`.
    fn list(link: &str) -> &str {
        link.match_indices('/').nth(1).map_or(link, |(at, _)| &link[..at])
    }
    shared(|link| link).or_else(|| shared(list)).unwrap_or_else(|| "/".to_owned())
}

/// One message for several notices, oldest first. One is told as it is. Of what happened to one thing, the last says how it
/// stands: so the message is of the kind of what still fires, if anything does, and of the last one otherwise.
pub(crate) fn digest(key: &str, members: &[Member], at: Timestamp, host: &Host) -> Option<Notice> {
    let last = members.last()?;
    if let [only] = members {
        // Its own key: whoever was told of it by itself knows it by that.
        return Some(only.notice.clone());
    }
    let mut stands: BTreeMap<Option<Uuid>, &Member> = BTreeMap::new();
    for member in members {
        stands.insert(member.about, member);
    }
    let is_firing = |member: &&&Member| member.notice.kind == NoticeKind::AlertFiring;
    let chief = *stands.values().find(is_firing).unwrap_or(&last);
    let worst = members.iter().max_by_key(|member| member.notice.topic().severity).unwrap_or(last);
    let mut labels = chief.notice.labels.clone();
    labels.retain(|name, value| members.iter().all(|member| member.notice.labels.get(name) == Some(value)));
    let namespaces: BTreeSet<&String> = members.iter().flat_map(|member| &member.notice.namespaces).collect();
    let same_owner = members.iter().all(|member| member.notice.owner_team_id == last.notice.owner_team_id);
    let titles: Vec<String> = members.iter().map(|member| line(&member.notice.title)).collect();
    let mut body: String = titles
        .iter()
        .zip(members)
        .take(LISTED)
        .map(|(title, it)| {
            let link = &it.notice.link;
            format!("- {title} ({})\n", host.link(link).as_ref().unwrap_or(link))
        })
        .collect();
    match titles.len().checked_sub(LISTED) {
        Some(more) if more > 0 => body.push_str(&format!("and {more} more")),
        _ => body.truncate(body.trim_end().len()),
    }
    let mut notice = Notice::new(chief.notice.kind, key, at, "");
    notice.about =
        last.notice.about.clone().filter(|about| members.iter().all(|it| it.notice.about.as_ref() == Some(about)));
    notice.id = NoticeId::new();
    notice.org_id.clone_from(&last.notice.org_id);
    notice.title = cut(&format!("{} notices: {}", titles.len(), titles.join("; ")), TITLE_MAX);
    notice.body = body;
    notice.severity.clone_from(&worst.notice.severity);
    notice.link = page(members);
    notice.labels = labels;
    notice.namespaces = namespaces.into_iter().cloned().collect();
    notice.owner_team_id = last.notice.owner_team_id.filter(|_| same_owner);
    notice.repeat = members.iter().map(|member| member.notice.repeat).min().unwrap_or_default();
    notice.folded = members
        .iter()
        .zip(titles)
        .map(|(Member { notice, .. }, title)| Folded {
            kind: notice.kind,
            at: notice.at,
            title,
            severity: notice.severity.clone(),
            link: notice.link.clone(),
            about: notice.about.clone(),
            links: notice.links.clone(),
        })
        .collect();
    Some(notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(about: u128, kind: NoticeKind, title: &str, severity: &str) -> Member {
        let mut notice = Notice::new(kind, title, Timestamp::UNIX_EPOCH, title);
        notice.severity = severity.into();
        notice.link = format!("/alerts/{about}");
        notice.labels = [("team", "a"), ("alertname", title)].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        Member { notice, about: Some(Uuid::from_u128(about)), place: 1, lasts: None }
    }

    #[test]
    fn a_digest_says_what_still_fires_how_bad_the_worst_is_and_what_they_share() {
        use NoticeKind::{AlertFiring, AlertResolved};
        let members = [
            member(1, AlertFiring, "a", "critical"),
            member(2, AlertFiring, "b", "info"),
            member(1, AlertResolved, "a", "critical"),
        ];
        let told = digest("key", &members, Timestamp::UNIX_EPOCH, &Host::default()).unwrap();
        assert_eq!((told.kind, told.link.as_str(), told.severity.as_str()), (AlertFiring, "/alerts", "critical"));
        assert_eq!(told.title, "3 notices: a; b; a");
        assert_eq!(told.body, "- a (/alerts/1)\n- b (/alerts/2)\n- a (/alerts/1)");
        assert_eq!(told.labels.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "a".to_owned())]);
        assert_eq!((told.idempotency_key.as_str(), told.folded.len()), ("key", 3));
        let host = Host { public_url: Some("https://rounds.example/".into()), ..Host::default() };
        let linked = digest("key", &members, Timestamp::UNIX_EPOCH, &host).unwrap();
        assert!(linked.body.starts_with("- a (https://rounds.example/alerts/1)\n"), "{}", linked.body);
        // Nothing fires any more.
        let over = [members[0].clone(), members[2].clone()];
        assert_eq!(digest("key", &over, Timestamp::UNIX_EPOCH, &Host::default()).unwrap().kind, AlertResolved);
        assert_eq!(
            digest("key", &members[..1], Timestamp::UNIX_EPOCH, &Host::default()).unwrap(),
            members[0].notice,
            "one is told as it is"
        );
        assert!(digest("key", &[], Timestamp::UNIX_EPOCH, &Host::default()).is_none());
    }

    #[test]
    fn the_page_of_a_digest_is_the_one_that_has_all_of_it() {
        let mut members =
            vec![member(1, NoticeKind::AlertFiring, "a", "info"), member(1, NoticeKind::AlertResolved, "a", "info")];
        let page = |members: &[Member]| digest("key", members, Timestamp::UNIX_EPOCH, &Host::default()).unwrap().link;
        assert_eq!(page(&members), "/alerts/1");
        members.push(member(2, NoticeKind::AlertFiring, "b", "info"));
        assert_eq!(page(&members), "/alerts");
        members[0].notice.link = "/plans/1".into();
        assert_eq!(page(&members), "/");
    }

    #[test]
    fn a_digest_is_bounded_and_a_title_cannot_look_like_another_entry() {
        let long = format!("x\n- forged (/plans/1) {}", "y".repeat(5000));
        let members: Vec<Member> = (0..100).map(|at| member(at, NoticeKind::AlertFiring, &long, "info")).collect();
        let told = digest("key", &members, Timestamp::UNIX_EPOCH, &Host::default()).unwrap();
        assert!(told.title.chars().count() <= TITLE_MAX + 2 && told.title.starts_with("100 notices: x - forged"));
        assert_eq!(told.body.lines().count(), LISTED + 1);
        assert!(told.body.ends_with("and 75 more") && told.body.len() < 10_000);
        assert!(kept(Notice { body: "z".repeat(9000), ..members[0].notice.clone() }).body.chars().count() < 4010);
    }
}
