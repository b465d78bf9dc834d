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

/// Labels kept of one line, and bytes of each name and value.
const LABELS: usize = 64;
const LABEL_BYTES: usize = 1_024;
/// Bytes of labels kept of one answer: they are written out for every line, so a small answer can ask for much more.
const ALL_LABEL_BYTES: usize = 32 * 1_024 * 1_024;

type Labels = BTreeMap<String, String>;

/// Shortens a text between two characters. `None`: it is short enough.
fn shorten(text: &str, bytes: usize) -> Option<String> {
    (text.len() > bytes).then(|| {
        let keep = text.floor_char_boundary(bytes);
        format!("{}… [{} more bytes]", &text[..keep], text.len() - keep)
    })
}

/// Adds a label, unless there is one of that name or no room. `false`: something of it is left out.
fn add(labels: &mut Labels, name: &str, value: &str) -> bool {
    let (short_name, short_value) = (shorten(name, LABEL_BYTES), shorten(value, LABEL_BYTES));
    let whole = short_name.is_none() && short_value.is_none();
    let name = short_name.unwrap_or_else(|| name.to_owned());
    if labels.contains_key(&name) {
        return whole;
    }
    if labels.len() >= LABELS {
        return false;
    }
    labels.insert(name, short_value.unwrap_or_else(|| value.to_owned()));
    whole
}

/// What came with an entry: structured metadata and what a parser of the query found, in groups or flat. `false`:
/// something of it is left out.
fn metadata(labels: &mut Labels, more: &Value) -> bool {
    let Value::Object(more) = more else { return true };
    let mut whole = true;
    for (name, value) in more {
        whole &= match value {
            Value::Object(_) => metadata(labels, value),
            // A stream's own label stays: it says where the line is from.
            Value::String(text) => add(labels, name, text),
            Value::Null => true,
            other => add(labels, name, &other.to_string()),
        };
    }
    whole
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
    let mut found = Vec::new();
    for stream in &streams {
        // Backwards is how they are asked for; who answers forwards all the same comes out in the same order.
        for entry in stream.values.iter().rev() {
            let (nanos, at) = time(&entry.nanos)?;
            found.push((nanos, at, &stream.stream, entry));
        }
    }
    found.sort_by_key(|(nanos, ..)| *nanos);
    let count = found.len();
    let (mut lines, mut cut, mut fewer_labels, mut room) = (Vec::new(), 0_usize, 0_usize, ALL_LABEL_BYTES);
    // Labels are copied for what is kept alone, the newest first.
    for (_, at, stream, entry) in found.into_iter().rev().take(bounds.lines) {
        let mut labels = Labels::new();
        let mut whole = stream.iter().fold(true, |whole, (name, value)| add(&mut labels, name, value) && whole);
        whole = entry.more.as_ref().is_none_or(|more| metadata(&mut labels, more)) && whole;
        let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        fewer_labels += usize::from(!whole);
        let short = shorten(&entry.line, bounds.line_bytes);
        cut += usize::from(short.is_some());
        lines.push(Line::new(at, labels, short.unwrap_or_else(|| entry.line.clone())));
    }
    lines.reverse();
    let kept = lines.len();
    let mut set = DataSet::of_lines(lines).with_warnings(notes);
    if count >= bounds.lines {
        set.truncated = true;
        set.warnings.push(format!(
            "these are the newest {} lines, as many as were asked for: there may be older ones in that time; narrow the \
             selector or the time, or add a filter such as |= \"error\"",
            bounds.lines
        ));
    }
    if kept < count.min(bounds.lines) {
        set.truncated = true;
        set.warnings.push(format!(
            "the labels of {count} lines are more than {ALL_LABEL_BYTES} bytes: only the newest {kept} lines are kept"
        ));
    }
    if fewer_labels > 0 {
        set.truncated = true;
        set.warnings.push(format!(
            "{fewer_labels} lines had more than {LABELS} labels, or labels of more than {LABEL_BYTES} bytes: what is above \
             that is left out"
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
    fn labels_of_a_line_are_bounded_in_number_and_length_and_it_is_said() {
        let many: BTreeMap<String, String> = (0..200).map(|at| (format!("l{at:03}"), "v".to_owned())).collect();
        let long = "é".repeat(1_000);
        let json = serde_json::json!([
            { "stream": many, "values": [["2", "x", { "more": "y" }]] },
            { "stream": { "a": long }, "values": [["1", "x", { "parsed": { "b": "z".repeat(5_000) } }]] },
        ]);
        let set = read(&json.to_string(), WIDE).expect("read");
        assert_eq!(set.lines[1].labels.len(), 64);
        assert!(set.lines[1].labels.contains_key("l063") && !set.lines[1].labels.contains_key("more"));
        assert!(set.lines[0].labels["a"].starts_with(&"é".repeat(512)));
        assert!(set.lines[0].labels.values().all(|value| value.len() < 1_100 && value.ends_with("more bytes]")));
        assert!(set.truncated && set.warnings.iter().any(|said| said.starts_with("2 lines had more than 64 labels")));
    }

    #[test]
    fn labels_are_not_multiplied_by_the_lines_of_a_small_answer() {
        let wide: BTreeMap<String, String> = (0..64).map(|at| (format!("l{at}"), "v".repeat(1_000))).collect();
        let values: Vec<_> = (0..5_000).rev().map(|at| [at.to_string(), format!("line {at}")]).collect();
        let json = serde_json::json!([{ "stream": wide, "values": values }]).to_string();
        let set = read(&json, Bounds { lines: 5_000, ..WIDE }).expect("read");
        let bytes: usize =
            set.lines.iter().flat_map(|line| &line.labels).map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= ALL_LABEL_BYTES && set.lines.len() > 100, "{bytes} bytes of {} lines", set.lines.len());
        assert_eq!(set.lines.last().map(|line| line.text.as_str()), Some("line 4999"), "the newest stay");
        assert!(set.warnings.iter().any(|said| said.contains("only the newest")));
        let set = read(&json, Bounds { lines: 3, ..WIDE }).expect("read");
        assert_eq!(texts(&set), ["line 4997", "line 4998", "line 4999"]);
    }

    #[test]
    fn a_time_that_is_none_is_malformed() {
        for time in ["", "soon", "1.5", "99999999999999999999"] {
            let json = format!(r#"[{{"stream":{{}},"values":[["{time}","x"]]}}]"#);
            assert!(read(&json, WIDE).is_err(), "{time}");
        }
    }
}
