//! Behaviour suites that the author of a store or of a connector runs against it.
//!
//! A suite is called from one test of the author's crate. It runs every check, each on a fresh instance, and then
//! fails once, naming the checks that did not hold. Each check is public too, to run it alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check is a test: it fails by panicking, and says why"
)]

pub mod connector;
pub mod store;
