//! Commits: versions, uniqueness, all or nothing.

use std::time::Duration;

use super::AnyStore;
use super::fixtures::{at, entry, event, exists, insert, instance, org, plan, read, rule};
use crate::alert::AlertRule;
use crate::ports::StoreExt;
use crate::ports::store::{AuditQuery, Commit, Key, Lease, Record, RecordKind, StoreError, WorkerId};

fn conflict_on(result: Result<impl std::fmt::Debug, StoreError>, key: Key, version: u64) {
    match result {
        Err(StoreError::Conflict { key: found, expected }) => assert_eq!((found, expected), (key, version)),
        other => panic!("a conflict on {key} at {version} was expected, not {other:?}"),
    }
}

fn duplicate_of(result: Result<impl std::fmt::Debug, StoreError>, kind: RecordKind) {
    match result {
        Err(StoreError::Duplicate { kind: found, .. }) => assert_eq!(found, kind),
        other => panic!("a duplicate {kind} was expected, not {other:?}"),
    }
}

/// Insert gives version 1, each update one more, and after a delete there is nothing.
pub async fn a_record_is_inserted_updated_and_deleted_by_version(store: AnyStore) {
    let mut rule = rule("errors");
    let key = Record::from(rule.clone()).key();
    insert(&*store, [rule.clone()]).await;
    rule.description = "changed".into();
    let updated = store.commit(Commit::new().update(rule.clone(), 1)).await.unwrap();
    assert_eq!(updated.versions, [2]);
    let found = store.rule(rule.id).await.unwrap().unwrap();
    assert_eq!((found.version, &found.value), (2, &rule));
    let deleted = store.commit(Commit::new().delete(key, 2)).await.unwrap();
    assert_eq!(deleted.versions, [0]);
    assert!(!exists(&*store, key).await);
}

/// Writing at a version that is no longer there, or not yet, or of no record at all, is refused.
pub async fn a_stale_version_is_a_conflict_and_changes_nothing(store: AnyStore) {
    let mut rule = rule("errors");
    let key = Record::from(rule.clone()).key();
    insert(&*store, [rule.clone()]).await;
    store.commit(Commit::new().update(rule.clone(), 1)).await.unwrap();
    rule.description = "stale".into();
    for version in [0, 1, 3] {
        conflict_on(store.commit(Commit::new().update(rule.clone(), version)).await, key, version);
        conflict_on(store.commit(Commit::new().delete(key, version)).await, key, version);
    }
    let found = read(&*store, key).await;
    assert_eq!((found.version, AlertRule::try_from(found.value).unwrap().description.as_str()), (2, "what it means"));
    let nowhere = super::fixtures::rule("nowhere");
    conflict_on(store.commit(Commit::new().update(nowhere.clone(), 1)).await, Record::from(nowhere).key(), 1);
}

/// `Expect` changes nothing itself, and refuses the rest of the commit when the version moved on.
pub async fn a_commit_that_expects_a_version_holds_only_at_that_version(store: AnyStore) {
    let watched = rule("watched");
    let key = Record::from(watched.clone()).key();
    insert(&*store, [watched.clone()]).await;
    let first = store.commit(Commit::new().expect(key, 1).insert(rule("first"))).await.unwrap();
    assert_eq!(first.versions, [1, 1]);
    assert_eq!(read(&*store, key).await.version, 1);
    store.commit(Commit::new().update(watched, 1)).await.unwrap();
    let late = rule("late");
    let late_key = Record::from(late.clone()).key();
    conflict_on(store.commit(Commit::new().insert(late).expect(key, 1)).await, key, 1);
    assert!(!exists(&*store, late_key).await, "nothing of a refused commit is applied");
    let gone = Key::new(RecordKind::Plan, plan().id.as_uuid());
    conflict_on(store.commit(Commit::new().expect(gone, 1)).await, gone, 1);
}

