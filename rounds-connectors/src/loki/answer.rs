//! What Loki said, as lines in order of time.

use std::collections::BTreeMap;

use chrono::DateTime;
use rounds_core::Timestamp;
use rounds_core::ports::{DataSet, Line};
use serde::Deserialize;
use serde_json::Value;

/// The envelope of queries and label lists.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) status: String,
    /// A list of labels without any is left out.
    pub(super) data: Option<T>,
    #[serde(default)]
    pub(super) warnings: Option<Vec<String>>,
}

/// What a query answers.
#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum QueryData {
    Streams(Vec<Stream>),
    Matrix(serde::de::IgnoredAny),
    Vector(serde::de::IgnoredAny),
    Scalar(serde::de::IgnoredAny),
}

/// One stream: its labels and entries, newest first when asked backwards.
#[derive(Debug, Deserialize)]
pub(super) struct Stream {
    #[serde(default)]
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Entry>,
}

/// Nanoseconds since 1970 as text, the line, and with categorised labels an object of what came with the entry.
#[derive(Debug)]
struct Entry {
    nanos: String,
    line: String,
    more: Option<Value>,
}

/// Two parts or three: a tuple of fixed length would refuse one of them.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> serde::de::Visitor<'de> for Parts {
            type Value = Entry;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an entry: [\"<nanoseconds>\", \"<line>\"], and maybe its metadata")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<Entry, A::Error> {
                let missing = |at| serde::de::Error::invalid_length(at, &"a time and a line");
                let nanos = parts.next_element()?.ok_or_else(|| missing(0))?;
                let line = parts.next_element()?.ok_or_else(|| missing(1))?;
                let more = parts.next_element()?;
                while parts.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Entry { nanos, line, more })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

/// An answer that is not what the protocol says.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) String);

/// How much of an answer is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) lines: usize,
    pub(super) line_bytes: usize,
}

/// What came with an entry: structured metadata and what a parser of the query found, in groups or flat.
fn metadata(labels: &mut BTreeMap<String, String>, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        match value {
            Value::Object(group) => metadata(labels, Value::Object(group)),
            // A stream's own label stays: it says where the line is from.
            Value::String(text) => {
                labels.entry(name).or_insert(text);
            }
            Value::Null => {}
            other => {
                labels.entry(name).or_insert_with(|| other.to_string());
            }
        }
    }
}

fn time(nanos: &str) -> Result<(i64, Timestamp), Malformed> {
    let shown = || nanos.chars().take(40).collect::<String>();
    let nanos = nanos.parse::<i64>().map_err(|_| Malformed(format!("the time \"{}\"", shown())))?;
    let at = DateTime::from_timestamp_micros(nanos.div_euclid(1_000));
    at.map(|at| (nanos, at)).ok_or_else(|| Malformed(format!("the time \"{}\"", shown())))
}

