//! Groups of notices: what is told to a channel as one message.
//!
//! One row a channel and group gathers them. It is due when the group has waited long enough, and then becomes an ordinary
//! notice on its way, in one commit: from there on it is delivered, tried again and given up like any other. The row stays
//! until the group's interval is over, so that what comes meanwhile waits for its end. Every replica finds the same row by
//! its unique key, and each change expects its version: nothing is told twice or lost.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::digest::{MOST, digest, kept};
use super::error::Error;
use super::reminding::lasts;
use super::shared::{Shared, millis};
use crate::connector::{Connector, Routing};
use crate::id::{ConnectorId, NoticeId};
use crate::ports::store::{
    Commit, Key, Lease, ListQuery, Lookup, Member, NoticeStatus, OutboxNotice, RecordKind, StoreError, StoreExt,
    Versioned,
};
use crate::time::{Timestamp, after_ms};

/// The group of a notice, as a text of bounded length.
fn group(routing: &Routing, one: &OutboxNotice) -> String {
    match routing.group(&one.notice.topic()) {
        // The page of the rule or plan: label sets of one rule share it.
        None if one.notice.link.starts_with('/') => format!("about{}", one.notice.link),
        None => one.about.map_or_else(|| one.notice.idempotency_key.clone(), |about| format!("about/{about}")),
        Some(values) => {
            let mut hash = Sha256::new();
            for text in values.iter().flat_map(|(name, value)| [name, value]) {
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text.as_bytes());
            }
            format!("labels/{}", hex::encode(hash.finalize()))
        }
    }
}

/// And a notice for a channel: with its group when the channel gathers them, by itself otherwise, and always by itself
/// when somebody is to decide. `one` is addressed to the channel.
pub(crate) async fn addressed(
    shared: &Shared,
    commit: Commit,
    channel: &Connector,
    one: OutboxNotice,
) -> Result<Commit, Error> {
    if !channel.routing.groups() || one.notice.asked.is_some() {
        return Ok(commit.insert(one));
    }
    let group = group(&channel.routing, &one);
    let unique = OutboxNotice::gathering_key(channel.id, &group);
    let head = match shared.store.get::<OutboxNotice>(Lookup::Unique(RecordKind::Notice, unique)).await {
        Ok(head) => head,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "a group of notices cannot be read; this one is told by itself");
            return Ok(commit.insert(one));
        }
    };
    let OutboxNotice { notice, about, place, lasts, .. } = one.clone();
    let member = Member { notice: kept(notice), about, place, lasts };
    Ok(match head {
        Some(Versioned { value: mut head, version }) => {
            // A reminder takes the place of the one before it that nobody was told.
            let stale = |other: &Member| other.notice.repeat > 0 && other.lasts == member.lasts;
            if member.notice.repeat > 0 {
                head.members.retain(|other| !stale(other));
            }
            head.members.push(member);
            if head.members.len() >= MOST {
                head.next_attempt_at = shared.now();
            }
            commit.update(head, version)
        }
        None => {
            let wait = channel.routing.group_wait_sec.unwrap_or_default().saturating_mul(1000);
            commit.insert(OutboxNotice {
                id: NoticeId::new(),
                about: None,
                place: 0,
                status: NoticeStatus::Gathering,
                attempts: 0,
                next_attempt_at: after_ms(shared.now(), wait),
                last_error: None,
                lasts: None,
                group: Some(group),
                members: vec![member],
                ..one
            })
        }
    })
}

/// A group is due: what it gathered is on its way from now on.
pub(crate) async fn flush(shared: &Shared, found: Versioned<OutboxNotice>, lease: &Lease) -> Result<(), Error> {
    let key = Key::new(RecordKind::Notice, found.value.id.as_uuid());
    let mut found = found;
    let mut tries = 0;
    loop {
        let commit = flushed(shared, &found, key).await?.releasing(lease);
        if shared.settle(commit, &mut tries).await? {
            return Ok(());
        }
        // Something was gathered in this moment.
        match shared.store.get(Lookup::Key(key)).await? {
            Some(now) => found = now,
            None => return Ok(()),
        }
    }
}

