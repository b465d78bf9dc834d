//! How far the installation is: what exists, and what was said about what does not. The wizard's pages only show it.

use rounds_core::access::{Action, Principal};
use rounds_core::connector::{Connector, ConnectorStatus, Role};
use rounds_core::ports::StoreExt as _;
use rounds_core::{OrgId, Timestamp};
use serde_json::{Value, json};

use super::Accounts;
use crate::error::ApiError;

/// Settings of the wizard are named after this, each a row of its own: two browsers overwrite nothing of each other.
const SETTING: &str = "setup";
const FINISHED: &str = "setup.finished";
const BEGUN: &str = "setup.begun";

/// A step of the first setup, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupStep {
    /// The first admin.
    Admin,
    /// The language model.
    Model,
    /// Where alert rules are evaluated.
    Datasource,
    /// Where approved plans run.
    Cluster,
    /// How people hear of plans that wait.
    Notifications,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It waits.
    Open,
    /// Its connector was never tested, or its test failed, and nobody said to go on all the same.
    Untested,
    /// It is there and works.
    Done,
    /// Its test failed, and a person went on.
    Accepted,
    /// A person went on without it.
    Skipped,
}

impl StepState {
    /// Whether the wizard goes past it.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Done | Self::Accepted | Self::Skipped => true,
            Self::Open | Self::Untested => false,
        }
    }
}

impl SetupStep {
    /// Every step, in order.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Model, Self::Datasource, Self::Cluster, Self::Notifications];

    /// Its name in addresses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Model => "model",
            Self::Datasource => "datasource",
            Self::Cluster => "cluster",
            Self::Notifications => "notifications",
        }
    }

    /// The step of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == name)
    }

    /// Its place, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|step| *step == self).map_or(0, |place| place + 1)
    }

    /// The connector it is about; none for the first admin.
    #[must_use]
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Admin => None,
            Self::Model => Some(Role::Model),
            Self::Datasource => Some(Role::Datasource),
            Self::Cluster => Some(Role::Execution),
            Self::Notifications => Some(Role::Notifier),
        }
    }

    /// The kind of connector that most people begin with, and that the step's words are about. Others can be chosen.
    #[must_use]
    pub fn usual_kind(self) -> Option<&'static str> {
        match self {
            Self::Admin => None,
            Self::Model => Some("anthropic"),
            Self::Datasource => Some("prometheus"),
            Self::Cluster => Some("kubernetes"),
            Self::Notifications => Some("slack"),
        }
    }

    /// Whether Rounds does its work without it.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Model | Self::Notifications)
    }

    fn setting(self) -> String {
        format!("{SETTING}.{}", self.as_str())
    }
}

/// How far the installation is.
#[derive(Debug, Clone)]
pub struct SetupProgress {
    states: [StepState; 5],
    /// When the wizard was finished; it is closed from then on.
    pub finished_at: Option<Timestamp>,
    /// Whether somebody began it in a browser.
    pub begun: bool,
    /// Every connector there is.
    pub connectors: Vec<Connector>,
}

impl SetupProgress {
    /// What became of a step.
    #[must_use]
    pub fn state(&self, step: SetupStep) -> StepState {
        self.states[step.number() - 1]
    }

    /// The first step that waits; `None`: every one is settled.
    #[must_use]
    pub fn next(&self) -> Option<SetupStep> {
        SetupStep::ALL.into_iter().find(|step| !self.state(*step).is_settled())
    }

    /// Whether there is a connector of this role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.connectors.iter().any(|connector| connector.role == role)
    }

    /// Whether somebody should be asked to go on: a server that was configured by other means needs no wizard.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.finished_at.is_none() && (self.begun || !self.has(Role::Datasource) || !self.has(Role::Execution))
    }
}

/// What a step comes to: a pure function of what exists and what was said.
fn state_of(connectors: &[Connector], role: Role, mark: Option<&str>) -> StepState {
    let mut of_role = connectors.iter().filter(|connector| connector.role == role);
    let exists = of_role.clone().next().is_some();
    if of_role.any(|connector| connector.status == ConnectorStatus::Ok) {
        return StepState::Done;
    }
    match (exists, mark) {
        (_, Some("skipped")) => StepState::Skipped,
        (true, Some("accepted")) => StepState::Accepted,
        (true, _) => StepState::Untested,
        (false, _) => StepState::Open,
    }
}

