//! Integration tests of the connectors: one binary, so that linking stays cheap.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports))]

#[cfg(feature = "alert-rules")]
mod alert_rules;
#[cfg(feature = "alertmanager")]
mod alertmanager;
#[cfg(feature = "kubernetes")]
mod approved_steps;
#[cfg(feature = "argocd")]
mod argocd;
#[cfg(feature = "argocd")]
mod argocd_history;
#[cfg(all(feature = "discord", feature = "teams", feature = "pagerduty"))]
mod chat;
#[cfg(feature = "kubernetes")]
mod cluster;
mod conformance;
#[cfg(feature = "kubernetes")]
mod corpus;
#[cfg(feature = "email")]
mod email;
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
#[cfg(feature = "http")]
mod http_request;
#[cfg(feature = "kubernetes")]
mod in_cluster;
#[cfg(feature = "kubernetes")]
mod inverse;
#[cfg(feature = "kubernetes")]
mod kubectl_adapter;
#[cfg(feature = "kubernetes")]
mod kubectl_rights;
#[cfg(feature = "kubernetes")]
mod kubectl_way;
#[cfg(feature = "loki")]
mod loki;
#[cfg(feature = "models")]
mod models;
#[cfg(all(feature = "slack", feature = "webhook"))]
mod notifiers;
#[cfg(all(feature = "email", feature = "pagerduty", feature = "slack"))]
mod page;
#[cfg(all(feature = "playbook", feature = "kubernetes"))]
mod playbook;
#[cfg(all(feature = "playbook", feature = "kubernetes"))]
mod playbook_cluster;
#[cfg(feature = "prometheus")]
mod prometheus;
mod receiver;
#[cfg(feature = "kubernetes")]
mod recorder;
#[cfg(any(feature = "argocd", feature = "http"))]
mod rig;
#[cfg(feature = "kubernetes")]
mod rollouts;
#[cfg(all(feature = "github", feature = "gitlab"))]
mod scm;
#[cfg(all(feature = "discord", feature = "teams", feature = "pagerduty", feature = "webhook"))]
mod telling;
#[cfg(feature = "secrets")]
mod vault;

/// The first JSON of a page for operators: the config that it shows.
fn documented(page: &str) -> serde_json::Value {
    let (_, json) = page.split_once("```json\n").expect("a page shows a config");
    let (json, _) = json.split_once("\n```").expect("a config ends");
    serde_json::from_str(json).expect("what is shown is JSON")
}
