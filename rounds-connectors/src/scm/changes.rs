//! Changes to files as they are proposed: parameters, checked and in one form.

use rounds_core::step::Refusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::names::{object_id, quoted, visible};
use super::paths::{PathRules, folded};

/// The most files that one step changes.
pub(crate) const MAX_FILES: usize = 50;
/// The largest file, as proposed and as it is in the repository, in bytes.
pub(crate) const MAX_FILE: usize = 1024 * 1024;
/// What all files of a proposal come to, in bytes.
const MAX_PROPOSED: usize = 256 * 1024;
/// The most replacements in one file.
const MAX_REPLACEMENTS: usize = 50;

/// One file that is written whole, changed in places, or deleted: exactly one of `content`, `replace` and `delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    /// The file, from the root of the repository: `deploy/web.yaml`.
    pub(crate) path: String,
    /// The whole file as it will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    /// Exact texts, each of which is in the file once, and what takes their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replace: Option<Vec<Replacement>>,
    /// `true`: the file is deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) delete: bool,
    /// The file as it was when the change was made up: the id of its blob. Whoever writes a file whole or deletes it says
    /// this, or `baseSha`; a file without either must not be there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob_sha: Option<String>,
}

/// An exact text, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Replacement {
    /// What is there, exactly once.
    pub(crate) old: String,
    /// What will be there.
    pub(crate) new: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Checks changes and brings them into one form: sorted by path.
///
/// # Errors
/// The change that is wrong, by its number and path.
pub(crate) fn checked(mut changes: Vec<Change>, rules: &PathRules, pinned: bool) -> Result<Vec<Change>, Refusal> {
    if changes.is_empty() || changes.len() > MAX_FILES {
        let found = changes.len();
        return Err(Refusal::new("changes", format!("changes: found {found} files; 1 to {MAX_FILES} are accepted")));
    }
    let mut proposed = 0_usize;
    for (at, change) in changes.iter_mut().enumerate() {
        let part = format!("changes[{at}]");
        rules.permit(&change.path).map_err(|refused| refused.about(&part))?;
        one(change, pinned).map_err(|refused| refused.about(format!("{part} ({})", change.path)))?;
        let texts = change.replace.iter().flatten().map(|each| each.old.len() + each.new.len());
        proposed += change.content.as_ref().map_or(0, String::len) + texts.sum::<usize>();
    }
    if proposed > MAX_PROPOSED {
        return Err(Refusal::new(
            "changes",
            format!(
                "changes: found {proposed} bytes in all; up to {MAX_PROPOSED} are accepted, so that a person can read them"
            ),
        ));
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    for (at, change) in changes.iter().enumerate() {
        for other in &changes[at + 1..] {
            let (a, b) = (folded(&change.path), folded(&other.path));
            if a == b
                || b.strip_prefix(&a).is_some_and(|rest| rest.starts_with('/'))
                || a.strip_prefix(&b).is_some_and(|rest| rest.starts_with('/'))
            {
                return Err(Refusal::new(
                    "changes",
                    format!("changes: found `{}` and `{}`; each file once is accepted", change.path, other.path),
                ));
            }
        }
    }
    Ok(changes)
}

fn one(change: &mut Change, pinned: bool) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new("change", message));
    if let Some(id) = &change.blob_sha {
        change.blob_sha = Some(object_id("blobSha", id)?);
    }
    match (&change.content, &change.replace, change.delete) {
        (Some(content), None, false) if content.contains('\0') => refuse("content: found a NUL; text is accepted".into()),
        (Some(_), None, false) => Ok(()),
        (None, Some(list), false) => {
            if list.is_empty() || list.len() > MAX_REPLACEMENTS {
                return refuse(format!("replace: found {}; 1 to {MAX_REPLACEMENTS} are accepted", list.len()));
            }
            for (at, each) in list.iter().enumerate() {
                if each.old.is_empty() || each.old == each.new || each.new.contains('\0') {
                    return refuse(format!(
                        "replace[{at}]: an `old` text that is not empty and differs from `new` is accepted, without NUL"
                    ));
                }
            }
            Ok(())
        }
        (None, None, true) if change.blob_sha.is_some() || pinned => Ok(()),
        (None, None, true) => refuse(
            "delete: without `blobSha`; the id of the blob that is to go is accepted (or `baseSha` of the step), so that \
             nothing is deleted that nobody has seen"
                .into(),
        ),
        _ => refuse("exactly one of `content`, `replace` and `delete: true` is accepted".into()),
    }
}

/// What the changes are, in a line: whole where it is short, by length and digest where it is not.
pub(crate) fn in_a_line(changes: &[Change]) -> String {
    let lines: Vec<String> = changes.iter().map(described).collect();
    lines.join("; ")
}

fn described(change: &Change) -> String {
    let path = &change.path;
    let pin = change.blob_sha.as_ref().map(|id| format!(" (blob {id})")).unwrap_or_default();
    if let Some(content) = &change.content {
        let verb = if change.blob_sha.is_some() { "rewrite" } else { "write" };
        return format!("{verb} {path}{pin} with {} bytes, sha256 {}", content.len(), digest(content));
    }
    if change.delete {
        return format!("delete {path}{pin}");
    }
    let places: Vec<String> =
        change.replace.iter().flatten().map(|each| format!("{} by {}", brief(&each.old), brief(&each.new))).collect();
    format!("in {path}{pin} replace {}", places.join(", "))
}

