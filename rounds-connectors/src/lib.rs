//! Connectors for Rounds: execution adapters, datasources, notifiers, language models, and the playbook investigator.
//! Linking this crate registers the connectors.

mod http;
pub mod kubernetes;
pub mod models;
pub mod notifiers;
pub mod playbook;
pub mod prometheus;
pub mod secrets;
