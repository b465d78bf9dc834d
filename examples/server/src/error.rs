//! The one shape of errors: `{code, message, details?}` with the right status.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rounds_core::Error;
use rounds_core::access::Denied;
use rounds_core::ports::{PortError, StoreError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::TooMany;

/// What an error answers with.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// A stable word for programs.
    pub code: Cow<'static, str>,
    /// What was found and what would work, for the person who must act.
    pub message: String,
    /// Facts for programs: the missing action and scope, the refusals of the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// An error on its way to a client. Nothing in it is secret.
#[derive(Debug)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: ErrorBody,
    /// After how many seconds trying again makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error with a status and a code.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody { code: code.into(), message: message.into(), details: None },
            retry_after: None,
        }
    }

    /// What was sent does not hold.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Nobody is signed in.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "sign in (POST /api/login), or send a live token as `Authorization: Bearer <token>`",
        )
    }

    /// There was too much of something: when to try again is said.
    pub fn too_many(code: &'static str, message: impl Into<String>, too_many: TooMany) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).with_retry_after(too_many.retry_after)
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        let id: String = id.to_string().chars().take(80).collect();
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} {id}"))
    }

    /// A fault of the server: the log has it, the client does not.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "the server could not do this; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The same with facts for programs.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.body.details = Some(details);
        self
    }

    /// The same, saying after how many seconds to try again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let details = json!({ "action": denied.action(), "scope": denied.scope() });
        Self::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string()).with_details(details)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Error::Store(error).into()
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        Error::Port(error).into()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let told = Self::new(status, error.code(), error.to_string());
        match error {
            Error::Denied(denied) => denied.into(),
            Error::Refused(refusals) => told.with_details(json!({ "refusals": refusals })),
            Error::State(illegal) => told.with_details(json!({ "state": illegal.state, "event": illegal.event })),
            // The accounts are read through a port, and are in the store.
            Error::Port(PortError { source: Some(source), .. }) if source.is::<StoreError>() => {
                match source.downcast::<StoreError>() {
                    Ok(error) => Error::Store(*error).into(),
                    Err(error) => Self::internal(error),
                }
            }
            Error::NotFound { .. } | Error::Invalid(_) | Error::Conflict { .. } | Error::Port(_) => told,
            Error::Store(error) if status == StatusCode::SERVICE_UNAVAILABLE => {
                // What a database says names tables, files and hosts.
                tracing::warn!(%error, "the store could not serve a request");
                Self::new(status, told.body.code, "the store cannot serve this now; try again in a moment")
                    .with_retry_after(1)
            }
            Error::Store(error) => Self::internal(error),
            other => Self::internal(other),
        }
    }
}
