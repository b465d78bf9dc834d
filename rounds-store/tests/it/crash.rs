//! A process that is killed in the middle of its commits leaves whole commits behind, and none that it had
//! reported missing.

#![allow(clippy::disallowed_methods, reason = "the test runs itself as a child, and tells it so by the environment")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rounds_core::alert::AlertRule;
use rounds_core::ports::store::{AuditQuery, Commit, Lookup, RecordKind, Versioned};
use rounds_core::ports::{Event, EventSubject, Store as _, StoreExt as _};
use rounds_store::SqlStore;

use crate::support::{Place, entry, now, options, org, rule};

const DATABASE: &str = "ROUNDS_CRASH_TEST_DATABASE";

async fn named(store: &SqlStore, name: &str) -> Option<Versioned<AlertRule>> {
    store.get(Lookup::Unique(RecordKind::AlertRule, format!("{}/{name}", org()))).await.unwrap()
}

/// Not a test of its own: the child of the one below, which runs this binary again.
#[tokio::test]
async fn child_that_commits_until_it_is_killed() {
    let Some(database) = std::env::var_os(DATABASE) else { return };
    let store = SqlStore::open(options(database.as_ref())).await.unwrap();
    if named(&store, "a").await.is_none() {
        store.commit(Commit::new().insert(rule("a")).insert(rule("b"))).await.unwrap();
    }
    loop {
        let (mut a, mut b) = (named(&store, "a").await.unwrap(), named(&store, "b").await.unwrap());
        a.value.evaluation_interval_sec += 1;
        b.value.evaluation_interval_sec += 1;
        let count = a.value.evaluation_interval_sec;
        let event = Event {
            seq: 0,
            org_id: org(),
            subject: EventSubject::Alert,
            subject_id: a.value.id.to_string(),
            name: "counted".into(),
            at: now(),
            data: serde_json::Value::Null,
        };
        let commit = Commit::new().update(a.value, a.version).update(b.value, b.version);
        store.commit(commit.audit(entry("count")).event(event)).await.unwrap();
        // The parent reads this; the harness captures nothing, because it is told so.
        #[allow(clippy::print_stdout, reason = "the one way to tell the parent")]
        {
            println!("committed {count}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_9_a_killed_process_leaves_whole_commits() {
    let place = Place::new();
    let mut reported = 0;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child_that_commits_until_it_is_killed", "--exact", "--nocapture"])
            .env(DATABASE, place.database())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The test harness may write before the first line and on the same one.
        let counts = lines.filter_map(|line| line.rsplit_once("committed ").and_then(|(_, n)| n.parse::<u64>().ok()));
        reported = counts.take(10 * round).last().expect("the child commits");
        child.kill().unwrap();
        child.wait().unwrap();

        let store = place.open().await;
        let (a, b) = (named(&store, "a").await.unwrap(), named(&store, "b").await.unwrap());
        let count = a.value.evaluation_interval_sec;
        assert!(count >= reported, "{count} of at least {reported} reported commits are there");
        assert_eq!((b.value.evaluation_interval_sec, b.version), (count, a.version));
        assert_eq!(store.audit(&AuditQuery::new(org())).await.unwrap().total, count);
        assert_eq!(store.events(&org(), 0, u32::MAX).await.unwrap().len() as u64, count);
        assert_eq!(store.verify_audit(&org()).await.unwrap().unwrap().seq, count);
        store.close().await;
    }
    assert!(reported >= 40);
}
