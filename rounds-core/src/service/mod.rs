//! The services: what people can decide, and the loops that drive the line.
//!
//! Front ends call the facades ([`Plans`], [`Approvals`], [`Alerts`], …): each method authorizes, decides and
//! commits. The loops (evaluator, dispatcher, executor, sweeper, verifier, outbox) never call each other or a
//! facade: they meet in the store, where a committed row is the message.

mod alerts;
mod approvals;
mod asking;
mod audit_log;
mod backtest;
mod cap;
mod changes;
mod channels;
mod connectors;
mod dead_letters;
mod decide;
mod digest;
mod dispatcher;
mod drafts;
pub(crate) mod error;
mod evaluator;
mod evidence;
mod executor;
mod feed;
mod gathering;
mod guard;
mod health;
mod hearing;
mod intake;
mod investigations;
mod links;
mod listed;
mod live;
mod meter;
mod metered;
mod notebook;
mod observe;
mod outbox;
mod own_rules;
mod plans;
mod prepare;
mod reminding;
mod review;
pub(crate) mod runtime;
mod series;
mod shared;
mod silences;
mod sink;
mod sweeper;
mod toolbox;
mod undo;
mod verifier;
mod watched;

pub use alerts::{Alerts, Preview, RuleView};
pub use approvals::{ApprovalFilter, ApprovalView, Approvals};
pub use audit_log::AuditLog;
pub use backtest::{BACKTEST_POINTS, BACKTEST_RANGE_SEC, BacktestReport};
pub use changes::{ChangeFilter, Changes, Recorded};
pub use channels::{Channels, Heard};
pub use connectors::Connectors;
pub use dead_letters::{Backlog, DeadLetter, DeadLetterFilter, DeadLetters, Recipient};
pub use drafts::{ConnectorDraft, RuleDraft, SilenceDraft};
pub use error::StepRefusal;
pub use evidence::{EVIDENCE_POINTS, EVIDENCE_RANGE_SEC, EvidenceSeries};
pub use health::ConnectorHealth;
pub use intake::{ExternalAlert, RECEIVED_MAX, Received};
pub use investigations::{InvestigationFilter, Investigations, Queued};
pub use listed::Listed;
pub use plans::{Approval, Modification, PlanFilter, Plans, ProposeRequest, Proposed};
pub use runtime::{Builder, Health, ServiceHealth, ServiceName};
