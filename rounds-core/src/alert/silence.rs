use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AlertRule;
use crate::access::Actor;
use crate::id::{AlertRuleId, OrgId, SilenceId};
use crate::time::Timestamp;

/// Suppresses notification and investigation for a while, never state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// The silence.
    pub id: SilenceId,
    /// Its organisation.
    pub org_id: OrgId,
    /// One rule; `None`: every rule that the matchers match.
    pub rule_id: Option<AlertRuleId>,
    /// Labels that a rule or its sample must carry with these values. As in Alertmanager, a label that is not there counts as
    /// the empty text.
    pub matchers: BTreeMap<String, String>,
    /// Why, for people.
    pub comment: String,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
}

impl Silence {
    /// Whether it covers a rule, with the labels of its sample, at a moment.
    #[must_use]
    pub fn covers(&self, rule: &AlertRule, labels: &BTreeMap<String, String>, now: Timestamp) -> bool {
        let in_time = self.starts_at <= now && now < self.ends_at;
        let same_rule = match self.rule_id {
            Some(id) => id == rule.id,
            // Without a rule and without a matcher that asks for something it would silence everything by omission.
            None => self.matchers.values().any(|value| !value.is_empty()),
        };
        let matches = self.matchers.iter().all(|(name, value)| {
            labels.get(name).or_else(|| rule.labels.get(name)).map_or("", String::as_str) == value
        });
        in_time && same_rule && matches
    }
}
