//! Extractors whose refusals have the one shape of errors.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::state::AppState;

/// The most bytes a body may have.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// A JSON body. An empty one reads as `{}`, so that decisions without options need no body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let json = is_json(request.headers());
        let creates = request.method() == Method::POST;
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !json {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON: send `Content-Type: application/json`",
            ));
        }
        let refused = match parse(&bytes) {
            Ok(body) => return Ok(Self(body)),
            Err(refused) => refused,
        };
        // A client that writes every field says `null` where there is nothing.
        let mut value: Value = match serde_json::from_slice(&bytes) {
            Ok(value) if creates => value,
            _ => return Err(refused),
        };
        if !drop_nulls(&mut value) {
            return Err(refused);
        }
        let body = serde_json::from_value(value);
        body.map(Self).map_err(|error| ApiError::bad_request(format!("the body does not hold: {error}")))
    }
}

/// Takes out the fields of a body that are `null`, and those of the steps, conditions and rescues in it. Values that
/// belong to somebody else, such as a connector's config and a step's parameters, stay as they are. Whether there were
/// any is said.
pub(crate) fn drop_nulls(value: &mut Value) -> bool {
    let Value::Object(object) = value else { return false };
    let before = object.len();
    object.retain(|_, value| !value.is_null());
    let mut any = object.len() != before;
    for name in ["condition", "rescue", "rescuePlan"] {
        any |= object.get_mut(name).is_some_and(drop_nulls);
    }
    if let Some(Value::Array(steps)) = object.get_mut("steps") {
        for step in steps {
            any |= drop_nulls(step);
        }
    }
    any
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::bad_request(format!("the body does not hold: {error}")))
}

/// Reads a whole body, at most [`BODY_LIMIT`], for at most as long as the settings say.
pub(crate) async fn bytes(request: Request, state: &AppState) -> Result<Bytes, ApiError> {
    let limit = state.http.body_within;
    let Ok(read) = tokio::time::timeout(limit, Bytes::from_request(request, state)).await else {
        return Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body did not arrive within {} s", limit.as_secs_f64()),
        ));
    };
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is too large: at most {BODY_LIMIT} bytes are accepted"),
        ),
        _ => ApiError::bad_request("the body could not be read to its end"),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The query string.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                Err(ApiError::bad_request(format!("the query string does not hold: {}", reason(&rejection))))
            }
        }
    }
}

/// The innermost reason: axum's own words around it say nothing that helps.
fn reason(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The one id in a path. What is no id names nothing, so it is 404.
pub struct Id<T>(pub T);

impl<T> FromRequestParts<AppState> for Id<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(no_path)?;
        parse_id(&text).map(Self)
    }
}

/// Two parts of a path: an id and what is in it.
pub struct Ids<A, B>(pub A, pub B);

impl<A, B> FromRequestParts<AppState> for Ids<A, B>
where
    A: FromStr<Err: std::fmt::Display>,
    B: FromStr<Err: std::fmt::Display>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(no_path)?;
        Ok(Self(parse_id(&a)?, parse_id(&b)?))
    }
}

fn parse_id<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error| {
        let message = format!("there is nothing here: `{}`: {error}", text.chars().take(80).collect::<String>());
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    })
}

fn no_path(_: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}
