//! What every call through a port is given.

use std::time::Duration;

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
