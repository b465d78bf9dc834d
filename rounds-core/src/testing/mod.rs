//! For tests of code that embeds Rounds: a store in memory, a clock that is driven by hand, fakes at the edges.

mod adapter;
mod clock;
mod datasource;
mod identity;
mod investigator;
mod layer;
mod model;
mod rig;
mod store;

pub use adapter::{FakeAdapter, FakeOutcome};
pub use clock::ManualClock;
pub use datasource::FakeDatasource;
pub use identity::StaticIdentity;
pub use investigator::ScriptedInvestigator;
pub use layer::{Layered, StoreLayer};
pub use model::ScriptedModel;
pub use rig::AdapterRig;
pub use store::{Fault, MemoryStore};
