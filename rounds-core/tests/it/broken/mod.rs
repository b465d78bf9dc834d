//! Deliberately broken stores: each breaks one behaviour, and the check that protects it must notice.
//!
//! The broken stores are layers over the one in memory, in a file for each group of checks. The table of a file says which
//! checks must fail on which store. Every check of the kit is in a table: a check that nothing can fail protects nothing.

mod commits;
mod leases;
mod logs;
mod queries;
mod values;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rounds_core::conformance::store::{
    AnyStore, CHECKS, Check, everything_survives_a_reopen, tampering_with_an_audit_row_is_noticed,
};
use rounds_core::ports::Store;
use rounds_core::ports::store::{ClaimQuery, Commit, Committed, Lease, ListQuery, Page, Record, StoreError, Versioned};
use rounds_core::testing::{Layered, MemoryStore, StoreLayer};

/// A broken store: what it does wrong, how it is made, and the checks that must notice.
type Broken = (&'static str, fn() -> AnyStore, &'static [&'static str]);

/// A store that does what a layer says.
fn layered(layer: impl StoreLayer + 'static) -> AnyStore {
    Arc::new(Layered(layer))
}

/// Makes a layer over the store in memory, with what it overrides.
macro_rules! broken {
    ($(#[$doc:meta])* $name:ident; $($overrides:tt)*) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name(MemoryStore);

        #[async_trait]
        impl StoreLayer for $name {
            fn inner(&self) -> &dyn Store {
                &self.0
            }

            $($overrides)*
        }
    };
}
use broken;

/// Ends a check that asks for ever, as somebody who waits would: on a broken store some do.
struct Patience {
    inner: AnyStore,
    left: AtomicUsize,
}

impl Patience {
    fn wear(&self) {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        assert!(left > 0, "the check goes round in circles");
    }
}

#[async_trait]
impl StoreLayer for Patience {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn claim(&self, query: &ClaimQuery) -> Result<Option<(Versioned<Record>, Lease)>, StoreError> {
        self.wear();
        self.inner.claim(query).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.wear();
        self.inner.list(query).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.wear();
        self.inner.commit(commit).await
    }
}

/// What a check says of a store, on paused time: where a check waits for a minute, nobody does.
fn verdict(
    open: fn() -> AnyStore,
    check: fn(AnyStore) -> futures::future::BoxFuture<'static, ()>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let run = async {
        let store = layered(Patience { inner: open(), left: AtomicUsize::new(20_000) });
        tokio::time::timeout(Duration::from_secs(3600), check(store)).await.expect("it waits for ever");
    };
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(run))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn tables() -> Vec<Broken> {
    [commits::BROKEN, leases::BROKEN, queries::BROKEN, logs::BROKEN, values::BROKEN].concat()
}

fn check(name: &str) -> Check {
    *CHECKS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no check {name}"))
}

#[test]
fn every_broken_store_fails_the_checks_that_protect_what_it_breaks() {
    let mut unnoticed = Vec::new();
    for (store, open, checks) in tables() {
        assert!(!checks.is_empty(), "{store}");
        for name in checks {
            match verdict(open, check(name).1) {
                Ok(()) => unnoticed.push(format!("{name} does not notice a store that {store}")),
                Err(said) => println!("{store}: {name}: {}", said.lines().next().unwrap_or_default()),
            }
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

#[test]
fn every_check_fails_on_some_broken_store_and_passes_on_a_whole_one() {
    let covered: BTreeSet<&str> = tables().iter().flat_map(|(_, _, checks)| checks.iter().copied()).collect();
    let open: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).filter(|name| !covered.contains(name)).collect();
    assert!(open.is_empty(), "no broken store shows that these checks can fail: {open:?}");
    for (name, check) in CHECKS {
        // In the same way in which the broken ones are asked, so that nothing but what is broken makes the difference.
        verdict(|| Arc::new(MemoryStore::new()), *check).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
}

#[tokio::test]
#[should_panic(expected = "is in the store")]
async fn a_store_that_keeps_nothing_over_a_reopen_is_noticed() {
    everything_survives_a_reopen(Arc::new(MemoryStore::new()), async || Arc::new(MemoryStore::new()) as AnyStore).await;
}

#[tokio::test]
async fn a_store_that_keeps_everything_over_a_reopen_passes() {
    let store = MemoryStore::new();
    everything_survives_a_reopen(Arc::new(store.clone()), async || Arc::new(store) as AnyStore).await;
}

#[tokio::test]
#[should_panic(expected = "row 2 was changed")]
async fn a_store_that_verifies_nothing_is_noticed() {
    let store = MemoryStore::new();
    let blind = logs::never_verified(store.clone());
    tampering_with_an_audit_row_is_noticed(blind, async |org, seq| {
        assert!(store.tamper_audit(&org, seq, "success", "failure"));
    })
    .await;
}
