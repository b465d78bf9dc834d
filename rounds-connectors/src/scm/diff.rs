//! The unified diff that people decide by.

use std::fmt::Write as _;
use std::time::Duration;

use similar::TextDiff;

use super::edits::{Edit, Side};
use super::names::visible;

/// The most that is shown of one file's diff, and of all, in bytes. What Rounds keeps of a preview is a little more.
const MAX_ONE: usize = 24 * 1024;
const MAX_ALL: usize = 56 * 1024;
/// Two files without anything in common take long; after this the diff is coarser, and still right.
const PATIENCE: Duration = Duration::from_millis(500);

/// The diffs of all edits, one after the other. What does not fit is said, with how much it is.
pub(crate) fn unified(edits: &[Edit]) -> String {
    let mut text = String::new();
    for (at, edit) in edits.iter().enumerate() {
        let one = of_one(edit);
        if text.len() + one.len() > MAX_ALL {
            let left: Vec<&str> = edits[at..].iter().map(|edit| edit.path.as_str()).collect();
            let _ = writeln!(text, "[… not shown, for length: {} …]", left.join(", "));
            break;
        }
        text.push_str(&one);
    }
    text
}

fn of_one(edit: &Edit) -> String {
    let path = &edit.path;
    let name = |side: &Option<Side>, letter: char| match side {
        Some(_) => format!("{letter}/{path}"),
        None => "/dev/null".to_owned(),
    };
    let (old, new) = (name(&edit.before, 'a'), name(&edit.after, 'b'));
    let mut text = format!("diff --git a/{path} b/{path}\n");
    match (&edit.before, &edit.after) {
        (None, Some(after)) => {
            let _ = writeln!(text, "new file mode {}", after.mode.octal());
        }
        (Some(before), None) => {
            let _ = writeln!(text, "deleted file mode {}", before.mode.octal());
        }
        (Some(before), Some(after)) if before.mode != after.mode => {
            let _ = writeln!(text, "old mode {}\nnew mode {}", before.mode.octal(), after.mode.octal());
        }
        _ => {}
    }
    let bytes = |side: &Option<Side>| side.as_ref().map(|side| side.bytes.clone()).unwrap_or_default();
    let (before, after) = (bytes(&edit.before), bytes(&edit.after));
    match (text_of(&before), text_of(&after)) {
        (Some(before), Some(after)) => {
            let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(before, after);
            let shown = visible(&diff.unified_diff().context_radius(3).header(&old, &new).to_string());
            if shown.len() > MAX_ONE {
                let cut = shown.floor_char_boundary(MAX_ONE);
                let _ = writeln!(text, "{}\n[… {} bytes of this diff not shown …]", &shown[..cut], shown.len() - cut);
            } else {
                text.push_str(&shown);
            }
        }
        _ => {
            let _ =
                writeln!(text, "Binary files {old} ({} bytes) and {new} ({} bytes) differ", before.len(), after.len());
        }
    }
    text
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scm::tree::FileMode;

    fn side(text: &[u8]) -> Option<Side> {
        Some(Side { mode: FileMode::Regular, bytes: text.to_vec(), id: None })
    }

    #[test]
    fn the_diff_is_unified_and_shows_what_cannot_be_seen() {
        let edit = Edit {
            path: "a.yaml".into(),
            before: side(b"a: 1\nb: 2\n"),
            after: side("a: 1\nb: \u{202e}3\n".as_bytes()),
        };
        let expected =
            "diff --git a/a.yaml b/a.yaml\n--- a/a.yaml\n+++ b/a.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: \\u{202e}3\n";
        assert_eq!(unified(&[edit]), expected);
    }

    #[test]
    fn what_is_too_long_is_said_and_never_left_out_in_silence() {
        let long = Edit { path: "long".into(), before: None, after: side("x\n".repeat(40_000).as_bytes()) };
        let many: Vec<Edit> = (0..4).map(|at| Edit { path: format!("{at}"), ..long.clone() }).collect();
        let text = unified(&many);
        assert!(
            text.len() < 64 * 1024
                && text.contains("bytes of this diff not shown")
                && text.contains("for length: 2, 3")
        );
        assert!(
            unified(&[Edit { path: "b".into(), before: None, after: side(&[0, 255]) }])
                .contains("Binary files /dev/null")
        );
    }
}
