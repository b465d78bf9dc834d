//! The store against the behaviour suite, and what the suite cannot see through the port.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable as _;
use rounds_core::access::{OrgRole, Principal};
use rounds_core::conformance::store::{AnyStore, everything_survives_a_reopen, tampering_with_an_audit_row_is_noticed};
use rounds_core::plugin::Registry;
use rounds_core::ports::Store;
use rounds_core::ports::store::{ClaimQuery, Commit, ListQuery, RecordKind, WorkSlot, WorkerId};
use rounds_core::service::ConnectorDraft;
use rounds_core::testing::{FakeAdapter, StaticIdentity};
use rounds_core::{OrgId, Rounds};
use tempfile::TempDir;
use uuid::Uuid;

use crate::rows::ROWS;
use crate::{RedbStore, logs};

const KEY: [u8; 32] = [7; 32];

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("rounds.redb")
}

async fn empty() -> (RedbStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (RedbStore::open(&path(&dir), &KEY).unwrap(), dir)
}

mod suite {
    rounds_core::store_conformance!(super::empty);
}

#[tokio::test]
async fn everything_survives() {
    let (store, dir) = empty().await;
    let again = async || Arc::new(RedbStore::open(&path(&dir), &KEY).unwrap()) as AnyStore;
    everything_survives_a_reopen(Arc::new(store), again).await;
}

#[tokio::test]
async fn tampering_is_noticed() {
    let (store, _dir) = empty().await;
    let file = Arc::clone(&store.0);
    let tamper = async |org: OrgId, seq| {
        let tx = file.db.begin_write().unwrap();
        {
            let mut log = tx.open_table(logs::AUDIT).unwrap();
            let line = log.get((org.as_str(), seq)).unwrap().unwrap().value().replace("success", "failure");
            log.insert((org.as_str(), seq), line.as_str()).unwrap();
        }
        tx.commit().unwrap();
    };
    tampering_with_an_audit_row_is_noticed(Arc::new(store), tamper).await;
}

#[tokio::test]
async fn a_secret_is_not_readable_in_the_file_and_another_key_opens_nothing() {
    let (store, dir) = empty().await;
    let ada = Principal::user(OrgId::default(), "ada", OrgRole::Admin);
    let cluster = rounds_core::registration! {
        kind: "cluster",
        title: "A cluster",
        role: Execution,
        secret: Required("A token."),
        config: std::collections::BTreeMap<String, String>,
        build: |_cx, _config| Ok(FakeAdapter::default()),
    };
    let identity = Arc::new(StaticIdentity::new([ada.clone()]));
    let rounds = Rounds::builder(Arc::new(store.clone()), identity);
    let rounds = rounds.registry(Registry::new([cluster]).unwrap()).build().unwrap();
    let draft = ConnectorDraft::new("cluster", "a name in the file").with_secret("hunter2");
    rounds.connectors().create(&ada, draft).await.unwrap();
    drop((rounds, store));
    let bytes = std::fs::read(path(&dir)).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a name in the file") && !holds("hunter2"));
    let refused = RedbStore::open(&path(&dir), &[8; 32]).unwrap_err().to_string();
    assert!(refused.contains("another key"), "{refused}");
}

fn slot(number: u32) -> WorkSlot {
    WorkSlot { id: Uuid::now_v7(), work: rounds_core::ports::store::Work::Investigation, number }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_hides_no_other_and_holds_nobody_up() {
    let (store, _dir) = empty().await;
    let (damaged, sound) = (slot(0), slot(1));
    store.commit(Commit::new().insert(damaged.clone()).insert(sound.clone())).await.unwrap();
    let tx = store.0.db.begin_write().unwrap();
    {
        let mut rows = tx.open_table(ROWS).unwrap();
        let at = (RecordKind::WorkSlot.as_str(), damaged.id.as_u128());
        let row = rows.get(at).unwrap().unwrap().value().replace("\\\"work\\\"", "\\\"wrok\\\"");
        rows.insert(at, row.as_str()).unwrap();
    }
    tx.commit().unwrap();
    let listed = store.list(&ListQuery::new(RecordKind::WorkSlot)).await.unwrap();
    assert_eq!(listed.records.len(), 1);
    let query = ClaimQuery {
        kind: RecordKind::WorkSlot,
        statuses: Vec::new(),
        due_by: WorkSlot::due(9),
        worker: WorkerId::unique("test"),
        ttl: Duration::from_secs(600),
    };
    let error = store.claim(&query).await.unwrap_err().to_string();
    assert!(error.contains(&damaged.id.to_string()), "{error}");
    let (claimed, _) = store.claim(&query).await.unwrap().unwrap();
    assert_eq!(WorkSlot::try_from(claimed.value).unwrap(), sound);
}

/// Commits records without end, and says so of each that is committed. Only in a child that is killed.
#[test]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the child is told by the environment where to write"
)]
fn child() {
    let Some(path) = std::env::var_os("ROUNDS_REDB_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let store = RedbStore::open(&PathBuf::from(path), &KEY).unwrap();
        for number in 0.. {
            let slot = slot(number);
            store.commit(Commit::new().insert(slot.clone())).await.unwrap();
            println!("\ncommitted {}", slot.id);
        }
    });
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the test runs itself as a child")]
async fn what_was_committed_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::child", "--nocapture"])
        .env("ROUNDS_REDB_CHILD", path(&dir))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = |line: String| Some(line.strip_prefix("committed ")?.to_owned());
    let mut committed = Vec::new();
    for id in lines.filter_map(said) {
        committed.push(id);
        if committed.len() == 20 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(committed.len() >= 20, "{committed:?}");
    let store = RedbStore::open(&path(&dir), &KEY).unwrap();
    let query = ListQuery { limit: 1000, ..ListQuery::new(RecordKind::WorkSlot) };
    let found: Vec<String> =
        store.list(&query).await.unwrap().records.iter().map(|found| found.value.key().id.to_string()).collect();
    assert!(committed.iter().all(|id| found.contains(id)), "{committed:?} {found:?}");
}
