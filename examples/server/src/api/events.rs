//! What happens, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::stream::{self, Stream};
use rounds_core::InvestigationId;
use rounds_core::access::{Action, Principal, Scope};
use rounds_core::ports::{Event, EventSubject};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

use super::investigations::InvestigationView;
use super::{Api, Op};
use crate::auth::Who;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::AppState;

/// How often a silent stream says that it is there, and whoever listens is looked at again.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many events are read at once when catching up.
const PAGE: u32 = 200;

pub(super) fn routes(api: Api) -> Api {
    api.at(
        Op::get(
            "/api/events",
            "Changes of plans, steps, approvals, alerts, investigations, connectors and dead letters; resumes after \
             Last-Event-ID",
        )
        .query::<ResumeParams>()
        .events(),
        all,
    )
    .at(
        Op::get("/api/investigations/{id}/stream", "One investigation, each time it changes, until it ends").events(),
        investigation,
    )
}

/// Where to go on, for clients that cannot send the header.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResumeParams {
    /// The id of the last event that was seen.
    last_event_id: Option<u64>,
}

/// Who listens, looked at again while they do: a revoked token or an ended session hears nothing more.
struct Listener {
    parts: Parts,
    principal: Principal,
    subjects: Vec<EventSubject>,
    /// When to look next: by the clock, or a busy stream would never be looked at.
    due: Instant,
}

impl FromRequestParts<AppState> for Listener {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let who = Who::of(parts, state).await?;
        let mut listener =
            Self { parts: parts.clone(), principal: who.principal, subjects: Vec::new(), due: Instant::now() };
        listener.look(state).await;
        Ok(listener)
    }
}

impl Listener {
    /// Looks again when it is time; `false`: this is nobody any more.
    async fn still_there(&mut self, state: &AppState) -> bool {
        if Instant::now() < self.due {
            return true;
        }
        match Who::still(&self.parts, state).await {
            Ok(who) => {
                self.principal = who.principal;
                self.look(state).await;
                true
            }
            Err(_) => false,
        }
    }

    async fn look(&mut self, state: &AppState) {
        let kinds = [
            (EventSubject::Plan, Action::PlansRead, "plans"),
            (EventSubject::Alert, Action::AlertRulesRead, "alert.rules"),
            (EventSubject::Investigation, Action::InvestigationsRead, "investigations"),
            (EventSubject::Connector, Action::ConnectorsRead, "connectors"),
            (EventSubject::DeadLetter, Action::ConnectorsRead, "connectors"),
            (EventSubject::Change, Action::ChangesRead, "changes"),
        ];
        self.due = Instant::now() + HEARTBEAT;
        self.subjects.clear();
        for (subject, action, kind) in kinds {
            if state.rounds.authorize(&self.principal, action, &[Scope::all(kind)]).await.is_ok() {
                self.subjects.push(subject);
            }
        }
    }

    fn hears(&self, event: &Event) -> bool {
        event.org_id == self.principal.org_id && self.subjects.contains(&event.subject)
    }
}

struct Following {
    state: AppState,
    listener: Listener,
    live: Receiver<Event>,
    /// The last event that was passed on or left out.
    place: u64,
    /// Read from the store, not yet sent.
    ready: VecDeque<Event>,
    /// The second telling of an event, not yet sent.
    again: Option<Sent>,
    /// Whether the store has more than was read.
    behind: bool,
    greeted: bool,
}

