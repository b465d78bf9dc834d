//! Words in a title or a text that a forge, or a pipeline behind it, takes for a command.
//!
//! A person approves a text as something to read. One that leaves the checks out (`[skip ci]`), or closes somebody's issue
//! once it is taken (`fixes #7`), would do something that nobody was asked about.
//!
//! Sources: GitHub's "Skipping workflow runs" and "Linking a pull request to an issue", GitLab's "Skip a pipeline", "Push
//! options" and "Closing issues automatically"; other pipelines' marks are of the same form.

use std::sync::LazyLock;

use regex::Regex;
use rounds_core::step::Refusal;

use super::names::quoted;

/// A form of command, and what it does.
struct Form {
    what: &'static str,
    pattern: Result<Regex, regex::Error>,
}

static FORMS: LazyLock<[Form; 4]> = LazyLock::new(|| {
    let form = |what, pattern: &str| Form { what, pattern: Regex::new(pattern) };
    [
        form(
            "leaves checks out",
            r"(?ix) [\[*] [\s*_]* (?:
                (?:skip|no) [\s_-]* SYSTEM | SYSTEM [\s_-]* skip
            ) [\s*_]* [\]*]"
                .replace(
                    "SYSTEM",
                    "(?:ci|cd|actions?|checks?|builds?|pipelines?|github|gitlab|travis|circleci|azp|azurepipelines|appveyor|drone|\
                     buildkite|jenkins|netlify|vercel)",
                )
                .as_str(),
        ),
        form("leaves checks out", r"(?im)^[\s>*_-]*(?:skip|request)-checks\s*:"),
        form(
            "is an option of a push",
            r"(?ix) (?: (?:^|\s) (?:-o|--push-option) [\s=]* [\x22'`]? )? \b
              (?: ci\.(?:skip|no_pipeline|variable|input) | merge_request\.[a-z_]+ | integrations\.skip_ci | secret_(?:detection|push_protection)\.skip_all )
              \b",
        ),
        form(
            "closes an issue",
            r"(?ix) \b (?: clos(?:e[sd]?|ing) | fix(?:e[sd]|ing)? | resolv(?:e[sd]?|ing) | implement(?:s|ed|ing)? ) \b
              [\s:*_`\[(<]* (?: issues? \s+ )? [\[(<`]*
              (?: \#\d | gh-\d | [\w.-]+(?:/[\w.-]+)*[\#!]\d | https?:// )",
        ),
    ]
});

/// The text, if nothing in it is a command.
///
/// # Errors
/// There is one; it is quoted, with what it does.
pub(crate) fn without(field: &str, text: &str) -> Result<(), Refusal> {
    for Form { what, pattern } in &*FORMS {
        let found = match pattern {
            Ok(pattern) => pattern.find(text).map(|found| found.as_str()),
            // Not to be known is not to be without.
            Err(_) => Some(text),
        };
        if let Some(found) = found {
            let found = quoted(found.trim(), 80);
            let message = format!("{field}: found {found}, which {what}; a text that is only read is accepted");
            return Err(Refusal::new("forge_command", message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_2_a_text_commands_nothing() {
        for (text, what) in [
            ("Scale up [skip ci]", "leaves checks out"),
            ("[CI SKIP] Scale up", "leaves checks out"),
            ("x [no ci]", "leaves checks out"),
            ("x [skip actions]", "leaves checks out"),
            ("x [Actions  Skip]", "leaves checks out"),
            ("x [skip-ci]", "leaves checks out"),
            ("x [ci-skip]", "leaves checks out"),
            ("x [ skip ci ]", "leaves checks out"),
            ("x [skip\nci]", "leaves checks out"),
            ("x ***NO_CI***", "leaves checks out"),
            ("why\n\nskip-checks: true", "leaves checks out"),
            ("Skip-Checks:true", "leaves checks out"),
            ("push with -o ci.skip", "option of a push"),
            ("--push-option=ci.variable=\"A=1\"", "option of a push"),
            ("ci.skip", "option of a push"),
            ("-o merge_request.merge_when_pipeline_succeeds", "option of a push"),
            ("Closes #1", "closes an issue"),
            ("close: #1", "closes an issue"),
            ("FIXED acme/shop#22", "closes an issue"),
            ("fix #1", "closes an issue"),
            ("resolves\n#1", "closes an issue"),
            ("resolve https://github.com/acme/shop/issues/1", "closes an issue"),
            ("fixes GH-3", "closes an issue"),
            ("closing issue #3", "closes an issue"),
            ("Fixes group/sub/project#4", "closes an issue"),
            ("fixes [#3](x)", "closes an issue"),
        ] {
            let refused = without("title", text).expect_err(text);
            assert!(refused.message.starts_with("title: found \"") && refused.message.contains(what), "{refused:?}");
        }
        for plain in [
            "Scale web up",
            "Fix the memory limit of web",
            "fixes the crash, see #12",
            "closed the gap; https://runbooks.example.com says how",
            "Skip the CI cache [web]",
            "resolve the name of db-1",
            "prefix #1 and suffixes #2",
            "[no cache]",
        ] {
            without("body", plain).unwrap();
        }
    }
}
