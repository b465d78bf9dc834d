//! For tests of code that embeds Rounds: a store in memory, a clock that is driven by hand, fakes at the edges.

mod adapter;
mod clock;
mod identity;
mod store;

pub use adapter::{FakeAdapter, FakeOutcome};
pub use clock::ManualClock;
pub use identity::StaticIdentity;
pub use store::{Fault, MemoryStore};
