//! Step 1: the first admin, who is signed in by making it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use secrecy::SecretString;

use super::{Steps, title};
use crate::accounts::{SetupProgress, SetupStep};
use crate::api::sign_in;
use crate::auth::Peer;
use crate::pages::admin::first_admin;
use crate::pages::cx::{Anybody, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::Fields;
use crate::pages::pill::Pill;

#[derive(Template)]
#[template(path = "setup_admin.html")]
struct AdminPage {
    shell: Shell,
    progress: SetupProgress,
    fields: Fields,
    wrong: String,
}

impl AdminPage {
    fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    /// What is wrong with a field: messages begin with its name.
    fn wrong(&self, name: &str) -> Option<&str> {
        let rest = self.wrong.strip_prefix(name)?;
        rest.strip_prefix(": ").or_else(|| rest.starts_with(' ').then_some(self.wrong.as_str()))
    }

    fn step(&self) -> Option<SetupStep> {
        Some(SetupStep::Admin)
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

pub(super) async fn show(on: Anybody) -> Result<Response, PageError> {
    if on.state.accounts.has_users().await? {
        return Ok(Redirect::to("/setup").into_response());
    }
    render(&on, Fields::default(), None).await
}

pub(super) async fn create(on: Anybody, peer: Peer, jar: CookieJar, fields: Fields) -> Result<Response, PageError> {
    if let Err(error) = first_admin(&on.state, &fields).await {
        if error.status == StatusCode::CONFLICT {
            // There is an admin: no form to try again with.
            return Err(error);
        }
        return render(&on, fields, Some(error)).await;
    }
    on.state.accounts.begin_setup().await?;
    // The first thing an admin does is go on: no second form with the same words.
    let password = SecretString::from(fields.get("password"));
    Ok(match sign_in(&on.state, &peer, fields.get("login").trim(), password).await {
        Ok(cookie) => (jar.add(cookie), Redirect::to("/setup")).into_response(),
        Err(_) => Redirect::to("/login?done=setup&next=/setup").into_response(),
    })
}

async fn render(on: &Anybody, fields: Fields, refused: Option<PageError>) -> Result<Response, PageError> {
    let progress = on.state.accounts.setup_progress().await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let shell = Shell::anonymous(&on.around, "Set up", "").refused(refused.as_ref());
    let wrong = refused.map(|error| error.message).unwrap_or_default();
    Ok(page_with(status, &AdminPage { shell, progress, fields, wrong }))
}
