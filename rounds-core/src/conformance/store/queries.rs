//! Finding records: lookups, lists, counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::AnyStore;
use super::fixtures::{at, history, insert, investigation, notice, org, other_org, plan, rule, silence};
use crate::alert::AlertRule;
use crate::id::{AlertRuleId, RequestId, TeamId};
use crate::investigation::{Investigation, InvestigationStatus};
use crate::plan::RequestStatus;
use crate::ports::StoreExt;
use crate::ports::store::{
    AuditQuery, ClaimQuery, Commit, Key, ListQuery, Lookup, PlanTag, Record, RecordKind, StoreError, WorkerId,
};

async fn ids(store: &AnyStore, query: ListQuery) -> Vec<uuid::Uuid> {
    let page = store.list(&query).await.unwrap();
    page.records.iter().map(|record| record.value.key().id).collect()
}

/// The three ways to one record, and nothing where there is none.
pub async fn a_record_is_found_by_id_by_unique_key_and_by_part(store: AnyStore) {
    let (rule, plan) = (rule("errors"), plan());
    insert(&*store, [Record::from(rule.clone()), plan.clone().into()]).await;
    assert_eq!(store.rule(rule.id).await.unwrap().unwrap().value, rule);
    let by_name = Lookup::Unique(RecordKind::AlertRule, format!("{}/errors", org()));
    assert_eq!(store.load(&by_name).await.unwrap().unwrap().value.key().id, rule.id.as_uuid());
    assert_eq!(store.plan_of_request(plan.requests[0].id).await.unwrap().unwrap().value, plan);

    assert!(store.rule(AlertRuleId::new()).await.unwrap().is_none());
    assert!(store.plan_of_request(RequestId::new()).await.unwrap().is_none());
    let unknown = Lookup::Unique(RecordKind::AlertRule, "main/unknown".into());
    assert!(store.load(&unknown).await.unwrap().is_none());
    let other_kind = Lookup::Key(Key::new(RecordKind::Silence, rule.id.as_uuid()));
    assert!(store.load(&other_kind).await.unwrap().is_none(), "an id is looked up among one kind");
    let other_kind = Lookup::Unique(RecordKind::Connector, format!("{}/errors", org()));
    assert!(store.load(&other_kind).await.unwrap().is_none(), "a unique key is looked up among one kind");
}

/// After an update a record is found by what it is now, and no longer by what it was.
pub async fn what_a_record_is_found_by_follows_its_updates(store: AnyStore) {
    let (mut rule, mut plan) = (rule("before"), plan());
    insert(&*store, [Record::from(rule.clone()), plan.clone().into()]).await;
    let first = plan.requests[0].id;
    rule.name = "after".into();
    rule.enabled = false;
    plan.requests[0].status = RequestStatus::Superseded;
    let mut second = plan.requests[0].clone();
    second.id = RequestId::new();
    second.status = RequestStatus::Approved;
    plan.requests.push(second.clone());
    let (old_team, new_team) = (TeamId::new(), TeamId::new());
    let mut moved = super::fixtures::plan();
    moved.owner_team_id = Some(old_team);
    insert(&*store, [moved.clone()]).await;
    moved.owner_team_id = Some(new_team);
    store.commit(Commit::new().update(moved.clone(), 1)).await.unwrap();
    let by_team = |team| ListQuery { tags: vec![PlanTag::Team(team).to_string()], ..ListQuery::new(RecordKind::Plan) };
    assert!(ids(&store, by_team(old_team)).await.is_empty(), "no longer by a tag that it had");
    assert_eq!(ids(&store, by_team(new_team)).await, [moved.id.as_uuid()]);
    store.commit(Commit::new().delete(Record::from(moved).key(), 2)).await.unwrap();
    assert!(ids(&store, by_team(new_team)).await.is_empty(), "tags go with their record");
    store.commit(Commit::new().update(rule, 1).update(plan.clone(), 1)).await.unwrap();

    let by_name = |name: &str| Lookup::Unique(RecordKind::AlertRule, format!("{}/{name}", org()));
    assert!(store.load(&by_name("before")).await.unwrap().is_none());
    assert!(store.load(&by_name("after")).await.unwrap().is_some());
    let by_status = |status: &str| ListQuery { statuses: vec![status.into()], ..ListQuery::new(RecordKind::AlertRule) };
    assert!(ids(&store, by_status("enabled")).await.is_empty());
    assert_eq!(ids(&store, by_status("disabled")).await.len(), 1);
    for request in [first, second.id] {
        assert_eq!(store.plan_of_request(request).await.unwrap().unwrap().value.id, plan.id);
    }
    let by_part = |status: &str| ListQuery { child_status: Some(status.into()), ..ListQuery::new(RecordKind::Plan) };
    assert!(ids(&store, by_part("pending")).await.is_empty());
    assert_eq!(ids(&store, by_part("approved")).await, [plan.id.as_uuid()]);

    store.commit(Commit::new().delete(Record::from(plan).key(), 2)).await.unwrap();
    assert!(store.plan_of_request(first).await.unwrap().is_none(), "parts go with their record");
    assert!(ids(&store, by_part("approved")).await.is_empty());

    let mut letter = notice(at(10));
    insert(&*store, [letter.clone()]).await;
    letter.next_attempt_at = at(30);
    store.commit(Commit::new().update(letter.clone(), 1)).await.unwrap();
    let next = store.next_due(RecordKind::Notice, &[], at(5)).await.unwrap();
    assert_eq!(next, Some(at(30)), "no longer due when it was due before its update");
    let claim = |ms| ClaimQuery {
        kind: RecordKind::Notice,
        statuses: Vec::new(),
        due_by: at(ms),
        worker: WorkerId::unique("worker"),
        ttl: Duration::from_secs(600),
    };
    assert!(store.claim(&claim(20)).await.unwrap().is_none(), "a claim goes by the due time of now");
    assert!(store.claim(&claim(30)).await.unwrap().is_some(), "and finds it when that has come");
}

