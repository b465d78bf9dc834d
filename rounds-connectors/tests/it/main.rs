//! Integration tests of the connectors: one binary, so that linking stays cheap.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports))]

#[cfg(feature = "kubernetes")]
mod approved_steps;
#[cfg(feature = "kubernetes")]
mod cluster;
mod conformance;
#[cfg(feature = "kubernetes")]
mod corpus;
#[cfg(feature = "flux")]
mod flux;
#[cfg(feature = "kubernetes")]
mod gate_laws;
#[cfg(feature = "kubernetes")]
mod gate_rules;
#[cfg(feature = "kubernetes")]
mod gate_shapes;
#[cfg(feature = "kubernetes")]
mod gitops;
#[cfg(feature = "kubernetes")]
mod in_cluster;
#[cfg(feature = "kubernetes")]
mod inverse;
#[cfg(feature = "kubernetes")]
mod kubectl_adapter;
#[cfg(feature = "models")]
mod models;
#[cfg(all(feature = "slack", feature = "webhook"))]
mod notifiers;
#[cfg(all(feature = "playbook", feature = "kubernetes"))]
mod playbook;
#[cfg(all(feature = "playbook", feature = "kubernetes"))]
mod playbook_cluster;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "kubernetes")]
mod recorder;
#[cfg(feature = "secrets")]
mod vault;
