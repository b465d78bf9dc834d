//! Who hears of a notice: the channels of its team, and of those the ones whose routing says so.

use super::links;
use super::shared::Shared;
use crate::connector::{Connector, NoticeKind};
use crate::id::{PlanId, TeamId};
use crate::investigation::Trigger;
use crate::ports::Notice;
use crate::ports::store::{OutboxNotice, StoreError, StoreExt, Versioned};

/// The channels that hear of what a team owns: that team's, and those of nobody in particular. Where that is none at all,
/// every channel.
fn of_team(owner: Option<TeamId>, channels: Vec<&Connector>) -> Vec<&Connector> {
    let (hear, others): (Vec<_>, Vec<_>) =
        channels.into_iter().partition(|channel| channel.owner_team_id.is_none() || channel.owner_team_id == owner);
    if hear.is_empty() { others } else { hear }
}

/// The channels that hear of a notice. Something that waits for a person and that no person hears of helps nobody: where
/// every routing leaves out a notice that asks for a decision, the channels of the team that owns it hear of it all the
/// same, and where that team has none, all that hear of what the team owns. Anything else that nobody asked for is told to
/// nobody.
pub(crate) fn hearing<'a>(notice: &Notice, channels: Vec<&'a Connector>) -> Vec<&'a Connector> {
    let owner = notice.owner_team_id;
    let topic = notice.topic();
    let (hear, left_out): (Vec<_>, Vec<_>) =
        of_team(owner, channels).into_iter().partition(|channel| channel.routing.hears(&topic));
    if !hear.is_empty() || notice.asked.is_none() {
        return hear;
    }
    let (own, others): (Vec<_>, Vec<_>) =
        left_out.into_iter().partition(|channel| owner.is_some() && channel.owner_team_id == owner);
    if own.is_empty() { others } else { own }
}

/// What is not known where a notice is written: of a plan, the severity and the labels of the alert that it is to end, by
/// which it is routed, and of either the links of the alert. A row that cannot be read keeps nobody from being told.
pub(crate) async fn labelled(shared: &Shared, told: &mut OutboxNotice) -> Result<(), StoreError> {
    if matches!(told.notice.kind, NoticeKind::AlertFiring | NoticeKind::AlertResolved) {
        return links::of_alert(shared, &mut told.notice).await;
    }
    let Some(about) = told.about.filter(|_| told.notice.link.starts_with("/plans/")) else { return Ok(()) };
    let Some(plan) = read(shared.store.plan(PlanId::from(about)).await)? else { return Ok(()) };
    let Some(rule_id) = plan.linked_alert_rule_id else { return Ok(()) };
    let Some(rule) = read(shared.store.rule(rule_id).await)? else { return Ok(()) };
    let investigation = match plan.investigation_id {
        Some(id) => read(shared.store.investigation(id).await)?,
        None => None,
    };
    let (sample, seen, instance) = match investigation.map(|found| found.trigger) {
        Some(Trigger::Alert { labels, value, instance_id, .. }) => {
            (labels.clone(), Some((labels, value)), read(shared.store.instance(instance_id).await)?)
        }
        _ => (Default::default(), None, read(shared.store.instance_of(rule_id).await)?),
    };
    told.notice.severity = rule.severity.to_string();
    told.notice.labels = rule.labels_with(&sample);
    // What was investigated, or else the rule as it is now.
    let now = || instance.as_ref().map(|now| (now.last_labels.clone(), now.last_value)).unwrap_or_default();
    let (labels, value) = seen.unwrap_or_else(now);
    links::link(&mut told.notice, &rule.said(instance.as_ref(), &labels, value));
    Ok(())
}

pub(crate) fn read<T>(found: Result<Option<Versioned<T>>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(found.map(|found| found.value)),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a notice is routed without what cannot be read");
            Ok(None)
        }
    }
}
