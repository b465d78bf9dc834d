//! Connectors for Rounds: execution adapters, datasources, notifiers, language models, and the playbook investigator.
//! Linking this crate registers the connectors. Each is one folder and one Cargo feature, which says whether it is there
//! and changes nothing else.

// Helpers that several connectors share have no user when only some of them are built.
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports))]

mod http;
mod net;
#[cfg(any(feature = "kubernetes", feature = "secrets"))]
mod reads;
mod remote;
#[cfg(any(feature = "github", feature = "gitlab"))]
mod scm;

#[cfg(feature = "alert-rules")]
pub mod alert_rules;
#[cfg(feature = "github")]
pub mod github;
#[cfg(feature = "gitlab")]
pub mod gitlab;
mod source;

#[cfg(feature = "alertmanager")]
pub mod alertmanager;
#[cfg(feature = "argocd")]
pub mod argocd;
#[cfg(feature = "argocd")]
pub mod argocd_history;
#[cfg(feature = "flux")]
pub mod flux;
#[cfg(feature = "http")]
pub mod http_request;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "loki")]
pub mod loki;
#[cfg(feature = "models")]
pub mod models;
pub mod notifiers;
#[cfg(feature = "playbook")]
pub mod playbook;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "secrets")]
pub mod secrets;
