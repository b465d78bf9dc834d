//! `/admin/teams`: teams and who is in them. Rules and connectors can belong to one, and grants be made to one.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::Action;
use rounds_core::{PrincipalId, TeamId};

use crate::accounts::{TeamView, UserView};
use crate::pages::cx::{Cx, May, Shell, page_with, short};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};

const PATH: &str = "/admin/teams";

#[derive(Template)]
#[template(path = "teams.html")]
struct TeamsPage {
    shell: Shell,
    teams: Vec<TeamView>,
    /// Empty for those who may not see users.
    users: Vec<UserView>,
    may: May,
    name: String,
}

impl TeamsPage {
    fn login(&self, member: &PrincipalId) -> String {
        let found = self.users.iter().find(|user| user.id == *member);
        found.map_or_else(|| format!("…{}", short(member)), |user| user.login.clone())
    }

    fn others(&self, team: &TeamView) -> Vec<&UserView> {
        self.users.iter().filter(|user| !team.members.contains(&user.id)).collect()
    }
}

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    render(&cx, String::new(), None).await
}

pub(super) async fn create(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let name = fields.get("name").to_owned();
    match cx.state.accounts.create_team(&cx.who, name.trim()).await {
        Ok(made) => Ok(done("created", made.id)),
        Err(error) => render(&cx, name, Some(error.into())).await,
    }
}

pub(super) async fn delete(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    match cx.state.accounts.delete_team(&cx.who, form::id(&id)?).await {
        Ok(()) => Ok(Redirect::to(&format!("{PATH}?done=deleted")).into_response()),
        Err(error) => render(&cx, String::new(), Some(error.into())).await,
    }
}

pub(super) async fn add_member(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: TeamId = form::id(&id)?;
    let result: Result<(), PageError> = async {
        let member = fields.id("userId")?.ok_or_else(|| PageError::invalid("Member: choose a user"))?;
        cx.state.accounts.add_member(&cx.who, id, member).await?;
        Ok(())
    }
    .await;
    match result {
        Ok(()) => Ok(done("saved", id)),
        Err(error) => render(&cx, String::new(), Some(error)).await,
    }
}

pub(super) async fn remove_member(
    cx: Cx,
    Path((id, member)): Path<(String, String)>,
    _: Fields,
) -> Result<Response, PageError> {
    let id: TeamId = form::id(&id)?;
    match cx.state.accounts.remove_member(&cx.who, id, form::id(&member)?).await {
        Ok(()) => Ok(done("saved", id)),
        Err(error) => render(&cx, String::new(), Some(error.into())).await,
    }
}

fn done(word: &str, team: TeamId) -> Response {
    Redirect::to(&format!("{PATH}?done={word}#team-{team}")).into_response()
}

async fn render(cx: &Cx, name: String, refused: Option<PageError>) -> Result<Response, PageError> {
    let teams = cx.state.accounts.teams(&cx.who).await?;
    let users = match cx.state.accounts.users(&cx.who).await {
        Ok(users) => users,
        // Whoever may see teams and not users sees how many are in them.
        Err(error) if error.status == StatusCode::FORBIDDEN => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Teams", "admin").refused(refused.as_ref());
    shell.path = PATH.into();
    let may = cx.may_all(Action::TeamsWrite, "teams").await;
    Ok(page_with(status, &TeamsPage { shell, teams, users, may, name }))
}
