//! Stores that are wrong about commits: versions, uniqueness, all or nothing.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use rounds_core::ports::Store;
use rounds_core::ports::store::{Change, Commit, Committed, Key, Lookup, StoreError};
use rounds_core::testing::{MemoryStore, StoreLayer};

use super::{Broken, broken, layered};
use crate::harness::lock;

pub(super) const BROKEN: &[Broken] = &[
    (
        "writes over whatever is there",
        || layered(LastWriteWins::default()),
        &[
            "a_stale_version_is_a_conflict_and_changes_nothing",
            "a_person_can_change_a_record_that_a_worker_holds",
            "a_refused_commit_gives_no_lease_back",
            "concurrent_read_modify_write_loses_nothing",
        ],
    ),
    (
        "keeps what is deleted",
        || layered(KeepsTheDeleted::default()),
        &[
            "a_record_is_inserted_updated_and_deleted_by_version",
            "a_unique_key_can_be_taken_again_once_it_is_free",
            "many_records_change_together",
        ],
    ),
    (
        "does not look at versions that are only expected",
        || layered(ExpectsNothing::default()),
        &[
            "a_commit_that_expects_a_version_holds_only_at_that_version",
            "numbers_have_no_gaps_under_concurrent_commits_and_refusals",
        ],
    ),
    (
        "applies change after change",
        || layered(OneByOne::default()),
        &[
            "a_refused_commit_leaves_no_trace",
            "a_commit_that_expects_a_version_holds_only_at_that_version",
            "a_dropped_commit_is_whole_or_nothing_and_blocks_nobody",
        ],
    ),
    (
        "writes the logs of a commit that it refused",
        || layered(LogsTheRefused::default()),
        &[
            "a_refused_commit_leaves_no_trace",
            "a_lost_lease_commits_nothing",
            "numbers_have_no_gaps_under_concurrent_commits_and_refusals",
        ],
    ),
    (
        "says of a second record with the same unique key that it is stored",
        || layered(SwallowsDuplicates::default()),
        &["an_id_and_a_unique_key_are_taken_once", "concurrent_inserts_of_one_unique_key_let_one_pass"],
    ),
    (
        "never frees a unique key",
        || layered(RemembersUniqueKeys::default()),
        &["a_unique_key_can_be_taken_again_once_it_is_free"],
    ),
    ("takes a record twice in one commit", || layered(TakesTwice::default()), &["a_record_appears_once_in_a_commit"]),
    ("takes a hundred changes at most", || layered(TakesFew::default()), &["many_records_change_together"]),
    (
        "answers with the versions before the commit",
        || layered(AnswersOldVersions::default()),
        &["a_record_is_inserted_updated_and_deleted_by_version", "many_records_change_together"],
    ),
    (
        "passes on that its database was busy",
        || layered(Busy::default()),
        &["concurrent_read_modify_write_loses_nothing", "concurrent_commits_on_different_records_all_pass"],
    ),
    (
        "lets commits on different records conflict",
        || layered(OneAtATime::default()),
        &["concurrent_commits_on_different_records_all_pass"],
    ),
    (
        "stands still when a commit is dropped half way",
        || layered(StandsStill::default()),
        &["a_dropped_commit_is_whole_or_nothing_and_blocks_nobody"],
    ),
    ("refuses a commit that changes nothing", || layered(RefusesTheEmpty::default()), &["an_empty_store_answers"]),
];

async fn version(store: &MemoryStore, key: Key) -> Option<u64> {
    store.load(&Lookup::Key(key)).await.unwrap().map(|found| found.version)
}

broken! { LastWriteWins;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let mut answer = self.0.commit(commit.clone()).await;
        for _ in 0..1000 {
            let Err(StoreError::Conflict { .. }) = answer else { break };
            for change in &mut commit.changes {
                let key = change.key();
                if let Change::Update(_, expected) | Change::Delete(_, expected) = change {
                    *expected = version(&self.0, key).await.unwrap_or(*expected);
                }
            }
            answer = self.0.commit(commit.clone()).await;
        }
        answer
    }
}

broken! { KeepsTheDeleted;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let mut deleted = BTreeSet::new();
        for (place, change) in commit.changes.iter_mut().enumerate() {
            if let Change::Delete(key, expected) = change {
                *change = Change::Expect(*key, *expected);
                deleted.insert(place);
            }
        }
        let mut committed = self.0.commit(commit).await?;
        deleted.into_iter().for_each(|place| committed.versions[place] = 0);
        Ok(committed)
    }
}

