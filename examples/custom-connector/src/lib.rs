//! Connectors of one's own, for a service manager over HTTP whose units start, stop and restart: steps for it
//! ([`units`]), what its units said ([`journal`]), and a board where its people read notices ([`board`]).
//!
//! Those three files are all that Rounds asks of a connector: a config, a registration and a port. How the service manager is
//! spoken to is in `protocol.rs`; a stand-in for it, for the example and its tests, in [`manager`].

pub mod board;
pub mod journal;
pub mod manager;
mod protocol;
pub mod units;
