//! Reads from one cluster through the [`Toolbox`]: bounded in number, tolerant of cut answers, and honest about
//! what could not be read.

use rounds_core::investigation::ReadingId;
use rounds_core::ports::{ConnectorView, Toolbox};
use rounds_core::step::{Mode, StepOutput, StepSpec};
use serde_json::Value;

/// An object or a text with the reading it came from.
#[derive(Debug, Clone)]
pub(crate) struct Read<T> {
    pub(crate) id: ReadingId,
    pub(crate) value: T,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The cluster says that there is no such object.
    NotFound(ReadingId),
    /// It could not be read, which rules nothing out; it is among the unknowns.
    Unreadable,
}

/// Objects of a list.
#[derive(Debug)]
pub(crate) struct List {
    /// The list itself, which is evidence even when it is empty.
    pub(crate) reading: ReadingId,
    pub(crate) items: Vec<Read<Value>>,
    /// Whether these are all.
    pub(crate) complete: bool,
}

/// What the readers of one investigation share.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// What could not be found out, for the report.
    pub(crate) unknowns: Vec<String>,
    reads_left: u32,
}

impl Ledger {
    pub(crate) fn new(reads: u32) -> Self {
        Self { unknowns: Vec::new(), reads_left: reads }
    }

    pub(crate) fn unknown(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.unknowns.len() < 40 && !self.unknowns.contains(&what) {
            self.unknowns.push(what);
        }
    }

    /// Takes one read from the budget.
    pub(crate) fn spend(&mut self) -> bool {
        if self.reads_left == 0 {
            self.unknown("the budget of reads of this investigation is used up; what was not read is not known");
            return false;
        }
        self.reads_left -= 1;
        true
    }
}

/// Reads from one cluster.
pub(crate) struct Reader<'a> {
    tools: &'a dyn Toolbox,
    pub(crate) connector: &'a ConnectorView,
    pub(crate) ledger: &'a mut Ledger,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tools: &'a dyn Toolbox, connector: &'a ConnectorView, ledger: &'a mut Ledger) -> Self {
        Self { tools, connector, ledger }
    }

    /// Whether the gate would let a read through; if not, why. Asked where a refusal is to be expected.
    pub(crate) async fn would_read(&self, argv: &[&str]) -> Result<(), String> {
        let step = StepSpec::command(argv.iter().copied());
        let reviewed = self.tools.review(self.connector.id, &step, Mode::Read).await;
        reviewed.map(drop).map_err(|refusal| refusal.message)
    }

    /// One command.
    pub(crate) async fn run(&mut self, argv: &[&str]) -> Result<Read<String>, Missing> {
        if !self.ledger.spend() {
            return Err(Missing::Unreadable);
        }
        let reading = self.tools.read(self.connector.id, StepSpec::command(argv.iter().copied())).await;
        let id = reading.id;
        let failed = match reading.answer {
            Ok(StepOutput { exit_code: None | Some(0), output, .. }) => return Ok(Read { id, value: output }),
            Ok(output) => output.error_output,
            Err(error) => error,
        };
        // kubectl's words for an object that does not exist, which is an answer; a kind that does not exist is not.
        if failed.contains("(NotFound)") && failed.contains("not found") {
            return Err(Missing::NotFound(id));
        }
        let reason: String = failed.trim().chars().filter(|c| !c.is_control()).take(300).collect();
        self.ledger.unknown(format!(
            "`{}` on {} could not be read ({id}): {reason}",
            argv.join(" "),
            self.connector.name
        ));
        Err(Missing::Unreadable)
    }

    /// One object.
    pub(crate) async fn object(&mut self, kind: &str, namespace: &str, name: &str) -> Result<Read<Value>, Missing> {
        let argv = ["get", kind, name, "-n", namespace, "-o", "json"];
        let Read { id, value } = self.run(&argv).await?;
        match serde_json::from_str::<Value>(&quoted(&value)) {
            Ok(object) if object.is_object() => Ok(Read { id, value: object }),
            _ => {
                self.ledger
                    .unknown(format!("`{}` answered something that is not a whole object ({id})", argv.join(" ")));
                Err(Missing::Unreadable)
            }
        }
    }

    /// Objects by selectors (`["-l", "app=web"]`). A list that is larger than what is kept of an answer loses its
    /// middle: what is whole is used, and up to `fetch` missing ones are read one by one, unhealthy ones first.
    pub(crate) async fn list(&mut self, kind: &str, namespace: &str, select: &[&str], fetch: usize) -> Option<List> {
        let argv = [&["get", kind, "-n", namespace], select, &["-o", "json"]].concat();
        let Read { id, value } = self.run(&argv).await.ok()?;
        let (items, complete) = parse_list(&quoted(&value));
        let mut list =
            List { reading: id, items: items.into_iter().map(|value| Read { id, value }).collect(), complete };
        if list.complete {
            return Some(list);
        }
        let known: Vec<Option<String>> =
            list.items.iter().map(|item| super::kube::text(&item.value, "/metadata/name")).collect();
        let argv = [&["get", kind, "-n", namespace], select].concat();
        if fetch > 0
            && let Ok(table) = self.run(&argv).await
        {
            let mut rows = Table::parse(&table.value).rows;
            rows.retain(|row| !known.contains(&row.name()));
            rows.sort_by_key(Row::looks_healthy);
            list.complete = rows.len() <= fetch;
            for name in rows.iter().take(fetch).filter_map(Row::name) {
                match self.object(kind, namespace, &name).await {
                    Ok(object) => list.items.push(object),
                    Err(_) => list.complete = false,
                }
            }
        }
        if !list.complete {
            let (found, argv) = (list.items.len(), argv.join(" "));
            self.ledger.unknown(format!("`{argv}` has more than is read at once: {found} of them were looked at"));
        }
        Some(list)
    }

    /// kubectl's table of a kind in a namespace.
    pub(crate) async fn table(&mut self, kind: &str, namespace: &str) -> Option<Read<Table>> {
        let Read { id, value } = self.run(&["get", kind, "-n", namespace]).await.ok()?;
        Some(Read { id, value: Table::parse(&value) })
    }
}

