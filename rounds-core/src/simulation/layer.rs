//! The store as one replica reaches it: over a network that loses answers, from a process that may stop at any call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::sim::{Gate, Node, Sim, lock};
use crate::audit::chain::Broken;
use crate::id::OrgId;
use crate::ports::Event;
use crate::ports::store::{
    AuditHead, AuditPage, AuditQuery, Change, ClaimQuery, Commit, Committed, Key, Lease, ListQuery, Lookup, Page,
    Record, RecordKind, Store, StoreError, Versioned,
};
use crate::testing::StoreLayer;
use crate::time::Timestamp;

pub(super) struct Wire {
    pub sim: Arc<Sim>,
    pub node: Node,
    pub gate: Arc<Gate>,
    /// Until when nothing gets through.
    pub out_until: Arc<Mutex<Timestamp>>,
}

impl Wire {
    /// What every call meets on its way to the store.
    async fn there(&self) -> Result<(), StoreError> {
        self.gate.pass().await;
        let weather = self.sim.weather();
        if self.sim.now() < *lock(&self.out_until) || self.sim.chance(weather.unavailable) {
            self.sim.say(|| format!("node {} does not reach the store", self.node));
            return Err(unavailable());
        }
        if self.sim.chance(weather.slow) {
            tokio::time::sleep(self.sim.millis(2500)).await;
            self.gate.pass().await;
        }
        Ok(())
    }

    /// An answer may get lost; what it tells of has happened all the same.
    fn lost<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if answer.is_ok() && self.sim.chance(self.sim.weather().answer_lost) { Err(unavailable()) } else { answer }
    }

    /// What every answer meets on its way back.
    async fn back<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.gate.pass().await;
        answer
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { message: "the simulation says so".into() }
}

#[async_trait]
impl StoreLayer for Wire {
    fn inner(&self) -> &dyn Store {
        &self.sim.store
    }

    async fn load(&self, lookup: &Lookup) -> Result<Option<Versioned<Record>>, StoreError> {
        if let (Lookup::Key(Key { kind: RecordKind::AlertRule, id }), Some(task)) = (lookup, tokio::task::try_id()) {
            self.sim.book(|book| book.evaluates(self.node, task, *id));
        }
        self.there().await?;
        self.back(self.inner().load(lookup).await).await
    }
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.there().await?;
        self.back(self.inner().list(query).await).await
    }
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<BTreeMap<String, u64>, StoreError> {
        self.there().await?;
        self.back(self.inner().count(kind, org).await).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.there().await?;
        let (sim, weather) = (&self.sim, self.sim.weather());
        if let Some(first) = commit.changes.first().filter(|_| sim.chance(weather.conflict)) {
            return Err(StoreError::Conflict { key: first.key(), expected: 0 });
        }
        let lost = sim.chance(weather.answer_lost);
        let answer = if sim.chance(weather.late) {
            // On its way it goes on by itself: whoever sent it may have given up, or died, when it arrives.
            let (sim, node, late) = (Arc::clone(sim), self.node, sim.millis(4000));
            let arrives = tokio::spawn(async move {
                tokio::time::sleep(late).await;
                apply(&sim, node, commit).await
            });
            arrives.await.unwrap_or_else(|_| Err(unavailable()))
        } else {
            apply(sim, self.node, commit).await
        };
        if lost && answer.is_ok() {
            sim.say(|| format!("node {} never hears of it", self.node));
            return self.back(Err(unavailable())).await;
        }
        self.back(answer).await
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.there().await?;
        let answer = self.inner().claim(query).await;
        if let Ok(Some((_, lease))) = &answer {
            self.sim.say(|| {
                let id = lease.key.id.to_string();
                format!("node {} claimed {} {} #{}", self.node, lease.key.kind, short(&id), lease.fence)
            });
            self.sim.book(|book| book.claimed(self.node, lease, query.ttl));
        }
        self.back(self.lost(answer)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), StoreError> {
        let asked = self.sim.now();
        let there = self.there().await;
        if there.is_err() || asked != self.sim.now() {
            self.sim.book(|book| book.disturbed(self.node));
        }
        there?;
        let answer = self.inner().renew(lease, ttl).await;
        self.sim.say(|| {
            let how = if answer.is_ok() { "renewed" } else { "lost" };
            format!("node {} {how} {} {} #{}", self.node, lease.key.kind, short(&lease.key.id.to_string()), lease.fence)
        });
        if answer.is_ok() {
            self.sim.book(|book| book.renewed(self.node, lease, ttl));
        }
        self.back(self.lost(answer)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.there().await?;
        let answer = self.inner().release(lease).await;
        if answer.is_ok() {
            self.sim.book(|book| book.released(lease));
        }
        self.back(self.lost(answer)).await
    }

    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.there().await?;
        self.back(self.inner().next_due(kind, statuses, after).await).await
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.there().await?;
        self.back(self.inner().time().await).await
    }
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.there().await?;
        self.back(self.inner().events(org, after, limit).await).await
    }
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.there().await?;
        self.back(self.inner().audit(query).await).await
    }
    async fn verify_audit(&self, org: &OrgId) -> Result<Result<AuditHead, Broken>, StoreError> {
        self.there().await?;
        self.back(self.inner().verify_audit(org).await).await
    }

    fn wakes(&self) -> broadcast::Receiver<RecordKind> {
        let mut ears = lock(&self.sim.ears);
        ears.entry(self.node).or_insert_with(|| broadcast::Sender::new(1024)).subscribe()
    }
}

