//! The event log and the audit chain.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::AnyStore;
use super::fixtures::{at, entry, event, insert, org, other_org, rule};
use crate::access::{Actor, ActorType};
use crate::audit::{AuditEntry, AuditRow, Outcome, Prune, chain};
use crate::id::OrgId;
use crate::ports::StoreExt;
use crate::ports::store::{AuditHead, AuditQuery, Commit, Record, StoreError};

/// Each organisation has its own numbers, from 1, in the order of commits and within a commit.
pub async fn events_are_numbered_without_gaps_per_organisation(store: AnyStore) {
    let mut ours = Vec::new();
    for i in 0..5 {
        let commit = Commit::new().event(event(&org(), &format!("{i}a"))).event(event(&other_org(), "other"));
        let committed = store.commit(commit.event(event(&org(), &format!("{i}b")))).await.unwrap();
        let seqs: Vec<u64> = committed.events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [2 * i + 1, i + 1, 2 * i + 2], "the answer carries the numbers");
        ours.extend(committed.events.into_iter().filter(|event| event.org_id == org()));
    }
    assert_eq!(store.events(&org(), 0, 100).await.unwrap(), ours);
    assert_eq!(store.events(&org(), 3, 4).await.unwrap(), ours[3..7]);
    assert!(store.events(&org(), 10, 10).await.unwrap().is_empty());
    assert_eq!(store.events(&other_org(), 0, 100).await.unwrap().len(), 5);
    assert!(store.events(&OrgId::new("nobody"), 0, 100).await.unwrap().is_empty());
}

async fn rows(store: &AnyStore, org: &OrgId) -> Vec<AuditRow> {
    let page = store.audit(&AuditQuery { limit: 1000, ..AuditQuery::new(org.clone()) }).await.unwrap();
    assert_eq!(page.total, page.rows.len() as u64);
    page.rows.into_iter().rev().collect()
}

fn assert_chained(rows: &[AuditRow]) {
    let mut previous = chain::GENESIS;
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row.seq, i as u64 + 1, "numbers have no gaps");
        assert_eq!(row.previous, previous, "row {} follows the one before it", row.seq);
        previous = &row.hash;
    }
}

/// Rows carry their place, follow each other, verify, and hold the entry as it was given.
pub async fn audit_rows_are_numbered_and_chained_per_organisation(store: AnyStore) {
    let empty = store.verify_audit(&org()).await.unwrap().unwrap();
    assert_eq!((empty.seq, empty.hash.as_str()), (0, chain::GENESIS));
    let mut given = Vec::new();
    for i in 0..4 {
        let first = entry(&org(), &format!("first {i}")).with("nested", serde_json::json!({ "ratio": 0.1, "b": [1] }));
        let second = entry(&org(), "second \u{1f600} \u{0}");
        store
            .commit(Commit::new().audit(first.clone()).audit(entry(&other_org(), "other")).audit(second.clone()))
            .await
            .unwrap();
        given.extend([first, second]);
    }
    let rows = rows(&store, &org()).await;
    assert_chained(&rows);
    assert_eq!(rows.iter().map(|row| row.entry.clone()).collect::<Vec<_>>(), given);
    let head = store.verify_audit(&org()).await.unwrap().unwrap();
    assert_eq!((head.seq, &head.hash), (8, &rows[7].hash));
    assert_eq!(store.verify_audit(&other_org()).await.unwrap().unwrap().seq, 4);
}

/// A refused commit uses up no number, and concurrent ones share none.
pub async fn numbers_have_no_gaps_under_concurrent_commits_and_refusals(store: AnyStore) {
    let taken = rule("taken");
    insert(&*store, [taken.clone()]).await;
    let taken = Record::from(taken).key();
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for i in 0..6 {
                let commit = Commit::new().audit(entry(&org(), "a")).event(event(&org(), "e"));
                let commit = commit.audit(entry(&other_org(), "a")).event(event(&other_org(), "e"));
                // Every third is refused.
                let refused = (task + i) % 3 == 0;
                let commit = if refused { commit.expect(taken, 9) } else { commit };
                assert_eq!(store.commit(commit).await.is_err(), refused);
            }
        });
    }
    tasks.join_all().await;
    for org in [org(), other_org()] {
        let rows = rows(&store, &org).await;
        assert_eq!(rows.len(), 32);
        assert_chained(&rows);
        assert_eq!(store.verify_audit(&org).await.unwrap().unwrap().seq, 32);
        let seqs: Vec<u64> = store.events(&org, 0, 1000).await.unwrap().iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=32).collect::<Vec<_>>());
    }
}

