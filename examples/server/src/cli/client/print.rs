//! How answers look to people: tables, times, and text that cannot take over a terminal.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Text from elsewhere without what a terminal would obey: control characters but line ends and tabs, and the marks that
/// turn the direction of reading.
pub(super) fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || turns(*c))).collect()
}

/// A field as text, on one line; `-` for what is not there.
pub(super) fn field(value: &Value, name: &str) -> String {
    line(&value[name])
}

fn line(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => clean(text).replace(['\n', '\t'], " "),
        other => other.to_string(),
    }
}

/// Rows under a head, each column as wide as it must be, the last one as it comes.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A moment as people say it, with the moment itself: `3 min ago (2026-01-31 08:00:00Z)`.
pub(super) fn time(value: &Value) -> String {
    let Some(at) = value.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok()) else { return line(value) };
    format!("{} ({})", relative(at), at.format("%Y-%m-%d %H:%M:%SZ"))
}

/// The same without the moment itself, for tables.
pub(super) fn ago(value: &Value) -> String {
    let at = value.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    at.map_or_else(|| line(value), relative)
}

#[allow(clippy::disallowed_methods, reason = "the time of whoever reads this, which is no service's")]
fn relative(at: DateTime<Utc>) -> String {
    let since = (Utc::now() - at).num_seconds();
    let (number, unit) = match since.unsigned_abs() {
        seconds @ 0..=89 => (seconds, "s"),
        seconds @ 90..=5_399 => (seconds / 60, "min"),
        seconds @ 5_400..=129_599 => (seconds / 3_600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    if since < 0 { format!("in {number} {unit}") } else { format!("{number} {unit} ago") }
}

/// Lines, each under a margin.
pub(super) fn indented(text: &str, margin: &str) -> String {
    let mut indented = String::new();
    for line in clean(text).lines() {
        let _ = writeln!(indented, "{margin}{line}");
    }
    indented
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_does_not_reach_it() {
        let hostile = "roll\x1b[2J\x1b]0;owned\x07 back\u{202e}kcab\r\n\tok\u{9b}31m";
        let shown = clean(hostile);
        assert_eq!(shown, "roll[2J]0;owned backkcab\n\tok31m");
        assert_eq!(field(&json!({ "summary": "a\nb\x1b[1m" }), "summary"), "a b[1m", "a row is one line");
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [vec!["1".into(), "pending".into(), "x".into()], vec!["22".into(), "ok".into(), "y".into()]];
        assert_eq!(table(&["ID", "STATE", "NAME"], &rows), "ID  STATE    NAME\n1   pending  x\n22  ok       y\n");
    }
}
