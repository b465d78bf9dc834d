//! What the listeners, the controllers and the Rust API share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::{access::Access, cluster::Cluster, faults::Faults, metrics::history::History, requests::RequestLog};

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) history: Mutex<History>,
    pub(crate) requests: RequestLog,
    pub(crate) faults: Faults,
    pub(crate) access: Access,
    /// The bearer token clients must send; none over plain HTTP, where kubectl sends none.
    pub(crate) token: Option<String>,
    pub(crate) api_address: String,
    pub(crate) stop: CancellationToken,
}

impl Hub {
    /// A panic elsewhere does not make the cluster's state unusable: each write is whole.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
