//! The sandbox lives in real time.

use chrono::{DateTime, Utc};

/// Now.
#[allow(clippy::disallowed_methods, reason = "a stand-in cluster keeps time itself, as a cluster does")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}
