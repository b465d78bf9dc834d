//! Metrics that follow the cluster's state, and the query API over them.

pub(crate) mod exposition;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod promql;

use std::{sync::Arc, time::Duration};

use crate::hub::Hub;

/// Samples the cluster at an interval, for as long as it runs.
pub(crate) async fn sample(hub: Arc<Hub>, interval: Duration) {
    let mut every = tokio::time::interval(interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = crate::clock::now();
    loop {
        every.tick().await;
        let now = crate::clock::now();
        let elapsed = (now - last).num_milliseconds() as f64 / 1000.0;
        last = now;
        let series = {
            let mut c = hub.cluster();
            exposition::advance(&mut c, elapsed);
            exposition::collect(&c)
        };
        hub.history().push(now.timestamp_millis(), series);
    }
}
