//! Pages and filters of lists.

use std::fmt::Display;

use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use crate::error::ApiError;

/// The answer with where the next page is, when there is one: this query with another cursor.
pub(super) fn with_next(answer: impl IntoResponse, uri: &Uri, next: Option<impl Display>) -> Response {
    let mut response = answer.into_response();
    if let Some(next) = next {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if name != "cursor" {
                query.append_pair(&name, &value);
            }
        }
        query.append_pair("cursor", &next.to_string());
        let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish());
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

/// The values that a filter names, with commas between them; an unknown one is an error that lists the known.
pub(super) fn one_of<T: Copy>(
    name: &str,
    text: Option<&str>,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, ApiError> {
    let text = text.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|found| !found.is_empty());
    words
        .map(|found| {
            all.iter().copied().find(|known| word(*known) == found).ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|known| word(*known)).collect();
                let found: String = found.chars().take(80).collect();
                ApiError::bad_request(format!("{name}: unknown value `{found}`; known values: {}", known.join(", ")))
            })
        })
        .collect()
}
