//! `/admin/service-accounts`: programs and their tokens. A token's text is shown once, by the answer to the form that
//! minted it: never in an address, never again.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::access::{Action, OrgRole};
use rounds_core::{PrincipalId, TokenId};
use rounds_store::SqlIdentity;

use super::users::ROLES;
use crate::accounts::{ServiceAccountChange, ServiceAccountView, TokenMinted, TokenView};
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::minted::Minted;
use crate::pages::pill::{Pill, Tone, word};

struct Row {
    account: ServiceAccountView,
    tokens: Vec<TokenView>,
}

impl Row {
    /// Whether investigations run as this one.
    fn is_seeded(&self) -> bool {
        self.account.login == SqlIdentity::AGENT_LOGIN
    }

    fn pill(&self) -> Pill {
        match (self.account.is_disabled, self.account.tokens) {
            (true, _) => word("disabled", Tone::Neutral),
            (false, 0) if self.is_seeded() => word("no live token", Tone::Warn),
            (false, 0) => word("no live token", Tone::Neutral),
            (false, _) => word("live", Tone::Ok),
        }
    }
}

fn token_pill(token: &TokenView) -> Pill {
    match (token.is_revoked, token.has_expired) {
        (true, _) => word("revoked", Tone::Neutral),
        (false, true) => word("expired", Tone::Neutral),
        (false, false) => word("live", Tone::Ok),
    }
}

/// A token that was just made, and of which account.
struct Shown {
    account: PrincipalId,
    token: Minted,
}

#[derive(Template)]
#[template(path = "service_accounts.html")]
struct AccountsPage {
    shell: Shell,
    rows: Vec<Row>,
    may: May,
    minted: Option<Shown>,
    name: String,
}

impl AccountsPage {
    fn roles(&self) -> [OrgRole; 3] {
        ROLES
    }

    fn lives(&self) -> [(&'static str, &'static str); 4] {
        [("", "until it is revoked"), ("2592000", "30 days"), ("7776000", "90 days"), ("31536000", "1 year")]
    }

    /// The text of the token that was just minted, under its account.
    fn shown(&self, row: &Row) -> Option<&Shown> {
        self.minted.as_ref().filter(|minted| minted.account == row.account.id)
    }
}

pub(super) async fn list(cx: Cx) -> Result<Response, PageError> {
    render(&cx, None, None, String::new()).await
}

pub(super) async fn create(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let name = fields.get("name").to_owned();
    let role: Result<OrgRole, PageError> =
        fields.get("role").parse().map_err(|error| PageError::invalid(format!("role: {error}")));
    let result = match role {
        Ok(role) => {
            cx.state.accounts.create_service_account(&cx.who, name.trim(), role, false).await.map_err(PageError::from)
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(_) => Ok(Redirect::to("/admin/service-accounts?done=created").into_response()),
        Err(error) => render(&cx, None, Some(error), name).await,
    }
}

pub(super) async fn mint(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    let result: Result<TokenMinted, PageError> = async {
        let seconds = fields.number("secondsToLive", "For how long")?;
        let name = fields.text("name").unwrap_or("made on the page");
        Ok(cx.state.accounts.mint_token(&cx.who, id, name, seconds).await?)
    }
    .await;
    match result {
        Ok(minted) => {
            let shown = Shown { account: id, token: minted.into() };
            render(&cx, Some(shown), None, String::new()).await
        }
        Err(error) => render(&cx, None, Some(error), String::new()).await,
    }
}

pub(super) async fn revoke(
    cx: Cx,
    Path((id, token)): Path<(String, String)>,
    _: Fields,
) -> Result<Response, PageError> {
    let (id, token): (PrincipalId, TokenId) = (form::id(&id)?, form::id(&token)?);
    match cx.state.accounts.revoke_token(&cx.who, id, token).await {
        Ok(()) => Ok(Redirect::to("/admin/service-accounts?done=revoked").into_response()),
        Err(error) => render(&cx, None, Some(error.into()), String::new()).await,
    }
}

/// Shuts a service account out, or lets it in again; its tokens stay and are refused meanwhile.
pub(super) async fn set_disabled(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id: PrincipalId = form::id(&id)?;
    let disabled = fields.ticked("isDisabled");
    let change = ServiceAccountChange { is_disabled: Some(disabled), ..ServiceAccountChange::default() };
    match cx.state.accounts.change_service_account(&cx.who, id, change).await {
        Ok(_) => {
            let word = if disabled { "disabled" } else { "enabled" };
            Ok(Redirect::to(&format!("/admin/service-accounts?done={word}#sa-{id}")).into_response())
        }
        Err(error) => render(&cx, None, Some(error.into()), String::new()).await,
    }
}

pub(super) async fn delete(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    match cx.state.accounts.delete_service_account(&cx.who, form::id(&id)?).await {
        Ok(()) => Ok(Redirect::to("/admin/service-accounts?done=deleted").into_response()),
        Err(error) => render(&cx, None, Some(error.into()), String::new()).await,
    }
}

async fn render(
    cx: &Cx,
    minted: Option<Shown>,
    refused: Option<PageError>,
    name: String,
) -> Result<Response, PageError> {
    let accounts = &cx.state.accounts;
    let mut rows = Vec::new();
    for account in accounts.service_accounts(&cx.who).await? {
        let tokens = accounts.tokens(&cx.who, account.id).await?;
        rows.push(Row { account, tokens });
    }
    // The one that investigations need comes first.
    rows.sort_by_key(|row| !row.is_seeded());
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Service accounts", "admin").refused(refused.as_ref());
    shell.path = "/admin/service-accounts".into();
    let may = cx.may_all(Action::ServiceAccountsWrite, "serviceaccounts").await;
    Ok(page_with(status, &AccountsPage { shell, rows, may, minted, name }))
}
