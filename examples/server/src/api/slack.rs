//! Deciding from Slack: clicks on the buttons of a message.
//!
//! Slack signs what it sends, and the connector's signing secret is the proof, so there is neither a session nor a CSRF
//! token. Who clicked is looked up by the connector's mapping, in the organisation of the connector; what they may do is
//! the same as on the page, and is decided in core.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rounds_core::access::Principal;
use rounds_core::plan::RequestKind;
use rounds_core::ports::{Inbound, PortErrorKind, Reply, Seen, Wish};
use rounds_core::service::{ApprovalView, Heard};
use rounds_core::{ConnectorId, Error};
use serde_json::json;

use super::{Api, Op};
use crate::auth::Peer;
use crate::error::ApiError;
use crate::extract::Id;
use crate::state::AppState;

/// Slack's payloads hold the whole message; more than this is none of its.
const LARGEST: usize = 256 * 1024;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::post(
            "/api/slack/interactions/{connectorId}",
            "What Slack sends when somebody clicks a button; signed by Slack (X-Slack-Signature)",
        )
        .open(),
        interaction,
    )
}

async fn interaction(
    State(state): State<AppState>,
    peer: Peer,
    Id(channel): Id<ConnectorId>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST).await.map_err(|_| {
        let message = format!("the body could not be read to its end, or is larger than {LARGEST} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    let heard = match state.rounds.channels().verify(channel, &inbound(&parts.headers, &body)).await {
        Ok(heard) => heard,
        // Which of them it is, is nobody's business who cannot prove where they come from.
        Err(Error::NotFound { .. }) => return Err(unproved(&state, &peer)),
        Err(Error::Port(error)) if error.kind == PortErrorKind::Unauthorized => {
            return Err(unproved(&state, &peer));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(reply) = answer(&state, &heard).await? else { return Ok(StatusCode::OK.into_response()) };
    // Slack shows what is posted to the place that the click came with. It waits three seconds for this answer, so that
    // goes on by itself; what was decided is committed by now.
    let said = json!({
        "response_type": if reply.settled { "in_channel" } else { "ephemeral" },
        "replace_original": reply.settled,
        "text": reply.text,
    });
    tokio::spawn(async move {
        if let Err(error) = state.rounds.channels().reply(&heard, &reply).await {
            tracing::warn!(channel = heard.channel(), %error, "Slack could not be told what became of a click");
        }
    });
    Ok(Json(said).into_response())
}

fn inbound(headers: &HeaderMap, body: &Bytes) -> Inbound {
    let text = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    let headers = ["x-slack-signature", "x-slack-request-timestamp"].into_iter().filter_map(text);
    Inbound::new(headers, body.to_vec())
}

/// A failure is counted against its address. What is signed is never refused for being one of many, so nobody can lock
/// Slack out by sending rubbish from where it seems to come from.
fn unproved(state: &AppState, peer: &Peer) -> ApiError {
    tracing::warn!(address = %peer.address, "something that is not proved to come from Slack was refused");
    match state.unproved.count(&peer.address, state.rounds.now()) {
        Ok(()) => {
            let message = "this is not proved to come from Slack just now: the connector, its signing secret, the signature \
                           or the time does not fit";
            ApiError::new(StatusCode::FORBIDDEN, "bad_signature", message)
        }
        Err(too_many) => {
            let message =
                format!("too many requests that prove nothing: try again in {} seconds", too_many.retry_after);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message)
                .with_retry_after(too_many.retry_after)
        }
    }
}

/// Decides, and says what became of it; `None`: there was nothing to decide.
async fn answer(state: &AppState, heard: &Heard) -> Result<Option<Reply>, ApiError> {
    let (Wish::Approve(seen) | Wish::Reject(seen)) = heard.wish() else { return Ok(None) };
    let who = match account(state, heard).await? {
        Ok(who) => who,
        Err(why) => {
            tracing::warn!(channel = heard.channel(), user = heard.user(), why, "a click in Slack was refused");
            return Ok(Some(Reply::to_them(why)));
        }
    };
    let error = match state.rounds.channels().decide(&who, heard).await {
        Ok(view) => return Ok(Some(done(heard, &view))),
        Err(error) => error,
    };
    tracing::info!(channel = heard.channel(), login = who.login, %error, "a click in Slack decided nothing");
    Ok(Some(match &error {
        Error::Conflict { code: "already_resolved", .. } => already(state, &who, seen, &error).await,
        Error::Denied(_) | Error::Conflict { .. } | Error::State(_) | Error::Invalid(_) | Error::NotFound { .. } => {
            Reply::to_them(format!("Nothing was decided: {error}"))
        }
        // What went wrong in here is for the log; Slack's people are told that it did.
        _ => Reply::to_them("Nothing was decided: the server could not do it just now. Try again, or open the page."),
    }))
}

/// The account of whoever clicked, or why there is none to act as.
async fn account(state: &AppState, heard: &Heard) -> Result<Result<Principal, String>, ApiError> {
    let (user, channel) = (heard.user(), heard.channel());
    let Some(login) = heard.login() else {
        return Ok(Err(format!(
            "Nothing was decided: nobody said who {user} is in Rounds. An administrator adds \"{user}\": \"<login>\" to \
             `users` of the connector {channel} (Settings → Notifications)."
        )));
    };
    let users = state.accounts.identity().users(heard.org_id()).await?;
    let found = users.into_iter().find(|account| account.login == login);
    // An account that is shut out is no principal; one that decides nothing (an agent, a program) is not among the users.
    let principal = match found {
        Some(account) => state.accounts.identity().principal(account.id).await?,
        None => None,
    };
    Ok(principal.ok_or_else(|| {
        format!(
            "Nothing was decided: {user} stands for {login} in the connector {channel}, and there is no such user, or it is \
             disabled."
        )
    }))
}

fn done(heard: &Heard, view: &ApprovalView) -> Reply {
    let what = match view.request.kind {
        RequestKind::Plan => "Plan".to_owned(),
        RequestKind::Step { ordinal } => format!("Step {}", ordinal + 1),
    };
    let by = heard.login().unwrap_or_default();
    let at = view.request.resolved_at.map(|at| format!(" at {}", shown(at))).unwrap_or_default();
    Reply::to_all(format!("{what} {} by {by}{at}: {}", view.request.status.as_str(), view.plan.summary))
        .with_link(format!("/plans/{}", view.plan.id))
}

/// Somebody was faster: who, and when, for those who may know.
async fn already(state: &AppState, who: &Principal, seen: &Seen, error: &Error) -> Reply {
    match state.rounds.approvals().get(who, seen.request_id).await {
        Ok(ApprovalView { request, .. }) => {
            let by = request.resolved_by.map_or_else(|| "Rounds".to_owned(), |by| by.to_string());
            let at = request.resolved_at.map(|at| format!(" at {}", shown(at))).unwrap_or_default();
            Reply::to_them(format!("Nothing was decided: this was already {} by {by}{at}.", request.status.as_str()))
        }
        Err(_) => Reply::to_them(format!("Nothing was decided: {error}")),
    }
}

fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
