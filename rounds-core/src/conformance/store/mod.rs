//! What a [`Store`] must do, as checks.
//!
//! [`store_conformance!`](crate::store_conformance) makes a test of each; [`store_suite`] runs them all in one.
//!
//! A check is named after the rule it protects. Checks wait for conditions, never for a time to pass, so their
//! outcome does not depend on how fast the machine is. They need a runtime with tokio's real time.

mod claims;
mod commits;
mod concurrency;
mod fixtures;
mod logs;
mod queries;
mod values;

use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::ports::Store;

pub use claims::*;
pub use commits::*;
pub use concurrency::*;
pub use logs::*;
pub use queries::*;
pub use values::*;

/// A store as checks see it.
pub type AnyStore = Arc<dyn Store>;

/// One check: its name and what runs it on an empty store.
pub type Check = (&'static str, fn(AnyStore) -> BoxFuture<'static, ()>);

macro_rules! checks {
    (($d:tt) $($name:ident,)*) => {
        /// Every check that needs no more than an empty store.
        pub const CHECKS: &[Check] = &[$((stringify!($name), |store| Box::pin($name(store))),)*];

        /// The behaviour suite as tests of the crate that implements a [`Store`](crate::ports::Store): one test for
        /// each check. It takes an async function that makes an empty store, and whatever must live as long as the
        /// store does (a temporary folder, say; `()` if nothing).
        ///
        /// ```
        /// use rounds_core::testing::MemoryStore;
        ///
        /// async fn empty() -> (MemoryStore, ()) {
        ///     (MemoryStore::new(), ())
        /// }
        ///
        /// rounds_core::store_conformance!(empty);
        /// ```
        #[macro_export]
        macro_rules! store_conformance {
            ($d open:path) => {
                $(#[test]
                fn $name() {
                    $crate::conformance::store::hold($crate::conformance::store::$name, $d open);
                })*
            };
        }
    };
}

checks! {
    ($)
    a_record_is_inserted_updated_and_deleted_by_version,
    a_stale_version_is_a_conflict_and_changes_nothing,
    a_commit_that_expects_a_version_holds_only_at_that_version,
    a_refused_commit_leaves_no_trace,
    an_id_and_a_unique_key_are_taken_once,
    a_unique_key_can_be_taken_again_once_it_is_free,
    a_record_appears_once_in_a_commit,
    many_records_change_together,
    a_record_is_found_by_id_by_unique_key_and_by_part,
    what_a_record_is_found_by_follows_its_updates,
    a_list_is_filtered_by_every_condition_together,
    a_list_is_ordered_by_id_and_paged_without_gaps_or_repeats,
    a_limit_outside_1_to_1000_is_refused,
    records_are_counted_by_status_and_organisation,
    the_longest_due_record_is_claimed_first,
    only_records_that_are_due_and_have_the_status_are_claimed,
    a_record_has_one_holder,
    a_lease_ends_by_the_stores_time_and_the_fence_rises,
    a_lost_lease_commits_nothing,
    a_commit_under_a_held_lease_is_applied_and_keeps_it,
    a_lease_is_renewed_by_its_holder_only,
    a_released_record_can_be_claimed_at_once,
    claiming_renewing_and_releasing_do_not_change_the_version,
    a_person_can_change_a_record_that_a_worker_holds,
    a_lease_is_given_back_with_the_commit_that_says_so,
    a_refused_commit_gives_no_lease_back,
    the_next_due_moment_is_told,
    the_stores_time_goes_forward,
    concurrent_claims_never_hand_out_a_record_twice,
    concurrent_read_modify_write_loses_nothing,
    concurrent_inserts_of_one_unique_key_let_one_pass,
    concurrent_commits_on_different_records_all_pass,
    a_dropped_commit_is_whole_or_nothing_and_blocks_nobody,
    events_are_numbered_without_gaps_per_organisation,
    audit_rows_are_numbered_and_chained_per_organisation,
    numbers_have_no_gaps_under_concurrent_commits_and_refusals,
    audit_rows_are_filtered_by_every_condition_together,
    audit_rows_are_read_oldest_first_from_any_place,
    pruning_leaves_a_signed_checkpoint_and_the_chain_goes_on,
    an_exported_head_is_held_against_the_chain,
    every_kind_of_record_comes_back_as_it_was,
    times_come_back_to_the_microsecond,
    odd_texts_come_back_exactly,
    large_texts_come_back_exactly,
    odd_numbers_come_back_exactly,
    inline_and_referenced_secrets_come_back_and_are_not_in_the_body,
    a_commit_wakes_whoever_listens_to_its_kinds,
    an_empty_store_answers,
}

/// Runs one check on a store of its own, in a runtime of its own: what [`store_conformance!`](crate::store_conformance)
/// makes tests of.
///
/// # Panics
/// The check does not hold, or there is no runtime to be had.
pub fn hold<C, CF, O, OF, S, G>(check: C, open: O)
where
    C: FnOnce(AnyStore) -> CF,
    CF: Future<Output = ()> + Send + 'static,
    O: FnOnce() -> OF,
    OF: Future<Output = (S, G)>,
    S: Store + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (store, _keep) = open().await;
        check(Arc::new(store)).await;
    });
}

/// Runs every check of [`CHECKS`], each on a store of its own.
///
/// # Panics
/// A check does not hold; the message names every such check.
pub async fn store_suite<F, Fut, S>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
    S: Store + 'static,
{
    let mut failures = Vec::new();
    for (name, check) in CHECKS {
        let store: AnyStore = Arc::new(open().await);
        if let Err(failure) = tokio::spawn(check(store)).await {
            failures.push(format!("{name}: {}", message(failure)));
        }
    }
    assert!(failures.is_empty(), "{} checks do not hold:\n  {}", failures.len(), failures.join("\n  "));
}

fn message(failure: tokio::task::JoinError) -> String {
    match failure.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => "panicked".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}
