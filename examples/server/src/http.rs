//! The router: API, pages and what every answer carries.

use std::any::Any;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;

use crate::error::ApiError;
use crate::state::AppState;
use crate::{api, auth, extract, pages};

/// What every answer says to browsers. Scripts and styles come from files of this site only.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                   connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'";

/// API and pages over a state. An embedder nests or merges it; it wants connect info
/// (`into_make_service_with_connect_info::<SocketAddr>()`) to tell addresses apart.
pub fn router(state: AppState) -> Router {
    let router = api::api().into_router().merge(pages::router().into_router());
    let router = router.method_not_allowed_fallback(method_not_allowed).fallback(not_found);
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    router
        .layer(middleware::from_fn_with_state(state.clone(), auth::mint))
        .layer(middleware::from_fn_with_state(state.clone(), in_time))
        .layer(DefaultBodyLimit::max(extract::BODY_LIMIT))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(measure))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, CSP))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"))
        .layer(fixed(header::REFERRER_POLICY, "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        // What the API says is about now and for one person.
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(middleware::from_fn_with_state(state.clone(), keep_to_tls))
        .with_state(state)
}

/// Says to browsers that came over TLS that they should always: on plain HTTP that would be an answer of nobody's. The
/// operator's other hosts are not ours to speak for, so subdomains are left out.
async fn keep_to_tls(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let secure = auth::Peer::of(&parts, &state).secure;
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if secure {
        let year = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(year);
    }
    response
}

/// Gives up on an answer that does not begin in time, as if the client had gone: what is committed stays, what is not is
/// undone. A stream begins at once and then lasts as long as its own bounds say.
async fn in_time(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let limit = state.http.answer_within + api::asked_to_wait(&uri);
    if let Ok(response) = tokio::time::timeout(limit, next.run(request)).await {
        return response;
    }
    tracing::warn!(path = %short(&uri), ?limit, "an answer took too long and was given up");
    let message = format!(
        "this took longer than {} s and was given up: look whether it happened before you try again",
        state.http.answer_within.as_secs_f64()
    );
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message).with_retry_after(1);
    if is_api(&uri) { error.into_response() } else { pages::refused(error) }
}

/// Counts and times requests by route, and puts what they log into a span. The query stays out: it is the client's.
async fn measure(request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_owned();
    // The route and not the path: paths are as many as there are plans.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", %method, path = %short(request.uri()));
    let begun = Instant::now();
    let response = next.run(request).instrument(span).await;
    let (took, status) = (begun.elapsed().as_secs_f64(), response.status().as_u16());
    tracing::debug!(method, route, status, took, "answered");
    metrics::counter!(
        "rounds_http_requests_total",
        "method" => method, "route" => route.clone(), "status" => status.to_string(),
    )
    .increment(1);
    metrics::histogram!("rounds_http_request_duration_seconds", "route" => route).record(took);
    response
}

async fn not_found(uri: Uri) -> Response {
    if is_api(&uri) {
        let message = format!("there is no route {}; /api/openapi.json lists them", short(&uri));
        return ApiError::new(StatusCode::NOT_FOUND, "not_found", message).into_response();
    }
    pages::not_found(uri).await
}

async fn method_not_allowed(uri: Uri) -> Response {
    let error = |message| ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    if is_api(&uri) || uri.path() == "/metrics" {
        let message = format!("{} does not take this method; /api/openapi.json says which", short(&uri));
        return error(message).into_response();
    }
    // Somebody who opens, or reloads, the address of a form.
    let message = format!(
        "Nothing was done: {} is not opened this way. Go back and use the form or the link there, or begin at the Action \
         Center.",
        short(&uri)
    );
    pages::refused(error(message))
}

fn is_api(uri: &Uri) -> bool {
    uri.path() == "/api" || uri.path().starts_with("/api/")
}

fn short(uri: &Uri) -> String {
    uri.path().chars().take(200).collect()
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::internal(format!("a handler panicked: {text}")).into_response()
}
