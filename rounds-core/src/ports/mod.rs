//! The traits that connect Rounds to the world. Each trait's documentation is its contract: who implements it,
//! who calls it, what MUST hold.

mod clock;
mod datasource;
mod error;
mod events;
mod execution;
mod identity;
mod investigator;
mod model;
mod notifier;
mod secrets;
pub mod store;

pub use clock::{Clock, SystemClock};
pub use datasource::{DataSet, Datasource, DatasourceInfo, Line, Point, Query, Series};
pub use error::{PortError, PortErrorKind};
pub use events::{Event, EventSink, EventSubject};
pub(crate) use execution::cap;
pub use execution::{
    AdapterInfo, ApprovedStep, CallContext, CheckReport, DryRun, Effect, ExecutionAdapter, Inverse, Mode, OUTPUT_CAP,
    ReadStep, Refusal, ReviewedStep, StepError, StepOutput, StepSpec, Target, Tier,
};
pub use identity::{Authorizer, Identity, Rbac, TokenIdentity};
pub use investigator::{ConnectorView, FiredAlert, Investigator, Reading, Toolbox};
pub use model::{Completion, CompletionRequest, Message, Model, ToolCall, ToolSpec, Usage};
pub use notifier::{Notice, NoticeKind, Notifier};
pub use secrets::{SecretHandle, SecretResolver};
pub use store::{Store, StoreError, StoreExt};
