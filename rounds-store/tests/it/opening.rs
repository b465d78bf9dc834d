//! Opening: files, migrations, keys that do not fit.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::plugin::{Registration, Registry};
use rounds_core::ports::store::{Commit, ListQuery, PlanTag, RecordKind, StoreError};
use rounds_core::ports::{Store as _, StoreExt as _};
use rounds_core::service::{Approval, ConnectorDraft, ServiceHealth, ServiceName};
use rounds_core::step::StepSpec;
use rounds_core::testing::{FakeAdapter, FakeOutcome, StaticIdentity};
use rounds_core::{OrgId, Rounds};
use rounds_store::{SqlStore, StoreOptions};
use rstest::rstest;
use tokio::sync::Notify;

use crate::support::{Database, Place, key, rule};

#[tokio::test]
async fn the_database_and_the_files_beside_it_are_for_their_owner() {
    let place = Place::new();
    let store = place.open().await;
    store.commit(Commit::new().insert(rule("a"))).await.unwrap();
    let mut seen = Vec::new();
    for file in fs::read_dir(place.database().parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
        seen.push(file.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["rounds.db", "rounds.db-shm", "rounds.db-wal"]);
}

#[rstest]
#[tokio::test]
async fn migrations_run_once_and_again_without_effect(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    SqlStore::migrate(&place.options()).await.unwrap();
    SqlStore::migrate(&place.options()).await.unwrap();
    let store = SqlStore::open(place.options().with_migrate(false)).await.unwrap();
    let first = rule("a");
    store.commit(Commit::new().insert(first.clone())).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.rule(first.id).await.unwrap().unwrap().value, first);
    // An empty file, as `touch` makes one, is an empty database.
    let other = Place::on(database).await;
    fs::write(other.database(), "").unwrap();
    other.open().await.ping().await.unwrap();
}

#[rstest]
#[tokio::test]
async fn plans_from_before_there_were_tags_are_found_by_them(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let store = place.open().await;
    let admin = Principal::user(OrgId::default(), "admin", OrgRole::Admin);
    let registry = Registry::new([Registration::execution("cluster", "A cluster", Arc::new(FakeAdapter::default()))]);
    let rounds = Rounds::builder(Arc::new(store.clone()), Arc::new(StaticIdentity::default()))
        .registry(registry.unwrap())
        .build()
        .unwrap();
    let draft = serde_json::from_value(serde_json::json!({ "type": "cluster", "name": "cluster" })).unwrap();
    let connector = rounds.connectors().create(&admin, draft).await.unwrap().id;
    let step = ProposedStep::new(connector, StepSpec::command(["scale", "app/web"]));
    let plan = rounds.plans().propose(&admin, Proposal::new("mend it").with_steps([step])).await.unwrap().plan;
    store.close().await;

    place.sql("DROP TABLE rounds_plan_tag").await;
    assert_eq!(place.sql("DELETE FROM rounds_migration WHERE version = 'm0009_tags'").await, 1);
    let store = place.open().await;
    for tag in [PlanTag::Connector(connector), PlanTag::Namespace("app")] {
        let query = ListQuery { tags: vec![tag.to_string()], ..ListQuery::new(RecordKind::Plan) };
        let found = store.list(&query).await.unwrap().records;
        assert_eq!(found.iter().map(|found| found.value.key().id).collect::<Vec<_>>(), [plan.id.as_uuid()], "{tag}");
    }
}

