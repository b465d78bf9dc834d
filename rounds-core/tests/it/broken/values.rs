//! Stores that do not give back what they were given, and those that wake nobody.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use chrono::SubsecRound as _;
use rounds_core::connector::StoredSecret;
use rounds_core::ports::Store;
use rounds_core::ports::store::{
    Change, Commit, Committed, Key, ListQuery, Lookup, Page, Record, RecordKind, StoreError, Versioned,
};
use rounds_core::testing::{MemoryStore, StoreLayer};
use tokio::sync::broadcast;

use super::{AnyStore, Broken, broken, layered};
use crate::harness::lock;

const ODD_TEXTS: &[&str] = &["odd_texts_come_back_exactly"];
const NUMBERS: &[&str] = &["odd_numbers_come_back_exactly"];
const SECRETS: &[&str] = &["inline_and_referenced_secrets_come_back_and_are_not_in_the_body"];
const WAKES: &[&str] = &["a_commit_wakes_whoever_listens_to_its_kinds"];

pub(super) const BROKEN: &[Broken] = &[
    (
        "keeps what is digested as JSON, and writes it its own way",
        || {
            reads(|record| {
                if let Record::Plan(plan) = record {
                    plan.canonical = plan.canonical.replace(',', ", ");
                }
            })
        },
        &["every_kind_of_record_comes_back_as_it_was"],
    ),
    (
        "forgets a field of one kind",
        || {
            reads(|record| {
                if let Record::EventLetter(letter) = record {
                    letter.last_error = None;
                }
            })
        },
        &["every_kind_of_record_comes_back_as_it_was"],
    ),
    (
        "lists records without their bodies' ends",
        || layered(ListsShort::default()),
        &["every_kind_of_record_comes_back_as_it_was"],
    ),
    (
        "keeps times to the millisecond",
        || {
            reads(|record| {
                if let Record::Investigation(investigation) = record {
                    investigation.created_at = investigation.created_at.trunc_subsecs(3);
                    investigation.updated_at = investigation.updated_at.trunc_subsecs(3);
                }
            })
        },
        &["times_come_back_to_the_microsecond"],
    ),
    (
        "compares due times to the second",
        || layered(DueToTheSecond::default()),
        &["times_come_back_to_the_microsecond"],
    ),
    ("drops NULs", || texts(|text| text.replace('\0', "")), ODD_TEXTS),
    ("trims texts", || texts(|text| text.trim().to_owned()), ODD_TEXTS),
    ("makes line ends its own", || texts(|text| text.replace("\r\n", "\n")), ODD_TEXTS),
    ("composes characters", || texts(|text| text.replace("e\u{301}", "é")), ODD_TEXTS),
    ("cuts texts at 64 KiB", || texts(|text| text.chars().take(1 << 16).collect()), &["large_texts_come_back_exactly"]),
    ("keeps floats short", || numbers(|number| f64::from(number as f32)), NUMBERS),
    ("keeps no negative zero", || numbers(|number| number + 0.0), NUMBERS),
    (
        "reads floats nearly right",
        || numbers(|number| if number == 31.245_270_191_439_438 { number.next_up() } else { number }),
        NUMBERS,
    ),
    (
        "loses secrets",
        || reads(|record| record.set_secret(None)),
        &[
            "inline_and_referenced_secrets_come_back_and_are_not_in_the_body",
            "every_kind_of_record_comes_back_as_it_was",
            "large_texts_come_back_exactly",
        ],
    ),
    ("keeps a secret that was taken away", || layered(KeepsSecrets::default()), SECRETS),
    (
        "makes a reference of every secret",
        || {
            reads(|record| {
                use secrecy::ExposeSecret as _;
                if let Some(StoredSecret::Inline(text)) = record.secret().cloned() {
                    record.set_secret(Some(StoredSecret::Reference(text.expose_secret().to_owned())));
                }
            })
        },
        SECRETS,
    ),
    ("wakes nobody", || layered(WakesNobody::default()), WAKES),
    ("wakes for a commit that it refused", || layered(WakesForTheRefused::default()), WAKES),
    ("wakes for the wrong kind", || layered(WakesForPlans::default()), WAKES),
    ("is never ready", || layered(NeverReady::default()), &["an_empty_store_answers"]),
];

/// Changes what was stored when it is read.
struct Reads<F>(MemoryStore, F);

fn reads(change: fn(&mut Record)) -> AnyStore {
    layered(Reads(MemoryStore::new(), change))
}

/// Changes the texts of rules and the secrets of connectors.
fn texts(change: fn(&str) -> String) -> AnyStore {
    layered(Reads(MemoryStore::new(), move |record: &mut Record| match record {
        Record::AlertRule(rule) => rule.description = change(&rule.description),
        Record::Connector(connector) => connector.name = change(&connector.name),
        _ => {}
    }))
}

/// Changes the thresholds of rules.
fn numbers(change: fn(f64) -> f64) -> AnyStore {
    layered(Reads(MemoryStore::new(), move |record: &mut Record| {
        if let Record::AlertRule(rule) = record {
            rule.condition.threshold = change(rule.condition.threshold);
        }
    }))
}

#[async_trait]
impl<F: Fn(&mut Record) + Send + Sync> StoreLayer for Reads<F> {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        let mut found = self.0.load(lookup).await?;
        found.iter_mut().for_each(|found| self.1(&mut found.value));
        Ok(found)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        page.records.iter_mut().for_each(|found| self.1(&mut found.value));
        Ok(page)
    }
}

broken! { ListsShort;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        for found in &mut page.records {
            if let Record::Investigation(investigation) = &mut found.value {
                investigation.report = None;
            }
        }
        Ok(page)
    }
}

broken! { DueToTheSecond;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let due_by = query.due_by.map(|by| by.trunc_subsecs(0) + std::time::Duration::from_secs(1));
        self.0.list(&ListQuery { due_by, ..query.clone() }).await
    }
}

#[derive(Default)]
struct KeepsSecrets(MemoryStore, Mutex<HashMap<Key, StoredSecret>>);

#[async_trait]
impl StoreLayer for KeepsSecrets {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        for change in &mut commit.changes {
            if let Change::Insert(record) | Change::Update(record, _) = change {
                let mut kept = lock(&self.1);
                match record.secret().cloned() {
                    Some(secret) => {
                        kept.insert(record.key(), secret);
                    }
                    None => record.set_secret(kept.get(&record.key()).cloned()),
                }
            }
        }
        self.0.commit(commit).await
    }
}

broken! { WakesNobody;
    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        broadcast::Sender::new(1).subscribe()
    }
}

struct WakesForTheRefused(MemoryStore, broadcast::Sender<RecordKind>);

impl Default for WakesForTheRefused {
    fn default() -> Self {
        Self(MemoryStore::new(), broadcast::Sender::new(64))
    }
}

#[async_trait]
impl StoreLayer for WakesForTheRefused {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        for change in &commit.changes {
            let _ = self.1.send(change.key().kind);
        }
        self.0.commit(commit).await
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.1.subscribe()
    }
}

struct WakesForPlans(MemoryStore, broadcast::Sender<RecordKind>);

impl Default for WakesForPlans {
    fn default() -> Self {
        Self(MemoryStore::new(), broadcast::Sender::new(64))
    }
}

#[async_trait]
impl StoreLayer for WakesForPlans {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let committed = self.0.commit(commit).await?;
        let _ = self.1.send(RecordKind::Plan);
        Ok(committed)
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        self.1.subscribe()
    }
}

broken! { NeverReady;
    async fn ping(&self) -> Result<(), StoreError> {
        Err(StoreError::Unavailable { message: "not yet".into() })
    }
}