/// Action, actor, target, outcome and time each narrow the log, newest first, page by page.
pub async fn audit_rows_are_filtered_by_every_condition_together(store: AnyStore) {
    let ada = Actor { kind: ActorType::User, id: "ada".into(), login: "ada@example".into() };
    let entry = |ms, actor: &Actor, action: &str, target: (&str, &str), outcome| {
        AuditEntry::new(at(ms), &org(), actor, action, target, outcome)
    };
    let commit = Commit::new()
        .audit(entry(1, &ada, "approve", ("plan", "p1"), Outcome::Success))
        .audit(entry(2, &Actor::system(), "expire", ("plan", "p2"), Outcome::Success))
        .audit(entry(3, &ada, "approve", ("plan", "p2"), Outcome::Failure))
        .audit(entry(4, &ada, "approve", ("request", "p2"), Outcome::Success));
    store.commit(commit.audit(super::fixtures::entry(&other_org(), "approve"))).await.unwrap();
    let all = AuditQuery::new(org());
    let seqs = async |query: &AuditQuery| {
        let page = store.audit(query).await.unwrap();
        (page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), page.total)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(seqs(&all).await, (vec![4, 3, 2, 1], 4));
    assert_eq!(seqs(&AuditQuery { action: text("approve"), ..all.clone() }).await, (vec![4, 3, 1], 3));
    assert_eq!(seqs(&AuditQuery { actor_id: text("system"), ..all.clone() }).await, (vec![2], 1));
    assert_eq!(seqs(&AuditQuery { target_type: text("request"), ..all.clone() }).await, (vec![4], 1));
    assert_eq!(seqs(&AuditQuery { target_id: text("p2"), ..all.clone() }).await, (vec![4, 3, 2], 3));
    assert_eq!(seqs(&AuditQuery { outcome: Some(Outcome::Failure), ..all.clone() }).await, (vec![3], 1));
    let from_2_before_4 = AuditQuery { from: Some(at(2)), to: Some(at(4)), ..all.clone() };
    assert_eq!(seqs(&from_2_before_4).await, (vec![3, 2], 2));
    let together = AuditQuery { action: text("approve"), target_id: text("p2"), ..from_2_before_4 };
    assert_eq!(seqs(&together).await, (vec![3], 1));
    let page = AuditQuery { offset: 1, limit: 2, ..all.clone() };
    assert_eq!(seqs(&page).await, (vec![3, 2], 4), "the total counts what is beyond the page too");
    let older = AuditQuery { before: Some(3), limit: 1, ..all.clone() };
    assert_eq!(seqs(&older).await, (vec![2], 4), "where a page begins is no condition");
    assert_eq!(seqs(&AuditQuery { before: Some(1), ..all.clone() }).await, (vec![], 4));
    assert_eq!(seqs(&AuditQuery { offset: 9, ..all }).await, (vec![], 4));
}

