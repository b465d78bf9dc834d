//! What a forge must be able to do: read git's objects, and three requests with an effect.

use async_trait::async_trait;
use reqwest::StatusCode;
use rounds_core::ports::PortError;
use rounds_core::step::{StepError, StepOutput};

use super::edits::Edit;
use super::tree::Entry;

/// Why a request did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was answered, and refused: this request changed nothing.
    Refused {
        /// What it was answered with.
        status: StatusCode,
        /// For people; never a secret.
        error: PortError,
    },
    /// There is no whole answer, or one that says nothing about what happened.
    Lost {
        /// For people; never a secret.
        error: PortError,
        /// Whether the request may have reached the forge.
        sent: bool,
    },
}

impl Failure {
    fn error(self) -> PortError {
        match self {
            Self::Refused { error, .. } | Self::Lost { error, .. } => error,
        }
    }

    /// Of a request that has no effect, before any that has: nothing was changed, whatever happened to it.
    pub(crate) fn unchanged(self) -> StepError {
        StepError::not_started(self.error().to_string())
    }

    /// Of the first request that has an effect.
    pub(crate) fn at_effect(self) -> StepError {
        match self {
            Self::Refused { error, .. } | Self::Lost { error, sent: false } => {
                StepError::not_started(error.to_string())
            }
            Self::Lost { error, sent: true } => StepError::unknown(error.to_string(), StepOutput::default()),
        }
    }

    /// Of whatever comes after the effect `done`.
    pub(crate) fn after(self, done: &str) -> StepError {
        let said = |error: &PortError| format!("{done}, but then: {error}. A retry finds it and goes on from there");
        match self {
            Self::Refused { error, .. } | Self::Lost { error, sent: false } => {
                StepError::failed(said(&error), StepOutput::default())
            }
            Self::Lost { error, sent: true } => StepError::unknown(said(&error), StepOutput::default()),
        }
    }

    /// Whether it was refused with this status, in a text that holds this word.
    pub(crate) fn is_about(&self, status: StatusCode, word: &str) -> bool {
        matches!(self, Self::Refused { status: found, error } if *found == status && error.message.contains(word))
    }

    /// Of the first request that has an effect and that nothing tells apart from another like it: what is unknown stays so, and
    /// `seen` is for whoever has to look.
    pub(crate) fn at_effect_with(self, seen: Result<StepOutput, Self>) -> StepError {
        let mut error = self.at_effect();
        match seen {
            Ok(output) => error.output = output,
            Err(failure) => {
                error.message.push_str(&format!("; what there is now could not be listed: {}", failure.error()))
            }
        }
        error
    }

    /// Whether it may have had an effect.
    pub(crate) fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost { sent: true, .. })
    }

    /// Whether it was refused with this status.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused { status: found, .. } if *found == status)
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        failure.error()
    }
}

/// A commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) parents: Vec<String>,
    pub(crate) message: String,
    /// The id of its root folder, of forges that say it.
    pub(crate) tree: Option<String>,
}

/// A pull or merge request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) url: String,
    /// `open`, `closed`, `merged`.
    pub(crate) state: String,
    /// The commit that it asks to be taken.
    pub(crate) head: String,
}

/// What became of making a branch.
#[derive(Debug)]
pub(crate) enum Published {
    /// It is there now, at this commit.
    At(String),
    /// A branch of that name is there already; nothing was changed.
    Taken,
}

/// One repository of a forge, for one call.
///
/// Only [`publish`](Self::publish) and [`open`](Self::open) have an effect that anybody sees.
#[async_trait]
pub(crate) trait Forge: Send + Sync {
    /// Its name, for people: `GitHub`.
    fn name(&self) -> &'static str;

    /// What it calls a request: `pull request`.
    fn request(&self) -> &'static str;

    /// The repository, for people: `acme/shop`.
    fn repository(&self) -> &str;

    /// What the credential may do here, in a line for people, and whether it may make branches.
    async fn rights(&self) -> Result<Rights, Failure>;

    /// The commit that a branch is at; `None`: there is no such branch.
    async fn branch(&self, name: &str) -> Result<Option<String>, Failure>;

    /// A commit by its id.
    async fn commit(&self, id: &str) -> Result<Commit, Failure>;

    /// Whether a branch's history holds a commit.
    async fn contains(&self, branch: &str, commit: &str) -> Result<bool, Failure>;

    /// What is in a folder of a commit, `""` being the root. `tree` is the folder's own id, where it is known.
    async fn list(&self, commit: &Commit, folder: &str, tree: Option<&str>) -> Result<Vec<Entry>, Failure>;

    /// The content of a file by the id of its blob.
    async fn blob(&self, id: &str) -> Result<Vec<u8>, Failure>;

    /// Makes a branch with one commit on top of `base`. A branch that is there is left as it is.
    async fn publish(&self, branch: &str, base: &Commit, edits: &[Edit], message: &str)
    -> Result<Published, StepError>;

    /// The newest request from this branch into that one, whatever its state.
    async fn find(&self, branch: &str, base: &str) -> Result<Option<Request>, Failure>;

    /// Opens a request.
    async fn open(&self, branch: &str, base: &str, title: &str, body: &str) -> Result<Request, Failure>;
}

/// What a credential may do.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    /// For people.
    pub(crate) said: String,
    /// Whether it may make branches; `None`: the forge does not say.
    pub(crate) may_push: Option<bool>,
}
