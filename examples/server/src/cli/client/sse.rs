//! The events of a server, over as many connections as it takes.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

use super::failure::{Exit, Failure};
use super::http::Api;
use super::text;

/// The server says something every 15 s: one that is silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// Connections that fail one after the other before it is given up: about a minute.
const ATTEMPTS: u32 = 10;
/// The most bytes of an event.
const FRAME_LIMIT: usize = 16 * 1024 * 1024;

/// The events of a server, resumed after the last one when the connection breaks.
pub(super) struct Events<'a> {
    api: &'a Api,
    open: Option<(Response, Frames)>,
    last: Option<String>,
    failed: u32,
}

impl<'a> Events<'a> {
    /// Listens from now on. What cannot be reached or is refused at first is an error at once.
    pub(super) async fn listen(api: &'a Api) -> Result<Self, Failure> {
        let mut events = Self { api, open: None, last: None, failed: 0 };
        events.open = Some((api.events(None).await?, Frames::default()));
        // The greeting says where the stream starts: what happens from here on is heard, whatever breaks.
        while events.last.is_none() {
            if events.read().await.is_none() {
                return Err(Failure::new(Exit::Unavailable, "the stream of events ended before it began"));
            }
        }
        Ok(events)
    }

    /// The next event. A broken connection is opened again; refused is an error.
    pub(super) async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            if self.open.is_none() {
                self.reopen().await?;
            }
            match self.read().await {
                Some(Some(event)) => {
                    self.failed = 0;
                    return Ok(event);
                }
                Some(None) => {}
                None => self.open = None,
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        // The first attempt waits, too: a server that closes each stream at once is not to be asked in a loop.
        let wait = Duration::from_millis(500).saturating_mul(1 << self.failed.min(4));
        tokio::time::sleep(wait).await;
        self.failed += 1;
        match self.api.events(self.last.as_deref()).await {
            Ok(response) => {
                text::progress("connected again");
                self.open = Some((response, Frames::default()));
                Ok(())
            }
            Err(failure) if failure.exit == Exit::Unavailable && self.failed < ATTEMPTS => {
                text::progress(&format!("{}; trying again", failure.message));
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// One frame: `None` when the connection ended, `Some(None)` when it holds no event to tell.
    async fn read(&mut self) -> Option<Option<Value>> {
        let (response, frames) = self.open.as_mut()?;
        loop {
            if let Some(frame) = frames.next() {
                let has_id = frame.id.is_some();
                if has_id {
                    self.last = frame.id;
                }
                // Of a plan's events some are told twice; the one with the number is told of each.
                return Some(serde_json::from_str(&frame.data).ok().filter(|_| has_id));
            }
            match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(bytes))) if frames.push(&bytes) => {}
                _ => return None,
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    id: Option<String>,
    data: String,
}

/// Bytes of a stream on their way to frames.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// `false`: more than any event has.
    fn push(&mut self, bytes: &[u8]) -> bool {
        // With a carriage return, too, a line ends in a line feed; alone it ends none that this server writes.
        self.bytes.extend(bytes.iter().filter(|byte| **byte != b'\r'));
        self.bytes.len() <= FRAME_LIMIT
    }

    fn next(&mut self) -> Option<Frame> {
        let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
        let bytes: Vec<u8> = self.bytes.drain(..end + 2).collect();
        let mut frame = Frame::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => frame.id = Some(value.to_owned()),
                "data" if frame.data.is_empty() => value.clone_into(&mut frame.data),
                "data" => {
                    frame.data.push('\n');
                    frame.data.push_str(value);
                }
                _ => {}
            }
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_however_the_bytes_come() {
        let sent =
            ": connected\nid: 7\nretry: 2000\n\nevent: plan\r\ndata: {\"ä\":\r\ndata: 1}\r\nid: 8\r\n\r\nevent: x\n";
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for byte in sent.as_bytes() {
            assert!(frames.push(&[*byte]));
            found.extend(frames.next());
        }
        let frame = |id: &str, data: &str| Frame { id: Some(id.into()), data: data.into() };
        assert_eq!(found, [frame("7", ""), frame("8", "{\"ä\":\n1}")]);
    }
}
