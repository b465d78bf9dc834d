//! Stores that are wrong about the event log and the audit chain.

use async_trait::async_trait;
use rounds_core::OrgId;
use rounds_core::audit::chain::{self, Broken as BrokenChain};
use rounds_core::audit::{AuditRow, Checkpoint, Prune};
use rounds_core::ports::store::{AuditHead, AuditPage, AuditQuery, Commit, Committed, StoreError};
use rounds_core::ports::{Event, Store};
use rounds_core::testing::{MemoryStore, StoreLayer};

use super::{Broken, broken, layered};

const FILTERED: &[&str] = &["audit_rows_are_filtered_by_every_condition_together"];
const EXPORT: &[&str] = &["audit_rows_are_read_oldest_first_from_any_place"];
const PRUNE: &[&str] = &["pruning_leaves_a_signed_checkpoint_and_the_chain_goes_on"];
const EVENTS: &[&str] = &["events_are_numbered_without_gaps_per_organisation"];
const AUDIT: &[&str] = &["audit_rows_are_numbered_and_chained_per_organisation"];

pub(super) const BROKEN: &[Broken] = &[
    (
        "drops events",
        || layered(DropsEvents::default()),
        &[
            "events_are_numbered_without_gaps_per_organisation",
            "a_dropped_commit_is_whole_or_nothing_and_blocks_nobody",
            "odd_texts_come_back_exactly",
        ],
    ),
    (
        "drops audit entries",
        || layered(DropsAudit::default()),
        &[
            "audit_rows_are_numbered_and_chained_per_organisation",
            "numbers_have_no_gaps_under_concurrent_commits_and_refusals",
            "concurrent_read_modify_write_loses_nothing",
        ],
    ),
    (
        "leaves gaps between events",
        || layered(LeavesGaps::default()),
        &[
            "events_are_numbered_without_gaps_per_organisation",
            "numbers_have_no_gaps_under_concurrent_commits_and_refusals",
        ],
    ),
    ("does not say which numbers events got", || layered(AnswersNoNumbers::default()), EVENTS),
    ("reads events from the number on, not after it", || layered(ReadsFromTheNumber::default()), EVENTS),
    ("reads as many events as there are", || layered(ReadsThemAll::default()), EVENTS),
    ("keeps the events of all organisations together", || layered(OneLogForAll::default()), EVENTS),
    ("chains no rows", || layered(ChainsNothing::default()), AUDIT),
    ("lists the oldest audit rows first", || layered(OldestFirst::default()), AUDIT),
    ("verifies nothing", || layered(AlwaysVerified::default()), AUDIT),
    ("changes an entry", || layered(ChangesEntries::default()), AUDIT),
    ("filters by no action", || asks(|query| query.action = None), FILTERED),
    ("filters by no actor", || asks(|query| query.actor_id = None), FILTERED),
    ("filters by no type of target", || asks(|query| query.target_type = None), FILTERED),
    ("filters by no target", || asks(|query| query.target_id = None), FILTERED),
    ("filters by no outcome", || asks(|query| query.outcome = None), FILTERED),
    ("filters by no beginning", || asks(|query| query.from = None), FILTERED),
    ("filters by no end", || asks(|query| query.to = None), FILTERED),
    ("passes over no rows", || asks(|query| query.offset = 0), FILTERED),
    ("reads audit rows from the number on, not after it", || layered(RowsFromTheNumber::default()), EXPORT),
    ("reads the newest audit rows first", || layered(RowsNewestFirst::default()), EXPORT),
    ("reads audit rows of any limit", || layered(RowsOfAnyLimit::default()), EXPORT),
    ("prunes nothing", || layered(PrunesNothing::default()), PRUNE),
    ("forgets its checkpoint", || layered(ForgetsTheCheckpoint::default()), PRUNE),
    (
        "reads rows with other hashes than it verified",
        || layered(ReadsOtherHashes::default()),
        &["an_exported_head_is_held_against_the_chain", "audit_rows_are_read_oldest_first_from_any_place"],
    ),
    ("counts the rows of the page only", || layered(CountsThePage::default()), FILTERED),
];

