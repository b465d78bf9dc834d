//! The playbook investigator: known failure signatures of Kubernetes workloads, without a model and without a key.
//!
//! It finds the workload (`locate`), reads it once (`observe`) and around it what that gives a reason to
//! (`surroundings`), asks each signature (`signatures`), and writes a report (`report`, with `recent` changes); when the
//! remedy is known and the gate accepts it, it proposes a plan and the way back from it
//! (`rescue`). Every conclusion cites what was read; what could not be read is listed and rules
//! nothing out. It looks only through the [`Toolbox`], so it can change nothing.

#[cfg(test)]
pub(crate) mod fixtures;
mod hpa;
mod kube;
pub(crate) mod locate;
mod observe;
mod read;
mod recent;
mod references;
mod report;
mod rescue;
mod rollout;
mod signatures;
mod surroundings;
mod template;

use std::time::Duration;

use async_trait::async_trait;
use rounds_core::investigation::Findings;
use rounds_core::ports::{FiredAlert, Investigator, PortError, Query, Toolbox};

use self::locate::Limits;
use self::read::Ledger;
use self::report::{Looked, Signal};

/// How far the playbook goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaybookSettings {
    /// A failure that begins longer than this after a rollout has ended is not put down to the rollout.
    pub rollout_window: Duration,
    /// The most replicas that a plan against saturation asks for.
    pub max_replicas: u32,
    /// How long the last step of a plan waits for the rollout; the connector may allow less.
    pub rollout_timeout: Duration,
    /// The most reads and queries of one investigation.
    pub max_reads: u32,
    /// The most namespaces that are looked into.
    pub max_namespaces: usize,
    /// The most workloads that are looked at closely.
    pub max_candidates: usize,
    /// Lines of a crashed container's log that the report quotes.
    pub log_lines: usize,
}

impl Default for PlaybookSettings {
    fn default() -> Self {
        Self {
            rollout_window: Duration::from_secs(30 * 60),
            max_replicas: 20,
            rollout_timeout: Duration::from_secs(120),
            max_reads: 120,
            max_namespaces: 12,
            max_candidates: 5,
            log_lines: 5,
        }
    }
}

/// Finds known failures of Kubernetes workloads and, where the undo is known, proposes it.
///
/// ```
/// use rounds_connectors::playbook::{PlaybookInvestigator, PlaybookSettings};
///
/// let mut settings = PlaybookSettings::default();
/// settings.max_replicas = 8;
/// let investigator = PlaybookInvestigator::new(settings);
/// ```
#[derive(Debug, Clone, Default)]
pub struct PlaybookInvestigator {
    settings: PlaybookSettings,
}

impl PlaybookInvestigator {
    /// An investigator with these settings; [`Default`] has the usual ones.
    #[must_use]
    pub fn new(settings: PlaybookSettings) -> Self {
        Self { settings }
    }
}

#[async_trait]
impl Investigator for PlaybookInvestigator {
    fn name(&self) -> &str {
        "playbook"
    }

    async fn investigate(&self, tools: &dyn Toolbox, alert: &FiredAlert) -> Result<Findings, PortError> {
        let mut ledger = Ledger::new(self.settings.max_reads);
        let signal = signal(tools, alert, &mut ledger).await;
        let hints = locate::hints(alert);
        let limits = Limits { namespaces: self.settings.max_namespaces, candidates: self.settings.max_candidates };
        let candidates = locate::locate(tools, &hints, limits, &mut ledger).await;
        let mut looked = Vec::new();
        for candidate in candidates {
            if let Some(observed) = observe::observe(tools, &self.settings, alert, candidate, &mut ledger).await {
                let diagnosis = signatures::diagnose(&observed);
                looked.push(Looked { observed, diagnosis });
            }
        }
        Ok(report::findings(tools, alert, signal.as_ref(), looked, ledger.unknowns).await)
    }
}

/// What the rule's own query says now.
async fn signal(tools: &dyn Toolbox, alert: &FiredAlert, ledger: &mut Ledger) -> Option<Signal> {
    let rule = alert.rule.as_ref()?;
    if !ledger.spend() {
        return None;
    }
    let condition = &rule.condition;
    let query = Query::Instant { expr: condition.query.clone(), at: None };
    let reading = tools.query(rule.datasource_id, query).await;
    match reading.answer {
        Ok(set) => {
            let value = set.series.first().and_then(|series| series.points.last()).map(|point| point.value);
            let holds = value.map(|value| condition.operator.holds(value, condition.threshold));
            Some(Signal { reading: reading.id, value, holds })
        }
        Err(error) => {
            let error: String = error.chars().take(300).collect();
            ledger.unknown(format!("the rule's query could not be asked again ({}): {error}", reading.id));
            None
        }
    }
}
