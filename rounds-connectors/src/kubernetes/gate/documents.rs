//! Strict reading of JSON and YAML into JSON values.
//!
//! What one reader takes for a string and another for a number, what a reader merges, repeats, decodes or breaks into
//! lines differently, is refused with its line: the value that is checked must be the value that is meant.

use std::borrow::Cow;
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle};
use rounds_core::step::Refusal;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::names;
use super::refusal::{Rule, quote, refuse};

/// The largest text that is read.
pub(crate) const MAX_TEXT: usize = 256 * 1024;
const MAX_DEPTH: usize = 48;
const MAX_NODES: usize = 50_000;

/// Reads a text of one or more documents; empty documents are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, Refusal> {
    if text.len() > MAX_TEXT {
        return Err(refuse(Rule::TooLarge, format!("{} bytes of text; at most {MAX_TEXT} are accepted", text.len())));
    }
    // The mark with which some editors begin a file is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unix = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
    let plain = is_plain(&unix);
    // Only an escape could still put something odd into a value.
    let escapes = !plain || unix.contains('\\');
    let odd = |c: char| c == '\r' || names::is_odd(c) || (c.is_control() && c != '\n' && c != '\t');
    if let Some(at) = if plain { None } else { unix.find(odd) } {
        let odd = unix[at..].chars().next().unwrap_or_default();
        return Err(refuse(
            Rule::OddCharacter,
            format!(
                "line {} contains the character {}, which is invisible or breaks lines for some readers only; leave it out",
                unix[..at].matches('\n').count() + 1,
                odd.escape_unicode()
            ),
        ));
    }
    if unix.trim_start().starts_with(['{', '['])
        && let Ok(Strict(value)) = serde_json::from_str::<Strict>(&unix)
    {
        plain_text(&value, 0, escapes)?;
        return Ok(vec![value]);
    }
    let documents = read_yaml(&unix)?;
    documents.iter().try_for_each(|document| plain_text(document, 0, escapes))?;
    Ok(documents)
}

/// Printable ASCII, line feeds and tabs: nearly every text, told quickly.
fn is_plain(text: &str) -> bool {
    // Without a way out in the middle, so that many bytes are looked at together.
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
}

