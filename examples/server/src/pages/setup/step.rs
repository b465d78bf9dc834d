//! Steps 2 to 5: a connector each, from its kind's schema, tested as soon as it is saved.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::connector::{Connector, ConnectorStatus};
use rounds_core::{ConnectorId, Error};
use url::form_urlencoded;

use super::{Steps, about, open, path_of, skipping, title};
use crate::accounts::{SetupProgress, SetupStep};
use crate::pages::cx::{Cx, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::pill::{Pill, Toned as _};
use crate::pages::settings::schema::{Input, Row};
use crate::pages::settings::{
    Kind, KindForm, PLACES, Place, allowed, draft, fact, kind_form, kinds, namespaces, stored_form,
};

#[derive(Template)]
#[template(path = "setup_step.html")]
struct StepPage {
    shell: Shell,
    progress: SetupProgress,
    at: SetupStep,
    place: Place,
    subject: Option<Connector>,
    others: usize,
    kinds: Vec<Kind>,
    form: Option<KindForm>,
}

impl StepPage {
    fn step(&self) -> Option<SetupStep> {
        Some(self.at)
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

    fn works(&self) -> bool {
        self.subject.as_ref().is_some_and(|subject| subject.status == ConnectorStatus::Ok)
    }

    fn hints(&self, connector: &Connector) -> Vec<&'static str> {
        super::hints::hints(connector.role, connector.last_verify_error.as_deref().unwrap_or_default())
    }

    /// What was typed was refused, or the test failed: the form is what is needed next.
    fn is_wrong(&self) -> bool {
        self.shell.error.is_some() || self.subject.as_ref().is_some_and(|found| found.last_verify_error.is_some())
    }

    fn is_kind(&self, kind: &str) -> bool {
        self.form.as_ref().is_some_and(|form| form.kind == kind)
    }

    fn action(&self, form: &KindForm) -> String {
        let kind: String = form_urlencoded::byte_serialize(form.kind.as_bytes()).collect();
        format!("{}?kind={kind}", path_of(Some(self.at)))
    }

    fn before(&self) -> Option<String> {
        let before = SetupStep::ALL.get(self.at.number().checked_sub(2)?)?;
        (*before != SetupStep::Admin).then(|| path_of(Some(*before)))
    }

    fn after(&self) -> String {
        path_of(SetupStep::ALL.get(self.at.number()).copied())
    }
}

/// The step of a path and the place in settings of the same connectors.
fn step(name: &str) -> Result<(SetupStep, Place), PageError> {
    let found = SetupStep::find(name).and_then(|step| {
        let role = step.role()?;
        Some((step, PLACES.into_iter().find(|place| place.role == role)?))
    });
    found.ok_or_else(|| PageError::not_found(format!("there is no step `{}`", form::crop(name))))
}

pub(super) async fn show(cx: Cx, Path(name): Path<String>) -> Result<Response, PageError> {
    let (at, place) = step(&name)?;
    match open(&cx).await? {
        Ok(progress) => render(&cx, at, place, progress, None, None),
        Err(away) => Ok(away),
    }
}

/// Saves the connector of a step and tests it. It is kept whatever the test says: it can be corrected or removed.
pub(super) async fn save(cx: Cx, Path(name): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let (at, place) = step(&name)?;
    let progress = cx.state.accounts.open_setup(&cx.who).await?;
    let kind = cx.param("kind").unwrap_or_default().to_owned();
    let found = match fields.id::<ConnectorId>("id")? {
        Some(id) => Some(cx.rounds().connectors().get(&cx.who, id).await?),
        None => None,
    };
    let mut wanted = match draft(&cx, place, &kind, &fields, found.as_ref()) {
        Ok(draft) => draft,
        Err((error, form)) => {
            let form = form.map(|form| KindForm { of: found, ..*form });
            return render(&cx, at, place, progress, form, Some(error));
        }
    };
    wanted.owner_team_id = found.as_ref().and_then(|found| found.owner_team_id);
    let connectors = cx.rounds().connectors();
    let saved = match &found {
        Some(found) => connectors.update(&cx.who, found.id, wanted).await,
        None => connectors.create(&cx.who, wanted).await,
    };
    match saved {
        Ok(saved) => tried(&cx, at, place, saved.id).await,
        Err(error) => {
            let error = PageError::from(error);
            let form = kind_form(&cx, place, &kind, found, fields, Some(&error))?;
            render(&cx, at, place, progress, Some(form), Some(error))
        }
    }
}

/// Tests a connector. What comes of it is kept with it and shown on the step's page, a failure as well.
async fn tried(cx: &Cx, at: SetupStep, place: Place, id: ConnectorId) -> Result<Response, PageError> {
    match cx.rounds().connectors().test(&cx.who, id).await {
        Ok(_) | Err(Error::Port(_)) => Ok(Redirect::to(&format!("{}#there", path_of(Some(at)))).into_response()),
        // It could not even be tried: nothing is kept of that, so it is said here.
        Err(error) => {
            let progress = cx.state.accounts.open_setup(&cx.who).await?;
            render(cx, at, place, progress, None, Some(error.into()))
        }
    }
}

pub(super) async fn test(cx: Cx, Path(name): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let (at, place) = step(&name)?;
    cx.state.accounts.open_setup(&cx.who).await?;
    let Some(id) = fields.id("id")? else { return Err(PageError::invalid("id: a connector is expected")) };
    tried(&cx, at, place, id).await
}

pub(super) async fn remove(cx: Cx, Path(name): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let (at, place) = step(&name)?;
    cx.state.accounts.open_setup(&cx.who).await?;
    let Some(id) = fields.id::<ConnectorId>("id")? else {
        return Err(PageError::invalid("id: a connector is expected"));
    };
    let found = cx.rounds().connectors().get(&cx.who, id).await?;
    if found.role != place.role {
        return Err(PageError::not_found(format!("there is no {} {id}", place.one)));
    }
    cx.rounds().connectors().delete(&cx.who, id).await?;
    Ok(Redirect::to(&format!("{}?done=deleted", path_of(Some(at)))).into_response())
}

pub(super) async fn skip(cx: Cx, Path(name): Path<String>, _: Fields) -> Result<Response, PageError> {
    let (at, _) = step(&name)?;
    cx.state.accounts.skip_setup_step(&cx.who, at).await?;
    Ok(on(at))
}

pub(super) async fn accept(cx: Cx, Path(name): Path<String>, _: Fields) -> Result<Response, PageError> {
    let (at, _) = step(&name)?;
    cx.state.accounts.accept_setup_step(&cx.who, at).await?;
    Ok(on(at))
}

/// To the step after this one.
fn on(at: SetupStep) -> Response {
    Redirect::to(&path_of(SetupStep::ALL.get(at.number()).copied())).into_response()
}

fn render(
    cx: &Cx,
    at: SetupStep,
    place: Place,
    progress: SetupProgress,
    form: Option<KindForm>,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let of_role: Vec<&Connector> =
        progress.connectors.iter().filter(|connector| connector.role == place.role).collect();
    let chosen = of_role.iter().find(|connector| connector.is_default).or_else(|| of_role.first());
    let subject = chosen.map(|connector| (*connector).clone());
    let others = of_role.len().saturating_sub(1);
    let kinds = kinds(cx, place);
    let form = match (form, &subject) {
        (Some(form), _) => Some(form),
        (None, Some(subject)) => Some(stored_form(cx, place, subject.clone())?),
        (None, None) => {
            let kind = cx.param("kind").or_else(|| kinds.first().map(|kind| kind.kind));
            let form = kind.map(|kind| kind_form(cx, place, kind, None, Fields::default(), None)).transpose()?;
            // A name is needed, and the first of its kind may well be called after it.
            form.map(|form| KindForm { name: form.kind.clone(), ..form })
        }
    };
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell(format!("Set up: {}", title(&at)), "").refused(refused.as_ref());
    shell.path = path_of(Some(at));
    Ok(page_with(status, &StepPage { shell, progress, at, place, subject, others, kinds, form }))
}
