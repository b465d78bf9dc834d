//! The rules about alerts, investigations and notices, as the book checks them.

use super::book::{Asking, Book, Running};
use super::sim::Node;
use crate::alert::{AlertInstance, AlertState};
use crate::connector::Role;
use crate::id::{ConnectorId, InvestigationId};
use crate::investigation::{Investigation, InvestigationStatus, Trigger};
use crate::ports::Notice;
use crate::ports::store::{Change, Commit, Key, NoticeStatus, OutboxNotice, Record, RecordKind};
use crate::settings::Settings;
use crate::time::{after_ms, elapsed};

impl Book {
    /// Rule 13: what an alert leads to is committed with its transition.
    pub(super) fn instance_changed(&mut self, commit: &Commit, old: Option<&AlertInstance>, new: &AlertInstance) {
        let (id, before) = (new.id, old.map_or(AlertState::Normal, |old| old.state));
        let pending = new.state != AlertState::Pending || new.pending_since.is_some();
        self.must(pending, "rule 13", || format!("instance {id} is pending, and nobody knows since when"));
        let inserted = |wanted: &dyn Fn(&Record) -> bool| {
            let inserts = commit.changes.iter().filter(|change| matches!(change, Change::Insert(it) if wanted(it)));
            inserts.count()
        };
        if old.is_some_and(|old| old.last_evaluated_at != new.last_evaluated_at) {
            self.count("evaluations");
            // Whoever writes down what was seen is the one that may look.
            let key = Key::new(RecordKind::AlertInstance, id.as_uuid());
            let mine = self.holder(key).is_some_and(|held| commit.leases.contains(&held.lease));
            self.must(mine, "one evaluator", || {
                format!("instance {id} was evaluated by somebody who does not hold it")
            });
        }
        if before == new.state {
            return;
        }
        self.count(new.state.as_str());
        if old.is_some() {
            let row = |record: &Record| matches!(record, Record::AlertHistory(row) if row.rule_id == new.rule_id);
            self.must(inserted(&row) == 1, "rule 13", || format!("instance {id} changed without a history row"));
        }
        if new.state == AlertState::Firing {
            let queued = |record: &Record| {
                matches!(record, Record::Investigation(found) if matches!(&found.trigger,
                    Trigger::Alert { instance_id, firing_since, after_silence: false, .. }
                        if *instance_id == id && Some(*firing_since) == new.firing_since))
            };
            self.must(inserted(&queued) == 1, "rule 13", || format!("instance {id} fires without its investigation"));
        }
    }

    pub(super) fn investigation_queued(&mut self, new: &Investigation) {
        let Trigger::Alert { instance_id, firing_since, after_silence: false, .. } = &new.trigger else { return };
        if new.force {
            return;
        }
        let of_it = self.episodes.entry((instance_id.as_uuid(), *firing_since)).or_default();
        *of_it += 1;
        let several = *of_it;
        self.must(several == 1, "rule 13", || {
            format!("an episode of instance {instance_id} has {several} investigations")
        });
    }

    pub(super) fn investigation_changed(&mut self, commit: &Commit, old: &Investigation, new: &Investigation) {
        use InvestigationStatus as S;
        let id = new.id;
        let legal = match old.status {
            S::Queued => new.status != S::Completed,
            S::Running => matches!(new.status, S::Running | S::Completed | S::Failed | S::Cancelled),
            S::Completed | S::Failed | S::Skipped | S::Cancelled => false,
        };
        self.must(legal, "rule 6", || format!("investigation {id} was {:?} and became {:?}", old.status, new.status));
        if new.status != old.status {
            self.count(new.status.as_str());
        }
        // Only a person's cancel comes from outside.
        if new.status != S::Cancelled {
            let key = Key::new(RecordKind::Investigation, id.as_uuid());
            let mine = self.holder(key).is_some_and(|held| commit.leases.contains(&held.lease));
            self.must(mine, "rule 5", || format!("investigation {id} was changed by somebody who does not hold it"));
        }
        if new.status == S::Completed
            && let Some(plan) = new.plan_id
        {
            let with_it = commit
                .changes
                .iter()
                .any(|change| matches!(change, Change::Insert(Record::Plan(found)) if found.id == plan));
            self.must(with_it, "rule 9", || format!("investigation {id} ended, and its plan is not there"));
        }
    }

    // Queries of the evaluator.

    /// An evaluation looks its rule up: it is the one of this replica's last claim, or one that was seen before.
    pub(super) fn evaluates(&mut self, node: Node, task: tokio::task::Id, rule: uuid::Uuid) {
        let instance = self.of_kind(RecordKind::AlertInstance).find_map(|record| match record {
            Record::AlertInstance(found) if found.rule_id.as_uuid() == rule => Some(record.key()),
            _ => None,
        });
        let claimed = instance.and_then(|key| self.claims.get(&(node, key))).copied();
        if let Some(claimed) = claimed {
            self.evaluations.entry(task).or_insert(claimed);
        }
    }

    /// A rule is asked about; answers a number to end it by. Only one evaluation at a time asks, unless something came
    /// between a replica and its lease: until that finds out, it may go on.
    pub(super) fn asks(&mut self, node: Node, task: Option<tokio::task::Id>, rule: &str) -> u64 {
        self.count("queries");
        let number = self.tally.get("queries").copied().unwrap_or_default();
        let Some(task) = task.filter(|task| !self.deeds.contains(task)) else { return number };
        let claimed = self.evaluations.get(&task).copied().unwrap_or_default();
        let excused = |book: &Self, node, claimed| book.disturbances.get(&node).is_some_and(|at| *at >= claimed);
        for other in std::mem::take(&mut self.asking) {
            let fine = other.rule != rule || excused(self, node, claimed) || excused(self, other.node, other.claimed);
            self.must(fine, "one evaluator", || {
                format!(
                    "rule {rule} is asked about by node {node}, while query {} of node {} goes on",
                    other.number, other.node
                )
            });
            self.asking.push(other);
        }
        self.asking.push(Asking { number, node, rule: rule.to_owned(), claimed });
        number
    }

