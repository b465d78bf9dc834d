//! What every call through a port is given, and what a connector's test answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// How long one call may take, and who may end it early.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallContext {
    /// The hard limit of the call. An adapter MUST end its effect (kill the process, drop the connection) when
    /// it is over.
    pub timeout: Duration,
    /// Cancelled when the caller no longer wants the answer. Reads stop; an approved effect is left to finish.
    pub cancel: CancellationToken,
}

impl CallContext {
    /// A call that may take this long.
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { timeout, cancel: CancellationToken::new() }
    }
}

/// What a connector's test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CheckReport {
    /// In a sentence: what was reached, as whom, which version.
    pub message: String,
    /// Facts worth showing: versions, what the credentials can do.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

impl CheckReport {
    /// A test that passed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), facts: BTreeMap::new() }
    }

    /// The same with facts worth showing.
    #[must_use]
    pub fn with_facts(mut self, facts: impl IntoIterator<Item = (String, String)>) -> Self {
        self.facts.extend(facts);
        self
    }
}