async fn flushed(shared: &Shared, found: &Versioned<OutboxNotice>, key: Key) -> Result<Commit, Error> {
    let (head, version) = (&found.value, found.version);
    let Some(channel) = head.channel else { return Ok(Commit::new().delete(key, version)) };
    let mut members = Vec::new();
    for member in &head.members {
        if is_told(shared, member).await? {
            members.push(member.clone());
        }
    }
    if members.is_empty() {
        return Ok(Commit::new().delete(key, version));
    }
    in_order(&mut members);
    let (mut told, mut waiting) = (Vec::new(), Vec::new());
    let now = shared.now();
    let mut again = after_ms(now, millis(shared.settings.lease_ttl / 10).max(1));
    for member in members {
        let mut waits = told.len() >= MOST
            || waiting.iter().any(|other: &Member| other.about == member.about && other.place < member.place);
        if !waits && let Some(until) = behind(shared, head, channel, &member).await? {
            // Not before the one ahead is tried again: a channel that is down keeps nobody busy.
            again = again.max(until);
            waits = true;
        }
        if waits { waiting.push(member) } else { told.push(member) }
    }
    let mut commit = Commit::new();
    if let Some(notice) = digest(&format!("group/{}", NoticeId::new()), &told, now, &shared.live.host) {
        let alone = if let [only] = told.as_slice() { Some(only.clone()) } else { None };
        let message = OutboxNotice {
            id: NoticeId::new(),
            notice,
            about: alone.as_ref().and_then(|only| only.about),
            place: alone.as_ref().map_or(0, |only| only.place),
            status: NoticeStatus::Pending,
            next_attempt_at: now,
            lasts: alone.as_ref().and_then(|only| only.lasts.clone()),
            group: None,
            members: if alone.is_some() { Vec::new() } else { told },
            ..head.clone()
        };
        commit = commit.insert(message);
    }
    // The channel as it is now: somebody may have changed its routing, or deleted it.
    let kept = shared.store.connector(ConnectorId::from(channel.as_uuid())).await?;
    let interval = kept.and_then(|found| found.value.routing.group_interval_sec).unwrap_or_default();
    let next = match (waiting.is_empty(), interval) {
        (true, 0) => return Ok(commit.delete(key, version)),
        (true, interval) => after_ms(now, interval.saturating_mul(1000)),
        (false, _) => again,
    };
    Ok(commit.update(OutboxNotice { members: waiting, next_attempt_at: next, ..head.clone() }, version))
}

/// Oldest first, and what is about one thing by its places: clocks of two replicas may disagree, places do not.
fn in_order(members: &mut [Member]) {
    members.sort_by_key(|member| (member.about, member.place));
    let mut latest = None;
    let mut key = HashMap::new();
    for member in members.iter() {
        let at = match latest {
            Some((about, at)) if about == member.about && at > member.notice.at => at,
            _ => member.notice.at,
        };
        latest = Some((member.about, at));
        key.insert(member.notice.id, at);
    }
    members.sort_by_key(|member| (key.get(&member.notice.id).copied(), member.about, member.place));
}

/// Whether a member is still to be told: a reminder is not, once what it reminds of is over.
pub(crate) async fn is_told(shared: &Shared, member: &Member) -> Result<bool, StoreError> {
    match &member.lasts {
        Some(reminded) if member.notice.repeat > 0 => Ok(lasts(shared, reminded).await?.is_some()),
        _ => Ok(true),
    }
}

/// When what the channel is to be told first about the same thing is tried next; `None`: there is nothing.
async fn behind(
    shared: &Shared,
    head: &OutboxNotice,
    channel: ConnectorId,
    member: &Member,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(about) = member.about else { return Ok(None) };
    let ahead = ahead(shared, channel, about, member.place).await?;
    let others = ahead.into_iter().filter(|found| found.value.id != head.id);
    Ok(others.map(|found| found.value.next_attempt_at).max())
}

/// What is not delivered yet and tells the channel, or will tell it, of the same thing with an earlier place: notices on
/// their way, notices that are not routed, and groups. One that some of a channel's people have already keeps the others from
/// nothing: it is on its way to a mailbox that takes nothing for now, and who waits for a decision must hear of it.
pub(crate) async fn ahead(
    shared: &Shared,
    channel: ConnectorId,
    about: Uuid,
    place: u64,
) -> Result<Vec<Versioned<OutboxNotice>>, StoreError> {
    let of = |parent, statuses: &[NoticeStatus]| ListQuery {
        parent: Some(parent),
        statuses: statuses.iter().map(|status| status.as_str().into()).collect(),
        ..ListQuery::new(RecordKind::Notice)
    };
    let mut found: Vec<Versioned<OutboxNotice>> = shared.store.all(of(about, &[NoticeStatus::Pending])).await?;
    found.retain(|other| other.value.channel.is_none_or(|its| its == channel) && other.value.place < place);
    let groups = of(channel.as_uuid(), &[NoticeStatus::Pending, NoticeStatus::Gathering]);
    let groups: Vec<Versioned<OutboxNotice>> = shared.store.all(groups).await?;
    let is_ahead = |member: &Member| member.about == Some(about) && member.place < place;
    found.extend(groups.into_iter().filter(|group| group.value.members.iter().any(is_ahead)));
    found.retain(|other| other.value.notice.delivered.is_empty());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::NoticeKind;
    use crate::ports::Notice;

    #[test]
    fn members_are_told_oldest_first_and_those_about_one_thing_by_their_places_whatever_clocks_say() {
        let member = |about: u128, place: u64, seconds: u64| Member {
            notice: Notice::new(NoticeKind::PlanEnded, "", after_ms(Timestamp::UNIX_EPOCH, seconds * 1000), ""),
            about: Some(Uuid::from_u128(about)),
            place,
            lasts: None,
        };
        let mut members = [member(2, 9, 30), member(1, 5, 10), member(1, 4, 20), member(3, 1, 5), member(1, 6, 40)];
        in_order(&mut members);
        let order: Vec<u64> = members.iter().map(|member| member.place).collect();
        assert_eq!(order, [1, 4, 5, 9, 6]);
    }
}
