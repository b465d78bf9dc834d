//! Errors of the pure core.

/// An event that means nothing in a state. Names both, so that whoever asked can see why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this {what} is {state}: it cannot take {event}{hint}")]
pub struct IllegalTransition {
    /// What kind of thing: `plan`, `step`, `investigation`.
    pub what: &'static str,
    /// The state it is in.
    pub state: String,
    /// The event that was tried.
    pub event: String,
    /// What would work instead, when there is something; starts with a separator.
    pub hint: String,
}

impl IllegalTransition {
    /// An illegal pair.
    pub fn new(what: &'static str, state: impl Into<String>, event: impl Into<String>) -> Self {
        Self { what, state: state.into(), event: event.into(), hint: String::new() }
    }

    /// The same with what would work.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.hint = format!("; {hint}");
        self
    }
}
