//! The sandbox, driven by the real kubectl and over HTTP.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod controllers;
mod dry_run;
mod faults;
mod images;
mod kubectl;
mod promql;
mod reads;
mod world;
mod writes;
