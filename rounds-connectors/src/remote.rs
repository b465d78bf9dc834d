//! What adapters of HTTP APIs share: one request within its limits, and what its end says about the effect.
//!
//! A request that could not be sent has changed nothing; one that was sent and not answered may have changed anything.
//! What an answered status means is the API's own protocol, so each adapter says it itself.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use rounds_core::ports::{CallContext, PortError, PortErrorKind};
use rounds_core::step::{StepError, StepOutput};
use serde::de::DeserializeOwned;

use crate::http::{self, BodyError, Client};

/// The most that is read of an answer.
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as what the protocol says it is. The error does not quote it, which serde's own words would.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T, PortError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let why = match error.classify() {
                serde_json::error::Category::Data => "another shape",
                serde_json::error::Category::Eof => "JSON that ends too soon",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "no JSON",
            };
            let (line, column) = (error.line(), error.column());
            let message = format!("{what}: the answer is not what was expected: {why}, at line {line} column {column}");
            PortError::new(PortErrorKind::Protocol, message)
        })
    }

    /// The body as text, for people: at most so many characters, control characters but line breaks left out.
    pub(crate) fn text(&self, most: usize) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().filter(|c| !c.is_control() || *c == '\n').take(most).collect()
    }
}

/// Why there is no complete answer.
#[derive(Debug)]
pub(crate) struct Fault {
    /// For people; never a secret.
    pub(crate) error: PortError,
    /// Whether the request may have reached the other side.
    pub(crate) sent: bool,
}

impl From<PortError> for Fault {
    /// What goes wrong before anything is sent, such as a secret that cannot be resolved.
    fn from(error: PortError) -> Self {
        Self { error, sent: false }
    }
}

impl From<Fault> for StepError {
    fn from(fault: Fault) -> Self {
        let message = fault.error.to_string();
        if fault.sent { Self::unknown(message, StepOutput::default()) } else { Self::not_started(message) }
    }
}

impl From<Fault> for PortError {
    fn from(fault: Fault) -> Self {
        fault.error
    }
}

/// Sends one request and reads its answer, within `limit`, the call's own timeout and [`MAX_ANSWER`]. `what` names the
/// place and the act, such as `GitHub: creating the branch`; the URL is never said.
///
/// # Errors
/// There was no complete answer; any status is an answer.
pub(crate) async fn exchange(
    client: &Client,
    cx: &CallContext,
    limit: Duration,
    what: &str,
    request: RequestBuilder,
) -> Result<Answer, Fault> {
    exchange_up_to(MAX_ANSWER, client, cx, limit, what, request).await
}

/// The same with another bound on the answer than [`MAX_ANSWER`], in bytes.
pub(crate) async fn exchange_up_to(
    most: usize,
    client: &Client,
    cx: &CallContext,
    limit: Duration,
    what: &str,
    request: RequestBuilder,
) -> Result<Answer, Fault> {
    let sent = |error| Fault { error, sent: true };
    let limit = limit.min(cx.timeout);
    let exchange = async {
        let response = client
            .deliver(what, request)
            .await
            .map_err(|undelivered| Fault { error: undelivered.error, sent: undelivered.sent })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::read_body(response, most).await.map_err(|error| {
            let why = match error {
                BodyError::TooLarge => format!("the answer is larger than {most} bytes"),
                BodyError::Cut { after, cause } => format!("the answer broke off after {after} bytes: {cause}"),
            };
            sent(PortError::new(PortErrorKind::Protocol, format!("{what}: {why}")))
        })?;
        Ok(Answer { status, headers, body })
    };
    tokio::select! {
        () = cx.cancel.cancelled() => {
            Err(sent(PortError::new(PortErrorKind::Unavailable, format!("{what}: cancelled by the caller"))))
        }
        answer = tokio::time::timeout(limit, exchange) => answer.unwrap_or_else(|_| {
            let limit = limit.as_secs_f64();
            Err(sent(PortError::new(PortErrorKind::Timeout, format!("{what}: no complete answer within {limit} s"))))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_12_what_is_wrong_with_an_answer_is_said_without_a_word_of_it() {
        for (body, why) in [
            (r#""hunter2-hunter2""#, "another shape, at line 1 column"),
            (r#""hunter2-hunter2"#, "ends too soon, at line 1 column"),
            ("hunter2-hunter2", "no JSON, at line 1 column"),
        ] {
            let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() };
            let error = answer.json::<u32>("Forge: reading").unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