/// The streams merged, oldest first: of two lines of one nanosecond the one of the stream whose labels come first, and of
/// one stream in the order in which they were written. `asked` backwards means that each stream comes newest first.
pub(super) fn lines(streams: Vec<Stream>, notes: Vec<String>, bounds: Bounds) -> Result<DataSet, Malformed> {
    let mut streams = streams;
    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
    let (mut found, mut cut) = (Vec::new(), 0_usize);
    for stream in streams {
        let Stream { stream: labels, values } = stream;
        // Backwards is how they are asked for; who answers forwards all the same comes out in the same order.
        for entry in values.into_iter().rev() {
            let (nanos, at) = time(&entry.nanos)?;
            let mut labels = labels.clone();
            entry.more.into_iter().for_each(|more| metadata(&mut labels, more));
            let mut text = entry.line;
            if text.len() > bounds.line_bytes {
                let keep = (0..=bounds.line_bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
                let left = text.len() - keep;
                text.truncate(keep);
                text.push_str(&format!("… [{left} more bytes]"));
                cut += 1;
            }
            found.push((nanos, Line::new(at, labels, text)));
        }
    }
    found.sort_by_key(|(nanos, _)| *nanos);
    let count = found.len();
    let surplus = count.saturating_sub(bounds.lines);
    let lines: Vec<Line> = found.into_iter().skip(surplus).map(|(_, line)| line).collect();
    let mut set = DataSet::of_lines(lines).with_warnings(notes);
    if count >= bounds.lines {
        set.truncated = true;
        set.warnings.push(format!(
            "these are the newest {} lines, as many as were asked for: there may be older ones in that time; narrow the \
             selector or the time, or add a filter such as |= \"error\"",
            bounds.lines
        ));
    }
    if cut > 0 {
        set.truncated = true;
        set.warnings.push(format!("{cut} lines were longer than {} bytes and are cut", bounds.line_bytes));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { lines: 100, line_bytes: 1_000 };

    fn read(json: &str, bounds: Bounds) -> Result<DataSet, Malformed> {
        lines(serde_json::from_str(json).expect("streams"), Vec::new(), bounds)
    }

    fn texts(set: &DataSet) -> Vec<&str> {
        set.lines.iter().map(|line| line.text.as_str()).collect()
    }

    const TWO: &str = r#"[
        {"stream":{"pod":"b"},"values":[["1700000000000000300","b2"],["1700000000000000100","b1"]]},
        {"stream":{"pod":"a"},"values":[["1700000000000000200","a2"],["1700000000000000100","a1"]]}]"#;

    #[test]
    fn streams_are_merged_in_order_of_time_to_the_nanosecond() {
        let set = read(TWO, WIDE).expect("read");
        assert_eq!(texts(&set), ["a1", "b1", "a2", "b2"]);
        assert_eq!(set.lines[0].labels["pod"], "a");
        assert_eq!(set.lines[0].at.timestamp_micros(), 1_700_000_000_000_000);
        assert!(!set.truncated && set.warnings.is_empty());
    }

    #[test]
    fn as_many_lines_as_were_asked_for_are_said_to_be_perhaps_not_all_and_the_newest_stay() {
        let set = read(TWO, Bounds { lines: 4, ..WIDE }).expect("read");
        assert!(set.truncated && set.lines.len() == 4);
        let set = read(TWO, Bounds { lines: 2, ..WIDE }).expect("read");
        assert_eq!(texts(&set), ["a2", "b2"], "a server that sends too much fills no memory");
    }

    #[test]
    fn metadata_of_an_entry_becomes_labels_and_never_takes_the_place_of_the_streams() {
        let set = read(
            r#"[{"stream":{"pod":"a"},"values":[
                ["3","x",{"structuredMetadata":{"trace_id":"t1","pod":"forged"},"parsed":{"level":"error"}}],
                ["2","y",{"trace_id":"t0"}],["1","z",{}]]}]"#,
            WIDE,
        )
        .expect("read");
        let labels: Vec<String> = set.lines.iter().map(|line| format!("{:?}", line.labels)).collect();
        assert_eq!(
            labels,
            [
                r#"{"pod": "a"}"#,
                r#"{"pod": "a", "trace_id": "t0"}"#,
                r#"{"level": "error", "pod": "a", "trace_id": "t1"}"#,
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_said() {
        let json = format!(r#"[{{"stream":{{}},"values":[["1","{}"]]}}]"#, "é".repeat(100));
        let set = read(&json, Bounds { line_bytes: 65, ..WIDE }).expect("read");
        assert!(set.lines[0].text.starts_with(&"é".repeat(32)) && set.lines[0].text.ends_with("[136 more bytes]"));
        assert!(set.truncated);
    }

    #[test]
    fn a_time_that_is_none_is_malformed() {
        for time in ["", "soon", "1.5", "99999999999999999999"] {
            let json = format!(r#"[{{"stream":{{}},"values":[["{time}","x"]]}}]"#);
            assert!(read(&json, WIDE).is_err(), "{time}");
        }
    }
}
