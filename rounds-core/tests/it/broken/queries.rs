//! Stores that are wrong about finding records: lookups, lists, counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use rounds_core::ports::Store;
use rounds_core::ports::store::{
    AuditPage, AuditQuery, Change, ClaimQuery, Commit, Committed, Cursor, Key, Lease, ListQuery, Lookup, Page, Record,
    RecordKind, StoreError, Versioned,
};
use rounds_core::testing::{MemoryStore, StoreLayer};
use rounds_core::{OrgId, Timestamp};

use super::{Broken, broken, layered};
use crate::harness::lock;

/// Filters are checked together, so each that is left out must be noticed by itself.
const FILTERED: &[&str] = &["a_list_is_filtered_by_every_condition_together"];
const PAGED: &[&str] = &["a_list_is_ordered_by_id_and_paged_without_gaps_or_repeats"];

pub(super) const BROKEN: &[Broken] = &[
    (
        "finds nothing by its parts",
        || layered(FindsNoParts::default()),
        &["a_record_is_found_by_id_by_unique_key_and_by_part", "what_a_record_is_found_by_follows_its_updates"],
    ),
    (
        "finds nothing by its unique key",
        || layered(FindsNoUnique::default()),
        &["a_record_is_found_by_id_by_unique_key_and_by_part"],
    ),
    (
        "looks an id up among all kinds",
        || layered(FindsAcrossKinds::default()),
        &["a_record_is_found_by_id_by_unique_key_and_by_part"],
    ),
    (
        "finds records by what they were",
        || layered(FindsByWhatWas::default()),
        &["what_a_record_is_found_by_follows_its_updates"],
    ),
    ("lists every organisation", || asks(|query| query.org = None), FILTERED),
    ("lists every status", || asks(|query| query.statuses.clear()), FILTERED),
    ("looks at the first status only", || asks(|query| query.statuses.truncate(1)), FILTERED),
    ("lists whatever it belongs to", || asks(|query| query.parent = None), FILTERED),
    ("lists whatever its parts are", || asks(|query| query.child_status = None), FILTERED),
    ("lists whatever its tags are", || asks(|query| query.tags.clear()), FILTERED),
    ("looks at the first tag only", || asks(|query| query.tags.truncate(1)), FILTERED),
    (
        "looks at the last tag only",
        || asks(|query| query.tags.drain(..query.tags.len().saturating_sub(1)).for_each(drop)),
        FILTERED,
    ),
    ("lists what is not due", || asks(|query| query.due_by = None), FILTERED),
    ("lists a record once for each of its parts", || layered(ListsPerPart::default()), FILTERED),
    ("lists the oldest first, whatever is asked", || asks(|query| query.newest_first = false), PAGED),
    ("starts at the beginning, whatever the place", || asks(|query| query.after = None), PAGED),
    ("says that there is no next page", || layered(HasNoNextPage::default()), PAGED),
    ("has another page after every one that is full", || layered(HasAlwaysNext::default()), PAGED),
    (
        "remembers when a record was due before its update",
        || layered(RemembersDue::default()),
        &["what_a_record_is_found_by_follows_its_updates"],
    ),
    (
        "claims what was due before its update",
        || layered(ClaimsWhatWasDue::default()),
        &["what_a_record_is_found_by_follows_its_updates"],
    ),
    ("leaves out the first of each page but the first", || layered(SkipsOne::default()), PAGED),
    ("lists in the order of insertion", || layered(ListsAsInserted::default()), PAGED),
    (
        "takes any limit for lists",
        || asks(|query| query.limit = query.limit.clamp(1, 1000)),
        &["a_limit_outside_1_to_1000_is_refused"],
    ),
    (
        "takes any limit for the audit log",
        || layered(AuditTakesAnyLimit::default()),
        &["a_limit_outside_1_to_1000_is_refused"],
    ),
    (
        "counts every organisation",
        || layered(CountsEveryOrg::default()),
        &["records_are_counted_by_status_and_organisation"],
    ),
    (
        "counts what has no status under a word",
        || layered(CountsUnderAWord::default()),
        &["records_are_counted_by_status_and_organisation"],
    ),
    (
        "counts statuses that nothing has",
        || layered(CountsNothing::default()),
        &["records_are_counted_by_status_and_organisation", "an_empty_store_answers"],
    ),
];

/// Changes what a list is asked for.
struct Asks(MemoryStore, fn(&mut ListQuery));

fn asks(change: fn(&mut ListQuery)) -> super::AnyStore {
    layered(Asks(MemoryStore::new(), change))
}

#[async_trait]
impl StoreLayer for Asks {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut query = query.clone();
        self.1(&mut query);
        self.0.list(&query).await
    }
}

type Found = Option<Versioned<Record>>;

