//! Forms as they are typed: names and values, kept as they came so that a refusal can show them again.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use rounds_core::Timestamp;

use super::error::PageError;
use crate::auth::CsrfForm;
use crate::state::AppState;

/// The fields of a form, its CSRF token checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl FromRequest<AppState> for Fields {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, PageError> {
        let CsrfForm(fields) = CsrfForm::<Vec<(String, String)>>::from_request(request, state).await?;
        Ok(Self(fields))
    }
}

impl Fields {
    /// A field as it was typed; empty when it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// A field without the space around it, unless nothing is left.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty())
    }

    /// Whether a box was ticked. Boxes that were not are not sent.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// A field that must not be empty.
    pub(super) fn needed(&self, name: &str, label: &str) -> Result<String, PageError> {
        self.text(name).map(str::to_owned).ok_or_else(|| PageError::invalid(format!("{label}: a text is expected")))
    }

    /// A number; absent or empty is `None`.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str, label: &str) -> Result<Option<T>, PageError> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| PageError::invalid(format!("{label}: found `{}`; a number is expected", crop(text))))
            })
            .transpose()
    }

    /// An id; absent or empty is `None`.
    pub(super) fn id<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, PageError> {
        self.text(name)
            .map(|text| text.parse().map_err(|error| PageError::invalid(format!("{name}: {error}"))))
            .transpose()
    }
}

/// The beginning of a text, for a message.
pub(super) fn crop(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads an id out of a path. What is no id names nothing.
pub(super) fn id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, PageError> {
    text.parse().map_err(|error| PageError::new(StatusCode::NOT_FOUND, format!("there is nothing here: {error}")))
}

/// A moment as filters write it: RFC 3339, or what a date field sends, read as UTC.
pub(super) fn moment(text: &str, label: &str) -> Result<Timestamp, PageError> {
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"] {
        if let Ok(at) = chrono::NaiveDateTime::parse_from_str(text, format) {
            return Ok(at.and_utc());
        }
    }
    Err(PageError::invalid(format!(
        "{label}: found `{}`; a moment such as 2026-11-03T10:22 (UTC) is expected",
        crop(text)
    )))
}
