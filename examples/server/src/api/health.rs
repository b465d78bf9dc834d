//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rounds_core::service::ServiceHealth;
use serde_json::{Value, json};

use super::{Api, Op};
use crate::state::AppState;

pub(super) fn routes(api: Api) -> Api {
    api.at(Op::get("/api/health/live", "Whether the process answers").open().answers::<Value>(), live).at(
        Op::get("/api/health/ready", "Whether store and services work; names what does not").open().answers::<Value>(),
        ready,
    )
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready(State(state): State<AppState>) -> Response {
    let mut not_ready = Vec::new();
    if let Err(error) = state.rounds.store().ping().await {
        not_ready.push(json!({ "part": "store", "reason": error.to_string() }));
    }
    let health = state.running.health();
    for (name, health) in &health {
        let reason = match health {
            ServiceHealth::Running => continue,
            ServiceHealth::Stopped | ServiceHealth::CutOff => "it stopped".to_owned(),
            ServiceHealth::Panicked(text) => format!("it panicked: {text}"),
            other => format!("{other:?}"),
        };
        not_ready.push(json!({ "part": name.to_string(), "reason": reason }));
    }
    let services: Vec<String> = health.keys().map(ToString::to_string).collect();
    let (status, word) =
        if not_ready.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (status, Json(json!({ "status": word, "services": services, "notReady": not_ready }))).into_response()
}
