use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InvestigationStatus, ModelUse, Report, SkipReason};
use crate::access::Actor;
use crate::id::{AlertInstanceId, AlertRuleId, InvestigationId, OrgId, PlanId};
use crate::time::Timestamp;

/// What started an investigation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "type")]
#[non_exhaustive]
pub enum Trigger {
    /// An alert fires.
    #[serde(rename_all = "camelCase")]
    Alert {
        /// The rule.
        rule_id: AlertRuleId,
        /// Its name at that time.
        rule_name: String,
        /// The instance.
        instance_id: AlertInstanceId,
        /// Since when it fires: with rule and instance, the episode.
        firing_since: Timestamp,
        /// The value that fired.
        value: Option<f64>,
        /// The labels of the sample that fired.
        labels: BTreeMap<String, String>,
        /// Whether it is the second one of its episode: the first was skipped, because a silence covered the alert.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        after_silence: bool,
    },
    /// A person asked, about a rule or about nothing in particular.
    #[serde(rename_all = "camelCase")]
    Person {
        /// The rule, when the question is about one.
        rule_id: Option<AlertRuleId>,
    },
}

/// A read-only diagnosis, run as a service account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Investigation {
    /// The investigation.
    pub id: InvestigationId,
    /// Its organisation.
    pub org_id: OrgId,
    /// What it is to find out.
    pub question: String,
    /// What started it.
    pub trigger: Trigger,
    /// The person who asked, when one did; the run itself is the service account's.
    pub requested_by: Option<Actor>,
    /// Whether it ignores cooldown and silence, because a person asked for it now.
    pub force: bool,
    /// The service account it runs as, once it runs.
    pub run_as: Option<Actor>,
    /// Which investigator ran.
    pub investigator: Option<String>,
    /// Where it is.
    pub status: InvestigationStatus,
    /// Why it did not run.
    pub skip_reason: Option<SkipReason>,
    /// Why it failed.
    pub error: Option<String>,
    /// How often it was started; 1 for the first run.
    pub attempt: u32,
    /// How many of the same rule waited or ran when it was queued; see [`turn`](Self::turn).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub behind: u32,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How much of a model it used, over all attempts; told while it runs, too.
    #[serde(default)]
    pub model_use: Option<ModelUse>,
    /// What was found; while it runs, what was found so far.
    pub report: Option<Report>,
    /// The plan it led to.
    pub plan_id: Option<PlanId>,
}

/// How far behind others one of a crowded rule is put at most.
const TURN_SPREAD: Duration = Duration::from_secs(600);

/// How far behind the one before it one of a crowded rule is put.
const TURN_STEP: Duration = Duration::from_secs(20);

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(behind: &u32) -> bool {
    *behind == 0
}

impl Investigation {
    /// An investigation that waits for its turn, asked for by nobody in particular.
    #[must_use]
    pub fn queued(org_id: OrgId, question: impl Into<String>, trigger: Trigger, at: Timestamp) -> Self {
        Self {
            id: InvestigationId::new(),
            org_id,
            question: question.into(),
            trigger,
            requested_by: None,
            force: false,
            run_as: None,
            investigator: None,
            status: InvestigationStatus::Queued,
            skip_reason: None,
            error: None,
            attempt: 0,
            behind: 0,
            created_at: at,
            updated_at: at,
            started_at: None,
            finished_at: None,
            model_use: None,
            report: None,
            plan_id: None,
        }
    }

    /// What its place in the queue goes by: the earliest of those that wait is next. Each that waits behind others of its
    /// rule counts as queued twenty seconds later, at most ten minutes, so a rule with a hundred label sets keeps no other rule
    /// waiting, and comes to its own before its alerts are [stale](crate::Settings::investigation_stale). What a person asked
    /// goes before all that alerts began in the ten minutes before.
    ///
    /// All of it lies in the past: everything that is queued may run at once.
    #[must_use]
    pub fn turn(&self) -> Timestamp {
        let ahead = match self.requested_by {
            Some(_) => TURN_SPREAD * 2,
            None => TURN_SPREAD.saturating_sub(TURN_STEP.saturating_mul(self.behind)),
        };
        let ahead = TimeDelta::from_std(ahead).unwrap_or_default();
        self.created_at.checked_sub_signed(ahead).unwrap_or(self.created_at)
    }

    /// The rule it is about.
    #[must_use]
    pub fn rule_id(&self) -> Option<AlertRuleId> {
        match &self.trigger {
            Trigger::Alert { rule_id, .. } => Some(*rule_id),
            Trigger::Person { rule_id } => *rule_id,
        }
    }

    /// What makes it the only one of its firing episode: the store refuses a second with the same key.
    #[must_use]
    pub fn episode_key(&self) -> Option<String> {
        match &self.trigger {
            Trigger::Alert { rule_id, instance_id, firing_since, after_silence, .. } if !self.force => {
                let marker = if *after_silence { "/after_silence" } else { "" };
                Some(format!("{rule_id}/{instance_id}/{}{marker}", firing_since.to_rfc3339()))
            }
            Trigger::Alert { .. } | Trigger::Person { .. } => None,
        }
    }
}