struct Asks(MemoryStore, fn(&mut AuditQuery));

fn asks(change: fn(&mut AuditQuery)) -> super::AnyStore {
    layered(Asks(MemoryStore::new(), change))
}

#[async_trait]
impl StoreLayer for Asks {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let mut query = query.clone();
        self.1(&mut query);
        self.0.audit(&query).await
    }
}

broken! { DropsEvents;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut events = commit.events.clone();
        let committed = self.0.commit(Commit { events: Vec::new(), ..commit }).await?;
        (1..).zip(&mut events).for_each(|(seq, event)| event.seq = seq);
        Ok(Committed { events, ..committed })
    }
}

broken! { DropsAudit;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.0.commit(Commit { audit: Vec::new(), ..commit }).await
    }
}

broken! { LeavesGaps;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut committed = self.0.commit(commit).await?;
        committed.events.iter_mut().for_each(|event| event.seq *= 2);
        Ok(committed)
    }

    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let mut events = self.0.events(org, after / 2, limit).await?;
        events.iter_mut().for_each(|event| event.seq *= 2);
        Ok(events)
    }
}

broken! { AnswersNoNumbers;
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let events = commit.events.clone();
        Ok(Committed { events, ..self.0.commit(commit).await? })
    }
}

broken! { ReadsFromTheNumber;
    async fn events(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.0.events(org, after.saturating_sub(1), limit).await
    }
}

broken! { ReadsThemAll;
    async fn events(&self, org: &OrgId, after: u64, _limit: u32) -> Result<Vec<Event>, StoreError> {
        self.0.events(org, after, u32::MAX).await
    }
}

broken! { OneLogForAll;
    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        let orgs: Vec<OrgId> = commit.events.iter().map(|event| event.org_id.clone()).collect();
        commit.events.iter_mut().for_each(|event| event.org_id = OrgId::default());
        let mut committed = self.0.commit(commit).await?;
        committed.events.iter_mut().zip(orgs).for_each(|(event, org)| event.org_id = org);
        Ok(committed)
    }
}

broken! { ChainsNothing;
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let mut page = self.0.audit(query).await?;
        page.rows.iter_mut().for_each(|row| row.previous = chain::GENESIS.into());
        Ok(page)
    }
}

broken! { OldestFirst;
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let mut page = self.0.audit(query).await?;
        page.rows.reverse();
        Ok(page)
    }
}

broken! { ChangesEntries;
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let mut page = self.0.audit(query).await?;
        for row in &mut page.rows {
            row.entry.action = row.entry.action.replace('\0', "");
        }
        Ok(page)
    }
}

broken! { AlwaysVerified;
    async fn verify_audit(&self, _org: &OrgId) -> Result<Result<AuditHead, BrokenChain>, StoreError> {
        Ok(Ok(AuditHead { seq: 0, hash: chain::GENESIS.into() }))
    }
}

/// Somebody's store, which is never verified.
pub(super) fn never_verified(store: MemoryStore) -> super::AnyStore {
    layered(AlwaysVerified(store))
}

broken! { RowsFromTheNumber;
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.0.audit_after(org, after.saturating_sub(1), limit).await
    }
}

broken! { RowsNewestFirst;
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = self.0.audit_after(org, after, limit).await?;
        rows.reverse();
        Ok(rows)
    }
}

broken! { RowsOfAnyLimit;
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.0.audit_after(org, after, limit.clamp(1, 1000)).await
    }
}

broken! { PrunesNothing;
    async fn prune_audit(&self, _prune: &Prune) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
}

broken! { ForgetsTheCheckpoint;
    async fn audit_checkpoint(&self, _org: &OrgId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
}

broken! { ReadsOtherHashes;
    async fn audit_after(&self, org: &OrgId, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = self.0.audit_after(org, after, limit).await?;
        rows.iter_mut().for_each(|row| row.hash = row.hash.to_uppercase());
        Ok(rows)
    }
}

broken! { CountsThePage;
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let page = self.0.audit(query).await?;
        Ok(AuditPage { total: page.rows.len() as u64, ..page })
    }
}
