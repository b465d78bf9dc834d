//! Dead letters: what could not be delivered to a channel or a sink.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use rounds_core::access::Principal;
use rounds_core::ports::store::NoticeStatus;
use rounds_core::service::{DeadLetter, DeadLetterFilter, Listed, Recipient};
use rounds_core::{ConnectorId, DeadLetterId, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::with_next;
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Body, Id, Params};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get("/api/dead-letters", "What could not be delivered, newest first; the next page is in the Link header")
            .query::<ListParams>()
            .answers::<ListAnswer>(),
        list,
    )
    .at(
        Op::post("/api/dead-letters/retry", "Put every dead letter to one recipient on its way again")
            .body::<RecipientBody>()
            .answers::<Retried>(),
        retry_all,
    )
    .at(
        Op::post(
            "/api/dead-letters/{id}/retry",
            "Put one on its way again, at once and with as many tries as a new one",
        )
        .answers::<LetterView>(),
        retry,
    )
    .at(Op::delete("/api/dead-letters/{id}", "Give one up for good; the audit log keeps what it told of"), discard)
}

/// Which dead letters.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    /// To this notification channel.
    channel_id: Option<ConnectorId>,
    /// To this sink of events.
    sink: Option<String>,
    /// At most this many; 50 when absent, 100 at most.
    limit: Option<u32>,
    /// Where the page starts, as the Link header says.
    cursor: Option<DeadLetterId>,
}

/// A page of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ListAnswer {
    dead_letters: Vec<LetterView>,
    /// How many there are in all, to any recipient.
    total: u64,
}

/// One recipient.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecipientBody {
    /// A notification channel.
    channel_id: Option<ConnectorId>,
    /// A sink of events, instead.
    sink: Option<String>,
}

/// How many are on their way again.
#[derive(Debug, Serialize, JsonSchema)]
struct Retried {
    retried: u64,
}

/// What could not be delivered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeadLetter")]
struct LetterView {
    id: DeadLetterId,
    to: RecipientView,
    /// What it tells of: a kind of notice, such as `plan_proposed`, or the name of an event.
    what: String,
    title: String,
    /// The page of what it is about.
    link: Option<String>,
    /// What its receiver deduplicates by.
    idempotency_key: String,
    happened_at: DateTime<Utc>,
    /// `dead`, or `pending` once somebody had it tried again.
    #[schemars(with = "String")]
    status: NoticeStatus,
    attempts: u32,
    /// When it was tried last; of a pending one, when it is tried next.
    tried_at: DateTime<Utc>,
    last_error: Option<String>,
}

/// Where it was to go.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Recipient")]
struct RecipientView {
    /// `channel` or `sink`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The channel.
    channel_id: Option<ConnectorId>,
    /// Its name; of a channel that is gone there is none.
    name: Option<String>,
}

type Names = HashMap<ConnectorId, String>;

async fn names(state: &AppState, who: &Principal) -> Result<Names, Error> {
    let connectors = state.rounds.connectors().list(who).await?;
    Ok(connectors.into_iter().map(|connector| (connector.id, connector.name)).collect())
}

fn view(letter: DeadLetter, names: &Names) -> LetterView {
    let to = match letter.to {
        Recipient::Channel(id) => {
            RecipientView { kind: "channel", channel_id: Some(id), name: names.get(&id).cloned() }
        }
        Recipient::Sink(name) => RecipientView { kind: "sink", channel_id: None, name: Some(name) },
        // Core may learn of others first.
        other => RecipientView { kind: "other", channel_id: None, name: Some(other.to_string()) },
    };
    LetterView {
        id: letter.id,
        to,
        what: letter.what,
        title: letter.title,
        link: letter.link,
        idempotency_key: letter.idempotency_key,
        happened_at: letter.happened_at,
        status: letter.status,
        attempts: letter.attempts,
        tried_at: letter.tried_at,
        last_error: letter.last_error,
    }
}

fn recipient(channel_id: Option<ConnectorId>, sink: Option<String>) -> Result<Option<Recipient>, ApiError> {
    match (channel_id, sink) {
        (Some(_), Some(_)) => Err(ApiError::bad_request("found channelId and sink; one of them is accepted")),
        (Some(id), None) => Ok(Some(Recipient::Channel(id))),
        (None, Some(name)) => Ok(Some(Recipient::Sink(name))),
        (None, None) => Ok(None),
    }
}

async fn list(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    who: Who,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let letters = state.rounds.dead_letters();
    let filter = DeadLetterFilter {
        to: recipient(params.channel_id, params.sink)?,
        after: params.cursor,
        limit: params.limit.unwrap_or(50),
    };
    let Listed { items: found, next, .. } = letters.list(&who.principal, &filter).await?;
    let names = names(&state, &who.principal).await?;
    let dead_letters = found.into_iter().map(|letter| view(letter, &names)).collect();
    let answer = ListAnswer { dead_letters, total: letters.count(&who.principal).await? };
    Ok(with_next(Json(answer), &uri, next))
}

async fn retry(
    State(state): State<AppState>,
    who: Who,
    Id(id): Id<DeadLetterId>,
) -> Result<Json<LetterView>, ApiError> {
    let letter = state.rounds.dead_letters().retry(&who.principal, id).await?;
    Ok(Json(view(letter, &names(&state, &who.principal).await?)))
}

async fn retry_all(
    State(state): State<AppState>,
    who: Who,
    Body(body): Body<RecipientBody>,
) -> Result<Json<Retried>, ApiError> {
    let Some(to) = recipient(body.channel_id, body.sink)? else {
        return Err(ApiError::bad_request("found no recipient; channelId or sink is expected"));
    };
    Ok(Json(Retried { retried: state.rounds.dead_letters().retry_all(&who.principal, &to).await? }))
}

async fn discard(State(state): State<AppState>, who: Who, Id(id): Id<DeadLetterId>) -> Result<StatusCode, ApiError> {
    state.rounds.dead_letters().discard(&who.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
