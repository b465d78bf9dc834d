//! The error of ports that have no finer one.

use std::time::Duration;

/// What kind of failure a port met, so that callers can decide about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortErrorKind {
    /// The request itself is wrong (malformed PromQL, unknown field): trying again changes nothing.
    Invalid,
    /// The other side refused the credentials, or they could not be resolved.
    Unauthorized,
    /// The other side could not be reached, or answered that it cannot right now.
    Unavailable,
    /// The other side is there and takes no more just now: HTTP 429, or a provider's "overloaded".
    /// [`PortError::retry_after`] is what it asked for, when it did.
    RateLimited,
    /// It took too long.
    Timeout,
    /// The answer was not what the protocol says, or larger than is read.
    Protocol,
    /// A budget of Rounds' own is used up: nothing was asked of the other side.
    Exhausted,
}

/// A failure at a port: what was tried, what went wrong, what would work. Never carries a secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What kind of failure.
    pub kind: PortErrorKind,
    /// For the person who must act.
    pub message: String,
    /// How long the other side asked to be left alone; nobody should call again before that.
    pub retry_after: Option<Duration>,
    /// Who was reached all the same, of several who were to be told: a channel's own names of them, such as addresses of
    /// mailboxes. They are not told again when the rest is.
    pub delivered: Vec<String>,
    /// What lies beneath, when something does.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error of a kind.
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, delivered: Vec::new(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with how long the other side asked to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// The same error with who was reached all the same.
    #[must_use]
    pub fn with_delivered(mut self, to: impl IntoIterator<Item = String>) -> Self {
        self.delivered.extend(to);
        self
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            PortErrorKind::Unavailable | PortErrorKind::RateLimited | PortErrorKind::Timeout => true,
            PortErrorKind::Invalid
            | PortErrorKind::Unauthorized
            | PortErrorKind::Protocol
            | PortErrorKind::Exhausted => false,
        }
    }
}