/// Rule 9: whatever the reason of a refusal, no change, part, audit row or event of the commit remains.
pub async fn a_refused_commit_leaves_no_trace(store: AnyStore) {
    let (mut kept, removed) = (rule("kept"), rule("removed"));
    let taken = instance(kept.id);
    insert(&*store, [Record::from(kept.clone()), removed.clone().into(), taken.clone().into()]).await;
    let removed_key = Record::from(removed).key();
    kept.description = "changed".into();
    let fresh = plan();
    let work = || {
        let commit = Commit::new().insert(fresh.clone()).update(kept.clone(), 1).delete(removed_key, 1);
        commit.audit(entry(&org(), "test")).event(event(&org(), "test"))
    };

    let second = instance(kept.id);
    duplicate_of(store.commit(work().insert(second)).await, RecordKind::AlertInstance);
    conflict_on(store.commit(work().update(taken.clone(), 9)).await, Record::from(taken.clone()).key(), 9);
    let never_held = Lease { key: Record::from(taken).key(), worker: WorkerId::unique("nobody"), fence: 1 };
    let unleased = store.commit(work().under(&never_held)).await;
    assert!(matches!(unleased, Err(StoreError::LeaseLost { .. })), "{unleased:?}");

    assert!(!exists(&*store, Record::from(fresh.clone()).key()).await);
    assert!(store.plan_of_request(fresh.requests[0].id).await.unwrap().is_none());
    let found = store.rule(kept.id).await.unwrap().unwrap();
    assert_eq!((found.version, found.value.description.as_str()), (1, "what it means"));
    assert_eq!(read(&*store, removed_key).await.version, 1);
    assert_eq!(store.audit(&AuditQuery::new(org())).await.unwrap().total, 0);
    assert!(store.events(&org(), 0, 10).await.unwrap().is_empty());
    // And none of it stands in the way of the same work done right.
    store.commit(work()).await.unwrap();
}

/// Two records of a kind share neither their id nor their unique key, by insert or by update.
pub async fn an_id_and_a_unique_key_are_taken_once(store: AnyStore) {
    let (first, mut second) = (rule("first"), rule("second"));
    insert(&*store, [first.clone(), second.clone()]).await;
    duplicate_of(store.commit(Commit::new().insert(first)).await, RecordKind::AlertRule);
    duplicate_of(store.commit(Commit::new().insert(rule("second"))).await, RecordKind::AlertRule);
    second.name = "first".into();
    duplicate_of(store.commit(Commit::new().update(second.clone(), 1)).await, RecordKind::AlertRule);
    assert_eq!(store.rule(second.id).await.unwrap().unwrap().value.name, "second");
    let both = Commit::new().insert(rule("twin")).insert(rule("twin"));
    duplicate_of(store.commit(both).await, RecordKind::AlertRule);
    let elsewhere = AlertRule { org_id: super::fixtures::other_org(), ..rule("first") };
    insert(&*store, [elsewhere]).await;
}

/// A unique key is free again after its record was deleted or took another.
pub async fn a_unique_key_can_be_taken_again_once_it_is_free(store: AnyStore) {
    let mut first = rule("name");
    insert(&*store, [first.clone()]).await;
    first.name = "another name".into();
    let second = rule("name");
    store.commit(Commit::new().update(first.clone(), 1).insert(second.clone())).await.unwrap();
    let second_key = Record::from(second).key();
    store.commit(Commit::new().delete(second_key, 1).insert(rule("name"))).await.unwrap();
}

/// The order of changes to one record would be a matter of taste, so there is only one.
pub async fn a_record_appears_once_in_a_commit(store: AnyStore) {
    let rule = rule("errors");
    let twice = Commit::new().insert(rule.clone()).update(rule.clone(), 1);
    let refused = store.commit(twice).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert!(!exists(&*store, Record::from(rule).key()).await);
}

/// One commit takes records of every kind, and answers with one version per change, in order.
pub async fn many_records_change_together(store: AnyStore) {
    let records = super::fixtures::one_of_each();
    insert(&*store, records.clone()).await;
    let mut commit = Commit::new();
    for (i, record) in records.iter().enumerate() {
        commit = if i % 2 == 0 { commit.update(record.clone(), 1) } else { commit.delete(record.key(), 1) };
    }
    let versions = store.commit(commit).await.unwrap().versions;
    let expected: Vec<u64> = (0..records.len()).map(|i| if i % 2 == 0 { 2 } else { 0 }).collect();
    assert_eq!(versions, expected);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(exists(&*store, record.key()).await, i % 2 == 0, "{}", record.key());
    }
    let many: Vec<_> = (0..200).map(|_| super::fixtures::notice(at(0))).collect();
    tokio::time::timeout(Duration::from_secs(60), insert(&*store, many)).await.unwrap();
}
