//! What clients asked, so that a test can say what a command really touched.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};

const LIMIT: usize = 5_000;

/// One request to the Kubernetes API.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// The method, in capitals.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: String,
    /// The body, as far as it is text.
    pub body: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The status code answered; 0 while there is no answer.
    pub status: u16,
}

impl RecordedRequest {
    /// Whether it could change anything: neither a read, nor a dry run, nor a question that is asked with POST.
    pub fn is_write(&self) -> bool {
        !self.path.starts_with("/apis/authorization.k8s.io/")
            && !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
            && !self.is_dry_run()
    }

    /// Whether it asked for a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.query.split('&').any(|p| p == "dryRun=All")
            || (self.method == "DELETE" && self.body.contains("\"dryRun\":[\"All\"]"))
    }
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: Mutex<(u64, VecDeque<(u64, RecordedRequest)>)>,
}

impl RequestLog {
    pub(crate) fn record(&self, request: RecordedRequest) -> u64 {
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let id = guard.0;
        if guard.1.len() >= LIMIT {
            guard.1.pop_front();
        }
        guard.1.push_back((id, request));
        id
    }

    pub(crate) fn answered(&self, id: u64, status: u16) {
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entry)) = guard.1.iter_mut().rev().find(|(i, _)| *i == id) {
            entry.status = status;
        }
    }

    pub(crate) fn all(&self) -> Vec<RecordedRequest> {
        let guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1.iter().map(|(_, r)| r.clone()).collect()
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }
}
