//! The feed: hands every committed event to the subscribers of this process, in order, and feeds the sinks.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::observe::drain;
use super::shared::Shared;
use super::sink;
use crate::id::OrgId;
use crate::ports::Event;

/// How many events a page is read in.
const PAGE: u32 = 500;

pub(crate) async fn run(shared: Arc<Shared>, subscribers: broadcast::Sender<Event>, stop: CancellationToken) {
    let sinks = shared.sinks.iter().map(|sink| sink::run(Arc::clone(&shared), Arc::clone(sink), stop.clone()));
    tokio::join!(subscribe(&shared, subscribers, &stop), futures::future::join_all(sinks));
}

async fn subscribe(shared: &Shared, subscribers: broadcast::Sender<Event>, stop: &CancellationToken) {
    let mut wakes = shared.store.wakes();
    let mut after = None;
    loop {
        if let Err(error) = pass_on(shared, &subscribers, &mut after).await {
            tracing::warn!(%error, "events could not be read; trying again");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Whatever changed may have brought an event.
            received = wakes.recv() => {
                if matches!(received, Err(broadcast::error::RecvError::Closed)) {
                    shared.clock.sleep(shared.settings.poll_interval).await;
                }
                drain(&mut wakes);
            }
            () = shared.clock.sleep(shared.settings.poll_interval) => {}
        }
    }
}

async fn pass_on(
    shared: &Shared,
    subscribers: &broadcast::Sender<Event>,
    after: &mut Option<u64>,
) -> Result<(), Error> {
    let mut place = match *after {
        Some(place) => place,
        // What happened before this process started is history, read from the store by whoever wants it.
        None => last(shared, &shared.org).await?,
    };
    loop {
        let events = shared.store.events(&shared.org, place, PAGE).await?;
        let more = events.len() == PAGE as usize;
        for event in events {
            place = event.seq;
            // An error only says that nobody listens.
            let _ = subscribers.send(event);
        }
        *after = Some(place);
        if !more {
            return Ok(());
        }
    }
}

/// The number of the newest event, found by doubling so that a long log is not read whole.
pub(crate) async fn last(shared: &Shared, org: &OrgId) -> Result<u64, Error> {
    let (mut low, mut step) = (0u64, 1u64);
    while !shared.store.events(org, low + step, 1).await?.is_empty() {
        low += step;
        step *= 2;
    }
    // The newest is in (low, low + step].
    let (mut low, mut high) = (low, low + step);
    while low < high {
        let middle = low + (high - low) / 2;
        if shared.store.events(org, middle, 1).await?.is_empty() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
