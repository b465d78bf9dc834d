//! `/settings/notifications/dead-letters`: what could not be delivered, to try again or to discard.

use std::collections::HashMap;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use rounds_core::access::Action;
use rounds_core::service::{DeadLetter, DeadLetterFilter, Listed, Recipient};
use rounds_core::{ConnectorId, DeadLetterId};
use url::form_urlencoded;

use super::{PLACES, Place};
use crate::pages::Pages;
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};

const PATH: &str = "/settings/notifications/dead-letters";

pub(super) fn router() -> Pages {
    Pages::new()
        .route(PATH, get(list))
        .form("/settings/notifications/dead-letters/retry", post(retry_all))
        .form("/settings/notifications/dead-letters/{id}/retry", post(retry))
        .form("/settings/notifications/dead-letters/{id}/discard", post(discard))
}

/// A recipient with dead letters.
struct To {
    /// The field of a form, and of the address, that names it.
    field: &'static str,
    value: String,
    /// What people call it.
    name: String,
    dead: u64,
}

impl To {
    fn link(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(self.field, &self.value);
        format!("{PATH}?{}", query.finish())
    }
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct LettersPage {
    shell: Shell,
    letters: Vec<DeadLetter>,
    dead: u64,
    to: Vec<To>,
    names: HashMap<ConnectorId, String>,
    filtered: bool,
    older: Option<String>,
    may: May,
}

impl LettersPage {
    fn places(&self) -> [Place; 4] {
        PLACES
    }

    fn is_at(&self, path: &str) -> bool {
        path == "dead-letters"
    }

    fn name(&self, to: &Recipient) -> String {
        name(&self.names, to)
    }

    /// The channel's own page, where it can be tested and mended.
    fn channel(&self, to: &Recipient) -> Option<String> {
        match to {
            Recipient::Channel(id) if self.names.contains_key(id) => Some(format!("/settings/notifications/{id}")),
            _ => None,
        }
    }
}

fn name(names: &HashMap<ConnectorId, String>, to: &Recipient) -> String {
    match to {
        Recipient::Channel(id) => names.get(id).cloned().unwrap_or_else(|| "a channel that was deleted".into()),
        other => other.to_string(),
    }
}

/// The recipient that a form or an address names.
fn recipient(channel: Option<&str>, sink: Option<&str>) -> Result<Option<Recipient>, PageError> {
    Ok(match (channel, sink) {
        (Some(id), _) => Some(Recipient::Channel(form::id(id)?)),
        (None, Some(name)) => Some(Recipient::Sink(name.to_owned())),
        (None, None) => None,
    })
}

async fn list(cx: Cx) -> Result<Response, PageError> {
    render(&cx, None).await
}

async fn retry(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    match cx.rounds().dead_letters().retry(&cx.who, form::id(&id)?).await {
        Ok(_) => Ok(Redirect::to(&format!("{PATH}?done=resent")).into_response()),
        Err(error) => render(&cx, Some(error.into())).await,
    }
}

async fn discard(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    match cx.rounds().dead_letters().discard(&cx.who, form::id(&id)?).await {
        Ok(()) => Ok(Redirect::to(&format!("{PATH}?done=discarded")).into_response()),
        Err(error) => render(&cx, Some(error.into())).await,
    }
}

async fn retry_all(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let Some(to) = recipient(fields.text("channel"), fields.text("sink"))? else {
        return render(&cx, Some(PageError::invalid("found no recipient; channel or sink is expected"))).await;
    };
    match cx.rounds().dead_letters().retry_all(&cx.who, &to).await {
        Ok(_) => Ok(Redirect::to(&format!("{PATH}?done=resent")).into_response()),
        Err(error) => render(&cx, Some(error.into())).await,
    }
}

async fn render(cx: &Cx, refused: Option<PageError>) -> Result<Response, PageError> {
    let rounds = cx.rounds();
    let to = recipient(cx.param("channel"), cx.param("sink"))?;
    let after = cx.param("after").map(form::id::<DeadLetterId>).transpose()?;
    let filter = DeadLetterFilter { to: to.clone(), after, limit: 50 };
    let Listed { items: letters, next, .. } = rounds.dead_letters().list(&cx.who, &filter).await?;
    let dead = rounds.dead_letters().count(&cx.who).await?;
    let connectors = rounds.connectors().list(&cx.who).await?;
    let names: HashMap<ConnectorId, String> = connectors.into_iter().map(|c| (c.id, c.name)).collect();
    let backlog = rounds.backlog(&cx.who.org_id).await?;
    let with_dead = backlog.into_iter().filter_map(|(to, backlog)| {
        let to = to.filter(|_| backlog.dead > 0)?;
        let (field, value) = match &to {
            Recipient::Channel(id) => ("channel", id.to_string()),
            Recipient::Sink(name) => ("sink", name.clone()),
            _ => return None,
        };
        Some(To { field, value, name: name(&names, &to), dead: backlog.dead })
    });
    let older = next.map(|next| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for name in ["channel", "sink"] {
            if let Some(value) = cx.param(name) {
                query.append_pair(name, value);
            }
        }
        format!("{PATH}?{}", query.append_pair("after", &next.to_string()).finish())
    });
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Dead letters", "settings").live("dead_letter").refused(refused.as_ref());
    shell.path = PATH.into();
    shell.spoken = format!("{dead} dead letters");
    let may = cx.may_all(Action::ConnectorsWrite, "connectors").await;
    let may = may.unless(cx.who.is_agent.then(|| "an agent never decides".to_owned()));
    let to_all = with_dead.collect();
    let filtered = to.is_some();
    Ok(page_with(status, &LettersPage { shell, letters, dead, to: to_all, names, filtered, older, may }))
}
