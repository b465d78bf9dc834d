//! One action of a plan, as plain values: how it is proposed ([`StepSpec`]), what an adapter makes of it
//! ([`ReviewedStep`], or a [`Refusal`]), and what came back ([`StepOutput`], or a [`StepError`]).

mod outcome;
mod review;
mod spec;

pub(crate) use outcome::kept;
pub use outcome::{Effect, OUTPUT_CAP, StepError, StepOutput};
pub use review::{Refusal, ReviewedStep, Target, Tier, lookup};
pub(crate) use spec::parsed;
pub use spec::{Mode, StepSpec};
