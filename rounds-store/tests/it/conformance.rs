//! The SQL store is a store, alone and beside others on the same file.

use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::Actor;
use rounds_core::audit::{AuditEntry, Prune};
use rounds_core::conformance::store::{AnyStore, everything_survives_a_reopen, tampering_with_an_audit_row_is_noticed};
use rounds_core::investigation::Investigation;
use rounds_core::ports::store::{
    AuditQuery, ClaimQuery, Commit, Key, ListQuery, Lookup, RecordKind, StoreError, WorkerId,
};
use rounds_core::ports::{Store as _, StoreExt as _};
use rounds_store::SqlStore;
use tokio::task::JoinSet;

use rstest::rstest;

use crate::support::{Database, Place, entry, investigation, later, org, rule};

mod sqlite {
    use super::*;

    async fn empty() -> (SqlStore, Place) {
        let place = Place::on(Database::Sqlite).await;
        (place.open().await, place)
    }

    rounds_core::store_conformance!(empty);
}

mod postgres {
    use super::*;

    async fn empty() -> (SqlStore, Place) {
        let place = Place::on(Database::Postgres).await;
        (place.open().await, place)
    }

    rounds_core::store_conformance!(empty);
}

#[rstest]
#[tokio::test]
async fn everything_is_kept_over_a_reopen(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let place = Place::on(database).await;
    let store: AnyStore = Arc::new(place.open().await);
    everything_survives_a_reopen(store, async || Arc::new(place.open().await) as AnyStore).await;
}

/// Three investigations, of which the one that is due first cannot be read.
async fn with_a_damaged_one(place: &Place) -> (SqlStore, Vec<Investigation>) {
    let store = place.open().await;
    let all: Vec<_> = (1..=3).map(|second| investigation(later(second))).collect();
    for one in &all {
        store.commit(Commit::new().insert(one.clone())).await.unwrap();
    }
    assert_eq!(place.sql("UPDATE rounds_investigation SET body = '{\"from\":\"the future\"}' WHERE due_at = (SELECT min(due_at) FROM rounds_investigation)").await, 1);
    (store, all)
}

#[rstest]
#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_lets_the_others_be_claimed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let (store, all) = with_a_damaged_one(&place).await;
    let query = ClaimQuery {
        kind: RecordKind::Investigation,
        statuses: Vec::new(),
        due_by: later(100),
        worker: WorkerId::unique("worker"),
        ttl: Duration::from_secs(600),
    };
    let Err(StoreError::Corrupt { what, .. }) = store.claim(&query).await else { panic!("it was read") };
    assert!(what.contains(&all[0].id.to_string()), "{what}");
    for one in &all[1..] {
        let (found, _) = store.claim(&query).await.unwrap().expect("the others get their turn");
        assert_eq!(found.value.key().id, one.id.as_uuid());
    }
    assert!(store.claim(&query).await.unwrap().is_none(), "the damaged one stays leased for its time");
}

#[rstest]
#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_of_lists_and_loading_it_says_why(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let (store, all) = with_a_damaged_one(&place).await;
    let mut query = ListQuery { limit: 1, ..ListQuery::new(RecordKind::Investigation) };
    let mut listed = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        listed.extend(page.records.into_iter().map(|record| record.value.key().id));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let readable: Vec<_> = all[1..].iter().map(|one| one.id.as_uuid()).collect();
    assert_eq!(listed, readable);
    let strict = store.load(&Lookup::Key(Key::new(RecordKind::Investigation, all[0].id.as_uuid()))).await;
    assert!(matches!(strict, Err(StoreError::Corrupt { .. })), "{strict:?}");
}

#[rstest]
#[tokio::test]
async fn a_changed_audit_entry_is_noticed(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let place = Place::on(database).await;
    let store = Arc::new(place.open().await);
    tampering_with_an_audit_row_is_noticed(store, async |org, seq| {
        let changed = format!(
            "UPDATE rounds_audit SET entry = replace(entry, '\"success\"', '\"failure\"') \
             WHERE org_id = '{org}' AND seq = {seq}"
        );
        assert_eq!(place.sql(&changed).await, 1);
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn an_audit_row_that_is_relisted_removed_or_cut_off_is_noticed(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    for (sql, at) in [
        ("UPDATE rounds_audit SET actor_id = 'nobody' WHERE seq = 2", 2),
        ("UPDATE rounds_audit SET at = at + 1 WHERE seq = 3", 3),
        ("DELETE FROM rounds_audit WHERE seq = 2", 3),
        ("DELETE FROM rounds_audit WHERE seq = 4", 4),
        ("DELETE FROM rounds_audit", 1),
        ("UPDATE rounds_org_head SET audit_hash = 'x'", 4),
    ] {
        let place = Place::on(database).await;
        let store = place.open().await;
        for action in ["a", "b", "c", "d"] {
            store.commit(Commit::new().audit(entry(action))).await.unwrap();
        }
        assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, 4);
        assert!(place.sql(sql).await > 0);
        let broken = store.verify_audit(&org()).await.unwrap().unwrap_err();
        assert_eq!(broken.seq, at, "{sql}: {broken}");
    }
}

/// Eight stores, each with connections of its own, as eight processes would have.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_lose_nothing_and_never_meet_a_busy_database(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const EACH: u64 = 10;
    let place = Place::on(database).await;
    let first = place.open().await;
    let counter = rule("counter");
    let id = counter.id;
    first.commit(Commit::new().insert(counter)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = place.open().await;
        tasks.spawn(async move {
            for _ in 0..EACH {
                loop {
                    let found = store.rule(id).await.unwrap().unwrap();
                    let mut next = found.value;
                    next.evaluation_interval_sec += 1;
                    match store.commit(Commit::new().update(next, found.version).audit(entry("add"))).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(first.rule(id).await.unwrap().unwrap().value.evaluation_interval_sec, 8 * EACH);
    assert_eq!(first.audit(&AuditQuery::new(org())).await.unwrap().total, 8 * EACH);
    assert!(first.verify_audit(&org()).await.unwrap().is_ok());
}

#[rstest]
#[tokio::test]
async fn a_forged_or_missing_checkpoint_is_noticed(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    for (forgery, reason) in [
        ("UPDATE rounds_audit_checkpoint SET body = replace(body, '\"seq\":2', '\"seq\":3')", "not signed"),
        (
            "UPDATE rounds_audit_checkpoint SET body = replace(body, '\"by\":\"system\"', '\"by\":\"nobody\"')",
            "not signed",
        ),
        ("DELETE FROM rounds_audit_checkpoint", "row 1 is missing"),
        // Rows are cut off behind the checkpoint, as if it stood for them, too.
        ("DELETE FROM rounds_audit WHERE seq = 3", "row 3 is missing"),
    ] {
        let place = Place::on(database).await;
        let store = place.open().await;
        for day in [0, 1, 50, 51] {
            let old = AuditEntry { at: later(day * 86_400), ..entry("a") };
            store.commit(Commit::new().audit(old)).await.unwrap();
        }
        let (before, now) = (later(10 * 86_400), later(100 * 86_400));
        let prune = Prune::new(&org(), before, &Actor::system(), now).unwrap();
        assert_eq!(store.prune_audit(&prune).await.unwrap().unwrap().seq, 2);
        assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, 5);
        assert!(place.sql(forgery).await > 0);
        let broken = store.verify_audit(&org()).await.unwrap().unwrap_err();
        assert!(broken.reason.contains(reason), "{forgery}: {broken}");
    }
}
