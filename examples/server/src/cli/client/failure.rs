//! What went wrong, with the exit code that says so to scripts.

use std::io::Write as _;

use serde_json::{Value, json};

use super::text;

/// The exit codes. They are documented and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Failed = 1,
    Usage = 2,
    Forbidden = 3,
    NotFound = 4,
    Conflict = 5,
    Refused = 6,
    Unavailable = 7,
    TimedOut = 8,
    Waits = 9,
}

impl Exit {
    /// The code for an answer that is no success.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            422 => Self::Refused,
            // Too many requests is about now, as a server that restarts is. A redirect is another server's answer.
            429 | 500.. | 300..=399 => Self::Unavailable,
            _ => Self::Usage,
        }
    }
}

/// A command that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    pub exit: Exit,
    pub message: String,
    /// The status and body of the server's answer, when there was one.
    pub answer: Option<(u16, Value)>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), answer: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Says it on stderr: for people, or as a line of JSON.
    pub(super) fn tell(&self, json: bool) {
        let mut err = std::io::stderr().lock();
        // Nothing is left to do when even this cannot be written.
        let _ = if json {
            let status = self.answer.as_ref().map(|(status, _)| status);
            let body = self.answer.as_ref().map(|(_, body)| body);
            let line = json!({ "exit": self.exit as u8, "message": self.message, "status": status, "answer": body });
            writeln!(err, "{}", text::json_line(&json!({ "error": line })))
        } else {
            writeln!(err, "rounds-server: {}", text::clean_lines(&self.message))
        };
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("writing the answer: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_answers_has_its_own_exit_code() {
        let codes = [
            (400, 2),
            (401, 3),
            (403, 3),
            (404, 4),
            (409, 5),
            (413, 2),
            (415, 2),
            (422, 6),
            (302, 7),
            (429, 7),
            (500, 7),
            (502, 7),
            (503, 7),
        ];
        for (status, code) in codes {
            assert_eq!(Exit::of_status(status) as u8, code, "{status}");
        }
    }
}
