//! What datasources over HTTP share: an address with its sign-in, a tenant and plain headers, and one bounded read.
//!
//! Each datasource keeps what its own API says: paths, envelopes, what an error body means. Nothing here knows one.

mod api;
mod config;

pub(crate) use api::{Answer, Api, Credentials};
pub use config::Auth;
pub(crate) use config::{Setup, bounded, names_credential, timeout_of};

use rounds_core::Timestamp;
use rounds_core::ports::{PortError, PortErrorKind};

/// The query cannot be answered as it was asked.
pub(crate) fn invalid(message: impl Into<String>) -> PortError {
    PortError::new(PortErrorKind::Invalid, message)
}

/// Somebody else's text in one line of bounded length: what breaks lines, colours or turns text around is a space.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = text.chars().map(|c| if odd(c) { ' ' } else { c }).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most).chain("…".chars()).collect()
}

/// A stretch of time that can be asked about.
///
/// # Errors
/// It ends before it starts.
pub(crate) fn check_stretch(start: Timestamp, end: Timestamp) -> Result<(), PortError> {
    if end < start {
        return Err(invalid(format!("the query ends before it starts: found {start} to {end}")));
    }
    Ok(())
}
