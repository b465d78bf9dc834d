//! What happened so far, as somebody would write it down who sees every commit, lease, query and effect; and what of
//! it must not have happened.
//!
//! The book is written at the very moment at which the store applies a commit or an effect begins, and it compares what
//! the services wrote with what really took place in the world, which they can only guess.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::sim::Node;
use crate::audit::AuditEntry;
use crate::id::{ConnectorId, InvestigationId, PlanId};
use crate::plan::Plan;
use crate::ports::store::{Change, Commit, Key, Lease, Record, RecordKind};
use crate::time::{Timestamp, after_ms};

/// Something that must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Of which rule: `rule 4`, or a word for those that DESIGN does not number.
    pub rule: &'static str,
    pub what: String,
}

/// Who holds a record, as the store says.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub node: Node,
    pub lease: Lease,
    pub until: Timestamp,
}

/// One run of one step in the world.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub plan: PlanId,
    pub ordinal: u32,
    pub attempt: u32,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// What the adapter answered, if it did.
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Failed,
    Unknown,
}

/// A query that a rule's evaluation made and that has not been answered.
#[derive(Debug)]
pub(super) struct Asking {
    pub number: u64,
    pub node: Node,
    pub rule: String,
    /// When the claim was made that it belongs to.
    pub claimed: Timestamp,
}

/// A run of an investigator.
#[derive(Debug)]
pub(super) struct Running {
    pub node: Node,
    pub investigation: InvestigationId,
    /// Whether its replica may have lost its place under the cap meanwhile.
    pub disturbed: bool,
}

#[derive(Default)]
pub(super) struct Book {
    pub now: Timestamp,
    pub violations: Vec<Violation>,
    pub records: BTreeMap<Key, (Record, u64)>,
    pub leases: BTreeMap<Key, Held>,
    pub audit: Vec<AuditEntry>,
    /// What each revision of each connector was.
    pub connectors: BTreeMap<(ConnectorId, u64), (String, Value)>,
    /// The digests that people saw, with the plan as it was shown.
    pub shown: BTreeMap<(PlanId, String), Plan>,
    /// What people approved.
    pub approved: BTreeMap<PlanId, Plan>,
    pub effects: Vec<Effect>,
    /// The last claim of each record by each replica.
    pub claims: BTreeMap<(Node, Key), Timestamp>,
    /// Of which claim each evaluation is.
    pub evaluations: BTreeMap<tokio::task::Id, Timestamp>,
    /// What people do, who look rules up as well, and ask about them.
    pub deeds: BTreeSet<tokio::task::Id>,
    /// When each replica was last stopped, cut off or robbed.
    pub disturbances: BTreeMap<Node, Timestamp>,
    pub asking: Vec<Asking>,
    pub running: Vec<Running>,
    pub runs: BTreeSet<(InvestigationId, u32)>,
    /// The alert episodes that began, and for how many investigations each.
    pub episodes: BTreeMap<(Uuid, Timestamp), u32>,
    /// Deliveries that succeeded, by channel and key.
    pub delivered: BTreeSet<(ConnectorId, String)>,
    /// The place of the latest thing that a channel was told about something.
    pub places: BTreeMap<(ConnectorId, Uuid), u64>,
    /// The keys that each notice was known by, so that it never changes.
    pub keys: BTreeMap<Uuid, String>,
    /// The last event that each replica passed on.
    pub heard: BTreeMap<Node, u64>,
    /// What was counted, to see that a run was worth its time.
    pub tally: BTreeMap<String, u64>,
}

impl Book {
    pub(super) fn violated(&mut self, rule: &'static str, what: impl Into<String>) {
        self.violations.push(Violation { rule, what: what.into() });
    }