impl Accounts {
    /// How far the installation is. For whoever asks: it names nothing.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn setup_progress(&self) -> Result<SetupProgress, ApiError> {
        let settings = self.identity.settings().await?;
        let found = self.rounds.store().connectors(&OrgId::default()).await?;
        let connectors: Vec<Connector> = found.into_iter().map(|found| found.value).collect();
        let has_admin = self.has_users().await?;
        let states = SetupStep::ALL.map(|step| match step.role() {
            None if has_admin => StepState::Done,
            None => StepState::Open,
            Some(role) => state_of(&connectors, role, settings.get(&step.setting()).and_then(Value::as_str)),
        });
        // Whatever stands there: a wizard that was closed is not opened again by what cannot be read.
        let finished_at = settings.get(FINISHED).map(|at| {
            serde_json::from_value(at.clone()).unwrap_or_else(|error| {
                tracing::warn!(%error, "when the setup was finished cannot be read; it stays closed");
                Timestamp::UNIX_EPOCH
            })
        });
        Ok(SetupProgress { states, finished_at, begun: settings.contains_key(BEGUN), connectors })
    }

    /// Remembers that the first admin came through the wizard.
    ///
    /// # Errors
    /// The accounts cannot be written.
    pub async fn begin_setup(&self) -> Result<(), ApiError> {
        Ok(self.identity.set_setting(BEGUN, Some(&json!(true)), &[]).await?)
    }

    /// How far the setup is, for whoever may go on with it.
    ///
    /// # Errors
    /// `settings:write` is missing, or it is finished: 409, for ever.
    pub async fn open_setup(&self, who: &Principal) -> Result<SetupProgress, ApiError> {
        self.may(who, Action::SettingsWrite).await?;
        let progress = self.setup_progress().await?;
        match progress.finished_at {
            None => Ok(progress),
            Some(at) => {
                let message = format!(
                    "the setup was finished at {} and is closed for good; everything it asked for is under Settings and \
                     Admin",
                    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
                );
                Err(ApiError::new(axum::http::StatusCode::CONFLICT, "setup_finished", message))
            }
        }
    }

    /// Goes on without a step.
    ///
    /// # Errors
    /// As [`open_setup`](Self::open_setup), or Rounds does nothing without it.
    pub async fn skip_setup_step(&self, who: &Principal, step: SetupStep) -> Result<(), ApiError> {
        self.open_setup(who).await?;
        if !step.is_optional() {
            return Err(ApiError::bad_request(format!("the step `{}` cannot be skipped", step.as_str())));
        }
        self.mark(who, step, "skipped").await
    }

    /// Goes on although the test of a step's connector failed or was never run.
    ///
    /// # Errors
    /// As [`open_setup`](Self::open_setup), or there is no connector to go on with.
    pub async fn accept_setup_step(&self, who: &Principal, step: SetupStep) -> Result<(), ApiError> {
        let progress = self.open_setup(who).await?;
        if step.role().is_none_or(|role| !progress.has(role)) {
            let message = format!("the step `{}` has no connector yet: add one first", step.as_str());
            return Err(ApiError::bad_request(message));
        }
        self.mark(who, step, "accepted").await
    }

    async fn mark(&self, who: &Principal, step: SetupStep, mark: &str) -> Result<(), ApiError> {
        let entry = self.entry(who, &format!("setup.{mark}"), ("setting", step.setting()));
        Ok(self.identity.set_setting(&step.setting(), Some(&json!(mark)), &[entry]).await?)
    }

    /// Closes the wizard for ever.
    ///
    /// # Errors
    /// As [`open_setup`](Self::open_setup), or a step waits.
    pub async fn finish_setup(&self, who: &Principal) -> Result<(), ApiError> {
        let progress = self.open_setup(who).await?;
        if let Some(step) = progress.next() {
            let message = format!("the step `{}` waits: finish it first", step.as_str());
            return Err(ApiError::new(axum::http::StatusCode::CONFLICT, "setup_unfinished", message));
        }
        let entry = self.entry(who, "setup.finish", ("setting", FINISHED.into()));
        Ok(self.identity.set_setting(FINISHED, Some(&json!(self.now())), &[entry]).await?)
    }
}