/// Organisation, status, parent, part and due time each narrow a list, and all of them together.
pub async fn a_list_is_filtered_by_every_condition_together(store: AnyStore) {
    let (here, there) = (AlertRuleId::new(), AlertRuleId::new());
    let rows = [history(here), history(here), history(there)];
    let foreign = AlertRule { org_id: other_org(), ..rule("foreign") };
    let silences = [silence(Some(here)), silence(None)];
    insert(&*store, rows.clone()).await;
    insert(&*store, [rule("mine"), foreign.clone()]).await;
    insert(&*store, silences.clone()).await;
    let query = |kind| ListQuery::new(kind);

    assert_eq!(ids(&store, query(RecordKind::AlertHistory)).await.len(), 3);
    let of_parent = ListQuery { parent: Some(here.as_uuid()), ..query(RecordKind::AlertHistory) };
    assert_eq!(ids(&store, of_parent.clone()).await.len(), 2);
    let none = ListQuery { org: Some(other_org()), ..of_parent };
    assert!(ids(&store, none).await.is_empty());
    let of_org = ListQuery { org: Some(other_org()), ..query(RecordKind::AlertRule) };
    assert_eq!(ids(&store, of_org).await, [foreign.id.as_uuid()]);
    let of_rule = ListQuery { parent: Some(here.as_uuid()), ..query(RecordKind::Silence) };
    assert_eq!(ids(&store, of_rule).await, [silences[0].id.as_uuid()]);

    let done = Investigation { status: InvestigationStatus::Failed, ..investigation(at(0)) };
    let running = Investigation { status: InvestigationStatus::Running, ..investigation(at(1)) };
    let queued = investigation(at(2));
    insert(&*store, [done.clone(), running.clone(), queued.clone()]).await;
    let statuses = |names: &[&str]| ListQuery {
        statuses: names.iter().map(|name| (*name).to_owned()).collect(),
        ..query(RecordKind::Investigation)
    };
    assert_eq!(ids(&store, statuses(&["failed", "running"])).await, [done.id.as_uuid(), running.id.as_uuid()]);
    assert!(ids(&store, statuses(&["completed"])).await.is_empty());
    let due = |ms| ListQuery { due_by: Some(at(ms)), ..query(RecordKind::Investigation) };
    assert!(ids(&store, due(0)).await.is_empty(), "what has no due time is never due");
    assert_eq!(ids(&store, due(1)).await, [running.id.as_uuid()], "due at the very moment is due");
    assert_eq!(ids(&store, due(2)).await.len(), 2);
    let both = ListQuery { due_by: Some(at(2)), ..statuses(&["queued", "failed"]) };
    assert_eq!(ids(&store, both).await, [queued.id.as_uuid()]);

    let (open, mut closed) = (plan(), plan());
    closed.requests[0].status = RequestStatus::Rejected;
    let mut twice = plan();
    twice.requests.push(crate::plan::ApprovalRequest { id: RequestId::new(), ..twice.requests[0].clone() });
    insert(&*store, [open.clone(), closed, twice.clone()]).await;
    let tagged = |tags: &[PlanTag<'_>]| ListQuery {
        tags: tags.iter().map(ToString::to_string).collect(),
        ..query(RecordKind::Plan)
    };
    let (ours, theirs) = (TeamId::new(), TeamId::new());
    let mut owned = [plan(), plan(), plan()];
    (owned[0].owner_team_id, owned[1].owner_team_id, owned[2].owner_team_id) = (Some(ours), Some(ours), Some(theirs));
    for plan in &mut owned {
        plan.requests.clear();
    }
    insert(&*store, owned.clone()).await;
    let of_team = [owned[0].id.as_uuid(), owned[1].id.as_uuid()];
    assert_eq!(ids(&store, tagged(&[PlanTag::Team(ours)])).await, of_team);
    let first = PlanTag::Connector(owned[0].steps[0].connector_id);
    assert_eq!(ids(&store, tagged(&[PlanTag::Team(ours), first])).await, of_team[..1], "each tag must be there");
    assert_eq!(ids(&store, tagged(&[first, PlanTag::Team(ours)])).await, of_team[..1], "in whichever order");
    assert!(ids(&store, tagged(&[first, PlanTag::Team(theirs)])).await.is_empty());
    assert!(ids(&store, tagged(&[PlanTag::Team(TeamId::new())])).await.is_empty());
    let elsewhere = ListQuery { tags: vec![first.to_string()], ..query(RecordKind::AlertRule) };
    assert!(ids(&store, elsewhere).await.is_empty(), "what has no tags is not found by one");

    let pending = ListQuery { child_status: Some("pending".into()), ..query(RecordKind::Plan) };
    let expected = [open.id.as_uuid(), twice.id.as_uuid()];
    assert_eq!(ids(&store, pending).await, expected, "a record with two such parts is listed once");
}

