use serde::Serialize;

use crate::IllegalTransition;
use crate::access::Denied;
use crate::plugin::{BuildError, RegistryError};
use crate::ports::{PortError, PortErrorKind, StoreError};

/// Why the gate refuses a step of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRefusal {
    /// Which step, counted from 0.
    pub ordinal: u32,
    /// Which rule refused.
    pub rule: String,
    /// What was found and what would be accepted.
    pub message: String,
}

/// Why something was not done. Front ends translate it; nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing, or not in this organisation.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The principal may not do that.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What was sent does not hold.
    #[error("{0}")]
    Invalid(String),
    /// The gate refuses steps of the proposal.
    #[error("the gate refuses {} of the steps: {}", .0.len(), .0.iter().map(|r| format!("step {}: {}", r.ordinal, r.message)).collect::<Vec<_>>().join("; "))]
    Refused(Vec<StepRefusal>),
    /// The state does not allow it.
    #[error(transparent)]
    State(#[from] IllegalTransition),
    /// The decision was about something else than what there is now.
    #[error("{message}")]
    Conflict {
        /// A stable word: `digest_mismatch`, `already_resolved`, `name_taken`, `in_use`, `primary_not_ended`,
        /// `rescue_under_way`, `already_retried`, `idempotency_key_reused`.
        code: &'static str,
        /// What differs and what to do.
        message: String,
    },
    /// A connector could not be reached or refused.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The store could not serve.
    #[error(transparent)]
    Store(StoreError),
}

impl Error {
    pub(crate) fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Denied(_) => "forbidden",
            Self::Invalid(_) => "bad_request",
            Self::Refused(_) => "refused_by_gate",
            Self::State(_) => "illegal_state",
            Self::Conflict { code, .. } => code,
            Self::Port(_) => "connector_failed",
            Self::Store(_) => "store_unavailable",
        }
    }

    /// The status of HTTP that says the same, for front ends: 400 what was sent does not hold, 403, 404, 409 the state or
    /// another decision is in the way, 422 the gate refuses, 502 a connector failed, 503 the store cannot serve now and
    /// may later, 500 it never will.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::Denied(_) => 403,
            Self::NotFound { .. } => 404,
            Self::State(_) | Self::Conflict { .. } => 409,
            Self::Refused(_) => 422,
            Self::Port(error) if error.kind == PortErrorKind::Invalid => 400,
            Self::Port(_) => 502,
            // Closed, it serves nobody any more: another replica may.
            Self::Store(error) if error.is_transient() || matches!(error, StoreError::Closed) => 503,
            Self::Store(_) => 500,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate { kind, unique } => Self::Conflict {
                code: "name_taken",
                message: format!("there already is a {kind} with {unique}: choose another name"),
            },
            StoreError::Conflict { key, .. } => Self::Conflict {
                code: "changed_meanwhile",
                message: format!("{key} changed meanwhile: look at it again and decide anew"),
            },
            other => Self::Store(other),
        }
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        match error {
            // The request is right; this host lacks something, such as kubectl, that its operator can provide.
            RegistryError::Build { source: BuildError::Host { message }, .. } => {
                Self::Port(PortError::new(PortErrorKind::Unavailable, message))
            }
            other => Self::Invalid(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_may_serve_again_or_elsewhere_is_503_and_a_broken_one_500() {
        let status = |error| Error::Store(error).http_status();
        assert_eq!(status(StoreError::Unavailable { message: "busy".into() }), 503);
        assert_eq!(status(StoreError::Closed), 503);
        assert_eq!(status(StoreError::Corrupt { what: "a plan".into(), message: "damaged".into() }), 500);
    }
}