/// The commit as it arrives at the store.
async fn apply(sim: &Arc<Sim>, node: Node, commit: Commit) -> Result<Committed, StoreError> {
    let answer = sim.store.commit(commit.clone()).await;
    match &answer {
        // Nobody else has run since the store applied it.
        Ok(_) => {
            sim.say(|| format!("node {node} committed{}", said(&commit)));
            sim.book(|book| book.committed(node, &commit));
            let changed = commit.changes.iter().filter(|change| !matches!(change, Change::Expect(..)));
            for kind in changed.map(|change| change.key().kind).collect::<BTreeSet<_>>() {
                wake(sim, kind);
            }
        }
        Err(error) => sim.say(|| format!("node {node} refused{}: {error}", said(&commit))),
    }
    answer
}

/// Tells every replica of a commit: at once, twice, late, or not at all.
fn wake(sim: &Arc<Sim>, kind: RecordKind) {
    let weather = sim.weather();
    let ears: Vec<broadcast::Sender<RecordKind>> = lock(&sim.ears).values().cloned().collect();
    for ear in ears {
        if sim.chance(weather.wake_lost) {
            continue;
        }
        let times = if sim.chance(weather.wake_twice) { 2 } else { 1 };
        if sim.chance(weather.wake_late) {
            let late = sim.millis(8000);
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                for _ in 0..times {
                    let _ = ear.send(kind);
                }
            });
        } else {
            for _ in 0..times {
                // Nobody may be listening.
                let _ = ear.send(kind);
            }
        }
    }
}

/// A commit in a line.
fn said(commit: &Commit) -> String {
    let mut line = String::new();
    for event in &commit.events {
        line.push_str(&format!(" {}:{}", short(&event.subject_id), event.name));
    }
    for change in &commit.changes {
        match change {
            Change::Insert(record) => line.push_str(&format!(" +{}", what(record))),
            Change::Update(record, version) => line.push_str(&format!(" ~{}@{version}", what(record))),
            Change::Delete(key, _) => line.push_str(&format!(" -{} {}", key.kind, short(&key.id.to_string()))),
            Change::Expect(..) => {}
        }
    }
    for entry in commit.audit.iter().filter(|_| commit.changes.is_empty()) {
        line.push_str(&format!(" audit {} {}", entry.action, entry.outcome.as_str()));
    }
    line
}

fn what(record: &Record) -> String {
    let id = record.key().id.to_string();
    let status = match record {
        Record::Plan(plan) => {
            let steps: Vec<_> = plan.steps.iter().map(|step| step.status.as_str()).collect();
            format!("{} [{}]", plan.status.as_str(), steps.join(" "))
        }
        other => other.index().status.map(|status| status.to_string()).unwrap_or_default(),
    };
    format!("{} {} {status}", record.kind(), short(&id))
}

/// Enough of an id to tell it from others: ids of a run are numbered.
pub(super) fn short(id: &str) -> &str {
    id.get(9..13).unwrap_or(id)
}
