//! A stand-in for the service manager: units that are active or not, behind a bearer token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;

type Units = Arc<Mutex<BTreeMap<String, bool>>>;
type Answer = Result<String, (StatusCode, String)>;

/// Serves these units, none of them active, on a free port of this machine, for as long as the process lives. The answer
/// is its address.
///
/// # Errors
/// There is no free port.
pub async fn serve(token: &'static str, units: &[&str]) -> std::io::Result<String> {
    let units: Units = Arc::new(Mutex::new(units.iter().map(|unit| ((*unit).to_owned(), false)).collect()));
    let authorized = move |request: Request, next: Next| async move {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(given) if given == token => Ok(next.run(request).await),
            _ => Err::<Response, _>(StatusCode::UNAUTHORIZED),
        }
    };
    let app = axum::Router::new()
        .route("/version", get(async || "unit manager 1.0"))
        .route("/units/{unit}", get(status))
        .route("/units/{unit}/{verb}", post(change))
        .layer(middleware::from_fn(authorized))
        .with_state(units);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}"))
}

fn word(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}

async fn status(State(units): State<Units>, Path(unit): Path<String>) -> Answer {
    let units = units.lock().unwrap_or_else(PoisonError::into_inner);
    let active = units.get(&unit).ok_or((StatusCode::NOT_FOUND, format!("there is no unit {unit}")))?;
    Ok(format!("{unit} is {}", word(*active)))
}

async fn change(
    State(units): State<Units>,
    Path((unit, verb)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    let mut units = units.lock().unwrap_or_else(PoisonError::into_inner);
    let active = units.get_mut(&unit).ok_or((StatusCode::NOT_FOUND, format!("there is no unit {unit}")))?;
    let after = match verb.as_str() {
        "start" | "restart" => true,
        "stop" => false,
        _ => return Err((StatusCode::NOT_FOUND, format!("there is no verb {verb}"))),
    };
    if query.get("dryRun").is_some_and(|value| value == "true") {
        return Ok(format!("{unit} is {} and would be {}", word(*active), word(after)));
    }
    *active = after;
    Ok(format!("{unit} is {}", word(after)))
}