    pub(super) fn answered(&mut self, number: u64) {
        self.asking.retain(|asking| asking.number != number);
    }

    // Runs of the investigator.

    pub(super) fn investigates(&mut self, node: Node, investigation: InvestigationId, attempt: u32, cap: usize) {
        self.count("runs");
        let first = self.runs.insert((investigation, attempt));
        self.must(first, "rule 13", || format!("attempt {attempt} of investigation {investigation} ran twice"));
        self.running.push(Running { node, investigation, disturbed: false });
        let busy = self.running.iter().filter(|run| !run.disturbed).count();
        self.must(busy <= cap, "cap", || format!("{busy} investigations run at a time, and {cap} may"));
    }

    pub(super) fn investigated(&mut self, node: Node, investigation: InvestigationId) {
        self.running.retain(|run| run.node != node || run.investigation != investigation);
    }

    // Notices.

    pub(super) fn notice_written(&mut self, notice: &OutboxNotice) {
        let key = notice.notice.idempotency_key.clone();
        let known = self.keys.entry(notice.notice.id.as_uuid()).or_insert_with(|| key.clone()).clone();
        self.must(known == key, "outbox", || format!("notice {known} is now called {key}"));
        if notice.status == NoticeStatus::Dead {
            self.count("dead letters");
        }
    }

    /// A notice goes away when every channel has its own copy, or when its channel was told.
    pub(super) fn notice_deleted(&mut self, commit: &Commit, notice: &OutboxNotice) {
        let key = &notice.notice.idempotency_key;
        match notice.channel {
            Some(channel) => {
                let told = self.delivered.contains(&(channel, key.clone()));
                self.must(told, "outbox", || format!("notice {key} went away, and its channel was never told"));
            }
            None => {
                let channels = self
                    .of_kind(RecordKind::Connector)
                    .filter(|record| matches!(record, Record::Connector(found) if found.role == Role::Notifier));
                let (copies, channels) = (
                    commit.changes.iter().filter(|change| matches!(change, Change::Insert(Record::Notice(_)))).count(),
                    channels.count(),
                );
                self.must(copies == channels, "outbox", || {
                    format!("notice {key} went to {copies} of {channels} channels")
                });
            }
        }
    }

    pub(super) fn told(&mut self, channel: ConnectorId, notice: &Notice) {
        self.count("told");
        if !self.delivered.insert((channel, notice.idempotency_key.clone())) {
            self.count("told again");
            return;
        }
        let rows: Vec<(Option<uuid::Uuid>, u64)> = self
            .of_kind(RecordKind::Notice)
            .filter_map(|record| match record {
                Record::Notice(row) if row.channel == Some(channel) => Some(row),
                _ => None,
            })
            .filter(|row| row.notice.idempotency_key == notice.idempotency_key)
            .map(|row| (row.about, row.place))
            .collect();
        let [(Some(about), place)] = rows.as_slice() else {
            return self
                .violated("outbox", format!("{} was told, and {} rows say so", notice.idempotency_key, rows.len()));
        };
        let latest = self.places.entry((channel, *about)).or_default();
        let before = *latest;
        *latest = before.max(*place);
        self.must(before <= *place, "outbox", || {
            format!("{} is told after what came later: place {place} after {before}", notice.idempotency_key)
        });
    }

    /// Whoever listens to a replica hears of everything, in order, from where it began.
    pub(super) fn heard(&mut self, node: Node, seq: u64) {
        // At least once and in order, whichever node gives it: a repeat is none that was passed over.
        let last = self.heard.values().max().copied();
        self.heard.insert(node, last.map_or(seq, |last| last.max(seq)));
        self.must(last.is_none_or(|last| seq <= last + 1), "feed", || {
            format!("node {node} passed on event {seq} after {last:?}")
        });
    }

    // At the end.

    pub(super) fn alerts_settled(&mut self, settings: &Settings) {
        let now = self.now;
        let records: Vec<Record> = self.records.values().map(|(record, _)| record.clone()).collect();
        for record in &records {
            match record {
                Record::Investigation(found) => self.must(found.status.is_terminal(), "rule 13", || {
                    format!("investigation {} is {} for ever", found.id, found.status.as_str())
                }),
                Record::AlertRule(rule) if rule.enabled => {
                    let seen = records.iter().find_map(|record| match record {
                        Record::AlertInstance(found) if found.rule_id == rule.id => Some(found),
                        _ => None,
                    });
                    let slack = rule.interval() * 3 + settings.lease_ttl + settings.query_timeout * 2;
                    let late = seen.and_then(|seen| seen.last_evaluated_at).is_none_or(|at| elapsed(at, now) > slack);
                    // It may have been made or switched on just now.
                    let old = after_ms(rule.updated_at, u64::try_from(slack.as_millis()).unwrap_or(u64::MAX)) < now;
                    self.must(!(late && old), "rule 13", || format!("rule {} is no longer evaluated", rule.name));
                }
                Record::Notice(notice) => self.must(notice.status == NoticeStatus::Dead, "outbox", || {
                    format!("notice {} waits for ever: {:?}", notice.notice.idempotency_key, notice.last_error)
                }),
                _ => {}
            }
        }
    }
}
