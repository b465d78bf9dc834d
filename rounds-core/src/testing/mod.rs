//! For tests of code that embeds Rounds: a store in memory, a clock that is driven by hand, fakes at the edges.

mod adapter;
mod clock;

pub use adapter::{FakeAdapter, FakeOutcome};
pub use clock::ManualClock;