broken! { ExpectsNothing;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let expected: Vec<(usize, u64)> = commit.changes.iter().enumerate().filter_map(|(place, change)| match change {
            Change::Expect(_, version) => Some((place, *version)),
            _ => None,
        }).collect();
        commit.changes.retain(|change| !matches!(change, Change::Expect(..)));
        let mut committed = self.0.commit(commit).await?;
        expected.into_iter().for_each(|(place, version)| committed.versions.insert(place, version));
        Ok(committed)
    }
}

broken! { OneByOne;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut versions = Vec::new();
        let under = |changes| Commit { changes, leases: commit.leases.clone(), ..Commit::new() };
        for change in commit.changes.clone() {
            versions.extend(self.0.commit(under(vec![change])).await?.versions);
        }
        let rest = Commit { changes: Vec::new(), ..commit };
        let events = self.0.commit(rest).await?.events;
        Ok(Committed { versions, events })
    }
}

broken! { LogsTheRefused;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let (audit, events) = (commit.audit.clone(), commit.events.clone());
        let answer = self.0.commit(commit).await;
        if answer.is_err() {
            self.0.commit(Commit { audit, events, ..Commit::new() }).await?;
        }
        answer
    }
}

broken! { SwallowsDuplicates;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let versions = vec![1; commit.changes.len()];
        match self.0.commit(commit).await {
            Err(StoreError::Duplicate { .. }) => Ok(Committed { versions, events: Vec::new() }),
            answer => answer,
        }
    }
}

#[derive(Default)]
struct RemembersUniqueKeys {
    inner: MemoryStore,
    taken: Mutex<Vec<(Key, String)>>,
}

#[async_trait]
impl StoreLayer for RemembersUniqueKeys {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let wanted: Vec<(Key, String)> = commit
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Insert(record) | Change::Update(record, _) => Some((record.key(), record.index().unique?)),
                _ => None,
            })
            .collect();
        for (key, unique) in &wanted {
            let other = |(holder, held): &&(Key, String)| holder.kind == key.kind && holder != key && held == unique;
            if lock(&self.taken).iter().any(|taken| other(&taken)) {
                return Err(StoreError::Duplicate { kind: key.kind, unique: unique.clone() });
            }
        }
        let committed = self.inner.commit(commit).await?;
        lock(&self.taken).extend(wanted);
        Ok(committed)
    }
}

broken! { TakesTwice;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let mut seen = BTreeSet::new();
        let (first, second) = std::mem::take(&mut commit.changes).into_iter().partition(|change| seen.insert(change.key()));
        let second = Commit { changes: second, ..Commit::new() };
        let mut committed = self.0.commit(Commit { changes: first, ..commit }).await?;
        committed.versions.extend(self.0.commit(second).await?.versions);
        Ok(committed)
    }
}

broken! { TakesFew;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if commit.changes.len() > 100 {
            return Err(StoreError::Invalid("too many parameters in one statement".into()));
        }
        self.0.commit(commit).await
    }
}

broken! { AnswersOldVersions;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let before: Vec<bool> = commit.changes.iter().map(|change| matches!(change, Change::Update(..))).collect();
        let mut committed = self.0.commit(commit).await?;
        for (version, is_update) in committed.versions.iter_mut().zip(before) {
            *version -= u64::from(is_update);
        }
        Ok(committed)
    }
}

#[derive(Default)]
struct Busy(MemoryStore, AtomicU64);

#[async_trait]
impl StoreLayer for Busy {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        match self.1.fetch_add(1, Ordering::Relaxed) % 7 {
            6 => Err(StoreError::Unavailable { message: "database is locked".into() }),
            _ => self.0.commit(commit).await,
        }
    }
}

#[derive(Default)]
struct OneAtATime(MemoryStore, AtomicBool);

#[async_trait]
impl StoreLayer for OneAtATime {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if self.1.swap(true, Ordering::Relaxed)
            && let Some(change) = commit.changes.first()
        {
            return Err(StoreError::Conflict { key: change.key(), expected: 1 });
        }
        let answer = self.0.commit(commit).await;
        self.1.store(false, Ordering::Relaxed);
        answer
    }
}

#[derive(Default)]
struct StandsStill(MemoryStore, AtomicBool);

#[async_trait]
impl StoreLayer for StandsStill {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        // Nothing sets it back when the future is dropped.
        while self.1.swap(true, Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let answer = self.0.commit(commit).await;
        self.1.store(false, Ordering::Relaxed);
        answer
    }
}

broken! { RefusesTheEmpty;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if commit.changes.is_empty() {
            return Err(StoreError::Invalid("nothing to commit".into()));
        }
        self.0.commit(commit).await
    }
}
