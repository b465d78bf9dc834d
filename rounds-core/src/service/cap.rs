//! Caps that hold over all replicas: as many rows as there are places, and whoever holds a row's lease has the place.

use super::shared::Shared;
use crate::id::fresh;
use crate::ports::store::{ClaimQuery, Commit, Lease, RecordKind, StoreError, Work, WorkSlot, WorkerId};

/// A cap on one kind of work.
pub(crate) struct Cap {
    work: Work,
    places: u32,
    made: bool,
}

impl Cap {
    /// A cap. Replicas that are configured with another number each keep to their own, and together to the largest.
    pub(crate) fn new(work: Work, places: usize) -> Self {
        Self { work, places: u32::try_from(places).unwrap_or(u32::MAX).max(1), made: false }
    }

    /// Takes a free place; `None`: all are taken, here or by another replica.
    pub(crate) async fn take(&mut self, shared: &Shared, worker: &WorkerId) -> Result<Option<Lease>, StoreError> {
        if !self.made {
            self.make(shared).await?;
            self.made = true;
        }
        let query = ClaimQuery {
            kind: RecordKind::WorkSlot,
            statuses: vec![self.work.as_str().into()],
            due_by: WorkSlot::due(self.places - 1),
            worker: worker.clone(),
            ttl: shared.settings.lease_ttl,
        };
        Ok(shared.store.claim(&query).await?.map(|(_, place)| place))
    }

    /// Sees to it that every place has its row.
    async fn make(&self, shared: &Shared) -> Result<(), StoreError> {
        for number in 0..self.places {
            let slot = WorkSlot { id: fresh(), work: self.work, number };
            match shared.store.commit(Commit::new().insert(slot)).await {
                Ok(_) | Err(StoreError::Duplicate { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