    pub(super) fn must(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(rule, what());
        }
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }

    // Leases.

    pub(super) fn claimed(&mut self, node: Node, lease: &Lease, ttl: Duration) {
        if let Some(before) = self.leases.get(&lease.key).cloned() {
            let now = self.now;
            self.must(before.until <= now, "rule 5", || format!("{} was claimed while somebody held it", lease.key));
            self.must(before.lease.fence < lease.fence, "rule 5", || format!("the fence of {} fell", lease.key));
            if lease.key.kind == RecordKind::WorkSlot {
                self.disturbed(before.node);
            }
        }
        let until = self.until(ttl);
        self.leases.insert(lease.key, Held { node, lease: lease.clone(), until });
        self.claims.insert((node, lease.key), self.now);
    }

    pub(super) fn renewed(&mut self, node: Node, lease: &Lease, ttl: Duration) {
        let until = self.until(ttl);
        match self.leases.get(&lease.key) {
            Some(held) if held.lease != *lease => {
                self.violated("rule 5", format!("{} was renewed by somebody who lost it", lease.key));
            }
            _ => {
                self.leases.insert(lease.key, Held { node, lease: lease.clone(), until });
            }
        }
    }

    pub(super) fn released(&mut self, lease: &Lease) {
        if self.leases.get(&lease.key).is_some_and(|held| held.lease == *lease) {
            self.leases.remove(&lease.key);
        }
    }

    /// Whoever holds a record now.
    pub(super) fn holder(&self, key: Key) -> Option<&Held> {
        self.leases.get(&key).filter(|held| held.until > self.now)
    }

    fn until(&self, ttl: Duration) -> Timestamp {
        after_ms(self.now, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
    }

    /// A replica was stopped, cut off or robbed: for a while it may do more than its share.
    pub(super) fn disturbed(&mut self, node: Node) {
        self.disturbances.insert(node, self.now);
        for run in self.running.iter_mut().filter(|run| run.node == node) {
            run.disturbed = true;
        }
    }

    /// A replica is no more, and so is whatever it was doing beside its effects.
    pub(super) fn died(&mut self, node: Node) {
        self.running.retain(|run| run.node != node);
        self.asking.retain(|asking| asking.node != node);
    }

    // Commits.

    pub(super) fn committed(&mut self, node: Node, commit: &Commit) {
        for lease in &commit.leases {
            let held = self.holder(lease.key).is_some_and(|held| held.lease == *lease);
            self.must(held, "rule 5", || format!("a commit under a lease on {} that was lost", lease.key));
        }
        for change in &commit.changes {
            let before = self.records.get(&change.key()).cloned();
            match change {
                Change::Insert(record) => {
                    self.changed(node, commit, None, record);
                    self.records.insert(record.key(), (record.clone(), 1));
                }
                Change::Update(record, version) => {
                    let known = before.as_ref().map(|(_, version)| *version);
                    self.must(known == Some(*version), "rule 5", || {
                        format!("{} was changed at version {version} and was at {known:?}", record.key())
                    });
                    self.changed(node, commit, before.as_ref().map(|(record, _)| record), record);
                    self.records.insert(record.key(), (record.clone(), version + 1));
                }
                Change::Delete(key, _) => {
                    if let Some((record, _)) = &before {
                        self.deleted(commit, record);
                    }
                    self.records.remove(key);
                    self.leases.remove(key);
                }
                Change::Expect(..) => {}
            }
        }
        for change in &commit.changes {
            if let Change::Update(Record::Plan(plan), _) | Change::Insert(Record::Plan(plan)) = change {
                self.together(commit, plan);
            }
        }
        for lease in &commit.released {
            self.released(lease);
        }
        self.audit.extend(commit.audit.iter().cloned());
    }

    fn changed(&mut self, node: Node, commit: &Commit, before: Option<&Record>, record: &Record) {
        match (before, record) {
            (Some(Record::Plan(old)), Record::Plan(new)) => self.plan_changed(node, commit, old, new),
            (None, Record::Plan(new)) => self.plan_proposed(commit, new),
            (old, Record::AlertInstance(new)) => {
                let old = match old {
                    Some(Record::AlertInstance(old)) => Some(old.as_ref()),
                    _ => None,
                };
                self.instance_changed(commit, old, new);
            }
            (Some(Record::Investigation(old)), Record::Investigation(new)) => {
                self.investigation_changed(commit, old, new);
            }
            (None, Record::Investigation(new)) => self.investigation_queued(new),
            (_, Record::Connector(new)) => {
                self.connectors.insert((new.id, new.revision), (new.name.clone(), new.config.clone()));
            }
            (_, Record::Notice(notice)) => self.notice_written(notice),
            _ => {}
        }
    }

    fn deleted(&mut self, commit: &Commit, record: &Record) {
        match record {
            Record::Plan(plan) => self.violated("rule 6", format!("plan {} was deleted", plan.id)),
            Record::Investigation(found) => {
                self.violated("rule 6", format!("investigation {} was deleted", found.id));
            }
            Record::Notice(notice) => self.notice_deleted(commit, notice),
            _ => {}
        }
    }

    /// Every value of a type that the store keeps now.
    pub(super) fn plans(&self) -> Vec<Plan> {
        self.of_kind(RecordKind::Plan)
            .filter_map(|record| match record {
                Record::Plan(plan) => Some(plan.as_ref().clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn plan(&self, id: PlanId) -> Option<&Plan> {
        match self.records.get(&Key::new(RecordKind::Plan, id.as_uuid())) {
            Some((Record::Plan(plan), _)) => Some(plan),
            _ => None,
        }
    }

    pub(super) fn of_kind(&self, kind: RecordKind) -> impl Iterator<Item = &Record> {
        let range = Key::new(kind, Uuid::nil())..=Key::new(kind, Uuid::max());
        self.records.range(range).map(|(_, (record, _))| record)
    }
}
