//! **Rounds**: auto-remediation with a human in control.
//!
//! An alert rule fires; an investigation runs unattended as a service account; it saves a report and, when there
//! is an actionable fix, proposes a plan; a person approves, rejects or modifies it; the steps run one by one
//! through an [`ExecutionAdapter`](ports::ExecutionAdapter); every step is audited; the alert is watched until it
//! recovers.
//!
//! Nothing that a model says is believed: what runs, what it touches, how risky it is and whether it was approved
//! are computed by code.

pub mod access;
pub mod agent;
pub mod alert;
pub mod audit;
pub mod canonical;
pub mod change;
pub mod connector;
mod error;
mod id;
pub mod investigation;
pub mod plan;
pub mod plugin;
pub mod ports;
pub mod redact;
pub mod service;
mod settings;
pub mod step;
pub mod time;

/// What implementations of the ports are written with.
pub use async_trait::async_trait;
/// The crate that secrets are made of, in the version that the ports name.
pub use secrecy;

pub use error::IllegalTransition;
pub use id::{
    AlertInstanceId, AlertRuleId, ChangeId, ConnectorId, DeadLetterId, HistoryId, InvalidId, InvestigationId, NoticeId,
    OrgId, PlanId, PrincipalId, RequestId, SilenceId, StepId, TeamId, TokenId,
};
pub use service::error::Error;
pub use service::runtime::{Rounds, Running};
pub use settings::{InvalidSetting, Settings};
pub use time::Timestamp;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(test)]
mod simulation;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