async fn all(
    State(state): State<AppState>,
    listener: Listener,
    Params(params): Params<ResumeParams>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, ApiError> {
    let header = listener.parts.headers.get("last-event-id");
    let place = match header.map(|value| value.to_str().unwrap_or_default().trim().parse::<u64>()) {
        Some(Ok(place)) => Some(place),
        Some(Err(_)) => return Err(ApiError::bad_request("Last-Event-ID: the id of an event, a number, is expected")),
        None => params.last_event_id,
    };
    // Listening starts before the store is read, so nothing falls between the two.
    let live = state.rounds.subscribe();
    let behind = place.is_some();
    // Whoever starts now is told where that is: the connection may break before the first event.
    let place = match place {
        Some(place) => place,
        None => state.rounds.last_event(&listener.principal.org_id).await?,
    };
    let following =
        Following { state, listener, live, place, ready: VecDeque::new(), again: None, behind, greeted: false };
    let stream = stream::unfold(following, |mut following| async move {
        let sent = following.next().await?;
        Some((Ok(sent), following))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

impl Following {
    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Sent> {
        if !self.greeted {
            self.greeted = true;
            return Some(Sent::default().id(self.place.to_string()).comment("connected").retry(Duration::from_secs(2)));
        }
        loop {
            if !self.listener.still_there(&self.state).await {
                return None;
            }
            if let Some(again) = self.again.take() {
                return Some(again);
            }
            while let Some(event) = self.ready.pop_front() {
                self.place = event.seq;
                if !self.listener.hears(&event) {
                    continue;
                }
                // Only the last telling carries the number: a connection that breaks between the two repeats both.
                let whole = sent(&event, subject(&event)).id(event.seq.to_string());
                return Some(match part(&event) {
                    Some(part) => {
                        self.again = Some(whole);
                        sent(&event, part)
                    }
                    None => whole,
                });
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            let stop = self.state.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.listener.due) => {}
                received = self.live.recv() => match received {
                    // Already read from the store while catching up.
                    Ok(event) if event.seq <= self.place => {}
                    Ok(event) => self.ready.push_back(event),
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    async fn catch_up(&mut self) -> Option<()> {
        match self.state.rounds.store().events(&self.listener.principal.org_id, self.place, PAGE).await {
            Ok(events) => {
                self.behind = events.len() == PAGE as usize;
                self.ready.extend(events);
                Some(())
            }
            Err(error) => {
                tracing::warn!(%error, "an event stream could not be read on; the client resumes");
                None
            }
        }
    }
}

/// What an event is about, besides its subject: of a plan's, its steps and approvals are told of by these names, too.
fn part(event: &Event) -> Option<&'static str> {
    if event.subject != EventSubject::Plan {
        return None;
    }
    match event.name.as_str() {
        "start_step" | "finish_step" | "halt_review_changed" => Some("step"),
        "request_step" | "approve" | "reject" | "expire" | "approve_step" | "reject_step" | "expire_step" => {
            Some("approval")
        }
        _ => None,
    }
}

fn subject(event: &Event) -> &'static str {
    match event.subject {
        EventSubject::Plan => "plan",
        EventSubject::Alert => "alert",
        EventSubject::Investigation => "investigation",
        EventSubject::Connector => "connector",
        EventSubject::Change => "change",
        _ => "other",
    }
}

fn sent(event: &Event, name: &str) -> Sent {
    let sent = Sent::default().event(name);
    // An event is plain data; one that cannot be written tells at least that something happened.
    sent.data(serde_json::to_string(event).unwrap_or_else(|_| "{}".into()))
}

async fn investigation(
    State(state): State<AppState>,
    listener: Listener,
    Id(id): Id<InvestigationId>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, ApiError> {
    let live = state.rounds.subscribe();
    // Refused or missing is an answer of its own, not a stream that ends.
    state.rounds.investigations().get(&listener.principal, id).await?;
    let watching = Watching { state, listener, live, id, changed: true, ended: false };
    let stream = stream::unfold(watching, |mut watching| async move {
        let sent = watching.next().await?;
        Some((Ok(sent), watching))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

struct Watching {
    state: AppState,
    listener: Listener,
    live: Receiver<Event>,
    id: InvestigationId,
    changed: bool,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Sent> {
        if self.ended {
            return None;
        }
        while !self.changed {
            if !self.listener.still_there(&self.state).await {
                return None;
            }
            let stop = self.state.stop.clone();
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.listener.due) => {}
                received = self.live.recv() => match received {
                    Ok(event) => self.changed = event.subject_id == self.id.to_string(),
                    Err(RecvError::Lagged(_)) => self.changed = true,
                    Err(RecvError::Closed) => return None,
                },
            }
        }
        self.changed = false;
        let found = self.state.rounds.investigations().get(&self.listener.principal, self.id).await.ok()?;
        self.ended = found.status.is_terminal();
        let view = InvestigationView::new(found, self.state.agent);
        let name = if self.ended { "done" } else { "investigation" };
        Some(Sent::default().event(name).data(serde_json::to_string(&view).unwrap_or_else(|_| "{}".into())))
    }
}
