//! What went wrong, in the providers' many words and in the port's few.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use rounds_core::ports::PortErrorKind;
use serde_json::Value;

use crate::http::{self, retry_after, wait};

/// A failure before it is known where it happened. Its message may hold what the server wrote: it becomes an error in one
/// place, [`Api`](super::call::Api), which takes the key out of it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: PortErrorKind,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// The provider's filter will not have this answered; that is an answer and no error.
    pub(super) refused: bool,
}

impl Fault {
    pub(super) fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, refused: false }
    }

    /// The answer is not what the provider's API says.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new(PortErrorKind::Protocol, message)
    }

    /// The answer ended before it was whole.
    pub(super) fn cut_off() -> Self {
        Self::new(PortErrorKind::Unavailable, "the answer was cut off before its end")
    }

    /// A JSON text that is not of the shape that was expected.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::protocol(format!("the answer is not what the API says: {error}"))
    }

    /// An HTTP answer that is no success.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], content_type: &str) -> Self {
        let said = serde_json::from_slice(body).ok().and_then(|body| Said::read(&body));
        let asked = retry_after(headers);
        let Some(said) = said else {
            let (kind, advice) = classify(Some(status), &[], "");
            let text = if content_type.starts_with("text/plain") { String::from_utf8_lossy(body) } else { "".into() };
            let advice = if status == StatusCode::NOT_FOUND { NO_API } else { advice };
            let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
            let line = if line.is_empty() { format!("with {content_type}") } else { format!("\"{line}\"") };
            let mut fault = Self::new(kind, join(&format!("answered HTTP {} {line}", status.as_u16()), advice));
            fault.retry_after = asked;
            return fault;
        };
        let mut fault = said.fault(Some(status));
        fault.retry_after = asked.or(fault.retry_after);
        fault
    }

    /// An error that came as JSON inside of a success; `None` when this is none.
    pub(super) fn in_stream(body: &Value) -> Option<Self> {
        let said = Said::read(body)?;
        let status = said.status;
        Some(said.fault(status))
    }
}

/// A JSON object; whatever else it is, it is no part of an answer.
pub(super) fn object(text: &str) -> Result<Value, Fault> {
    match serde_json::from_str(text).map_err(|error| Fault::json(&error))? {
        object @ Value::Object(_) => Ok(object),
        _ => Err(Fault::protocol("the answer is not what the API says: an object is expected")),
    }
}

/// An error in a provider's words.
struct Said {
    /// Types, codes and reasons, most general first.
    words: Vec<String>,
    message: String,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
}

impl Said {
    /// Finds the error in the shapes that are about: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`,
    /// `{"detail": …}`, each perhaps in a list.
    fn read(body: &Value) -> Option<Self> {
        let body = body.get(0).unwrap_or(body);
        let error = match body.get("error") {
            Some(error @ Value::Object(_)) => error,
            Some(Value::String(message)) => {
                return Some(Self { words: Vec::new(), message: message.clone(), status: None, retry_after: None });
            }
            _ if body.get("message").is_some_and(Value::is_string) || body.get("detail").is_some() => body,
            _ => return None,
        };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let details = error.get("details").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        let mut words: Vec<_> = ["type", "status", "code"].iter().filter_map(|name| text(error.get(name)?)).collect();
        words.extend(error.pointer("/innererror/code").and_then(text));
        words.extend(details.iter().filter_map(|detail| text(detail.get("reason")?)));
        let violations = details.iter().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
        words.extend(violations.filter_map(|violation| text(violation.get("quotaId")?)));
        let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str()?.strip_suffix('s'));
        let message = match (error.get("message"), error.get("detail")) {
            (Some(Value::String(message)), _) | (_, Some(Value::String(message))) => message.clone(),
            (_, Some(detail)) => detail.to_string(),
            _ => String::new(),
        };
        let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        Some(Self {
            words,
            message,
            status: code.and_then(|code| StatusCode::from_u16(code).ok()),
            retry_after: delay.and_then(|seconds| seconds.parse().ok()).and_then(wait),
        })
    }

    fn fault(self, status: Option<StatusCode>) -> Fault {
        let (kind, advice) = classify(status, &self.words, &self.message);
        let code = status.map(|status| format!("HTTP {}", status.as_u16()));
        let named: Vec<_> = code.into_iter().chain(self.words.first().cloned()).collect();
        let named = if named.is_empty() { "an error".to_owned() } else { named.join(", ") };
        let message = if self.message.trim().is_empty() { "without saying why" } else { self.message.trim() };
        let refused = refused(&self.words);
        let message = if refused { message.to_owned() } else { join(&format!("answered {named}: {message}"), advice) };
        Fault { kind, message, retry_after: self.retry_after, refused }
    }
}