/// JSON in which an adapter has put its mark in place of a secret value, quotes and all, made readable again.
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    const MARK: &str = "[redacted]";
    if !text.contains(MARK) || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return text.into();
    }
    let mut whole = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = (&rest[..at], &rest[at + MARK.len()..]);
        whole.push_str(before);
        // A value follows an unescaped `":`; anywhere else the mark stands inside a string.
        let key = before.trim_end().strip_suffix(':').and_then(|key| key.trim_end().strip_suffix('"'));
        let value = key.is_some_and(|key| !key.ends_with('\\'));
        whole.push_str(if value { "\"[redacted]\"" } else { MARK });
        rest = after;
    }
    whole.push_str(rest);
    whole.into()
}

/// The whole items of a list, and whether that is all of it.
pub(crate) fn parse_list(text: &str) -> (Vec<Value>, bool) {
    if let Ok(mut value) = serde_json::from_str::<Value>(text) {
        return match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => (items, true),
            Some(_) => (Vec::new(), true),
            None if value.is_object() => (vec![value], true),
            None => (Vec::new(), false),
        };
    }
    let mut items = Vec::new();
    let Some(start) = text.find("\"items\"").and_then(|at| text[at..].find('[').map(|open| at + open + 1)) else {
        return (items, false);
    };
    let mut rest = &text[start..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(item)) if item.is_object() => items.push(item),
            _ => return (items, false),
        }
        rest = &rest[stream.byte_offset()..];
    }
}

/// A table as kubectl prints it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

/// One line, by column.
#[derive(Debug, Default)]
pub(crate) struct Row(Vec<(String, String)>);