/// Escapes can put into a value what the text itself may not hold.
fn plain_text(value: &Value, depth: usize, escapes: bool) -> Result<(), Refusal> {
    if depth > MAX_DEPTH {
        return Err(refuse(Rule::TooLarge, format!("more than {MAX_DEPTH} levels")));
    }
    let odd = |&c: &char| names::is_odd(c) || (c.is_control() && !matches!(c, '\n' | '\t' | '\r'));
    let check = |text: &str| match if !escapes || is_plain(text) { None } else { text.chars().find(odd) } {
        None => Ok(()),
        Some(odd) => Err(refuse(
            Rule::OddCharacter,
            format!(
                "a value contains the character {}, which is invisible to a reader; leave it out",
                odd.escape_unicode()
            ),
        )),
    };
    match value {
        Value::Object(map) => {
            map.iter().try_for_each(|(key, value)| check(key).and_then(|()| plain_text(value, depth + 1, escapes)))
        }
        Value::Array(items) => items.iter().try_for_each(|item| plain_text(item, depth + 1, escapes)),
        Value::String(text) => check(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// A JSON value whose objects repeat no key.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Strict;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Strict, E> {
                Number::from_f64(value)
                    .map(|number| Strict(Value::Number(number)))
                    .ok_or_else(|| E::custom("not a finite number"))
            }
            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
                let mut items = Vec::new();
                while let Some(Strict(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Strict(Value::Array(items)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Strict, A::Error> {
                let mut map = Map::new();
                while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
                    if map.insert(key, value).is_some() {
                        return Err(de::Error::custom("repeated key"));
                    }
                }
                Ok(Strict(Value::Object(map)))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

enum Open {
    Sequence(Vec<Value>),
    Mapping { map: Map<String, Value>, key: Option<String> },
}

fn bad(line: usize, what: impl fmt::Display) -> Refusal {
    refuse(Rule::BadManifest, format!("line {line}: {what}"))
}

fn read_yaml(text: &str) -> Result<Vec<Value>, Refusal> {
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        // Another crate in the binary may switch the parser's comment events on.
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut nodes = 0_usize;
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| bad(error.marker().line(), format_args!("this is not YAML: {}", error.info())))?;
        let line = span.start.line();
        let finished = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain_node(line, anchor, tag.is_some())?;
                let is_key = matches!(open.last(), Some(Open::Mapping { key: None, .. }));
                Some(scalar(line, &text, style, is_key)?)
            }
            Event::SequenceStart(_, anchor, tag) => {
                plain_node(line, anchor, tag.is_some())?;
                open.push(Open::Sequence(Vec::new()));
                None
            }
            Event::MappingStart(_, anchor, tag) => {
                plain_node(line, anchor, tag.is_some())?;
                open.push(Open::Mapping { map: Map::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence(items)) => Some(Value::Array(items)),
                Some(Open::Mapping { map, .. }) => Some(Value::Object(map)),
                None => return Err(bad(line, "the structure ends twice")),
            },
            Event::Alias(_) => return Err(bad(line, "aliases are refused; write the value out")),
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => None,
            _ => return Err(bad(line, "something here is neither a mapping, a list nor a value")),
        };
        if open.len() > MAX_DEPTH {
            return Err(refuse(Rule::TooLarge, format!("line {line}: more than {MAX_DEPTH} levels")));
        }
        let Some(value) = finished else { continue };
        nodes += 1;
        if nodes > MAX_NODES {
            return Err(refuse(Rule::TooLarge, format!("more than {MAX_NODES} values")));
        }
        match open.last_mut() {
            None => documents.push(value),
            Some(Open::Sequence(items)) => items.push(value),
            Some(Open::Mapping { map, key }) => match (key.take(), value) {
                (None, Value::String(name)) if map.contains_key(&name) => {
                    return Err(bad(
                        line,
                        format_args!("the key {} is there twice; readers differ on which one counts", quote(&name)),
                    ));
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err(bad(line, "a key must be text; put it in quotes")),
                (Some(name), value) => {
                    map.insert(name, value);
                }
            },
        }
    }
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

fn plain_node(line: usize, anchor: usize, tagged: bool) -> Result<(), Refusal> {
    if anchor != 0 {
        return Err(bad(line, "anchors are refused; write the value out"));
    }
    if tagged {
        return Err(bad(line, "tags (`!!…`) are refused; write a plain value, in quotes if it is text"));
    }
    Ok(())
}

fn scalar(line: usize, text: &str, style: ScalarStyle, is_key: bool) -> Result<Value, Refusal> {
    if style != ScalarStyle::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    let ambiguous = |what: &str| {
        refuse(
            Rule::AmbiguousScalar,
            format!(
                "line {line}: {} is {what}; put it in quotes if it is text, or write it plainly{}",
                quote(text),
                mode_in_decimal(text)
            ),
        )
    };
    if is_key {
        if text == "<<" {
            return Err(bad(line, "merge keys (`<<`) are refused; write the fields out"));
        }
        return match resolve(text) {
            Plain::Text => Ok(Value::String(text.to_owned())),
            // A bare number, boolean or null as a key: some readers make it text, some refuse it.
            Plain::Value(_) | Plain::Ambiguous(_) => Err(ambiguous("a key that is not text to every reader")),
        };
    }
    match resolve(text) {
        Plain::Text => Ok(Value::String(text.to_owned())),
        Plain::Value(value) => Ok(value),
        Plain::Ambiguous(what) => Err(ambiguous(what)),
    }
}

/// For the file modes of volumes, which engineers write in octal.
fn mode_in_decimal(text: &str) -> String {
    let mode = text.strip_prefix("0o").or_else(|| text.strip_prefix('0')).filter(|digits| digits.len() <= 4);
    match mode.map(|digits| u16::from_str_radix(digits, 8)) {
        Some(Ok(mode)) => format!(" (a file mode in decimal: {mode})"),
        _ => String::new(),
    }
}

enum Plain {
    Text,
    Value(Value),
    Ambiguous(&'static str),
}

/// What an unquoted scalar is to readers of YAML 1.1 and of YAML 1.2 alike.
fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" => return Plain::Value(Value::Null),
        "true" => return Plain::Value(Value::Bool(true)),
        "false" => return Plain::Value(Value::Bool(false)),
        "=" | "<<" => return Plain::Ambiguous("a special word in YAML 1.1"),
        _ => {}
    }
    if matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false") {
        return Plain::Ambiguous("a constant to some readers and text to others");
    }
    if matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n") {
        return Plain::Ambiguous("a boolean in YAML 1.1 and text in YAML 1.2");
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return Plain::Ambiguous("a number that JSON cannot say");
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.contains(|c: char| c.is_ascii_digit())
    {
        return Plain::Text;
    }
    if let Some(value) = plain_number(text) {
        return Plain::Value(value);
    }
    // Not a number as JSON writes it, yet made of what numbers and times are made of in one version of YAML or the other.
    let body = unsigned.to_ascii_lowercase();
    let digits_and = |extra: &str| body.chars().all(|c| c.is_ascii_digit() || extra.contains(c));
    if digits_and("_") || digits_and("_.") && body.matches('.').count() <= 1 {
        return Plain::Ambiguous(
            "a number that YAML 1.1 and 1.2 read differently (leading zeros, underscores, a bare point or sign)",
        );
    }
    let radix = |prefix: &str, digits: &str| {
        body.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| digits.contains(c)))
    };
    if radix("0x", "0123456789abcdef_") || radix("0o", "01234567_") || radix("0b", "01_") {
        return Plain::Ambiguous("a number in a base that YAML 1.1 and 1.2 write differently");
    }
    if is_base_sixty(&body) {
        return Plain::Ambiguous("a number of base sixty in YAML 1.1 and text in YAML 1.2");
    }
    let exponent = body.split_once('e').is_some_and(|(mantissa, exponent)| {
        let power = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !power.is_empty()
            && power.chars().all(|c| c.is_ascii_digit())
            && mantissa.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_')
    });
    if exponent {
        return Plain::Ambiguous("a number to some readers and text to others");
    }
    let date = body.as_bytes();
    if date.len() >= 8
        && date[..4].iter().all(u8::is_ascii_digit)
        && date[4] == b'-'
        && digits_and("-:.tz +")
        && body.matches('-').count() >= 2
    {
        return Plain::Ambiguous("a time in YAML 1.1 and text in YAML 1.2");
    }
    Plain::Text
}

