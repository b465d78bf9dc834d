//! Connectors for Rounds: execution adapters, datasources, notifiers, language models, and the playbook investigator.
//! Linking this crate registers the connectors. Each is one folder and one Cargo feature, which says whether it is there
//! and changes nothing else.

// Helpers that several connectors share have no user when only some of them are built.
#![cfg_attr(not(feature = "default"), allow(dead_code, unused_imports))]

mod http;
mod remote;

#[cfg(feature = "flux")]
pub mod flux;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "models")]
pub mod models;
pub mod notifiers;
#[cfg(feature = "playbook")]
pub mod playbook;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "secrets")]
pub mod secrets;