broken! { HasAlwaysNext;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        if page.next.is_none() && page.records.len() == query.limit as usize {
            page.next = page.records.last().map(|record| Cursor(record.value.key().id));
        }
        Ok(page)
    }
}

/// The first due time of each notice.
#[derive(Default)]
struct RemembersDue(MemoryStore, Mutex<Option<Timestamp>>);

#[async_trait]
impl StoreLayer for RemembersDue {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        for change in &commit.changes {
            if let Change::Insert(record @ Record::Notice(_)) = change {
                *lock(&self.1) = record.index().due_at;
            }
        }
        self.0.commit(commit).await
    }

    async fn next_due(
        &self,
        kind: RecordKind,
        statuses: &[String],
        after: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let remembered = lock(&self.1).filter(|due| kind == RecordKind::Notice && *due > after);
        let next = self.0.next_due(kind, statuses, after).await?;
        Ok([remembered, next].into_iter().flatten().min())
    }
}

broken! { ClaimsWhatWasDue;
    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        let mut query = query.clone();
        if query.kind == RecordKind::Notice {
            query.due_by = Timestamp::MAX_UTC;
        }
        self.0.claim(&query).await
    }
}

broken! { FindsNoParts;
    async fn load(&self, lookup: &Lookup) -> Result<Found, StoreError> {
        if let Lookup::Child(..) = lookup { Ok(None) } else { self.0.load(lookup).await }
    }
}

broken! { FindsNoUnique;
    async fn load(&self, lookup: &Lookup) -> Result<Found, StoreError> {
        if let Lookup::Unique(..) = lookup { Ok(None) } else { self.0.load(lookup).await }
    }
}

broken! { FindsAcrossKinds;
    async fn load(&self, lookup: &Lookup) -> Result<Found, StoreError> {
        let Lookup::Key(key) = lookup else { return self.0.load(lookup).await };
        for kind in RecordKind::ALL {
            if let Some(found) = self.0.load(&Lookup::Key(Key::new(*kind, key.id))).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[derive(Default)]
struct FindsByWhatWas(MemoryStore, Mutex<HashMap<(RecordKind, String), Key>>);

#[async_trait]
impl StoreLayer for FindsByWhatWas {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        for change in &commit.changes {
            if let Change::Insert(record) = change
                && let Some(unique) = record.index().unique
            {
                lock(&self.1).insert((record.kind(), unique), record.key());
            }
        }
        self.0.commit(commit).await
    }

    async fn load(&self, lookup: &Lookup) -> Result<Found, StoreError> {
        let Lookup::Unique(kind, unique) = lookup else { return self.0.load(lookup).await };
        let was = lock(&self.1).get(&(*kind, unique.clone())).copied();
        match was {
            Some(key) => self.0.load(&Lookup::Key(key)).await,
            None => self.0.load(lookup).await,
        }
    }
}

broken! { ListsPerPart;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        if let Some(wanted) = &query.child_status {
            let times = |record: &Record| record.index().children.iter().filter(|part| part.status == *wanted).count();
            let records = page.records.into_iter();
            page.records = records.flat_map(|found| vec![found.clone(); times(&found.value)]).collect();
        }
        Ok(page)
    }
}

broken! { HasNoNextPage;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Ok(Page { next: None, ..self.0.list(query).await? })
    }
}

broken! { SkipsOne;
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        if query.after.is_some() && !page.records.is_empty() {
            page.records.remove(0);
        }
        Ok(page)
    }
}

#[derive(Default)]
struct ListsAsInserted(MemoryStore, Mutex<Vec<Key>>);

#[async_trait]
impl StoreLayer for ListsAsInserted {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        lock(&self.1).extend(commit.changes.iter().map(Change::key));
        self.0.commit(commit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut page = self.0.list(query).await?;
        let order = lock(&self.1).clone();
        page.records.sort_by_key(|found| order.iter().position(|key| *key == found.value.key()));
        Ok(page)
    }
}

broken! { AuditTakesAnyLimit;
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.0.audit(&AuditQuery { limit: query.limit.clamp(1, 1000), ..query.clone() }).await
    }
}

type Counts = BTreeMap<String, u64>;

broken! { CountsEveryOrg;
    async fn count(&self, kind: RecordKind, _org: Option<&OrgId>) -> Result<Counts, StoreError> {
        self.0.count(kind, None).await
    }
}

broken! { CountsUnderAWord;
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<Counts, StoreError> {
        let counts = self.0.count(kind, org).await?.into_iter();
        Ok(counts.map(|(status, count)| (if status.is_empty() { "none".into() } else { status }, count)).collect())
    }
}

broken! { CountsNothing;
    async fn count(&self, kind: RecordKind, org: Option<&OrgId>) -> Result<Counts, StoreError> {
        let mut counts = self.0.count(kind, org).await?;
        counts.entry("unheard of".into()).or_default();
        Ok(counts)
    }
}