fn brief(text: &str) -> String {
    match text.chars().count() {
        0..=120 => quoted(text, 120),
        _ => format!("{} sha256 {}", quoted(text, 120), digest(text)),
    }
}

fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// What does not fit into the line, for whoever decides: whole contents, and longer replacements.
pub(crate) fn notes(changes: &[Change]) -> Vec<String> {
    let mut notes = Vec::new();
    for change in changes {
        if let Some(content) = &change.content {
            notes.push(format!("{} as proposed:\n{}", change.path, block(content)));
        }
        for each in change.replace.iter().flatten() {
            if each.old.chars().count() > 120 || each.new.chars().count() > 120 {
                notes.push(format!(
                    "in {}, this:\n{}\nbecomes this:\n{}",
                    change.path,
                    block(&each.old),
                    block(&each.new)
                ));
            }
        }
        if change.replace.is_some() && change.blob_sha.is_none() {
            notes.push(format!(
                "{} is changed as it is when the step runs, so long as each text is there exactly once",
                change.path
            ));
        }
    }
    notes
}

/// A text with a bar before each line, so that none of it looks like words of the page.
fn block(text: &str) -> String {
    let shown = visible(text);
    shown.lines().map(|line| format!("| {line}")).collect::<Vec<_>>().join("\n")
}

/// What a file becomes.
///
/// # Errors
/// A text is not there, or more than once; the message does not repeat the file.
pub(crate) fn replaced(path: &str, before: &[u8], list: &[Replacement]) -> Result<Vec<u8>, String> {
    let Ok(text) = std::str::from_utf8(before) else {
        return Err(format!("{path}: it is not UTF-8 text, so nothing can be replaced in it; write it whole"));
    };
    let mut text = text.to_owned();
    for (at, each) in list.iter().enumerate() {
        // Overlapping ones count, too: `aa` is in `aaa` twice.
        let found = text.char_indices().filter(|(index, _)| text[*index..].starts_with(&each.old)).take(1_000).count();
        if found != 1 {
            return Err(format!(
                "{path}: replace[{at}]: the text {} is there {found} times; a text that is there exactly once is accepted",
                quoted(&each.old, 80)
            ));
        }
        text = text.replacen(&each.old, &each.new, 1);
        if text.len() > MAX_FILE {
            return Err(format!("{path}: it would be larger than {MAX_FILE} bytes"));
        }
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> PathRules {
        PathRules::new("paths", &["**".into()], false).unwrap()
    }

    fn parse(value: serde_json::Value) -> Vec<Change> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_change_is_one_of_three_and_each_file_is_named_once() {
        use serde_json::json;
        let good = parse(json!([
            { "path": "b", "content": "x" },
            { "path": "a", "replace": [{ "old": "1", "new": "2" }] },
            { "path": "c", "delete": true, "blobSha": "A".repeat(40) },
        ]));
        let once = checked(good, &rules(), false).unwrap();
        assert_eq!(once.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(once[2].blob_sha.as_deref(), Some("a".repeat(40).as_str()));
        assert_eq!(checked(once.clone(), &rules(), false).unwrap(), once);
        for wrong in [
            json!([]),
            json!([{ "path": "a" }]),
            json!([{ "path": "a", "content": "x", "delete": true, "blobSha": "a".repeat(40) }]),
            json!([{ "path": "a", "delete": true }]),
            json!([{ "path": "a", "replace": [] }]),
            json!([{ "path": "a", "replace": [{ "old": "", "new": "x" }] }]),
            json!([{ "path": "a", "replace": [{ "old": "x", "new": "x" }] }]),
            json!([{ "path": "a", "content": "x" }, { "path": "A", "content": "y" }]),
            json!([{ "path": "a", "content": "x" }, { "path": "a/b", "content": "y" }]),
            json!([{ "path": "a", "content": "x", "blobSha": "abc" }]),
            json!([{ "path": "a", "content": "x".repeat(300_000) }]),
            json!([{ "path": "../a", "content": "x" }]),
        ] {
            assert!(
                checked(parse(wrong.clone()), &rules(), false).is_err(),
                "{}",
                wrong.to_string().get(..80).unwrap_or_default()
            );
        }
        checked(parse(json!([{ "path": "a", "delete": true }])), &rules(), true).unwrap();
    }

    #[test]
    fn a_text_that_is_not_there_exactly_once_is_not_replaced() {
        let swap = |old: &str, new: &str| vec![Replacement { old: old.into(), new: new.into() }];
        assert_eq!(replaced("f", b"a: 1\nb: 1\n", &swap("a: 1", "a: 2")).unwrap(), b"a: 2\nb: 1\n");
        for (file, old) in [("a: 1\na: 1\n", "a: 1"), ("x", "a"), ("aaa", "aa")] {
            assert!(replaced("f", file.as_bytes(), &swap(old, "y")).unwrap_err().contains("exactly once"), "{file}");
        }
        assert!(replaced("f", &[0xff], &swap("a", "b")).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn rule_2_the_line_holds_no_line_break_and_tells_two_changes_apart() {
        let line = |content: &str| in_a_line(&parse(serde_json::json!([{ "path": "a", "content": content }])));
        assert_ne!(line("one\n"), line("two\n"));
        let change = serde_json::json!([{ "path": "a", "replace": [{ "old": "x\n", "new": "\u{202e}" }] }]);
        assert_eq!(in_a_line(&parse(change)), r#"in a replace "x\n" by "\u{202e}""#);
    }
}
