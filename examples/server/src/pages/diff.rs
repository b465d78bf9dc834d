//! Lines that were added, removed or stayed: of a dry-run as the target system wrote it, and between two lists.

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is the same on both sides.
    Same,
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It says where: a file or a place in one.
    Place,
}

/// One line of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

impl Line {
    /// The class that colours it.
    pub(crate) fn class(&self) -> &'static str {
        match self.mark {
            Mark::Same => "same",
            Mark::Added => "add",
            Mark::Removed => "del",
            Mark::Place => "place",
        }
    }

    /// The sign before it, so that colour is never the only difference.
    pub(crate) fn sign(&self) -> &'static str {
        match self.mark {
            Mark::Added => "+",
            Mark::Removed => "−",
            Mark::Same | Mark::Place => " ",
        }
    }
}

/// Marks the lines of a preview. Text that is no diff comes back unmarked.
pub(crate) fn preview(text: &str) -> Vec<Line> {
    // A YAML list starts its lines with a dash too: only text that says where it changes is read as a diff.
    let is_diff = text.lines().any(|line| line.starts_with("@@") || line.starts_with("+++ "))
        || text.lines().any(|line| line.starts_with("+ ")) && text.lines().any(|line| line.starts_with("- "));
    text.lines()
        .map(|line| {
            let (mark, text) = match line.as_bytes() {
                _ if !is_diff => (Mark::Same, line),
                [b'@', b'@', ..] | [b'-', b'-', b'-', b' ', ..] | [b'+', b'+', b'+', b' ', ..] => (Mark::Place, line),
                [b'+', ..] => (Mark::Added, &line[1..]),
                [b'-', ..] => (Mark::Removed, &line[1..]),
                [b' ', ..] => (Mark::Same, &line[1..]),
                _ => (Mark::Same, line),
            };
            Line { mark, text: text.to_owned() }
        })
        .collect()
}

/// The difference between two lists, by their longest common subsequence. Plans have at most fifty steps.
pub(crate) fn lists(before: &[String], after: &[String]) -> Vec<Line> {
    let mut common = vec![vec![0usize; after.len() + 1]; before.len() + 1];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i][j] = if old == new { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    let mut push = |mark, text: &String| lines.push(Line { mark, text: text.clone() });
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            push(Mark::Same, &before[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[i + 1][j] >= common[i][j + 1] {
            push(Mark::Removed, &before[i]);
            i += 1;
        } else {
            push(Mark::Added, &after[j]);
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| format!("{}{}", line.sign(), line.text)).collect()
    }

    #[test]
    fn a_changed_command_is_one_removed_and_one_added_line() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let lines = lists(&list(&["get a", "scale b", "get c"]), &list(&["get a", "undo b", "get c", "get d"]));
        assert_eq!(shown(&lines), [" get a", "−scale b", "+undo b", " get c", "+get d"]);
    }

    #[test]
    fn a_yaml_list_is_not_taken_for_a_diff() {
        assert!(preview("items:\n- a\n- b").iter().all(|line| line.mark == Mark::Same));
        let lines = preview("--- live\n+++ merged\n@@ -1 +1 @@\n-  image: web:2\n+  image: web:1");
        assert_eq!(lines.iter().filter(|line| line.mark == Mark::Added).count(), 1);
        assert_eq!(lines.iter().filter(|line| line.mark == Mark::Removed).count(), 1);
    }
}
