//! Language models behind the [`Model`](rounds_core::ports::Model) port: Anthropic's Messages API, chat completions as
//! OpenAI and many others speak them, and Google's Gemini API.
//!
//! Each kind writes its requests (`request`) and puts answers together (`answer`); what they share lies beside them:
//! the call itself with its limits (`call`), the events of a stream (`sse`), what providers say when they refuse
//! (`fault`), and the config (`config`). Answers are streamed, so that a long one shows that it is alive; they are
//! handed on whole or not at all. Nothing is tried twice here: the agent does, within its budgets.

mod anthropic;
mod call;
mod config;
mod fault;
mod gemini;
mod openai;
mod sse;
mod tools;

use rounds_core::ports::{CallContext, CheckReport, CompletionRequest, Message, ModelInfo, PortError, PortErrorKind};
use serde_json::Value;

use self::call::Api;
use crate::http;

pub use anthropic::{Anthropic, AnthropicConfig};
pub use gemini::{Gemini, GeminiConfig};
pub use openai::{AzureConfig, OpenAi, OpenAiConfig, TokenLimitField};

/// Names that an error lists; more help nobody.
const LISTED: usize = 40;

/// The smallest thing to ask, for a test. Models that think want room before the first word.
fn smallest_request() -> CompletionRequest {
    CompletionRequest::new("", vec![Message::User { text: "Answer with the word ok.".into() }], 16)
}

/// The names in a provider's list of models, in order.
fn names(list: &Value, pointer: &str, field: &str) -> Vec<String> {
    let models = list.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = models.filter_map(|model| Some(model.get(field)?.as_str()?.to_owned())).collect();
    names.sort_unstable();
    names
}

fn unknown_model(api: &Api, model: &str, names: &[String]) -> PortError {
    let plain = |name: &String| name.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    let listed: Vec<_> = names.iter().take(LISTED).map(plain).collect();
    let more = names.len().saturating_sub(LISTED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let (base, listed) = (api.base(), listed.join(", "));
    let message = format!("{base} has no model `{model}`; there are {listed}{more}");
    PortError::new(PortErrorKind::Invalid, message)
}

/// Keeps a test within its deadline, however many requests it makes.
async fn within(
    api: &Api,
    cx: &CallContext,
    test: impl Future<Output = Result<CheckReport, PortError>>,
) -> Result<CheckReport, PortError> {
    http::within(cx, api.limits.timeout, api.base(), test).await
}

/// What a test that passed tells.
fn report(api: &Api, info: &ModelInfo, message: String) -> CheckReport {
    let mut facts = vec![("address".to_owned(), api.base().to_owned()), ("model".to_owned(), info.name.clone())];
    if api.base.scheme() == "http" && api.secret.is_present() {
        facts.push(("warning".into(), "the key travels unencrypted: use https".into()));
    }
    if info.prices.is_none() {
        facts.push(("prices".into(), "not configured: no money is counted".into()));
    }
    CheckReport::new(message).with_facts(facts)
}
