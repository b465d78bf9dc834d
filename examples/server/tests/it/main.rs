//! The server over real HTTP, in one binary so that linking stays cheap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod access;
mod accounts;
mod admin;
mod cli;
mod contract;
mod dead_letters;
mod errors;
mod events;
mod http;
mod investigations;
mod model_line;
mod models;
mod plans;
mod recording;
mod replicas;
mod setup;
mod support;
mod wizard;
