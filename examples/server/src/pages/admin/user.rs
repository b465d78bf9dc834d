//! `/admin/users/{id}`: one person.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::PrincipalId;
use rounds_core::access::{Action, OrgRole};
use secrecy::SecretString;

use super::users::ROLES;
use crate::accounts::{GrantView, SessionView, SubjectDraft, TeamView, UserChange, UserView};
use crate::pages::account::browser;
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::pill::{Pill, Tone, word};

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage {
    shell: Shell,
    user: UserView,
    teams: Vec<TeamView>,
    grants: Vec<GrantView>,
    sessions: Vec<SessionView>,
    may: May,
    fields: Fields,
    is_server_admin: bool,
    is_me: bool,
}

impl UserPage {
    fn roles(&self) -> [OrgRole; 3] {
        ROLES
    }

    /// What was typed, else what there is.
    fn value<'a>(&'a self, name: &str, there: &'a str) -> &'a str {
        if self.fields.0.is_empty() { there } else { self.fields.get(name) }
    }

    fn is(&self, role: &OrgRole) -> bool {
        let role = role.to_string();
        self.value("role", &self.user.role.to_string()) == role
    }

    fn ticked(&self, name: &str, there: &bool) -> bool {
        if self.fields.0.is_empty() { *there } else { self.fields.ticked(name) }
    }

    fn browser(&self, session: &SessionView) -> String {
        browser::name(session.user_agent.as_deref().unwrap_or_default())
    }

    fn pill(&self) -> Pill {
        if self.user.is_disabled { word("disabled", Tone::Neutral) } else { word("active", Tone::Ok) }
    }
}

fn path(id: PrincipalId) -> String {
    format!("/admin/users/{id}")
}

pub(super) async fn show(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    render(&cx, form::id(&id)?, Fields::default(), None).await
}

/// Name, address, role, and whether they are shut out.
pub(super) async fn change(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    let result: Result<(), PageError> = async {
        let before = cx.state.accounts.user_view(&cx.who, id).await?;
        let role: OrgRole = fields.get("role").parse().map_err(|error| PageError::invalid(format!("role: {error}")))?;
        // Only what differs: who may change a name may not be allowed to say anything about admins.
        let change = UserChange {
            name: fields.text("name").filter(|name| *name != before.name).map(str::to_owned),
            email: fields.text("email").filter(|email| Some(*email) != before.email.as_deref()).map(str::to_owned),
            org_role: Some(role).filter(|role| *role != before.role),
            is_admin: Some(fields.ticked("isAdmin")).filter(|admin| *admin != before.is_admin),
            is_disabled: Some(fields.ticked("isDisabled")).filter(|disabled| *disabled != before.is_disabled),
            password: None,
        };
        cx.state.accounts.change_user(&cx.who, id, change).await?;
        Ok(())
    }
    .await;
    match result {
        Ok(()) => Ok(Redirect::to(&format!("{}?done=saved", path(id))).into_response()),
        Err(error) => render(&cx, id, fields, Some(error)).await,
    }
}

/// Sets another password; it ends every session of theirs.
pub(super) async fn password(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    let change = UserChange { password: Some(SecretString::from(fields.get("password"))), ..UserChange::default() };
    match cx.state.accounts.change_user(&cx.who, id, change).await {
        Ok(_) => Ok(Redirect::to(&format!("{}?done=password-reset", path(id))).into_response()),
        Err(error) => render(&cx, id, Fields::default(), Some(error.into())).await,
    }
}

/// Signs them out everywhere.
pub(super) async fn end_sessions(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    match cx.state.accounts.end_user_sessions(&cx.who, id).await {
        Ok(()) => Ok(Redirect::to(&format!("{}?done=sessions-ended", path(id))).into_response()),
        Err(error) => render(&cx, id, Fields::default(), Some(error.into())).await,
    }
}

pub(super) async fn delete(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    match cx.state.accounts.delete_user(&cx.who, id).await {
        Ok(()) => Ok(Redirect::to("/admin/users?done=deleted").into_response()),
        Err(error) => render(&cx, id, Fields::default(), Some(error.into())).await,
    }
}

async fn render(cx: &Cx, id: PrincipalId, fields: Fields, refused: Option<PageError>) -> Result<Response, PageError> {
    let accounts = &cx.state.accounts;
    let user = accounts.user_view(&cx.who, id).await?;
    let mut teams = accounts.teams(&cx.who).await.unwrap_or_default();
    teams.retain(|team| team.members.contains(&id));
    let of = SubjectDraft::Text(format!("user:{id}"));
    let grants = accounts.grants(&cx.who, Some(&of)).await.unwrap_or_default();
    // Their sessions are for whoever may see accounts; on one's own page they are under the account.
    let sessions = accounts.user_sessions(&cx.who, id, None).await.unwrap_or_default();
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell(user.login.clone(), "admin").refused(refused.as_ref());
    shell.path = path(id);
    let page = UserPage {
        shell,
        teams,
        grants,
        sessions,
        may: cx.may_all(Action::UsersWrite, "users").await,
        fields,
        is_server_admin: cx.who.server_admin,
        is_me: cx.who.id == id,
        user,
    };
    Ok(page_with(status, &page))
}
