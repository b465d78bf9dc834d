//! Times as pages show them: relative for the eye, absolute UTC in the tooltip and for programs.

use std::fmt;

use rounds_core::Timestamp;

/// A moment seen from another one. Renders a `<time>` element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

// Digits, dashes and fixed words only: there is nothing to escape.
impl askama::filters::HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<time datetime=\"{}\" title=\"{}\" data-relative>{}</time>",
            self.at.format("%Y-%m-%dT%H:%M:%SZ"),
            absolute(self.at),
            relative(self.at, self.now)
        )
    }
}

/// How long something has been going on. Renders a `<time>` element that `clock.js` keeps true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elapsed(When);

impl Elapsed {
    pub(crate) fn new(since: Timestamp, now: Timestamp) -> Self {
        Self(When::new(since, now))
    }
}

// As above.
impl askama::filters::HtmlSafe for Elapsed {}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let When { at, now } = self.0;
        let seconds = u64::try_from((now - at).num_seconds()).unwrap_or_default();
        write!(
            f,
            "<time datetime=\"{}\" title=\"since {}\" data-elapsed>{}</time>",
            at.format("%Y-%m-%dT%H:%M:%SZ"),
            absolute(at),
            span(seconds)
        )
    }
}

/// A moment in full: `2026-11-03 10:22:01 UTC`.
pub(crate) fn absolute(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `3 min ago`, `in 2 h`. `clock.js` says the same things: change both.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = (at - now).num_seconds();
    let text = span(seconds.unsigned_abs());
    match seconds {
        -4..=4 => "just now".into(),
        5.. => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

/// How long, in the largest unit that says something: `45 s`, `12 min`, `3 h`, `2 d`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        5_400..129_600 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn a_time_is_relative_with_the_absolute_in_the_tooltip() {
        let at = DateTime::UNIX_EPOCH;
        let shown = When::new(at, at + TimeDelta::minutes(3)).to_string();
        assert_eq!(
            shown,
            "<time datetime=\"1970-01-01T00:00:00Z\" title=\"1970-01-01 00:00:00 UTC\" data-relative>3 min ago</time>"
        );
        let elapsed = Elapsed::new(at, at + TimeDelta::seconds(45)).to_string();
        assert!(elapsed.ends_with(" data-elapsed>45 s</time>"), "{elapsed}");
        assert_eq!(relative(at + TimeDelta::hours(23), at), "in 23 h");
        assert_eq!(relative(at, at + TimeDelta::seconds(2)), "just now");
    }
}
