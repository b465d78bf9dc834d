//! Remediation plans: a pure state machine over one aggregate of plan, steps and approval requests.
//!
//! `transition` is the only code that changes a status; the property tests, recovery and the crash tests use it
//! too. [`digest`] binds an approval to what was shown.

mod approval;
pub mod digest;
mod event;
mod model;
mod transition;
mod verification;

pub use approval::{ApprovalRequest, RequestKind, RequestStatus};
// Nobody outside can make use of them: plans change through the facades. The tests of the machine do.
#[doc(hidden)]
pub use event::{PlanEvent, StepResult};
pub use model::{Plan, PlanOutcome, PlanStatus, Revision, Step, StepFailure, StepStatus};
#[doc(hidden)]
pub use transition::{NextStep, next_step, transition};
pub use verification::{AlertView, Verification, VerificationStatus, verify};
