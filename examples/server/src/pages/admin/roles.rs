//! `/admin/roles`: what each role permits, and what was granted beyond that.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::{Action, ActionInfo, FixedRole, OrgRole};
use url::form_urlencoded;

use crate::accounts::{GrantDraft, GrantView, RoleView, SubjectDraft};
use crate::error::ApiError;
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::pill::{Pill, Tone, word};

const PATH: &str = "/admin/roles";

/// Somebody who can be granted something.
struct Subject {
    /// As grants name it: `user:<id>`.
    id: String,
    name: String,
}

#[derive(Template)]
#[template(path = "roles.html")]
struct RolesPage {
    shell: Shell,
    fixed: Vec<RoleView>,
    grants: Vec<GrantView>,
    /// In groups: users, teams, service accounts.
    subjects: [(&'static str, Vec<Subject>); 3],
    of: String,
    may: May,
    fields: Fields,
}

impl RolesPage {
    fn actions(&self) -> &'static [ActionInfo] {
        Action::table()
    }

    fn fixed_roles(&self) -> &'static [FixedRole] {
        FixedRole::all()
    }

    fn get(&self, name: &str) -> &str {
        self.fields.get(name)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }
}

/// Whether a role holds an action by default.
fn held(row: &ActionInfo, role: OrgRole) -> Pill {
    yes(row.default_role.is_some_and(|least| role >= least))
}

fn held_by_server_admin(row: &ActionInfo) -> Pill {
    yes(row.server_admin || row.default_role.is_some())
}

fn yes(yes: bool) -> Pill {
    if yes { word("yes", Tone::Ok) } else { word("no", Tone::Neutral) }
}

pub(super) async fn show(cx: Cx) -> Result<Response, PageError> {
    render(&cx, Fields::default(), None).await
}

/// Grants an action on a scope, or a role: one list to choose from, because people look for what it allows.
pub(super) async fn grant(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let result = match draft(&fields) {
        Ok(draft) => cx.state.accounts.add_grant(&cx.who, &draft).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match result {
        Ok(made) => Ok(Redirect::to(&format!("{PATH}?done=granted#g-{}", made.id)).into_response()),
        Err(error) => render(&cx, fields, Some(error)).await,
    }
}

fn draft(fields: &Fields) -> Result<GrantDraft, PageError> {
    let subject = SubjectDraft::Text(fields.needed("subject", "To whom")?);
    let what = fields.needed("what", "What")?;
    if what.starts_with("fixed:") {
        if fields.text("scope").is_some() {
            return Err(PageError::invalid("scope: a role has scopes of its own; leave it empty"));
        }
        return Ok(GrantDraft { subject, action: None, scope: None, role: Some(what) });
    }
    let action = what.parse().map_err(|error| PageError::invalid(format!("What: {error}")))?;
    let scope = match fields.text("scope") {
        Some(text) => Some(text.parse().map_err(|error| PageError::invalid(format!("scope: {error}")))?),
        None => None,
    };
    Ok(GrantDraft { subject, action: Some(action), scope, role: None })
}

pub(super) async fn take_back(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    match cx.state.accounts.remove_grant(&cx.who, form::id(&id)?).await {
        Ok(()) => Ok(Redirect::to(&format!("{PATH}?done=taken-back#grants")).into_response()),
        Err(error) => render(&cx, Fields::default(), Some(error.into())).await,
    }
}

/// The page, with only the grants of one when there is one.
fn address(of: &str) -> String {
    if of.is_empty() {
        return PATH.into();
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{PATH}?{}", query.append_pair("subject", of).finish())
}

/// A list that the person may not see is empty for them.
fn or_none<T>(found: Result<Vec<T>, ApiError>) -> Result<Vec<T>, PageError> {
    match found {
        Ok(found) => Ok(found),
        Err(error) if error.status == StatusCode::FORBIDDEN => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn render(cx: &Cx, fields: Fields, refused: Option<PageError>) -> Result<Response, PageError> {
    let accounts = &cx.state.accounts;
    let mut fixed = accounts.roles(&cx.who).await?;
    fixed.retain(|role| role.kind == "fixed");
    let of = cx.param("subject").unwrap_or_default().to_owned();
    let filter = Some(of.clone()).filter(|of| !of.is_empty()).map(SubjectDraft::Text);
    let (grants, refused) = match accounts.grants(&cx.who, filter.as_ref()).await {
        Ok(grants) => (grants, refused),
        Err(error) if error.status == StatusCode::BAD_REQUEST => (Vec::new(), refused.or(Some(error.into()))),
        Err(error) => return Err(error.into()),
    };
    let subject = |kind: &str, id: String, name: String| Subject { id: format!("{kind}:{id}"), name };
    let users = or_none(accounts.users(&cx.who).await)?;
    let programs = or_none(accounts.service_accounts(&cx.who).await)?;
    let teams = or_none(accounts.teams(&cx.who).await)?;
    let subjects = [
        ("Users", users.into_iter().map(|user| subject("user", user.id.to_string(), user.login)).collect()),
        ("Teams", teams.into_iter().map(|team| subject("team", team.id.to_string(), team.name)).collect()),
        (
            "Service accounts",
            programs.into_iter().map(|found| subject("serviceaccount", found.id.to_string(), found.login)).collect(),
        ),
    ];
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Roles and grants", "admin").refused(refused.as_ref());
    shell.path = address(&of);
    let may = cx.may_all(Action::RolesWrite, "roles").await;
    Ok(page_with(status, &RolesPage { shell, fixed, grants, subjects, of, may, fields }))
}
