//! After the steps: what is there, what is missing, and the end of the setup.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::Action;

use super::{Steps, open, path_of, title};
use crate::accounts::{SetupProgress, SetupStep, StepState};
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::Fields;
use crate::pages::minted::Minted;
use crate::pages::pill::{Pill, Tone, word};

/// A line of the checklist.
struct Item {
    id: &'static str,
    title: &'static str,
    pill: Pill,
    text: &'static str,
    /// Whether something can be done about it.
    open: bool,
    link: Option<(String, &'static str)>,
}

#[derive(Template)]
#[template(path = "setup_done.html")]
struct DonePage {
    shell: Shell,
    progress: SetupProgress,
    items: Vec<Item>,
    minted: Option<Minted>,
    may: May,
    /// Why the setup cannot be finished yet.
    waits: Option<String>,
}

impl DonePage {
    fn step(&self) -> Option<SetupStep> {
        None
    }

    fn steps(&self) -> [SetupStep; 5] {
        SetupStep::ALL
    }

    fn pill(&self, step: &SetupStep) -> Pill {
        Steps { progress: &self.progress }.pill(*step)
    }

    fn link(&self, step: &SetupStep) -> Option<String> {
        Steps { progress: &self.progress }.link(*step)
    }
}

pub(super) async fn show(cx: Cx) -> Result<Response, PageError> {
    match open(&cx).await? {
        Ok(progress) => render(&cx, progress, None, None).await,
        Err(away) => Ok(away),
    }
}

/// Mints a token of the account that investigations run as. Its text is in this one answer.
pub(super) async fn mint(cx: Cx, _: Fields) -> Result<Response, PageError> {
    let progress = cx.state.accounts.open_setup(&cx.who).await?;
    match cx.state.accounts.mint_token(&cx.who, cx.state.agent, "made in the setup", None).await {
        Ok(minted) => {
            let shown = Minted::from(minted);
            render(&cx, progress, Some(shown), None).await
        }
        Err(error) => render(&cx, progress, None, Some(error.into())).await,
    }
}

pub(super) async fn finish(cx: Cx, _: Fields) -> Result<Response, PageError> {
    let progress = cx.state.accounts.open_setup(&cx.who).await?;
    match cx.state.accounts.finish_setup(&cx.who).await {
        Ok(()) => Ok(Redirect::to("/actions?done=set-up").into_response()),
        Err(error) => render(&cx, progress, None, Some(error.into())).await,
    }
}

async fn render(
    cx: &Cx,
    progress: SetupProgress,
    minted: Option<Minted>,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let mut items: Vec<Item> =
        SetupStep::ALL.into_iter().filter(|step| step.role().is_some()).map(|step| item(&progress, step)).collect();
    let tokens = cx.state.accounts.service_account(&cx.who, cx.state.agent).await?.tokens;
    items.push(Item {
        id: "token",
        title: "Token for investigations",
        pill: if tokens > 0 { word("live", Tone::Ok) } else { word("missing", Tone::Warn) },
        text: if tokens > 0 {
            "@syntropize/rounds, the account that investigations run as, has a live token."
        } else {
            "Investigations run as @syntropize/rounds, and only while it has a live token. Revoking it stops them. No \
             restart is needed."
        },
        open: tokens == 0,
        link: None,
    });
    let rules = cx.rounds().alerts().list(&cx.who).await?.len();
    items.push(Item {
        id: "alerts",
        title: "Alert rules",
        pill: if rules > 0 { word("there", Tone::Ok) } else { word("none", Tone::Warn) },
        text: if rules > 0 { "There are alert rules." } else { "Nothing is watched yet." },
        open: rules == 0,
        link: Some(("/alerts/new".into(), if rules > 0 { "Create another alert" } else { "Create the first alert" })),
    });
    let waits = progress.next().map(|step| format!("the step “{}” waits", title(&step)));
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Set up", "").refused(refused.as_ref());
    shell.path = path_of(None);
    let may = cx.may_all(Action::ServiceAccountsWrite, "serviceaccounts").await;
    Ok(page_with(status, &DonePage { shell, progress, items, minted, may, waits }))
}

fn item(progress: &SetupProgress, step: SetupStep) -> Item {
    let state = progress.state(step);
    let text = match (step, state) {
        (_, StepState::Done) => "It is there, and its test passed.",
        (_, StepState::Accepted) => "It is there, but its test did not pass. Until it does, it is of little use.",
        (_, StepState::Untested) => "It is there, but its test did not pass yet.",
        (SetupStep::Model, _) => "None: the playbook investigates, without a key and without cost.",
        (SetupStep::Notifications, _) => "None: plans wait in the Action Center until somebody looks.",
        (SetupStep::Datasource, _) => "None: no alert rule can be evaluated.",
        (SetupStep::Cluster | SetupStep::Admin, _) => "None: no plan can run.",
    };
    let open = state != StepState::Done;
    Item {
        id: step.as_str(),
        title: title(&step),
        pill: Steps { progress }.pill(step),
        text,
        open,
        link: open.then(|| (path_of(Some(step)), "Go to this step")),
    }
}
