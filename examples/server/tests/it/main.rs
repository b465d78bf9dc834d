//! The server over real HTTP, in one binary so that linking stays cheap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod access;
mod access_table;
mod accounts;
mod admin;
mod alert_pages;
mod alerts;
mod bounds;
mod changes;
mod cli;
mod cli_client;
mod connector_health;
mod contract;
mod dead_letters;
mod errors;
mod events;
mod forms;
mod http;
mod intake;
mod investigations;
mod model_line;
mod models;
#[cfg(feature = "oidc")]
mod oidc;
mod owners;
mod plans;
mod recording;
mod replicas;
mod routing;
mod sessions;
mod setup;
mod slack;
mod support;
mod wizard;
