//! The integration tests of `rounds-core`, in one binary so that linking stays cheap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod store_conformance;
