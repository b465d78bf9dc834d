//! Text for a terminal: what comes from the server is cleaned first, and lines fit 80 columns.

use std::io::Write as _;

use chrono::{DateTime, Utc};
use rounds_core::ports::{Clock as _, SystemClock};
use serde_json::Value;

use super::failure::Failure;

/// How wide a line may be.
const WIDTH: usize = 80;

/// Characters that a terminal acts on, or that change the order in which a line is read, instead of showing them.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// One line: nothing in it moves the cursor, colours, or turns the text around.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c }).filter(|c| !acts(*c)).collect()
}

/// Several lines; only their ends are kept.
pub(super) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// A text cut to a width, with a mark where it was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// JSON for programs, which may yet be looked at in a terminal: what a terminal acts on is escaped.
pub(super) fn json_line(value: &Value) -> String {
    escaped(&value.to_string())
}

fn json_pretty(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()))
}

fn escaped(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends are the layout's: those in strings are escaped already.
        if acts(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Prints a line of JSON.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&json_line(value))
}

/// Prints JSON for people: an answer that this client knows nothing more of.
pub(super) fn print_pretty(value: &Value) -> Result<(), Failure> {
    print(&json_pretty(value))
}

/// Prints text that is clean, and a line end.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    Ok(out.flush()?)
}

/// Says how it goes on, where it disturbs no answer.
pub(super) fn progress(line: &str) {
    // Progress that nobody reads is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{}", clean(line));
}

/// The text at a JSON pointer, cleaned; `-` where there is none.
pub(super) fn at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => clean(text),
        Some(other) => clean(&other.to_string()),
    }
}

/// A time of the server's: as it is, and how long ago or ahead.
pub(super) fn time(value: &Value, pointer: &str) -> String {
    match moment(value, pointer) {
        Some(then) => format!("{} ({})", then.format("%Y-%m-%d %H:%M:%S UTC"), relative(then, SystemClock.now())),
        None => at(value, pointer),
    }
}

/// Only how long ago or ahead.
pub(super) fn age(value: &Value, pointer: &str) -> String {
    moment(value, pointer).map_or_else(|| at(value, pointer), |then| relative(then, SystemClock.now()))
}

fn moment(value: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

fn relative(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = now.signed_duration_since(then).num_seconds();
    let amount = match seconds.unsigned_abs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    };
    if seconds < 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

/// Rows in columns, as wide as what stands in them; the last one is cut so that each line fits.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let mut widths = vec![0; head.len()];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines = Vec::new();
    for row in std::iter::once(&head).chain(rows) {
        let (mut line, mut used) = (String::new(), 0);
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_last = place + 1 == row.len();
            let room = if is_last { WIDTH.saturating_sub(used).max(8) } else { *width };
            line.push_str(&cut(cell, room));
            if !is_last {
                line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
                used += width + 2;
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let hostile = "a\u{1b}[31mred\u{9b}2J\u{7}\r\u{202e}x\u{e0041}\nnext";
        assert_eq!(clean(hostile), "a[31mred2Jx next");
        assert_eq!(clean_lines(hostile), "a[31mred2Jx\nnext");
        let json = json_line(&serde_json::json!({ "text": hostile }));
        assert!(!json.chars().any(acts), "{json:?}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["text"], hostile, "and it still says the same");
    }

    #[test]
    fn a_table_fits_80_columns() {
        let rows =
            vec![vec!["a".repeat(36), "completed".into(), "x".repeat(200)], vec!["b".into(), "c".into(), "d".into()]];
        let table = table(&["ID", "STATUS", "SUMMARY"], &rows);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert_eq!(table.lines().count(), 3);
    }
}
