//! Tool calls: ids that are unique, arguments as they were written.

use std::collections::HashSet;

use rounds_core::ports::{CompletionRequest, Message, Usage};
use serde_json::{Map, Value};

/// Ids are kept, shown and sent back; no provider's are half as long.
const LONGEST_ID: usize = 200;

/// Gives every tool call of an answer an id that no other call of the conversation has.
///
/// Some servers give none, and some give the same one again; then one is made of where the call stands, so that the same
/// conversation gives the same ids.
pub(super) struct Ids {
    taken: HashSet<String>,
    turn: usize,
}

impl Ids {
    /// The ids that the conversation already has.
    pub(super) fn of(request: &CompletionRequest) -> Self {
        let calls = request.messages.iter().flat_map(|message| match message {
            Message::Assistant { tool_calls, .. } => tool_calls.as_slice(),
            _ => &[],
        });
        Self { taken: calls.map(|call| call.id.clone()).collect(), turn: request.messages.len() }
    }

    /// The id that the server gave when nobody has it yet, and a new one otherwise.
    pub(super) fn unique(&mut self, given: &str) -> String {
        let made = (0..).map(|number: usize| format!("call_{}_{number}", self.turn));
        let usable =
            !given.is_empty() && given.len() <= LONGEST_ID && given.bytes().all(|byte| byte.is_ascii_graphic());
        let given = usable.then(|| given.to_owned());
        let id = given.into_iter().chain(made).find(|id| !self.taken.contains(id)).unwrap_or_default();
        self.taken.insert(id.clone());
        id
    }
}

/// The arguments that a model wrote: an object, or else the text itself. Nothing written is a call without arguments.
pub(super) fn arguments(written: &str) -> Value {
    match serde_json::from_str(written) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ if written.trim().is_empty() => Value::Object(Map::new()),
        _ => Value::String(written.to_owned()),
    }
}

/// Arguments that are sent back: the providers take objects only.
pub(super) fn as_object(arguments: &Value) -> Value {
    if arguments.is_object() { arguments.clone() } else { Value::Object(Map::new()) }
}

/// What a call cost when the server does not say: a token for four bytes, the rule of thumb for English. Too little is
/// worse than too much here, because budgets rest on it: the request counts with all its JSON.
pub(super) fn estimate(request_bytes: usize, answer_bytes: usize) -> Usage {
    let tokens = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
    Usage::new(tokens(request_bytes), tokens(answer_bytes))
}

#[cfg(test)]
mod tests {
    use rounds_core::ports::ToolCall;
    use serde_json::json;

    use super::*;

    #[test]
    fn two_calls_have_two_ids_whatever_the_server_gives() {
        let before = Message::Assistant {
            text: String::new(),
            tool_calls: vec![ToolCall::new("a", "t", json!({}))],
            opaque: None,
        };
        let mut ids = Ids::of(&CompletionRequest::new("", vec![before], 1));
        let found: Vec<_> = ["", "a", "b", "b", "call_1_2", ""].iter().map(|given| ids.unique(given)).collect();
        assert_eq!(found, ["call_1_0", "call_1_1", "b", "call_1_2", "call_1_3", "call_1_4"]);
        assert_eq!(ids.unique("two\nlines"), "call_1_5");
        assert_eq!(ids.unique(&"x".repeat(1_000)), "call_1_6");
    }

    #[test]
    fn what_is_no_object_stays_a_text_and_goes_back_as_an_empty_object() {
        for text in ["{\"a\":", "[1]", "null", "\"x\"", "kubectl get pods"] {
            assert_eq!(arguments(text), json!(text));
            assert_eq!(as_object(&arguments(text)), json!({}));
        }
        assert_eq!(arguments(" {\"a\": 1} "), json!({ "a": 1 }));
        assert_eq!(arguments(" "), json!({}));
    }
}
