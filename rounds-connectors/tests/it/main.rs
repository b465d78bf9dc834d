//! Integration tests of the connectors: one binary, so that linking stays cheap.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod approved_steps;
mod cluster;
mod corpus;
mod gate_laws;
mod gate_rules;
mod gate_shapes;
mod inverse;
mod kubectl_adapter;
mod models;
mod notifiers;
mod playbook;
mod playbook_cluster;
mod prometheus;
mod recorder;
mod vault;