/// `1:30`, `12:30:45.5`: digits, then groups below sixty, the last with a fraction perhaps. An address such as
/// `10.0.0.1:80` is text to every reader.
fn is_base_sixty(text: &str) -> bool {
    let Some((first, groups)) = text.split_once(':') else { return false };
    let (groups, fraction) = groups.split_once('.').unwrap_or((groups, ""));
    let digits = |text: &str, extra: &str| text.chars().all(|c| c.is_ascii_digit() || extra.contains(c));
    let below_sixty = |group: &str| digits(group, "") && group.parse::<u8>().is_ok_and(|group| group < 60);
    digits(first, "_") && digits(fraction, "_") && groups.split(':').all(below_sixty)
}

/// A number as JSON writes it, without an exponent, that survives being read and written.
fn plain_number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) =
        unsigned.split_once('.').map_or((unsigned, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole)
        || (whole.len() > 1 && whole.starts_with('0'))
        || fraction.is_some_and(|fraction| !digits(fraction))
    {
        return None;
    }
    if fraction.is_none() {
        return text.parse::<i64>().ok().filter(|_| text != "-0").map(Value::from);
    }
    if unsigned.len() > 16 {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_that_yaml_versions_read_differently_are_refused_with_their_line() {
        for odd in [
            "yes",
            "No",
            "on",
            "012",
            "0o17",
            "0x1F",
            "1_000",
            "1:30",
            "12:30:45",
            "190:20:30.15",
            "2001-01-01",
            ".inf",
            "1e3",
            "True",
            "NULL",
            "+1",
            ".5",
            "5.",
            "y",
            "0b1",
        ] {
            let refusal = read(&format!("a: b\nc: {odd}\n")).unwrap_err();
            assert_eq!(refusal.rule, "ambiguous_scalar", "{odd}");
            assert!(refusal.message.starts_with("line 2:"), "{odd}: {}", refusal.message);
            assert!(read(&format!("a: b\nc: \"{odd}\"\n")).is_ok(), "{odd}");
        }
        for plain in [
            "1",
            "-7",
            "0.5",
            "true",
            "nginx:1.25",
            "20Gi",
            "100m",
            "500Mi",
            "1.2.3",
            "10.0.0.1",
            "web-1",
            "30s",
            "http://x",
            "25%",
            "0 1 * * *",
            "10.0.0.1:80",
            "0.0.0.0:8080",
            "6379:6379",
            "8080:80",
            "::1",
        ] {
            assert!(read(&format!("c: {plain}")).is_ok(), "{plain}: {:?}", read(&format!("c: {plain}")));
        }
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        for text in [
            "a: 1\na: 2",
            "{\"a\":1,\"a\":2}",
            "a: &x 1\nb: *x",
            "a: &x 1",
            "a: !!binary eA==",
            "<<: {a: 1}",
            "a: b\rc: d",
            "a: b\u{2028}c: d",
            "a: b\u{85}c: d",
            "%YAML 1.1\n---\na: b",
            "1: a",
            "? {a: b}\n: c",
            "a: \u{202e}b",
            "{\"a\":\"\\u202e\"}",
            "a: \"\\x85\"",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn documents_are_separated_and_empty_ones_left_out() {
        assert_eq!(read("# nothing\n").unwrap(), Vec::<Value>::new());
        assert_eq!(read("a: 1\n---\n---\nb: 2\r\n").unwrap().len(), 2);
        assert_eq!(read("{\"a\": 1.0}").unwrap(), vec![serde_json::json!({"a": 1.0})]);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert!(read(&"[".repeat(100_000)).is_err());
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)).unwrap_err().rule, "too_large");
        assert!(read(&format!("a: {}", "x".repeat(MAX_TEXT))).is_err());
    }
}
