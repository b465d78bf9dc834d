//! Settings of the services: a value. Libraries read no environment; examples do.

use std::time::Duration;

use crate::investigation::Budget;

/// How the services behave. Every duration is checked by [`Settings::validate`].
///
/// ```
/// use rounds_core::Settings;
/// let settings = Settings { auto_investigation: false, ..Settings::default() };
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether rules are evaluated. Off: states are kept and shown as "evaluation off". Default: on.
    pub alert_evaluator: bool,
    /// Whether firing alerts are investigated. Default: on.
    pub auto_investigation: bool,
    /// How often the evaluator reads the rules again, in case it missed a change. Default: 60 s.
    pub evaluator_refresh: Duration,
    /// How many queries run against one datasource at a time. Default: 8.
    pub queries_per_datasource: usize,
    /// How many rules a process evaluates at a time; more wait in the store, for any replica. Default: 64.
    pub concurrent_evaluations: usize,
    /// How long one evaluation may take. Default: 30 s.
    pub query_timeout: Duration,
    /// After how many intervals without a series an alert ends with `no_data`. Default: 5.
    pub no_data_intervals: u32,
    /// How many label sets of one rule may be pending or firing at a time; more are a warning on the rule. Default: 100.
    pub series_per_rule: usize,
    /// After how long without a notice an alert that another evaluates counts as over. Its source tells it again every few
    /// hours while it fires (Alertmanager: `repeat_interval`, 4 h by default). Default: three days.
    pub external_alert_stale: Duration,
    /// How long a plan, and a request on a step, waits for a decision. Default: a day.
    pub plan_approval_ttl: Duration,
    /// How often expiry is swept. Default: 60 s.
    pub plan_expiry_sweep: Duration,
    /// How many plans are driven at a time. Default: 16.
    pub concurrent_plans: usize,
    /// How long a step may take, unless its connector says otherwise. Default: 60 s.
    pub step_timeout: Duration,
    /// How long past its deadline an unfinished step is given before it counts as interrupted. Default: 5 s.
    pub effect_grace: Duration,
    /// How long a worker holds a lease without renewing it. Default: 10 s.
    pub lease_ttl: Duration,
    /// How often workers look for work that nobody woke them for. Default: 2 s.
    pub poll_interval: Duration,
    /// How long the alert must stay false for a plan to count as recovered. Default: 60 s.
    pub verification_stable: Duration,
    /// How long the alert is watched after a plan completed. Default: 15 min.
    pub verification_deadline: Duration,
    /// Between two automatic investigations of one rule. Default: 5 min.
    pub investigation_cooldown: Duration,
    /// How many investigations run at a time, over all replicas. Default: 4.
    pub concurrent_investigations: usize,
    /// How long one run may take. Default: 15 min.
    pub investigation_timeout: Duration,
    /// After how long in the queue an investigation is skipped. Default: 30 min.
    pub investigation_stale: Duration,
    /// How often a run that crashed is started again. Default: 3.
    pub investigation_attempts: u32,
    /// How often a run that goes on is written down, for those who watch it. Default: 1 s.
    pub progress_interval: Duration,
    /// How much investigations may cost.
    pub budget: Budget,
    /// How often a notice is tried before it is a dead letter. Default: 8.
    pub notice_attempts: u32,
    /// How long a recorded change is kept. Default: 30 days.
    pub change_retention: Duration,
    /// How many recorded changes an organisation keeps; the oldest make room. Default: 10,000.
    pub changes_kept: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alert_evaluator: true,
            auto_investigation: true,
            evaluator_refresh: Duration::from_secs(60),
            queries_per_datasource: 8,
            concurrent_evaluations: 64,
            query_timeout: Duration::from_secs(30),
            no_data_intervals: 5,
            series_per_rule: 100,
            external_alert_stale: Duration::from_secs(3 * 86_400),
            plan_approval_ttl: Duration::from_secs(86_400),
            plan_expiry_sweep: Duration::from_secs(60),
            concurrent_plans: 16,
            step_timeout: Duration::from_secs(60),
            effect_grace: Duration::from_secs(5),
            lease_ttl: Duration::from_secs(10),
            poll_interval: Duration::from_secs(2),
            verification_stable: Duration::from_secs(60),
            verification_deadline: Duration::from_secs(900),
            investigation_cooldown: Duration::from_secs(300),
            concurrent_investigations: 4,
            investigation_timeout: Duration::from_secs(900),
            investigation_stale: Duration::from_secs(1800),
            investigation_attempts: 3,
            progress_interval: Duration::from_secs(1),
            budget: Budget::default(),
            notice_attempts: 8,
            change_retention: Duration::from_secs(30 * 86_400),
            changes_kept: 10_000,
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct InvalidSetting {
    /// The setting.
    pub name: &'static str,
    /// What was found and what would be accepted.
    pub message: String,
}

impl Settings {
    /// Checks that every number can work.
    ///
    /// # Errors
    /// The first one that cannot.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let durations = [
            ("evaluator_refresh", self.evaluator_refresh),
            ("query_timeout", self.query_timeout),
            ("external_alert_stale", self.external_alert_stale),
            ("plan_approval_ttl", self.plan_approval_ttl),
            ("plan_expiry_sweep", self.plan_expiry_sweep),
            ("step_timeout", self.step_timeout),
            ("lease_ttl", self.lease_ttl),
            ("poll_interval", self.poll_interval),
            ("verification_deadline", self.verification_deadline),
            ("investigation_timeout", self.investigation_timeout),
            ("progress_interval", self.progress_interval),
            ("change_retention", self.change_retention),
        ];
        for (name, found) in durations {
            if found < Duration::from_millis(10) || found > Duration::from_secs(366 * 86_400) {
                return Err(InvalidSetting {
                    name,
                    message: format!("found {found:?}; 10 ms to 366 days is accepted"),
                });
            }
        }
        let counts = [
            ("queries_per_datasource", self.queries_per_datasource),
            ("concurrent_evaluations", self.concurrent_evaluations),
            ("series_per_rule", self.series_per_rule),
            ("concurrent_plans", self.concurrent_plans),
            ("concurrent_investigations", self.concurrent_investigations),
            ("investigation_attempts", self.investigation_attempts as usize),
            ("notice_attempts", self.notice_attempts as usize),
            ("changes_kept", self.changes_kept),
        ];
        for (name, found) in counts {
            if !(1..=10_000).contains(&found) {
                return Err(InvalidSetting { name, message: format!("found {found}; 1 to 10000 is accepted") });
            }
        }
        Ok(())
    }
}
