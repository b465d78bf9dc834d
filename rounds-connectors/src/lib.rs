//! Connectors for Rounds: execution adapters, datasources, notifiers. Linking this crate registers them all.

pub mod kubernetes;
pub mod secrets;
