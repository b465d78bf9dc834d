//! `/admin/users`: people, and the first of them.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::{Action, OrgRole};
use secrecy::SecretString;

use crate::accounts::{UserDraft, UserView};
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::Fields;
use crate::pages::pill::{Tone, word};
use crate::state::AppState;

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    shell: Shell,
    users: Vec<UserView>,
    may: May,
    fields: Fields,
    is_server_admin: bool,
    me: String,
}

impl UsersPage {
    fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    fn roles(&self) -> [OrgRole; 3] {
        ROLES
    }

    fn is(&self, role: &OrgRole) -> bool {
        self.get("role") == role.to_string()
    }

    fn disabled(&self) -> super::Pill {
        word("disabled", Tone::Neutral)
    }
}

pub(super) const ROLES: [OrgRole; 3] = [OrgRole::Viewer, OrgRole::Editor, OrgRole::Admin];

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    render(&cx, Fields::default(), None).await
}

pub(super) async fn create(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let result = match draft(&fields) {
        Ok(draft) => cx.state.accounts.create_user(&cx.who, draft).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match result {
        Ok(made) => Ok(Redirect::to(&format!("/admin/users?done=created#u-{}", made.id)).into_response()),
        Err(error) => render(&cx, fields, Some(error)).await,
    }
}

async fn render(cx: &Cx, fields: Fields, refused: Option<PageError>) -> Result<Response, PageError> {
    let users = cx.state.accounts.users(&cx.who).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let page = UsersPage {
        shell: cx.shell("Users", "admin").refused(refused.as_ref()),
        users,
        may: cx.may_all(Action::UsersWrite, "users").await,
        fields,
        is_server_admin: cx.who.server_admin,
        me: cx.who.id.to_string(),
    };
    Ok(page_with(status, &page))
}

fn draft(fields: &Fields) -> Result<UserDraft, PageError> {
    let org_role = match fields.text("role") {
        Some(role) => role.parse().map_err(|error| PageError::invalid(format!("role: {error}")))?,
        None => OrgRole::Viewer,
    };
    Ok(UserDraft {
        email: fields.text("email").map(str::to_owned),
        login: fields.needed("login", "login")?,
        name: fields.text("name").map(str::to_owned),
        password: SecretString::from(fields.get("password")),
        org_role,
        is_admin: fields.ticked("isAdmin"),
    })
}

/// Makes the first admin, once.
pub(in crate::pages) async fn first_admin(state: &AppState, fields: &Fields) -> Result<(), PageError> {
    let draft = UserDraft { org_role: OrgRole::Admin, is_admin: true, ..draft(fields)? };
    state.accounts.first_admin(draft).await?;
    Ok(())
}
