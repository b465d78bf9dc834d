//! Making the API fail on purpose.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// What a matching request meets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// A pause, and then the real answer.
    Delay(Duration),
    /// An error with this status code and message.
    Status(u16, String),
    /// No answer until the client gives up.
    Hang,
    /// A connection closed without an answer.
    Drop,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaultMoment {
    /// Before the request has any effect.
    #[default]
    BeforeEffect,
    /// After it has been carried out, so that only the answer is lost.
    AfterEffect,
}

/// A fault and the requests it strikes. Requests are matched in the order the rules were added; the
/// first rule that matches acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    /// Only this method, or any.
    pub method: Option<String>,
    /// Only paths (with their query) that contain this.
    pub path_contains: String,
    /// What happens.
    pub action: FaultAction,
    /// Before or after the effect.
    pub moment: FaultMoment,
    /// How many requests it strikes; `None` is all of them.
    pub times: Option<u32>,
}

impl FaultRule {
    /// A rule for every request whose path contains this, before its effect, until cleared.
    pub fn new(path_contains: impl Into<String>, action: FaultAction) -> FaultRule {
        FaultRule {
            method: None,
            path_contains: path_contains.into(),
            action,
            moment: FaultMoment::BeforeEffect,
            times: None,
        }
    }

    /// Only requests with this method.
    pub fn method(mut self, method: impl Into<String>) -> FaultRule {
        self.method = Some(method.into());
        self
    }

    /// After the effect, not before it.
    pub fn after_effect(mut self) -> FaultRule {
        self.moment = FaultMoment::AfterEffect;
        self
    }

    /// Only this many requests.
    pub fn times(mut self, times: u32) -> FaultRule {
        self.times = Some(times);
        self
    }
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<FaultRule>>,
}

impl Faults {
    pub(crate) fn add(&self, rule: FaultRule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    pub(crate) fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault this request meets, used up by one.
    pub(crate) fn strike(&self, method: &str, path_and_query: &str) -> Option<(FaultAction, FaultMoment)> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let i = rules.iter().position(|r| {
            r.times != Some(0)
                && r.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method))
                && path_and_query.contains(&r.path_contains)
        })?;
        if let Some(n) = &mut rules[i].times {
            *n -= 1;
        }
        Some((rules[i].action.clone(), rules[i].moment))
    }
}
