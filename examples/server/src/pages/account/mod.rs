//! `/account`: what somebody signs in with. Their sessions, their password, tokens of their own.

pub(super) mod browser;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use rounds_core::TokenId;
use rounds_core::access::Principal;
use secrecy::SecretString;
use uuid::Uuid;

use super::cx::{Cx, Shell, page_with};
use super::error::PageError;
use super::form::{self, Fields};
use super::pill::{Pill, Tone, word};
use super::routes::Pages;
use crate::accounts::{SessionView, TokenView};
use crate::api::change_password;
use crate::auth::{Peer, Via, Who};
use crate::pages::minted::Minted;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/account", get(show))
        .form("/account/password", post(password))
        .form("/account/sessions/end-others", post(end_others))
        .form("/account/sessions/{id}/end", post(end))
        .form("/account/tokens", post(mint))
        .form("/account/tokens/{id}/revoke", post(revoke))
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    shell: Shell,
    who: Principal,
    email: Option<String>,
    sessions: Vec<SessionView>,
    tokens: Vec<TokenView>,
    minted: Option<Minted>,
    /// What was typed into the form of tokens.
    name: String,
}

impl AccountPage {
    fn lives(&self) -> [(&'static str, &'static str); 4] {
        [("2592000", "30 days"), ("7776000", "90 days"), ("31536000", "1 year"), ("", "until it is revoked")]
    }

    fn others(&self) -> usize {
        self.sessions.iter().filter(|session| !session.is_current).count()
    }

    fn browser(&self, session: &SessionView) -> String {
        browser::name(session.user_agent.as_deref().unwrap_or_default())
    }

    fn here(&self) -> Pill {
        word("this one", Tone::Ok)
    }

    fn pill(&self, token: &TokenView) -> Pill {
        match (token.is_revoked, token.has_expired) {
            (true, _) => word("revoked", Tone::Neutral),
            (false, true) => word("expired", Tone::Neutral),
            (false, false) => word("live", Tone::Ok),
        }
    }
}

async fn show(cx: Cx) -> Result<Response, PageError> {
    render(&cx, None, None, String::new()).await
}

async fn password(cx: Cx, peer: Peer, fields: Fields) -> Result<Response, PageError> {
    let (current, new) = (SecretString::from(fields.get("current")), SecretString::from(fields.get("new")));
    let result = if fields.get("new") == fields.get("again") {
        let who = Who { principal: cx.who.clone(), via: Via::Session(cx.session.clone()) };
        change_password(&cx.state, &who, &peer, &current, &new).await.map_err(PageError::from)
    } else {
        Err(PageError::invalid("the new password was typed differently the second time"))
    };
    match result {
        Ok(()) => Ok(Redirect::to("/account?done=password").into_response()),
        Err(error) => render(&cx, None, Some(error), String::new()).await,
    }
}

async fn end(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    let id: Uuid = form::id(&id)?;
    match cx.state.accounts.end_my_session(&cx.who, id).await {
        Ok(()) => Ok(Redirect::to("/account?done=session-ended").into_response()),
        Err(error) => render(&cx, None, Some(error.into()), String::new()).await,
    }
}

async fn end_others(cx: Cx, _: Fields) -> Result<Response, PageError> {
    cx.state.accounts.end_my_other_sessions(&cx.who, Some(cx.session.id)).await?;
    Ok(Redirect::to("/account?done=others-ended").into_response())
}

async fn mint(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let result = async {
        let seconds = fields.number("secondsToLive", "For how long")?;
        let name = fields.needed("name", "What it is for")?;
        Ok(cx.state.accounts.mint_mine(&cx.who, &name, seconds).await?)
    }
    .await;
    match result {
        Ok(minted) => {
            let shown = Minted::from(minted);
            render(&cx, Some(shown), None, String::new()).await
        }
        Err(error) => render(&cx, None, Some(error), fields.get("name").to_owned()).await,
    }
}

async fn revoke(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    let id: TokenId = form::id(&id)?;
    match cx.state.accounts.revoke_mine(&cx.who, id).await {
        Ok(()) => Ok(Redirect::to("/account?done=revoked").into_response()),
        Err(error) => render(&cx, None, Some(error.into()), String::new()).await,
    }
}

async fn render(
    cx: &Cx,
    minted: Option<Minted>,
    refused: Option<PageError>,
    name: String,
) -> Result<Response, PageError> {
    let accounts = &cx.state.accounts;
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let mut shell = cx.shell("Your account", "account").refused(refused.as_ref());
    shell.path = "/account".into();
    let page = AccountPage {
        shell,
        who: cx.who.clone(),
        email: accounts.myself(&cx.who).await?.email,
        sessions: accounts.my_sessions(&cx.who, Some(cx.session.id)).await?,
        tokens: accounts.my_tokens(&cx.who).await?,
        minted,
        name,
    };
    Ok(page_with(status, &page))
}
