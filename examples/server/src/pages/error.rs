//! What a page says when something was refused.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rounds_core::Error;
use rounds_core::access::Denied;
use rounds_core::ports::PortError;

use super::assets;
use super::cx::{Shell, page_with};
use crate::error::ApiError;

/// A refusal on its way to a page.
#[derive(Debug)]
pub(super) struct PageError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl PageError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, message: error.body.message }
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        // One place maps errors to statuses, for programs and for people.
        ApiError::from(error).into()
    }
}

impl From<Denied> for PageError {
    fn from(error: Denied) -> Self {
        ApiError::from(error).into()
    }
}

impl From<PortError> for PageError {
    fn from(error: PortError) -> Self {
        ApiError::from(error).into()
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    status: u16,
    title: &'static str,
    message: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let title = match self.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not permitted",
            StatusCode::CONFLICT => "It changed meanwhile",
            StatusCode::UNAUTHORIZED => "Not signed in",
            status if status.is_client_error() => "That did not work",
            _ => "The server could not do this",
        };
        let shell = Shell {
            title: title.into(),
            section: "",
            user: None,
            csrf: String::new(),
            theme: "auto",
            path: String::new(),
            now: chrono::DateTime::UNIX_EPOCH,
            done: None,
            error: None,
            topics: String::new(),
            digest: String::new(),
            spoken: String::new(),
            version: assets::version(),
        };
        page_with(self.status, &ErrorPage { shell, status: self.status.as_u16(), title, message: self.message })
    }
}
