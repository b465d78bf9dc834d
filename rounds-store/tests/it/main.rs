//! The integration tests of `rounds-store`, in one binary so that linking stays cheap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod conformance;
mod crash;
mod crash_points;
mod identity;
mod keys;
mod killed;
mod opening;
mod secrets;
mod sessions;
mod storm;
mod support;
