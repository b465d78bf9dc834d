//! The conversation with a model, compacted when it grows: the oldest answers of tools are cut to their beginning. What
//! was read stays evidence, can be cited, and can be looked at again.

use crate::ports::{Completion, CompletionRequest, Message, ToolSpec};

/// What is left of an answer that was cut.
const STUB: usize = 240;
/// How many of the newest answers are never cut.
const KEEP: usize = 6;

pub(super) struct Transcript {
    system: String,
    messages: Vec<Message>,
    /// How many tokens the conversation may have, answer included.
    room: u64,
}

impl Transcript {
    pub fn new(system: String, brief: String, room: u64) -> Self {
        Self { system, messages: vec![Message::User { text: brief }], room }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.messages.push(Message::User { text: text.into() });
    }

    pub fn answered(&mut self, completion: &Completion) {
        self.messages.push(Message::Assistant {
            text: completion.text.clone(),
            tool_calls: completion.tool_calls.clone(),
            opaque: completion.opaque.clone(),
        });
    }

    pub fn result(&mut self, call_id: &str, content: String, is_error: bool) {
        self.messages.push(Message::ToolResult { call_id: call_id.to_owned(), content, is_error });
    }

    /// The next request, within the room there is.
    ///
    /// # Errors
    /// It does not fit, whatever is cut.
    pub fn request(&mut self, tools: Vec<ToolSpec>, max_output_tokens: u32) -> Result<CompletionRequest, String> {
        let room = self.room.saturating_sub(max_output_tokens.into());
        // Cut at once to well below, or every further turn would cut again and no provider's cache would ever hit.
        if self.tokens() > room / 5 * 4 {
            self.compact(room / 2);
        }
        if self.tokens() > room {
            return Err(format!("context: the conversation outgrew the {} tokens that the model takes", self.room));
        }
        let request = CompletionRequest::new(self.system.clone(), self.messages.clone(), max_output_tokens);
        Ok(request.with_tools(tools))
    }

    fn compact(&mut self, wanted: u64) {
        let results: Vec<usize> = self
            .messages
            .iter()
            .enumerate()
            .filter(|(_, message)| matches!(message, Message::ToolResult { .. }))
            .map(|(place, _)| place)
            .collect();
        let mut bytes = self.bytes();
        for place in results.iter().take(results.len().saturating_sub(KEEP)) {
            if tokens(bytes) <= wanted {
                return;
            }
            let Some(Message::ToolResult { content, .. }) = self.messages.get_mut(*place) else { continue };
            if content.len() > STUB * 2 {
                bytes -= content.len();
                let kept = &content[..content.floor_char_boundary(STUB)];
                *content = format!(
                    "{kept}\n[… shortened to save room; the readings can still be cited, and read_again shows one …]"
                );
                bytes += content.len();
            }
        }
    }

    fn bytes(&self) -> usize {
        self.system.len() + self.messages.iter().map(Message::size).sum::<usize>()
    }

    fn tokens(&self) -> u64 {
        tokens(self.bytes())
    }
}

/// A token is some four bytes of English, and fewer of numbers and names.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(transcript: &Transcript) -> Vec<&str> {
        let of = |message: &'_ Message| matches!(message, Message::ToolResult { .. });
        let results = transcript.messages.iter().filter(|message| of(message));
        results
            .map(|message| if let Message::ToolResult { content, .. } = message { content.as_str() } else { "" })
            .collect()
    }

    #[test]
    fn the_oldest_answers_are_cut_first_and_the_newest_never() {
        let mut transcript = Transcript::new("s".into(), "b".into(), 12_000);
        for i in 0..20 {
            transcript.result(&i.to_string(), format!("R{i} {}", "x".repeat(3_000)), false);
        }
        let request = transcript.request(Vec::new(), 1_000).unwrap();
        assert_eq!(request.messages.len(), 21, "no message goes: each call has its answer");
        let contents = contents(&transcript);
        assert!(contents[0].starts_with("R0 ") && contents[0].contains("read_again"), "{}", contents[0]);
        assert!(contents[14..].iter().all(|content| content.len() > 3_000));
    }

    #[test]
    fn what_does_not_fit_at_all_is_an_error_and_no_endless_loop() {
        let mut transcript = Transcript::new("s".repeat(40_000), "b".into(), 10_000);
        assert!(transcript.request(Vec::new(), 1_000).unwrap_err().contains("context"));
    }
}