impl Table {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let header = lines.find(|line| line.starts_with("NAME")).unwrap_or_default();
        let starts: Vec<usize> = header
            .char_indices()
            .filter(|(at, c)| !c.is_whitespace() && (*at == 0 || header[..*at].ends_with("  ")))
            .map(|(at, _)| at)
            .collect();
        let cell = |line: &str, column: usize| {
            let end = starts.get(column + 1).copied().unwrap_or(line.len()).min(line.len());
            line.get(starts[column].min(end)..end).unwrap_or_default().trim().to_owned()
        };
        let rows = lines
            .filter(|line| !line.trim().is_empty())
            .map(|line| Row((0..starts.len()).map(|column| (cell(header, column), cell(line, column))).collect()))
            .collect();
        Self { rows }
    }
}

impl Row {
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, cell)| cell.as_str())
    }

    pub(crate) fn name(&self) -> Option<String> {
        self.get("NAME").filter(|name| super::locate::is_name(name)).map(str::to_owned)
    }

    /// Ready and wanted pods, from `READY 2/3` or the columns of a daemon set.
    pub(crate) fn ready(&self) -> Option<(i64, i64)> {
        if let (Some(ready), Some(desired)) = (self.get("READY"), self.get("DESIRED")) {
            return Some((ready.parse().ok()?, desired.parse().ok()?));
        }
        let (ready, desired) = self.get("READY")?.split_once('/')?;
        Some((ready.parse().ok()?, desired.parse().ok()?))
    }

    fn looks_healthy(&self) -> bool {
        let running = self.get("STATUS").is_none_or(|status| status == "Running");
        running && self.ready().is_none_or(|(ready, desired)| ready >= desired && desired > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_list_gives_what_is_whole_and_says_that_it_is_cut() {
        let whole = serde_json::json!({ "kind": "List", "items": [{ "a": 1 }, { "b": [{}] }, { "c": "]" }] });
        let pretty = serde_json::to_string_pretty(&whole).expect("JSON");
        assert_eq!(parse_list(&pretty).0.len(), 3);
        assert!(parse_list(&pretty).1);
        for end in 0..pretty.len() - 1 {
            let (items, complete) = parse_list(&pretty[..end]);
            assert!(!complete && items.len() <= 3, "cut at {end}");
        }
        let at = pretty.find("\"b\"").expect("the second item");
        let cut = format!("{} … 12345 bytes cut … {}", &pretty[..at], &pretty[at + 3..]);
        assert_eq!(parse_list(&cut).0.len(), 1);
    }

    #[test]
    fn redaction_does_not_make_an_object_unreadable() {
        let text = r#"{"env": [{"name": "DB_PASSWORD", "value": [redacted]}, {"token": [redacted], "x": "a: [redacted]"}],
            "applied": "{\"password\": [redacted]}"}"#;
        assert!(serde_json::from_str::<Value>(text).is_err());
        let read: Value = serde_json::from_str(&quoted(text)).expect("JSON");
        assert_eq!(read["env"][0]["value"], "[redacted]");
        assert_eq!(read["env"][1]["x"], "a: [redacted]");
        assert_eq!(read["applied"], "{\"password\": [redacted]}");
        assert_eq!(quoted(r#"{"a": ["[redacted]"]}"#), r#"{"a": ["[redacted]"]}"#);
    }

    #[test]
    fn tables_are_read_by_their_headers() {
        let table =
            Table::parse("NAME    READY   UP-TO-DATE   AVAILABLE   AGE\nweb     2/3     3            2           5d\n");
        assert_eq!(table.rows[0].name().as_deref(), Some("web"));
        assert_eq!(table.rows[0].ready(), Some((2, 3)));
        let table = Table::parse(
            "NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE\n\
             log    4         4         1       4            1           <none>          2d\n",
        );
        assert_eq!(table.rows[0].ready(), Some((1, 4)));
        assert_eq!(table.rows[0].get("NODE SELECTOR"), Some("<none>"));
        assert!(Table::parse("No resources found in x namespace.\n").rows.is_empty());
    }
}