/// An export reads on from where it was, and meets every row once.
pub async fn audit_rows_are_read_oldest_first_from_any_place(store: AnyStore) {
    for number in 0..7 {
        let other = entry(&other_org(), "other");
        store.commit(Commit::new().audit(entry(&org(), &format!("{number}"))).audit(other)).await.unwrap();
    }
    let mut newest_first = rows(&store, &org()).await;
    let mut read = Vec::new();
    loop {
        let page = store.audit_after(&org(), read.len() as u64, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        read.extend(page);
    }
    newest_first.sort_by_key(|row| row.seq);
    assert_eq!(read, newest_first);
    for limit in [0, 1001] {
        assert!(matches!(store.audit_after(&org(), 0, limit).await, Err(StoreError::Invalid(_))), "{limit}");
    }
}

/// Old rows go, a signed checkpoint stands in their place, the chain holds and its numbers go on.
pub async fn pruning_leaves_a_signed_checkpoint_and_the_chain_goes_on(store: AnyStore) {
    const DAY: u64 = 86_400_000;
    let on = |day: u64, org: &OrgId| AuditEntry { at: at(day * DAY), ..entry(org, &format!("day {day}")) };
    for day in 0..6 {
        store.commit(Commit::new().audit(on(day, &org())).audit(on(day, &other_org()))).await.unwrap();
    }
    // A row whose clock was behind stands after a younger one: what is before it in the chain stays, too.
    store.commit(Commit::new().audit(on(1, &org()))).await.unwrap();
    let before = rows(&store, &org()).await;
    let prune = |day: u64| Prune::new(&org(), at(day * DAY), &Actor::system(), at(100 * DAY)).unwrap();
    assert_eq!(store.prune_audit(&prune(0)).await.unwrap(), None, "nothing is older than the oldest");
    assert_eq!(rows(&store, &org()).await, before, "and nothing is said of it");
    let exported = store.verify_audit(&org()).await.unwrap().unwrap();

    let checkpoint = store.prune_audit(&prune(3)).await.unwrap().expect("three rows are old");
    assert_eq!((checkpoint.seq, &checkpoint.hash, &checkpoint.org), (3, &before[2].hash, &org()));
    assert_eq!(store.audit_checkpoint(&org()).await.unwrap().as_ref(), Some(&checkpoint));
    let left = rows(&store, &org()).await;
    assert_eq!(left[..4], before[3..], "what is not old enough is as it was");
    assert_eq!((left[4].seq, left[4].entry.action.as_str()), (8, Prune::ACTION), "and the removal is a row of its own");
    assert_eq!(left.len(), 5);
    assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, 8);
    assert!(store.verify_audit_against(&org(), &exported).await.unwrap().is_ok(), "the exported head is still there");
    let gone = AuditHead { seq: 2, hash: before[1].hash.clone() };
    assert_eq!(store.verify_audit_against(&org(), &gone).await.unwrap().unwrap_err().seq, 2, "a pruned one is not");

    store.commit(Commit::new().audit(on(50, &org()))).await.unwrap();
    let again = store.prune_audit(&prune(70)).await.unwrap().expect("everything up to the removal is old");
    assert_eq!(again.seq, 7);
    let left = rows(&store, &org()).await;
    assert_eq!(left.iter().map(|row| row.seq).collect::<Vec<_>>(), [8, 9, 10]);
    assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, 10);
    assert_eq!(rows(&store, &other_org()).await.len(), 6, "another organisation's rows are not touched");
    assert!(store.audit_checkpoint(&other_org()).await.unwrap().is_none());
}

/// A head that was exported shows what no chain shows by itself: that its end was cut off, or all of it rewritten.
pub async fn an_exported_head_is_held_against_the_chain(store: AnyStore) {
    for _ in 0..3 {
        store.commit(Commit::new().audit(entry(&org(), "a"))).await.unwrap();
    }
    let head = store.verify_audit(&org()).await.unwrap().unwrap();
    let against = async |exported: &AuditHead| store.verify_audit_against(&org(), exported).await.unwrap();
    assert_eq!(against(&head).await.unwrap(), head);
    let start = AuditHead { seq: 0, hash: chain::GENESIS.into() };
    assert_eq!(against(&start).await.unwrap(), head);
    store.commit(Commit::new().audit(entry(&org(), "b"))).await.unwrap();
    assert_eq!(against(&head).await.unwrap().seq, 4, "more rows are no break");
    let longer = AuditHead { seq: 6, hash: "f".repeat(64) };
    assert_eq!(against(&longer).await.unwrap_err().seq, 5, "row 5 and what followed are missing");
    let other = AuditHead { hash: "f".repeat(64), ..head };
    assert_eq!(against(&other).await.unwrap_err().seq, 3, "row 3 is another one");
}

/// Not in [`CHECKS`](super::CHECKS), because a store need not offer a way to tamper: `tamper` replaces
/// `"success"` by `"failure"` in the stored text of one audit row behind the store's back.
pub async fn tampering_with_an_audit_row_is_noticed<Fut>(store: AnyStore, tamper: impl FnOnce(OrgId, u64) -> Fut)
where
    Fut: Future<Output = ()>,
{
    for _ in 0..3 {
        store.commit(Commit::new().audit(entry(&org(), "a")).audit(entry(&other_org(), "a"))).await.unwrap();
    }
    assert!(store.verify_audit(&org()).await.unwrap().is_ok());
    tamper(org(), 2).await;
    let broken = store.verify_audit(&org()).await.unwrap().expect_err("row 2 was changed");
    assert_eq!((broken.org, broken.seq), (org(), 2));
    assert!(store.verify_audit(&other_org()).await.unwrap().is_ok(), "chains are apart");
}
