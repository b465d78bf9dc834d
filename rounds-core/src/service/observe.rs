//! Waiting for the store to say that something changed.

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::ports::store::RecordKind;

/// Returns when a record of this kind was changed, or might have been. What is already known to have changed meanwhile
/// is answered by the same look, so that a storm of changes makes no storm of looks. Cancel safe.
pub(crate) async fn woken(wakes: &mut Receiver<RecordKind>, kind: RecordKind) {
    loop {
        match wakes.recv().await {
            Ok(changed) if changed == kind => return drain(wakes),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return drain(wakes),
            // The store is going away; polling remains.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Forgets what is waiting: the look that follows sees all of it.
pub(crate) fn drain(wakes: &mut Receiver<RecordKind>) {
    while !matches!(wakes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
}
