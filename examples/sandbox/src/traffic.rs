//! How much load a workload gets, and what becomes of it.

/// The load on one workload and what one ready replica can carry.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Traffic {
    pub(crate) rps: f64,
    pub(crate) capacity_per_replica: f64,
    pub(crate) served_total: f64,
    pub(crate) failed_total: f64,
}

/// What becomes of the load with a number of ready replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) served: f64,
    pub(crate) failed: f64,
    /// Load over capacity: 1 is saturated, and with no replica there is no capacity to fill.
    pub(crate) saturation: f64,
}

impl Traffic {
    pub(crate) fn load(&self, ready: usize) -> Load {
        let capacity = self.capacity_per_replica * ready as f64;
        let served = self.rps.min(capacity);
        let saturation = if capacity > 0.0 { self.rps / capacity } else { 0.0 };
        Load { served, failed: (self.rps - served).max(0.0), saturation }
    }

    /// Counts the requests of a stretch of time.
    pub(crate) fn elapse(&mut self, ready: usize, seconds: f64) {
        let load = self.load(ready);
        self.served_total += load.served * seconds;
        self.failed_total += load.failed * seconds;
    }
}

impl Load {
    pub(crate) fn error_ratio(&self) -> f64 {
        let all = self.served + self.failed;
        if all > 0.0 { self.failed / all } else { 0.0 }
    }
}
