//! One request to the query API and its envelope.

use reqwest::{Method, StatusCode};
use rounds_core::ports::{PortError, PortErrorKind};
use serde::de::DeserializeOwned;
use url::Url;

use super::answer::Envelope;
use crate::http;
use crate::source::{Answer, Api, Credentials};

/// What a 404 without an envelope means.
const NO_API: &str =
    ": there is no query API here; `url` is the address before /api/v1, with the path prefix when the server has one";

/// Asks with POST, which has room for long queries; servers that refuse POST are asked with GET.
pub(super) async fn post<T: DeserializeOwned>(
    api: &Api,
    path: &[&str],
    form: &[(String, String)],
) -> Result<Envelope<T>, PortError> {
    let credentials = api.credentials().await?;
    let answer = api.exchange(Method::POST, path, form, &credentials).await?;
    let answer = if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        api.exchange(Method::GET, path, form, &credentials).await?
    } else {
        answer
    };
    read(&answer, &credentials)
}

/// Asks with GET.
pub(super) async fn get<T: DeserializeOwned>(
    api: &Api,
    path: &[&str],
    form: &[(String, String)],
) -> Result<Envelope<T>, PortError> {
    let credentials = api.credentials().await?;
    let answer = api.exchange(Method::GET, path, form, &credentials).await?;
    read(&answer, &credentials)
}

/// An answer that breaks the protocol.
pub(super) fn malformed(api: &Api, path: &[&str], found: &str) -> PortError {
    PortError::new(
        PortErrorKind::Protocol,
        format!("{} does not answer as Prometheus does: found {found}", api.endpoint(path)),
    )
}

fn read<T: DeserializeOwned>(answer: &Answer, credentials: &Credentials) -> Result<Envelope<T>, PortError> {
    if answer.status.is_success() {
        return match serde_json::from_slice::<Envelope<T>>(&answer.body) {
            Ok(envelope) if envelope.status == "success" => Ok(envelope),
            Ok(envelope) => {
                Err(said(&answer.url, answer.status, &envelope.error_type, &credentials.redact(&envelope.error)))
            }
            Err(error) => Err(answer.odd("Prometheus's", &error, credentials)),
        };
    }
    if let Ok(envelope) = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(&answer.body)
        && envelope.status == "error"
    {
        let error = said(&answer.url, answer.status, &envelope.error_type, &credentials.redact(&envelope.error));
        return Err(answer.asked_to_wait(error));
    }
    Err(answer.failure(NO_API, credentials))
}

/// An error in the API's own words.
fn said(url: &Url, status: StatusCode, error_type: &str, error: &str) -> PortError {
    let kind = match (error_type, http::status_kind(status)) {
        (_, PortErrorKind::Unauthorized) => PortErrorKind::Unauthorized,
        ("bad_data" | "execution" | "not_found", _) => PortErrorKind::Invalid,
        ("timeout", _) => PortErrorKind::Timeout,
        ("canceled" | "internal" | "unavailable", _) => PortErrorKind::Unavailable,
        (_, kind) => kind,
    };
    let shown = if error_type.is_empty() { "an error" } else { error_type };
    let said = if error.is_empty() { "without saying why" } else { error };
    match kind {
        PortErrorKind::Invalid => PortError::new(kind, format!("the query was refused ({shown}): {said}")),
        _ => PortError::new(kind, format!("{url} answered {shown} (HTTP {}): {said}", status.as_u16())),
    }
}
