//! Connectors for Rounds: execution adapters, datasources, notifiers, and the playbook investigator. Linking this
//! crate registers the connectors.

mod http;
pub mod kubernetes;
pub mod playbook;
pub mod prometheus;
pub mod secrets;
