//! Waiting for the store to say that something changed.

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::ports::store::RecordKind;

/// Returns when a record of this kind was changed, or might have been. Cancel safe.
pub(crate) async fn woken(wakes: &mut Receiver<RecordKind>, kind: RecordKind) {
    loop {
        match wakes.recv().await {
            Ok(changed) if changed == kind => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The store is going away; polling remains.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
