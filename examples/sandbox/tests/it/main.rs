//! The sandbox, driven by the real kubectl and over HTTP.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "tests start kubectl and ask over HTTP as outsiders do")]

mod access;
mod controllers;
mod dry_run;
mod faults;
mod images;
mod kubectl;
mod promql;
mod reads;
mod world;
mod writes;
