//! Investigations: a read-only diagnosis that ends in a report whose claims cite evidence.

mod model;
mod report;
mod spending;
mod state;

pub use model::{Investigation, Trigger};
pub use report::{
    CitationError, Confidence, Evidence, EvidenceSource, Findings, Proposal, ProposedStep, ReadingId, Report,
    RootCause, RuledOut, Section, ToolUse,
};
pub use spending::{Amount, Budget, Exhausted, ModelUse, Prices, Spending, Usage, dollars};
pub use state::{InvestigationStatus, SkipReason};
// For the tests of the machine: investigations change through the services.
#[doc(hidden)]
pub use state::{InvestigationEvent, transition};
