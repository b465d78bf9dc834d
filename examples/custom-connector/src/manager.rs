//! A stand-in for the service manager: units that are active or not, what they said, and a board, behind a bearer token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What it holds.
#[derive(Default)]
struct Held {
    units: BTreeMap<String, bool>,
    board: Vec<Value>,
    changes: u64,
}

type Shared = Arc<Mutex<Held>>;
type Answer<T = String> = Result<T, (StatusCode, String)>;

fn lock(held: &Shared) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stand-in, which serves for as long as the process lives.
pub struct StandIn {
    /// Its address.
    pub url: String,
    held: Shared,
}

impl StandIn {
    /// How often something was changed for good: a unit, or the board.
    #[must_use]
    pub fn changes(&self) -> u64 {
        lock(&self.held).changes
    }
}

/// Serves these units, none of them active, on a free port of this machine.
///
/// # Errors
/// There is no free port.
pub async fn serve(token: &str, units: &[&str]) -> std::io::Result<StandIn> {
    let units = units.iter().map(|unit| ((*unit).to_owned(), false)).collect();
    let held: Shared = Arc::new(Mutex::new(Held { units, ..Held::default() }));
    let token: Arc<str> = token.into();
    let authorized = move |request: Request, next: Next| {
        let token = Arc::clone(&token);
        async move {
            let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            match given.and_then(|value| value.strip_prefix("Bearer ")) {
                Some(given) if given == &*token => Ok(next.run(request).await),
                _ => Err::<Response, _>(StatusCode::UNAUTHORIZED),
            }
        }
    };
    let app = axum::Router::new()
        .route("/version", get(async || "unit manager 1.0"))
        .route("/units/{unit}", get(status))
        .route("/units/{unit}/{verb}", post(change))
        .route("/journal/{unit}", get(journal))
        .route("/board", post(pin))
        .layer(middleware::from_fn(authorized))
        .with_state(Arc::clone(&held));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(StandIn { url, held })
}

fn word(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}

fn unknown(unit: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is no unit {unit}"))
}

async fn status(State(held): State<Shared>, Path(unit): Path<String>) -> Answer {
    let active = lock(&held).units.get(&unit).copied().ok_or_else(|| unknown(&unit))?;
    Ok(format!("{unit} is {}", word(active)))
}

async fn change(
    State(held): State<Shared>,
    Path((unit, verb)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    let mut held = lock(&held);
    let active = held.units.get_mut(&unit).ok_or_else(|| unknown(&unit))?;
    let after = match verb.as_str() {
        "start" | "restart" => true,
        "stop" => false,
        _ => return Err((StatusCode::NOT_FOUND, format!("there is no verb {verb}"))),
    };
    if query.get("dryRun").is_some_and(|value| value == "true") {
        return Ok(format!("{unit} is {} and would be {}", word(*active), word(after)));
    }
    *active = after;
    held.changes += 1;
    Ok(format!("{unit} is {}", word(after)))
}

/// Three entries, of which no more than `limit` are told.
async fn journal(
    State(held): State<Shared>,
    Path(unit): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer<axum::Json<Value>> {
    if !lock(&held).units.contains_key(&unit) {
        return Err(unknown(&unit));
    }
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    let limit: usize = limit.ok_or((StatusCode::BAD_REQUEST, "limit: a number is expected".to_owned()))?;
    let said = ["started", "listening", "a request was answered with 502"];
    let entries: Vec<Value> =
        said.iter().take(limit).map(|text| json!({ "at": query.get("start"), "text": text })).collect();
    Ok(axum::Json(json!({ "entries": entries, "more": limit < said.len() })))
}

async fn pin(State(held): State<Shared>, axum::Json(notice): axum::Json<Value>) -> Answer {
    let mut held = lock(&held);
    held.board.push(notice);
    held.changes += 1;
    Ok(format!("{} on the board", held.board.len()))
}
