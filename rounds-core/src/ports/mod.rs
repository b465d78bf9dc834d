//! The traits that connect Rounds to the world. Each trait's documentation is its contract: who implements it,
//! who calls it, what MUST hold.

mod answers;
mod call;
mod clock;
mod datasource;
mod error;
mod events;
mod execution;
mod identity;
mod investigator;
mod model;
mod notifier;
mod own_rules;
mod secrets;
pub mod store;

pub use crate::connector::{Ability, CheckReport};
pub use crate::investigation::{Prices, Usage};
pub use answers::{Answer, Answers, Inbound, Reply, ReplyTo, Seen, Wish};
pub use call::CallContext;
pub use clock::{Clock, SystemClock};
pub use datasource::{DataSet, Datasource, DatasourceInfo, Line, Point, Query, Series};
pub use error::{PortError, PortErrorKind};
pub use events::{Event, EventSink, EventSubject};
pub use execution::{AdapterInfo, ApprovedStep, DryRun, ExecutionAdapter, Inverse, ReadStep};
pub use identity::{Authorizer, Identity, Rbac, SoleAgent, TokenIdentity};
pub use investigator::{
    ConnectorView, DatasourceView, FiredAlert, Investigator, PreviewedStep, ProposalPreview, Reading, Toolbox,
};
pub use model::{Completion, CompletionRequest, Message, Model, ModelInfo, StopReason, ToolCall, ToolSpec};
pub use notifier::{Asked, Folded, Link, Notice, NoticeKind, Notifier, Place};
pub use own_rules::{OwnRules, RuleSettings, RuleWrite};
pub use secrets::{SecretHandle, SecretResolver};
pub use store::{Store, StoreError, StoreExt};
