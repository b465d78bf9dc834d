//! Server-sent events, in bounds.
//!
//! `eventsource-stream`, the crate for this, reads lines of any length and scans an unfinished one again with every
//! chunk; a bound around it would have to find the lines itself, and that is most of the work. So it is done here:
//! every byte is looked at once, and what one event may hold is bounded.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; empty when it has none.
    pub(super) name: String,
    /// Its data, lines joined.
    pub(super) data: String,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// One event is larger than the bound.
    TooLarge,
    /// It is not UTF-8.
    NotText,
}

/// Takes bytes as they come and gives events as they end. An event that the stream does not end is never given.
pub(super) struct Parser {
    max_event: usize,
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a carriage return: a line feed right after it ends no second line.
    after_cr: bool,
    first_line: bool,
}

impl Parser {
    /// A parser that gives up at an event (or a line) of more bytes than this.
    pub(super) fn new(max_event: usize) -> Self {
        Self {
            max_event,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            after_cr: false,
            first_line: true,
        }
    }

    /// Takes the next bytes; an event or a character may go on in the next ones.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, Broken> {
        let mut events = Vec::new();
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.held() + part.len() > self.max_event {
                return Err(Broken::TooLarge);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line()?);
        }
        Ok(events)
    }

    fn held(&self) -> usize {
        self.line.len() + self.event.data.len() + self.event.name.len()
    }

    fn end_line(&mut self) -> Result<Option<Event>, Broken> {
        let line = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&line).map_err(|_| Broken::NotText)?;
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        // A line that begins with the colon is a comment: a field without a name, and no such field is known.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(chunks: &[&[u8]]) -> Result<Vec<Event>, Broken> {
        let mut parser = Parser::new(64);
        let events: Result<Vec<_>, _> = chunks.iter().map(|chunk| parser.feed(chunk)).collect();
        Ok(events?.concat())
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    const STREAM: &str = "\u{feff}: hello\r\nevent: a\r\ndata: grüß\r\ndata:dich 🌍\r\n\r\n:\ndata\n\nid: 7\nretry: 5\ndata: x\r\r\
                          event: b\n\ndata: unfinished\n";

    #[test]
    fn names_comments_lines_of_data_and_every_line_end_are_read() {
        let events = parse(&[STREAM.as_bytes()]).unwrap();
        assert_eq!(events, [event("a", "grüß\ndich 🌍"), event("", ""), event("", "x")], "and no unfinished one");
    }

    proptest! {
        #[test]
        fn where_the_chunks_end_makes_no_difference(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(parse(&chunks).unwrap(), parse(&[STREAM.as_bytes()]).unwrap());
        }

        #[test]
        fn no_bytes_make_it_panic_or_hold_more_than_the_bound(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut parser = Parser::new(64);
            for chunk in chunks {
                if parser.feed(&chunk).is_err() {
                    break;
                }
                prop_assert!(parser.held() <= 64 + 1);
            }
        }
    }

    #[test]
    fn a_line_a_comment_and_an_event_over_the_bound_are_refused() {
        for endless in ["data: 0123456789", ": 0123456789", "0123456789"] {
            let chunks = vec![endless.as_bytes(); 20];
            assert_eq!(parse(&chunks), Err(Broken::TooLarge), "{endless}");
        }
        assert_eq!(
            parse(&[b"data: 0123456789\n".as_slice(); 20]),
            Err(Broken::TooLarge),
            "many short lines of one event"
        );
        assert_eq!(parse(&[b"data: 0123456789\n\n".as_slice(); 20]).unwrap().len(), 20, "the bound is for one event");
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        assert_eq!(parse(&[b"data: \xff\n\n"]), Err(Broken::NotText));
    }
}
