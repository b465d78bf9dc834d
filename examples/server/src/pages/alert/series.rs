//! The label sets of a rule: what they have in common is said once, so that a row shows what tells it from the others.

use std::collections::BTreeMap;

use rounds_core::alert::{AlertInstance, Silence};
use rounds_core::service::RuleView;
use rounds_core::{AlertInstanceId, Timestamp};

/// So many rows are shown; the others are one click away.
const ROWS: usize = 20;

type Labels = BTreeMap<String, String>;

/// A label set, as its row shows it.
pub(super) struct SeriesRow {
    pub(super) one: AlertInstance,
    /// The labels that tell it from the others.
    pub(super) own: Labels,
    /// What its source says of it first.
    pub(super) summary: Option<String>,
    /// And what else it says.
    pub(super) more: Vec<(String, String)>,
    pub(super) is_silenced: bool,
}

/// The label sets of a rule.
#[derive(Default)]
pub(super) struct SeriesView {
    /// What all of them carry.
    pub(super) common: Labels,
    pub(super) first: Vec<SeriesRow>,
    pub(super) others: Vec<SeriesRow>,
}

impl SeriesView {
    pub(super) fn of(view: &RuleView, silences: &[Silence], now: Timestamp) -> Self {
        let common = common(view.series.iter().map(|one| &one.last_labels));
        let row = |one: &AlertInstance| {
            let mut more: Vec<(String, String)> = one.annotations.clone().into_iter().collect();
            let at = more.iter().position(|(name, _)| name == "summary");
            let summary = at.map(|at| more.remove(at).1);
            SeriesRow {
                own: without(&one.last_labels, &common),
                is_silenced: silences.iter().any(|silence| silence.covers(&view.rule, &one.last_labels, now)),
                one: one.clone(),
                summary,
                more,
            }
        };
        let mut first: Vec<SeriesRow> = view.series.iter().map(row).collect();
        let others = first.split_off(first.len().min(ROWS));
        Self { common, first, others }
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.others.len()
    }

    /// All of them, to choose one.
    pub(super) fn all(&self) -> impl Iterator<Item = &SeriesRow> {
        self.first.iter().chain(&self.others)
    }

    /// Matchers that hold for one of them and for no other: what it does not carry and another does is asked for as empty.
    pub(super) fn alone(&self, id: AlertInstanceId) -> Option<Labels> {
        let mut matchers = self.all().find(|row| row.one.id == id)?.one.last_labels.clone();
        for name in self.all().flat_map(|row| row.one.last_labels.keys()) {
            matchers.entry(name.clone()).or_default();
        }
        Some(matchers)
    }

    /// What tells a label set from the others, in one line.
    pub(super) fn told(&self, labels: &Labels) -> String {
        let own = without(labels, &self.common);
        // Only one, or all alike: then what they have in common is what there is to say.
        let shown = if own.is_empty() { labels } else { &own };
        line(shown)
    }
}

impl SeriesRow {
    /// Its own labels in one line.
    pub(super) fn name(&self) -> String {
        let shown = line(if self.own.is_empty() { &self.one.last_labels } else { &self.own });
        if shown.is_empty() { "no labels".to_owned() } else { shown }
    }
}

fn line(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// What all of several label sets carry; of one, nothing is common.
fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(mut common) = sets.next().cloned() else { return Labels::new() };
    let mut several = false;
    for set in sets {
        several = true;
        common.retain(|name, value| set.get(name) == Some(value));
    }
    if several { common } else { Labels::new() }
}

fn without(labels: &Labels, common: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| !common.contains_key(*name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_all_label_sets_carry_is_common_and_of_one_nothing_is() {
        let sets = [
            labels(&[("namespace", "shop"), ("pod", "a"), ("zone", "1")]),
            labels(&[("namespace", "shop"), ("pod", "b")]),
        ];
        let shared = common(sets.iter());
        assert_eq!(shared, labels(&[("namespace", "shop")]));
        assert_eq!(without(&sets[0], &shared), labels(&[("pod", "a"), ("zone", "1")]));
        assert_eq!(common(sets[..1].iter()), Labels::new());
        assert_eq!(common(std::iter::empty()), Labels::new());
    }
}
