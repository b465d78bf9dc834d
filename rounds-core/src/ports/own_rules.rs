//! Rounds' own alert rules, for steps that change them: the [`OwnRules`] port.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApprovedStep, PortError};
use crate::alert::AlertRule;
use crate::id::AlertRuleId;
use crate::step::StepError;

/// What a step changes about a rule.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSettings {
    /// What the value is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// How long the condition must hold before the alert fires, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_duration_sec: Option<u64>,
    /// How long the alert goes on firing after its condition last held, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for_sec: Option<u64>,
}

impl RuleSettings {
    /// How a rule is set now, as far as this says something about it.
    #[must_use]
    pub fn now(&self, rule: &AlertRule) -> Self {
        let condition = &rule.condition;
        Self {
            threshold: self.threshold.map(|_| condition.threshold),
            for_duration_sec: self.for_duration_sec.map(|_| condition.for_duration_sec),
            keep_firing_for_sec: self.keep_firing_for_sec.map(|_| condition.keep_firing_for_sec),
        }
    }
}

/// What a step does to a rule.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RuleWrite {
    /// Sets this, if it is set like that now: another value was put there by somebody else, who would be overruled.
    Set {
        /// What it is to be.
        to: RuleSettings,
        /// What it must be now.
        from: RuleSettings,
    },
    /// Silences it for so many minutes from the moment it runs.
    Silence {
        /// How long.
        minutes: u32,
        /// Why, for people.
        comment: String,
    },
}

/// The alert rules of the organisation that a connector belongs to.
///
/// **Implemented by** Rounds, which hands one to each connector it builds
/// ([`BuildContext::rules`](crate::plugin::BuildContext::rules)). **Called by** adapters whose steps change rules. Another
/// organisation's rules are not there. Cancel safe: a change is one commit, made or not.
#[async_trait]
pub trait OwnRules: Send + Sync {
    /// A rule; `None`: there is none of that id.
    ///
    /// # Errors
    /// The store could not be asked.
    async fn rule(&self, id: AlertRuleId) -> Result<Option<AlertRule>, PortError>;

    /// Changes a rule as an approved step says. The audit log names who approved it, and the plan. The same step once more
    /// changes nothing.
    ///
    /// # Errors
    /// The rule is not there, is not set as expected, or would not hold: nothing was changed. The store failed: nobody knows.
    async fn write(&self, id: AlertRuleId, write: &RuleWrite, step: &ApprovedStep) -> Result<(), StepError>;
}
