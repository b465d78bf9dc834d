//! The error of ports that have no finer one.

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
    /// It took too long.
    Timeout,
    /// The answer was not what the protocol says, or larger than is read.
    Protocol,
}

/// A failure at a port: what was tried, what went wrong, what would work. Never carries a secret.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What kind of failure.
    pub kind: PortErrorKind,
    /// For the person who must act.
    pub message: String,
    /// What lies beneath, when something does.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error of a kind.
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            PortErrorKind::Unavailable | PortErrorKind::Timeout => true,
            PortErrorKind::Invalid | PortErrorKind::Unauthorized | PortErrorKind::Protocol => false,
        }
    }
}
