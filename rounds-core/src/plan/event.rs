use super::Step;
use crate::access::Actor;
use crate::id::RequestId;
use crate::step::StepOutput;
use crate::time::Timestamp;

/// How a step's attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// It succeeded.
    Done(StepOutput),
    /// It said that it failed, or could not start.
    Failed {
        /// What went wrong.
        message: String,
        /// What it said.
        output: StepOutput,
    },
    /// It started and nobody knows how it ended.
    Interrupted {
        /// What is known.
        message: String,
        /// What it said.
        output: StepOutput,
    },
}

/// Everything that can happen to a plan. `at` is when; decisions say who.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanEvent {
    /// A person puts a rescue plan up for approval. It runs nothing.
    Submit {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// The request that opens.
        request_id: RequestId,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// The plan that a draft would undo was rejected or expired: there is nothing to undo.
    PrimaryEnded {
        /// When.
        at: Timestamp,
        /// How it ended, in a word.
        how: &'static str,
    },
    /// A person changes the steps. Every step was reviewed and dry-run again.
    Modify {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// The summary of the new revision.
        summary: String,
        /// Its steps.
        steps: Vec<Step>,
        /// Its canonical bytes.
        canonical: String,
        /// Their digest.
        digest: String,
        /// The request that opens.
        request_id: RequestId,
    },
    /// A person approves.
    Approve {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Whether no step needs an approval of its own.
        auto_edit: bool,
    },
    /// A person rejects.
    Reject {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Nobody decided in time.
    Expire {
        /// When.
        at: Timestamp,
    },
    /// A person ends it.
    Cancel {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// The executor takes it up.
    Start {
        /// When.
        at: Timestamp,
    },
    /// The next step needs an approval of its own.
    RequestStep {
        /// When.
        at: Timestamp,
        /// Which step.
        ordinal: u32,
        /// The request that opens.
        request_id: RequestId,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// A person approves one step.
    ApproveStep {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Which step.
        ordinal: u32,
    },
    /// A person rejects one step.
    RejectStep {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Which step.
        ordinal: u32,
        /// Why.
        reason: Option<String>,
    },
    /// Nobody decided on a step in time.
    ExpireStep {
        /// When.
        at: Timestamp,
        /// Which step.
        ordinal: u32,
    },
    /// The intent to run a step, committed before its effect (rule 4).
    StartStep {
        /// When.
        at: Timestamp,
        /// Which step.
        ordinal: u32,
        /// When its effect must be over.
        effect_deadline: Timestamp,
        /// Whether the linked alert fires at this moment; `None` when no alert is linked. The first step's
        /// answer decides whether the plan can count as having helped.
        alert_firing: Option<bool>,
    },
    /// A step's attempt ended.
    FinishStep {
        /// When.
        at: Timestamp,
        /// Which step.
        ordinal: u32,
        /// How.
        result: StepResult,
    },
    /// Today's review of a step is not what was approved: the plan halts and cannot be retried (rule 1).
    HaltReviewChanged {
        /// When.
        at: Timestamp,
        /// Which step.
        ordinal: u32,
        /// What differs.
        reason: String,
    },
    /// A person runs a failed or interrupted step again. The click approves that step.
    Retry {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// Which step.
        ordinal: u32,
        /// Whether the person accepts that the first attempt may have happened.
        acknowledge_unknown_outcome: bool,
        /// Whether the person holds the auto-edit grant; without it, later steps pause again.
        keep_auto_edit: bool,
    },
}

impl PlanEvent {
    /// The event in a word, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "submit",
            Self::PrimaryEnded { .. } => "primary_ended",
            Self::Modify { .. } => "modify",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
            Self::Expire { .. } => "expire",
            Self::Cancel { .. } => "cancel",
            Self::Start { .. } => "start",
            Self::RequestStep { .. } => "request_step",
            Self::ApproveStep { .. } => "approve_step",
            Self::RejectStep { .. } => "reject_step",
            Self::ExpireStep { .. } => "expire_step",
            Self::StartStep { .. } => "start_step",
            Self::FinishStep { .. } => "finish_step",
            Self::HaltReviewChanged { .. } => "halt_review_changed",
            Self::Retry { .. } => "retry",
        }
    }
}
