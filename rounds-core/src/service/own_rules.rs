//! Changes of alert rules by steps of plans: through the same functions as a person's, audited to who approved.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::json;

use super::alerts::Alerts;
use super::drafts::{RuleDraft, SilenceDraft};
use super::error::Error;
use super::shared::Shared;
use crate::access::{Actor, OrgRole, Principal};
use crate::alert::AlertRule;
use crate::id::{AlertRuleId, OrgId};
use crate::ports::store::StoreExt as _;
use crate::ports::{ApprovedStep, OwnRules, PortError, PortErrorKind, RuleSettings, RuleWrite};
use crate::step::{StepError, StepOutput};
use crate::time::after_ms;

/// The rules of one organisation.
pub(crate) struct RulesOf {
    pub(crate) shared: Weak<Shared>,
    pub(crate) org: OrgId,
}

impl RulesOf {
    fn shared(&self) -> Result<Arc<Shared>, PortError> {
        let gone = || PortError::new(PortErrorKind::Unavailable, "Rounds is going away");
        self.shared.upgrade().ok_or_else(gone)
    }
}

#[async_trait]
impl OwnRules for RulesOf {
    async fn rule(&self, id: AlertRuleId) -> Result<Option<AlertRule>, PortError> {
        let found = self.shared()?.store.rule(id).await;
        let found = found.map_err(|error| PortError::new(PortErrorKind::Unavailable, error.to_string()))?;
        Ok(found.map(|found| found.value).filter(|rule| rule.org_id == self.org))
    }

    async fn write(&self, id: AlertRuleId, write: &RuleWrite, step: &ApprovedStep) -> Result<(), StepError> {
        let shared = self.shared().map_err(|error| StepError::not_started(error.to_string()))?;
        let done = match write {
            RuleWrite::Set { to, from } => set(&shared, &self.org, id, (to, from), step).await,
            RuleWrite::Silence { minutes, comment } => silence(&shared, &self.org, id, *minutes, comment, step).await,
        };
        done.map_err(|error| match error {
            // The commit may have been applied although its answer is an error.
            Error::Store(error) => StepError::unknown(error.to_string(), StepOutput::default()),
            error => StepError::not_started(error.to_string()),
        })
    }
}

/// Who approved the step: the authority of the change, who stands in its audit row. They are not asked for rights of their
/// own on the rule: the approval of the plan is the permission.
async fn approver(shared: &Shared, org: &OrgId, step: &ApprovedStep) -> Result<Principal, Error> {
    let plan = shared.store.plan(step.plan_id()).await?.filter(|found| found.value.org_id == *org);
    let plan = plan.ok_or_else(|| Error::not_found("plan", step.plan_id()))?.value;
    let of_step = plan.step(step.ordinal()).and_then(|step| step.approved_by.clone());
    let by: Actor = of_step.or(plan.approved_by).ok_or_else(|| Error::Invalid("nobody approved this step".into()))?;
    let mut principal = Principal::user(org.clone(), &by.login, OrgRole::Viewer);
    principal.kind = by.kind;
    if let Ok(id) = by.id.parse() {
        principal.id = id;
    }
    Ok(principal)
}

async fn set(
    shared: &Shared,
    org: &OrgId,
    id: AlertRuleId,
    (to, from): (&RuleSettings, &RuleSettings),
    step: &ApprovedStep,
) -> Result<(), Error> {
    let by = approver(shared, org, step).await?;
    // On the rule as it is at the moment of the change, however often somebody else is faster.
    let change = |rule: &AlertRule| {
        let now = to.now(rule);
        if now == *to {
            return Ok(None);
        }
        if now != *from {
            return Err(Error::Invalid(format!(
                "the rule is set to {} now, and the plan was made for {}: propose again",
                json!(now),
                json!(from)
            )));
        }
        let mut draft = RuleDraft::from(rule);
        let condition = &mut draft.condition;
        condition.threshold = to.threshold.unwrap_or(condition.threshold);
        condition.for_duration_sec = to.for_duration_sec.unwrap_or(condition.for_duration_sec);
        condition.keep_firing_for_sec = to.keep_firing_for_sec.unwrap_or(condition.keep_firing_for_sec);
        Ok(Some(draft))
    };
    Alerts { shared }.rewrite(&by, id, Some(step.plan_id()), change).await?;
    Ok(())
}

async fn silence(
    shared: &Shared,
    org: &OrgId,
    id: AlertRuleId,
    minutes: u32,
    comment: &str,
    step: &ApprovedStep,
) -> Result<(), Error> {
    let by = approver(shared, org, step).await?;
    // One silence for one step, however often it is tried.
    let marker = format!("plan {} step {}", step.plan_id(), step.ordinal());
    let comment = format!("{comment} ({marker})");
    let now = shared.now();
    let there = shared.store.silences(org).await?;
    if there.iter().any(|one| one.value.rule_id == Some(id) && one.value.comment == comment && one.value.ends_at > now)
    {
        return Ok(());
    }
    let draft = SilenceDraft {
        rule_id: Some(id),
        matchers: Default::default(),
        comment,
        starts_at: Some(now),
        ends_at: after_ms(now, u64::from(minutes) * 60_000),
    };
    Alerts { shared }.put_silence(&by, draft, Some(step.plan_id())).await?;
    Ok(())
}
