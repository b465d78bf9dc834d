//! Rehearsals: a recorded incident goes through the real line (dispatcher, gate, budgets, citations, proposal) with its
//! outside replayed: what the cluster and the datasources answered, and what the model said. No cluster, no key, no network.
//!
//! A team that changes its model, its prompt or its playbook runs its own incidents first, and sees what would become of
//! them. The format is described in `docs/rehearsals.md`; [`Incident`] is its schema.

mod check;
mod clock;
mod file;
mod record;
mod replay;
mod run;

pub use check::{Expectations, Failed};
pub use file::{
    Alert, AnsweredQuery, Call, CommandAnswer, Incident, RecordedConnector, RecordedDatasource, RecordedModel,
    RecordedSeries, Turn, Unreadable,
};
pub use record::{Recorder, Sources};
pub use run::{Driver, Outcome, rehearse};