#[rstest]
#[tokio::test]
async fn starts_at_the_same_time_migrate_once(#[values(Database::Sqlite, Database::Postgres)] database: Database) {
    let place = Place::on(database).await;
    let starts = (0..6).map(|_| {
        let options = place.options();
        tokio::spawn(SqlStore::open(options))
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn a_failed_migration_leaves_nothing_of_any_step(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    // Stands in the way of the second step.
    place.sql("CREATE TABLE rounds_account (x TEXT)").await;
    SqlStore::open(place.options()).await.unwrap_err();
    // This would fail if a table of the first step were left.
    place.sql("CREATE TABLE rounds_plan (x TEXT)").await;
    place.sql("DROP TABLE rounds_plan").await;
    place.sql("DROP TABLE rounds_account").await;
    place.open().await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_and_one_without_tables_are_refused_with_what_would_help() {
    let place = Place::new();
    place.open().await.close().await;
    place.sql("INSERT INTO rounds_migration (version, applied_at) VALUES ('m9999_future', 0)").await;
    let newer = SqlStore::open(place.options()).await.unwrap_err().to_string();
    assert!(newer.contains("a newer version of Rounds"), "{newer}");

    let empty = Place::new();
    let unmigrated = SqlStore::open(empty.options().with_migrate(false)).await.unwrap_err().to_string();
    assert!(unmigrated.contains("run the migrations"), "{unmigrated}");

    let text = Place::new();
    fs::write(text.database(), "this is a text of more than sixteen bytes, not a database".repeat(100)).unwrap();
    let damaged = SqlStore::open(text.options()).await.unwrap_err();
    assert!(matches!(damaged, StoreError::Corrupt { .. }), "{damaged}");

    let options = StoreOptions::new(format!("sqlite://{}", text.path("nowhere/rounds.db").display()), key(7));
    let nowhere = SqlStore::open(options).await.unwrap_err().to_string();
    assert!(nowhere.contains("its folder must exist"), "{nowhere}");
}

#[tokio::test]
async fn a_plan_that_was_cut_off_leaves_no_task_behind_once_the_store_is_closed() {
    let place = Place::new();
    let store = place.open().await;
    let ada =
        Principal::user(OrgId::default(), "ada", OrgRole::Admin).with_grant(Action::PlansAutoEdit, Scope::all("plans"));
    let fleet = FakeAdapter::default();
    let registry = Registry::new([Registration::execution("fleet", "Fleet", Arc::new(fleet.clone()))]).unwrap();
    let rounds = Rounds::builder(Arc::new(store.clone()), Arc::new(StaticIdentity::new([ada.clone()])))
        .registry(registry)
        .build()
        .unwrap();
    let released = Arc::new(Notify::new());
    fleet.script(FakeOutcome::Hang(released.clone()));
    let running = rounds.start();
    let id = rounds.connectors().ensure(&ada, ConnectorDraft::new("fleet", "fleet")).await.unwrap().id;
    let proposal = Proposal::new("mend it").step(id, StepSpec::command(["restart", "app/web"]));
    let plan = rounds.plans().propose(&ada, proposal).await.unwrap().plan;
    rounds.plans().approve(&ada, plan.id, &Approval::of(&plan).with_auto_edit()).await.unwrap();
    while fleet.executed().is_empty() {
        tokio::task::yield_now().await;
    }
    let health = running.shutdown(Duration::from_millis(50)).await;
    assert_eq!(health[&ServiceName::Executor], ServiceHealth::CutOff);
    store.close().await;
    released.notify_one();
    drop((running, rounds, store));
    let tasks = tokio::runtime::Handle::current().metrics();
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while tasks.num_alive_tasks() > 0 {
        assert!(tokio::time::Instant::now() < limit, "{} tasks live on", tasks.num_alive_tasks());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[rstest]
#[tokio::test]
async fn two_prefixes_share_a_database_without_seeing_each_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let one = place.open().await;
    let two = SqlStore::open(place.options().with_prefix("acme_rounds_")).await.unwrap();
    one.commit(Commit::new().insert(rule("a"))).await.unwrap();
    let rules = ListQuery::new(RecordKind::AlertRule);
    assert_eq!(one.list(&rules).await.unwrap().records.len(), 1);
    assert!(two.list(&rules).await.unwrap().records.is_empty());
    for prefix in ["", "a b", "1x", "x;--", "A_", &"x".repeat(21)] {
        let refused = SqlStore::open(place.options().with_prefix(prefix)).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{prefix}");
    }
}

#[rstest]
#[tokio::test]
async fn another_master_key_is_refused_with_the_one_that_is_expected(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    place.open().await.close().await;
    let mut options = place.options();
    options.key = key(8);
    let refused = SqlStore::open(options).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }));
    let refused = refused.to_string();
    assert!(refused.contains("KEY_8") && refused.contains("was begun with") && refused.contains("KEY_7"), "{refused}");
    place.open().await;
}

#[rstest]
#[tokio::test]
async fn a_closed_store_says_so_and_nobody_waits_for_it_to_come_back(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let place = Place::on(database).await;
    let store = place.open().await;
    store.close().await;
    let error = store.commit(Commit::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Closed), "{error}");
    assert!(store.ping().await.is_err());
}
