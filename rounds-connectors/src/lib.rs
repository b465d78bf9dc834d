//! Connectors for Rounds: execution adapters, datasources, notifiers, and the playbook investigator.

mod http;
pub mod playbook;
pub mod prometheus;