/// What was said, and what would work.
fn join(said: &str, advice: &str) -> String {
    if advice.is_empty() { said.to_owned() } else { format!("{}; {advice}", said.trim_end_matches('.')) }
}

const NO_API: &str = "there is no such API at this address: check `baseUrl`";
const BAD_KEY: &str = "the API key was refused or is missing: set a valid one as the connector's secret";
const NO_MODEL: &str = "check `model` and `baseUrl`; the connector's test lists the models that there are";
const NO_MONEY: &str = "the account has no credit or no quota left, and waiting mends nothing soon: add credit, raise the \
                        limit with the provider, or configure another model";

fn refused(words: &[String]) -> bool {
    words.iter().any(|word| matches!(word.as_str(), "content_filter" | "ResponsibleAIPolicyViolation"))
}

/// What it means for the caller, and what would help. Words are asked before the status, because providers agree on
/// neither: a bad key is 400 at Gemini, a lack of money 429 at OpenAI, 402 at DeepSeek and 400 at Anthropic.
fn classify(status: Option<StatusCode>, words: &[String], message: &str) -> (PortErrorKind, &'static str) {
    let message = message.to_lowercase();
    let says = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    let code = status.map_or(0, |status| status.as_u16());
    let no_money = says(&["insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"])
        || words.iter().any(|word| word.contains("PerDay"))
        || message.contains("credit balance is too low")
        || code == 402;
    if no_money {
        return (PortErrorKind::Invalid, NO_MONEY);
    }
    if says(&["model_not_found", "DeploymentNotFound"]) {
        return (PortErrorKind::Invalid, NO_MODEL);
    }
    // A refusal of the request may quote the request, and incidents are full of overload.
    let about_itself = status.is_none() || code >= 429;
    let overloaded = says(&["overloaded_error", "overloaded"]) || (about_itself && message.contains("overloaded"));
    if overloaded || code == 529 {
        return (PortErrorKind::RateLimited, "");
    }
    if says(&["rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED", "too_many_requests"]) {
        return (PortErrorKind::RateLimited, "");
    }
    if says(&["API_KEY_INVALID", "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "permission_error"]) {
        return (PortErrorKind::Unauthorized, BAD_KEY);
    }
    if says(&["timeout_error", "DEADLINE_EXCEEDED"]) {
        return (PortErrorKind::Timeout, "");
    }
    match status.map(http::status_kind) {
        Some(PortErrorKind::Unauthorized) => (PortErrorKind::Unauthorized, BAD_KEY),
        Some(PortErrorKind::Invalid) if code == 404 => (PortErrorKind::Invalid, NO_MODEL),
        // A success that holds an error says nothing about the kind by its status.
        Some(kind) if code >= 300 => (kind, ""),
        _ if says(&["invalid_request_error", "not_found_error", "INVALID_ARGUMENT", "BadRequestError"]) => {
            (PortErrorKind::Invalid, "")
        }
        _ => (PortErrorKind::Unavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::LONGEST_WAIT;

    #[test]
    fn a_wait_is_read_as_seconds_milliseconds_or_a_date() {
        let now = "date: Wed, 21 Oct 2015 07:28:00 GMT";
        let later = "retry-after: Wed, 21 Oct 2015 07:28:30 GMT";
        let cases = [
            (vec![], None),
            (vec!["retry-after: 7"], Some(7.0)),
            (vec!["retry-after: 0.5"], Some(0.5)),
            (vec!["retry-after: 7", "retry-after-ms: 1500"], Some(1.5)),
            (vec![now, later], Some(30.0)),
            (vec![now, "retry-after: Wed, 21 Oct 2015 07:27:00 GMT"], Some(0.0)),
            (vec![later], None),
            (vec!["retry-after: -1"], None),
            (vec!["retry-after: 1e300"], None),
            (vec!["retry-after: 999999999"], Some(LONGEST_WAIT.as_secs_f64())),
        ];
        for (lines, expected) in cases {
            let pairs = lines.iter().filter_map(|line| line.split_once(": "));
            let map: HeaderMap = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(retry_after(&map), expected.map(Duration::from_secs_f64), "{lines:?}");
        }
    }

    #[test]
    fn errors_are_found_in_every_shape_that_is_about() {
        let shapes = [
            json!({ "error": { "message": "m", "type": "t" } }),
            json!([{ "error": { "message": "m", "status": "t" } }]),
            json!({ "object": "error", "message": "m", "type": "t", "code": 400 }),
            json!({ "error": "m" }),
            json!({ "detail": "m" }),
        ];
        for shape in shapes {
            assert_eq!(Said::read(&shape).map(|said| said.message).as_deref(), Some("m"), "{shape}");
        }
        assert!(Said::read(&json!({ "choices": [] })).is_none());
        assert!(Said::read(&json!("m")).is_none());
    }
}
