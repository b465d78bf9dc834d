//! The pages.

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::state::AppState;

/// Every page.
#[must_use]
pub fn router() -> Router<AppState> {
    Router::new()
}

/// There is no such page.
pub async fn not_found(_uri: Uri) -> Response {
    (StatusCode::NOT_FOUND, "there is no such page").into_response()
}
