//! Connectors against what they connect to: one binary, one module per connector.

mod playbook;
mod prometheus;
