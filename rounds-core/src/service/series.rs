//! The label sets of a rule that has an alert for each: what changed of them, as parts of one commit.
//!
//! A label set's instance changes only together with that of its rule, so whoever holds the rule, or wins its version,
//! speaks for all of them.

use super::error::Error;
use super::evaluator::transition;
use super::shared::Shared;
use crate::alert::{AlertInstance, AlertRule, AlertState, Evaluation, SeriesEvaluation, Silence};
use crate::id::AlertRuleId;
use crate::investigation::{Investigation, InvestigationStatus};
use crate::ports::store::{Commit, Key, ListQuery, RecordKind, StoreError, StoreExt, Versioned};

/// The instances of a rule's label sets; none for a rule that has one alert.
pub(crate) async fn of_rule(shared: &Shared, rule: AlertRuleId) -> Result<Vec<Versioned<AlertInstance>>, StoreError> {
    let query = ListQuery { parent: Some(rule.as_uuid()), ..ListQuery::new(RecordKind::AlertInstance) };
    let mut found: Vec<Versioned<AlertInstance>> = shared.store.all(query).await?;
    found.retain(|found| found.value.series.is_some());
    Ok(found)
}

/// What a change of a label set is judged by.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) silences: Vec<Versioned<Silence>>,
    /// How many investigations of the rule wait or run.
    waiting: u32,
}

/// What is around a rule's label sets: read only when something changed.
pub(crate) async fn around(shared: &Shared, rule: &AlertRule, matter: bool) -> Result<Around, StoreError> {
    if !matter {
        return Ok(Around::default());
    }
    let waiting = ListQuery {
        parent: Some(rule.id.as_uuid()),
        statuses: [InvestigationStatus::Queued, InvestigationStatus::Running].map(|one| one.as_str().to_owned()).into(),
        ..ListQuery::new(RecordKind::Investigation)
    };
    let waiting: Vec<Versioned<Investigation>> = shared.store.all(waiting).await?;
    let waiting = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    Ok(Around { silences: shared.store.silences(&rule.org_id).await?, waiting })
}

/// Several changes of label sets, and of the rule's own instance with them.
pub(crate) struct Changes<'a> {
    shared: &'a Shared,
    rule: &'a AlertRule,
    silences: &'a [Versioned<Silence>],
    /// How many investigations of the rule the next one is behind.
    behind: u32,
    pub(crate) commit: Commit,
    /// The newest investigation that one of them began.
    pub(crate) investigation: Option<crate::id::InvestigationId>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(shared: &'a Shared, rule: &'a AlertRule, around: &'a Around) -> Self {
        let Around { silences, waiting } = around;
        Self { shared, rule, silences, behind: *waiting, commit: Commit::new(), investigation: None }
    }

    /// One step of a label set that is not stored with it: what its history and its notices say.
    pub(crate) fn pass(&mut self, evaluation: Evaluation, version: u64) -> AlertInstance {
        let before = evaluation.instance.investigation_id;
        let (commit, instance) = transition(self.shared, self.rule, evaluation, self.silences, self.behind, version);
        self.commit.absorb(commit);
        if instance.investigation_id != before {
            self.investigation = instance.investigation_id;
            self.behind = self.behind.saturating_add(1);
        }
        instance
    }

    /// A label set that is there now.
    pub(crate) fn make(&mut self, evaluation: Evaluation) -> AlertInstance {
        let instance = self.pass(evaluation, 1);
        self.commit = std::mem::take(&mut self.commit).insert(instance.clone());
        instance
    }

    /// A label set that changed; it was read at `version`.
    pub(crate) fn change(&mut self, evaluation: Evaluation, version: u64) -> AlertInstance {
        let instance = self.pass(evaluation, version + 1);
        self.commit = std::mem::take(&mut self.commit).update(instance.clone(), version);
        instance
    }

    /// A label set of which nothing is kept; it was read at `version`.
    pub(crate) fn end(&mut self, evaluation: Evaluation, version: u64) {
        let key = Key::new(RecordKind::AlertInstance, evaluation.instance.id.as_uuid());
        self.pass(evaluation, version + 1);
        self.commit = std::mem::take(&mut self.commit).delete(key, version);
    }
}

/// What an evaluation of all label sets leads to, and the rule's own instance to be stored with it.
pub(crate) fn evaluated(
    shared: &Shared,
    rule: &AlertRule,
    around: &Around,
    known: &[Versioned<AlertInstance>],
    found: SeriesEvaluation,
) -> (Commit, AlertInstance) {
    let version = |instance: &AlertInstance| {
        known.iter().find(|known| known.value.id == instance.id).map_or(1, |known| known.version)
    };
    let mut changes = Changes::new(shared, rule, around);
    for evaluation in found.changed {
        let version = version(&evaluation.instance);
        changes.change(evaluation, version);
    }
    for evaluation in found.made {
        changes.make(evaluation);
    }
    for evaluation in found.gone {
        let version = version(&evaluation.instance);
        changes.end(evaluation, version);
    }
    let mut whole = found.whole;
    whole.investigation_id = changes.investigation.or(whole.investigation_id);
    (changes.commit, whole)
}

/// The end of every label set of a rule, because a person changed, switched off or deleted it. `end` says how one ends.
pub(crate) async fn ended(
    shared: &Shared,
    rule: &AlertRule,
    end: impl Fn(&AlertInstance) -> Evaluation,
) -> Result<Commit, Error> {
    let known = of_rule(shared, rule.id).await?;
    let around = around(shared, rule, !known.is_empty()).await?;
    let mut changes = Changes::new(shared, rule, &around);
    for Versioned { value, version } in known {
        let on = matches!(value.state, AlertState::Pending | AlertState::Firing);
        // What is over already does not end once more.
        let evaluation = if on { end(&value) } else { Evaluation { instance: value, history: None } };
        changes.end(evaluation, version);
    }
    Ok(changes.commit)
}
