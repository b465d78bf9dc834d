//! The integration tests of core: the pure machines walked and driven at random, and what it ships to test others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod agent;
mod alert_walk;
mod backtest;
mod broken;
mod broken_connectors;
mod connector_checks;
mod dead_letters;
mod decisions;
mod digest;
mod dispatcher;
mod duties;
mod ensured;
mod evaluator;
mod evidence;
mod executor;
mod faults;
mod harness;
mod mended;
mod outbox;
mod owners;
mod plan_fixtures;
mod plan_properties;
mod plan_scopes;
mod plan_walk;
mod recovery;
mod rule_1;
mod runtime;
mod sinks;
mod store_conformance;
mod verification;
mod way_back;
