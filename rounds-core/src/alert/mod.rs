//! Alert rules and the state of what they watch. Pure: no ports, no clock.

mod annotation;
mod backtest;
mod notified;
mod rule;
mod schedule;
mod series;
mod silence;
mod state;

pub use annotation::annotated;
pub use backtest::{Backtest, BacktestPoint, BacktestSummary, Mark, MarkKind, Span, backtest, backtests};
pub use notified::{Notified, notified, unheard};
pub use rule::{AlertRule, Condition, InvalidRule, Operator, SeriesMode, Severity};
pub use schedule::next_evaluation;
pub use series::{RESOLVED_KEPT, Sample, SeriesEvaluation, SeriesLimits, evaluate_each, series_key};
pub(crate) use series::{summarize, too_many_over};
pub use silence::Silence;
pub use state::{
    AlertInstance, AlertState, Change, Evaluation, HistoryRow, Observation, Reason, disable, enable, evaluate, remove,
    reset,
};
