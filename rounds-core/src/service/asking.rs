//! A person asks about a rule: what is there already is named, and a new investigation is queued otherwise.

use super::alerts::Alerts;
use super::error::Error;
use super::investigations::{Queued, queue};
use super::series;
use crate::access::{Action, Principal, Scope};
use crate::alert::{AlertInstance, AlertRule, AlertState};
use crate::id::{AlertInstanceId, AlertRuleId, InvestigationId};
use crate::investigation::{Investigation, InvestigationStatus, Trigger};
use crate::ports::store::{Commit, ListQuery, RecordKind, StoreExt, Versioned};

impl Alerts<'_> {
    /// Investigates a rule now, as the service account; who asked is recorded. When an investigation of it is under
    /// way, or this firing was investigated already, that one is named instead, unless `force`.
    ///
    /// # Errors
    /// `investigations:create` is missing, or there is no such rule.
    pub async fn investigate(&self, who: &Principal, id: AlertRuleId, force: bool) -> Result<Queued, Error> {
        self.investigate_series(who, id, None, force).await
    }

    /// As [`investigate`](Self::investigate), about one label set of a rule that has an alert for each. Without one it is what
    /// fires for the longest.
    ///
    /// # Errors
    /// As [`investigate`](Self::investigate), and the rule has no such label set.
    pub async fn investigate_series(
        &self,
        who: &Principal,
        id: AlertRuleId,
        series: Option<AlertInstanceId>,
        force: bool,
    ) -> Result<Queued, Error> {
        let scopes = [Scope::all("investigations")];
        self.shared.authorize(who, Action::InvestigationsCreate, &scopes).await?;
        let mut tries = 0;
        loop {
            let (queued, commit) = self.request(who, id, series, force).await?;
            let Some(commit) = commit else { return Ok(queued) };
            // The evaluator writes the instance at every tick, so losing to it is nothing to tell a person of.
            if self.shared.settle(commit, &mut tries).await? {
                return Ok(queued);
            }
        }
    }

    /// What asking for an investigation leads to: nothing to commit when there is one already.
    async fn request(
        &self,
        who: &Principal,
        id: AlertRuleId,
        series: Option<AlertInstanceId>,
        force: bool,
    ) -> Result<(Queued, Option<Commit>), Error> {
        let rule = self.load(who, id).await?.value;
        let found = self.asked_about(&rule, series).await?;
        let firing = found.as_ref().filter(|found| found.value.state == AlertState::Firing);
        if !force && let Some(existing) = self.existing(who, id, firing.map(|found| &found.value)).await? {
            return Ok((Queued { investigation_id: existing, existing: true }, None));
        }
        let trigger = match firing {
            Some(Versioned { value: instance, .. }) => Trigger::Alert {
                rule_id: id,
                rule_name: rule.name.clone(),
                instance_id: instance.id,
                firing_since: instance.firing_since.unwrap_or(instance.state_changed_at),
                value: instance.last_value,
                labels: instance.last_labels.clone(),
                after_silence: false,
            },
            None => Trigger::Person { rule_id: Some(id) },
        };
        let question = format!("What is going on with \"{}\"?", rule.name);
        let investigation = queue(self.shared, who, question, trigger);
        let investigation_id = investigation.id;
        let mut commit = investigation.into_commit(self.shared);
        if let Some(mut found) = found {
            found.value.investigation_id = Some(investigation_id);
            commit = commit.update(found.value, found.version);
        }
        Ok((Queued { investigation_id, existing: false }, Some(commit)))
    }

    /// The instance that a person asks about.
    async fn asked_about(
        &self,
        rule: &AlertRule,
        series: Option<AlertInstanceId>,
    ) -> Result<Option<Versioned<AlertInstance>>, Error> {
        if let Some(one) = series {
            let found = self.shared.store.instance(one).await?;
            let found = found.filter(|found| found.value.rule_id == rule.id);
            return found.map(Some).ok_or_else(|| Error::not_found("alert instance", one));
        }
        if rule.is_each() {
            let firing = series::of_rule(self.shared, rule.id).await?.into_iter();
            let firing = firing.filter(|found| found.value.state == AlertState::Firing);
            if let Some(longest) = firing.min_by_key(|found| (found.value.firing_since, found.value.id)) {
                return Ok(Some(longest));
            }
        }
        Ok(self.shared.store.instance_of(rule.id).await?)
    }

    async fn existing(
        &self,
        who: &Principal,
        id: AlertRuleId,
        firing: Option<&AlertInstance>,
    ) -> Result<Option<InvestigationId>, Error> {
        // By status, because a rule that flaps leaves so many skipped ones that a page of them hides the rest.
        let of = |statuses: &[InvestigationStatus]| ListQuery {
            org: Some(who.org_id.clone()),
            parent: Some(id.as_uuid()),
            statuses: statuses.iter().map(|status| status.as_str().to_owned()).collect(),
            newest_first: true,
            limit: 20,
            ..ListQuery::new(RecordKind::Investigation)
        };
        let store = &self.shared.store;
        let under_way = store.list(&of(&[InvestigationStatus::Queued, InvestigationStatus::Running])).await?;
        for record in under_way.records {
            let found: Investigation = record.value.try_into()?;
            // Another label set of the rule is another alert.
            let other = match (&found.trigger, firing.filter(|firing| firing.series.is_some())) {
                (Trigger::Alert { instance_id, .. }, Some(firing)) => *instance_id != firing.id,
                _ => false,
            };
            if !other {
                return Ok(Some(found.id));
            }
        }
        let Some(since) = firing.and_then(|instance| instance.firing_since) else { return Ok(None) };
        for record in store.list(&of(&[InvestigationStatus::Completed])).await?.records {
            let found: Investigation = record.value.try_into()?;
            let same = |instance: AlertInstanceId| firing.is_some_and(|firing| firing.id == instance);
            if matches!(&found.trigger, Trigger::Alert { firing_since, instance_id, .. } if *firing_since == since && same(*instance_id))
            {
                return Ok(Some(found.id));
            }
        }
        Ok(None)
    }
}
