//! `/setup`: the first setup, step by step. What has been done is read off what exists, so another browser, or the same
//! after a restart, goes on where it stopped; once finished it is closed for good.

mod admin;
mod done;
mod hints;
mod step;

use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::cx::{Anybody, Cx};
use super::error::PageError;
use super::pill::{Pill, Tone, word};
use crate::accounts::{SetupProgress, SetupStep, StepState};
use crate::pages::Pages;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/setup", get(home))
        .route("/setup/admin", get(admin::show).post(admin::create))
        .route("/setup/done", get(done::show).post(done::finish))
        .form("/setup/token", post(done::mint))
        .route("/setup/{step}", get(step::show).post(step::save))
        .form("/setup/{step}/test", post(step::test))
        .form("/setup/{step}/remove", post(step::remove))
        .form("/setup/{step}/skip", post(step::skip))
        .form("/setup/{step}/continue", post(step::accept))
}

/// Where the setup goes on.
pub(super) fn path_of(step: Option<SetupStep>) -> String {
    format!("/setup/{}", step.map_or("done", SetupStep::as_str))
}

async fn home(on: Anybody) -> Result<Response, PageError> {
    let progress = on.state.accounts.setup_progress().await?;
    let to = if progress.finished_at.is_some() { "/".to_owned() } else { path_of(progress.next()) };
    Ok(Redirect::to(&to).into_response())
}

/// How far the setup is, for a page of it. Finished, it shows nothing more: away from here.
async fn open(cx: &Cx) -> Result<Result<SetupProgress, Response>, PageError> {
    let progress = cx.state.accounts.setup_progress().await?;
    if progress.finished_at.is_some() {
        return Ok(Err(Redirect::to("/").into_response()));
    }
    Ok(Ok(cx.state.accounts.open_setup(&cx.who).await?))
}

pub(super) fn title(step: &SetupStep) -> &'static str {
    match step {
        SetupStep::Admin => "First admin",
        SetupStep::Model => "Language model",
        SetupStep::Datasource => "Datasource",
        SetupStep::Cluster => "Kubernetes connector",
        SetupStep::Notifications => "Notifications",
    }
}

fn about(step: &SetupStep) -> &'static str {
    match step {
        SetupStep::Admin => "",
        SetupStep::Model => {
            "A language model can investigate alerts: read-only, within budgets, and what it reads goes to its provider. \
             Its key is stored encrypted and never shown again."
        }
        SetupStep::Datasource => {
            "Alert rules are evaluated on a datasource, and investigations query it: something that speaks the API of \
             Prometheus."
        }
        SetupStep::Cluster => {
            "Approved plans run here, and investigations read here, through kubectl. List the namespaces that may be \
             touched, and paste a kubeconfig of a service account that can do no more than it should. The test shows what \
             the credentials can and cannot do."
        }
        SetupStep::Notifications => "People hear of plans that wait for a decision through a channel.",
    }
}

/// What it means to go on without it.
fn skipping(step: &SetupStep) -> &'static str {
    match step {
        SetupStep::Model => {
            "Then the playbook investigates: it knows common failures by their signatures, needs no key and costs nothing. \
             A model can be added later under Settings."
        }
        SetupStep::Notifications => {
            "Then nobody is told: plans wait in the Action Center until somebody looks. A channel can be added later under \
             Settings."
        }
        SetupStep::Admin | SetupStep::Datasource | SetupStep::Cluster => "",
    }
}

/// The list of steps at the top of each page.
struct Steps<'a> {
    progress: &'a SetupProgress,
}

impl Steps<'_> {
    fn pill(&self, step: SetupStep) -> Pill {
        match self.progress.state(step) {
            StepState::Open => word("open", Tone::Neutral),
            StepState::Untested => word("test not passed", Tone::Warn),
            StepState::Done => word("done", Tone::Ok),
            StepState::Accepted => word("test not passed", Tone::Warn),
            StepState::Skipped => word("skipped", Tone::Neutral),
        }
    }

    /// Steps can be gone to once there is somebody who may.
    fn link(&self, step: SetupStep) -> Option<String> {
        let has_admin = self.progress.state(SetupStep::Admin).is_settled();
        (has_admin && step != SetupStep::Admin).then(|| path_of(Some(step)))
    }
}
