//! Alert rules and the state of what they watch. Pure: no ports, no clock.

mod backtest;
mod rule;
mod schedule;
mod silence;
mod state;

pub use backtest::{Backtest, BacktestPoint, BacktestSummary, Mark, MarkKind, Span, backtest};
pub use rule::{AlertRule, Condition, InvalidRule, Operator, Severity};
pub use schedule::next_evaluation;
pub use silence::Silence;
pub use state::{
    AlertInstance, AlertState, Change, Evaluation, HistoryRow, Observation, Reason, disable, enable, evaluate, remove,
    reset,
};
