use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::IllegalTransition;

/// Why an investigation did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// The agent's service account has no live token.
    NoLiveToken,
    /// Access was refused to the agent: `error` says what it lacks. An authorizer has to let agents do what
    /// [`Action::is_for_agents`](crate::access::Action::is_for_agents) names.
    AgentDenied,
    /// The rule was investigated a moment ago.
    Cooldown,
    /// The alert recovered before the investigation started.
    EpisodeEnded,
    /// A silence covers the rule.
    Silenced,
    /// It waited longer than the setting allows.
    Stale,
    /// Automatic investigation was switched off while it waited.
    SwitchedOff,
    /// The rule had its runs of the day: [`Budget::runs_per_rule_per_day`](super::Budget::runs_per_rule_per_day).
    BudgetSpent,
}

impl SkipReason {
    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoLiveToken => "no_live_token",
            Self::AgentDenied => "agent_denied",
            Self::Cooldown => "cooldown",
            Self::EpisodeEnded => "episode_ended",
            Self::Silenced => "silenced",
            Self::Stale => "stale",
            Self::SwitchedOff => "switched_off",
            Self::BudgetSpent => "budget_spent",
        }
    }
}

/// Where an investigation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvestigationStatus {
    /// Waits for its turn.
    Queued,
    /// Runs.
    Running,
    /// Ended with a report.
    Completed,
    /// Ended without one.
    Failed,
    /// Never ran.
    Skipped,
    /// A person ended it.
    Cancelled,
}

impl InvestigationStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Skipped, Self::Cancelled];

    /// The word that rows and pages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What can happen to an investigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvestigationEvent {
    /// A worker starts it.
    Start,
    /// A worker takes it over from one that died: the same id, the next attempt.
    Resume,
    /// The report is saved.
    Complete,
    /// There is no report and there will be none.
    Fail,
    /// It will not run.
    Skip,
    /// A person ends it.
    Cancel,
}

/// The state machine of an investigation.
///
/// # Errors
/// The event means nothing in that state.
pub fn transition(
    status: InvestigationStatus,
    event: InvestigationEvent,
) -> Result<InvestigationStatus, IllegalTransition> {
    use InvestigationEvent as E;
    use InvestigationStatus as S;
    match (status, event) {
        (S::Queued, E::Start) | (S::Running, E::Resume) => Ok(S::Running),
        (S::Queued, E::Skip) => Ok(S::Skipped),
        (S::Queued | S::Running, E::Cancel) => Ok(S::Cancelled),
        (S::Running, E::Complete) => Ok(S::Completed),
        (S::Queued | S::Running, E::Fail) => Ok(S::Failed),
        (
            S::Queued | S::Running | S::Completed | S::Failed | S::Skipped | S::Cancelled,
            E::Start | E::Resume | E::Complete | E::Fail | E::Skip | E::Cancel,
        ) => Err(IllegalTransition::new("investigation", status.as_str(), format!("{event:?}").to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_6_no_event_changes_an_investigation_that_ended() {
        use InvestigationEvent::{Cancel, Complete, Fail, Resume, Skip, Start};
        for status in InvestigationStatus::ALL.into_iter().filter(|status| status.is_terminal()) {
            for event in [Start, Resume, Complete, Fail, Skip, Cancel] {
                assert!(transition(status, event).is_err(), "{status:?} on {event:?}");
            }
        }
    }

    #[test]
    fn only_a_queued_investigation_can_be_skipped() {
        for status in InvestigationStatus::ALL {
            let skipped = transition(status, InvestigationEvent::Skip).is_ok();
            assert_eq!(skipped, status == InvestigationStatus::Queued, "{status:?}");
        }
    }
}