/// Pages follow each other in both directions, whatever the page size, while filters hold.
pub async fn a_list_is_ordered_by_id_and_paged_without_gaps_or_repeats(store: AnyStore) {
    let mut notices: Vec<_> = (0..25).map(|i| notice(at(i))).collect();
    let expected: Vec<_> = notices.iter().map(|notice| notice.id.as_uuid()).collect();
    // The order of insertion is not the order of ids.
    notices.reverse();
    insert(&*store, notices).await;
    for newest_first in [false, true] {
        for limit in [1, 7, 25, 26, 1000] {
            let mut query = ListQuery { newest_first, limit, ..ListQuery::new(RecordKind::Notice) };
            let mut found = Vec::new();
            loop {
                let page = store.list(&query).await.unwrap();
                assert!(page.records.len() <= limit as usize);
                found.extend(page.records.iter().map(|record| record.value.key().id));
                assert!(found.len() < 25 || page.next.is_none(), "the last page has no next one, full or not");
                match page.next {
                    Some(_) if page.records.len() < limit as usize => panic!("a page with a next one is full"),
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            let mut expected = expected.clone();
            if newest_first {
                expected.reverse();
            }
            assert_eq!(found, expected, "limit {limit}, newest first {newest_first}");
        }
    }
}

/// A page has a size that memory can hold.
pub async fn a_limit_outside_1_to_1000_is_refused(store: AnyStore) {
    for limit in [0, 1001] {
        let list = store.list(&ListQuery { limit, ..ListQuery::new(RecordKind::Plan) }).await;
        assert!(matches!(list, Err(StoreError::Invalid(_))), "{limit}");
        let audit = store.audit(&AuditQuery { limit, ..AuditQuery::new(org()) }).await;
        assert!(matches!(audit, Err(StoreError::Invalid(_))), "{limit}");
    }
}

/// Counts are by status; kinds without one count under the empty text.
pub async fn records_are_counted_by_status_and_organisation(store: AnyStore) {
    let running = Investigation { status: InvestigationStatus::Running, ..investigation(at(0)) };
    let foreign = Investigation { org_id: other_org(), ..investigation(at(0)) };
    insert(&*store, [investigation(at(0)), investigation(at(0)), running, foreign]).await;
    insert(&*store, [silence(None)]).await;
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect()
    };
    let kind = RecordKind::Investigation;
    assert_eq!(store.count(kind, None).await.unwrap(), counts(&[("queued", 3), ("running", 1)]));
    assert_eq!(store.count(kind, Some(&org())).await.unwrap(), counts(&[("queued", 2), ("running", 1)]));
    assert_eq!(store.count(RecordKind::Plan, None).await.unwrap(), counts(&[]));
    assert_eq!(store.count(RecordKind::Silence, None).await.unwrap(), counts(&[("", 1)]));
}
