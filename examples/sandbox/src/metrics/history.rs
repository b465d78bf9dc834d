//! Samples over time, bounded.

use std::collections::{BTreeMap, VecDeque};

use promql_parser::label::Matcher;

/// Labels of a series, its name among them as `__name__`.
pub(crate) type Labels = BTreeMap<String, String>;

/// The value that ends a series, told apart from other NaNs by its bits, as Prometheus does.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Every sample of the last minutes, and one of eight for the hours before.
const RECENT: usize = 2_400;
const OLDER: usize = 7_200;
const KEEP_ONE_OF: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Series {
    older: VecDeque<(i64, f64)>,
    recent: VecDeque<(i64, f64)>,
    evicted: usize,
    live: bool,
}

impl Series {
    fn push(&mut self, t: i64, v: f64) {
        if self.recent.len() >= RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.evicted += 1;
            if self.evicted.is_multiple_of(KEEP_ONE_OF) || is_stale(oldest.1) {
                if self.older.len() >= OLDER {
                    self.older.pop_front();
                }
                self.older.push_back(oldest);
            }
        }
        self.recent.push_back((t, v));
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> + '_ {
        self.older.iter().chain(&self.recent).copied()
    }

    /// The newest value in `(from, to]`, unless the series had ended by then.
    pub(crate) fn latest(&self, from: i64, to: i64) -> Option<f64> {
        let (_, v) = self.iter().rev().find(|(t, _)| *t <= to).filter(|(t, _)| *t > from)?;
        (!is_stale(v)).then_some(v)
    }

    /// The values in `(from, to]`.
    pub(crate) fn range(&self, from: i64, to: i64) -> Vec<(i64, f64)> {
        let mut out: Vec<(i64, f64)> = self
            .iter()
            .rev()
            .skip_while(|(t, _)| *t > to)
            .take_while(|(t, _)| *t > from)
            .filter(|(_, v)| !is_stale(*v))
            .collect();
        out.reverse();
        out
    }
}

pub(crate) fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE
}

/// All series, by name.
#[derive(Debug, Default)]
pub(crate) struct History {
    names: BTreeMap<String, BTreeMap<Labels, Series>>,
}

impl History {
    /// Adds a scrape. Series that are not in it end.
    pub(crate) fn push(&mut self, t: i64, scrape: Vec<(Labels, f64)>) {
        for series in self.names.values_mut().flat_map(BTreeMap::values_mut) {
            series.live = false;
        }
        for (labels, v) in scrape {
            let name = labels.get("__name__").cloned().unwrap_or_default();
            let series = self.names.entry(name).or_default().entry(labels).or_default();
            series.push(t, v);
            series.live = true;
        }
        for series in self.names.values_mut().flat_map(BTreeMap::values_mut) {
            let ended = series.recent.back().is_some_and(|(_, v)| is_stale(*v));
            if !series.live && !ended {
                series.push(t, f64::from_bits(STALE));
            }
        }
        // A pod's series are of no use hours after it has gone.
        let horizon = t - 4 * 3600 * 1000;
        for group in self.names.values_mut() {
            group.retain(|_, s| s.live || s.recent.back().is_some_and(|(t, _)| *t > horizon));
        }
        self.names.retain(|_, group| !group.is_empty());
    }

    pub(crate) fn select(&self, name: Option<&str>, matchers: &[Matcher]) -> Vec<(&Labels, &Series)> {
        let matches =
            |labels: &Labels| matchers.iter().all(|m| m.is_match(labels.get(&m.name).map_or("", String::as_str)));
        match name {
            Some(name) => self.names.get(name).into_iter().flatten().filter(|(l, _)| matches(l)).collect(),
            None => self.names.values().flatten().filter(|(l, _)| matches(l)).collect(),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }
}
