//! The rules, broken on purpose: each in one place of the services, in builds for rounds-core's own tests only.

/// How a rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Rule 1: a step runs although its connector was changed after the approval.
    RunsOnAChangedConnector,
    /// Rule 1: a step runs as today's gate renders it, and not as it was approved.
    RunsWhatIsRenderedToday,
    /// Rule 4: the effect starts, and nobody wrote down before that it would.
    RunsBeforeTheIntentIsCommitted,
    /// Rule 4: whoever takes a plan over judges at once, while the effect may still go on.
    JudgesBeforeTheDeadline,
    /// Rule 4: a step whose outcome nobody knows counts as failed, so that a retry needs no second thought.
    ForgetsThatTheOutcomeIsUnknown,
    /// Rule 4: the time that a step has left is measured by a clock that somebody may set back.
    TrustsItsClock,
    /// Rule 5: the executor commits without its lease.
    CommitsWithoutTheLease,
    /// Rule 6: what has ended can be cancelled.
    CancelsWhatEnded,
    /// Rule 13: an alert fires without its investigation.
    FiresWithoutAnInvestigation,
    /// Rule 13: nobody goes on with an investigation whose replica died.
    ResumesNoInvestigation,
}

impl Mutation {
    pub(super) const ALL: [(Self, &'static str); 10] = [
        (Self::RunsOnAChangedConnector, "rule 1"),
        (Self::RunsWhatIsRenderedToday, "rule 1"),
        (Self::RunsBeforeTheIntentIsCommitted, "rule 4"),
        (Self::JudgesBeforeTheDeadline, "rule 4"),
        (Self::ForgetsThatTheOutcomeIsUnknown, "rule 4"),
        (Self::TrustsItsClock, "rule 4"),
        (Self::CommitsWithoutTheLease, "rule 5"),
        (Self::CancelsWhatEnded, "rule 6"),
        (Self::FiresWithoutAnInvestigation, "rule 13"),
        (Self::ResumesNoInvestigation, "rule 13"),
    ];
}
