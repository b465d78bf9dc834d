//! A look at LogQL before Loki sees it: does it ask for lines, and of something? Loki parses it; this only says early, and
//! in words that help, what can never work here.

use rounds_core::ports::PortError;

use crate::source::{invalid, one_line};

/// Longer ones are nobody's question; Loki's own limit is 5120 bytes.
const LONGEST: usize = 5_120;

/// Refuses what is no query for log lines.
///
/// # Errors
/// It is a metric query, has no stream selector, or selects everything.
pub(super) fn check(expr: &str) -> Result<(), PortError> {
    if expr.len() > LONGEST {
        return Err(invalid(format!("found a LogQL query of {} bytes; Loki takes {LONGEST} at most", expr.len())));
    }
    let shown = || one_line(expr, 80);
    let Some(selector) = start(expr).strip_prefix('{') else {
        let why = if start(expr).is_empty() {
            "found an empty query"
        } else if is_metric(start(expr)) {
            "found a metric query, which answers numbers"
        } else {
            "found no stream selector"
        };
        return Err(invalid(format!(
            "{why} (`{}`); a LogQL query for lines is expected, which begins with a stream selector: \
             {{namespace=\"shop\", app=\"web\"}} |= \"error\"",
            shown()
        )));
    };
    match matchers(selector) {
        None => Err(invalid(format!("the stream selector of `{}` does not end: a `}}` is expected", shown()))),
        Some(0) => Err(invalid(format!(
            "`{}` selects every stream; at least one matcher that needs a value is expected: {{namespace=\"shop\"}}",
            shown()
        ))),
        Some(_) => Ok(()),
    }
}

/// The query behind comments, spaces and the parentheses that LogQL allows around it.
fn start(expr: &str) -> &str {
    let mut rest = expr.trim_start();
    loop {
        rest = match rest.chars().next() {
            Some('#') => rest.split_once('\n').map_or("", |(_, next)| next).trim_start(),
            Some('(') => rest[1..].trim_start(),
            _ => return rest,
        };
    }
}

/// Whether it begins as an aggregation or a function does: a word, then `(` or `by (`.
fn is_metric(rest: &str) -> bool {
    let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let after = rest[word..].trim_start();
    word > 0
        && (after.starts_with('(')
            || after.starts_with("by")
            || after.starts_with("without")
            || is_number(&rest[..word]))
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit())
}

/// How many matchers a selector has that an absent label does not pass, up to its closing brace; `None`: it does not close.
fn matchers(selector: &str) -> Option<usize> {
    let (mut found, mut quote, mut escaped) = (0, None, false);
    let (mut operator, mut value) = (String::new(), String::new());
    // Whether the matcher that has just ended asks for something.
    let asks = |operator: &str, value: &str| match operator {
        "=" => !value.is_empty(),
        "=~" => !matches!(value, "" | ".*"),
        _ => false,
    };
    for c in selector.chars() {
        match (quote, c) {
            (Some(_), c) if escaped => {
                escaped = false;
                value.push(c);
            }
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => value.push(c),
            (None, '"' | '`') => quote = Some(c),
            (None, '=' | '!' | '~') => operator.push(c),
            (None, ',' | '}') => {
                found += usize::from(asks(&operator, &value));
                operator.clear();
                value.clear();
                if c == '}' {
                    return Some(found);
                }
            }
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_for_lines_pass() {
        for expr in [
            r#"{app="web"}"#,
            r#" { app = "web" , level=~"err.+" } |= "error" | json | line_format "{{.msg}}""#,
            r#"{app=~"web|api", pod!="web-1"} != "rate(" "#,
            "{app=`web`} |~ `sum by (x)`",
            r#"{app="a}b\"c"} |= "x""#,
            "# why\n{app=\"web\"}",
            r#"({app="web"} |= "x")"#,
        ] {
            assert!(check(expr).is_ok(), "{expr}: {:?}", check(expr));
        }
    }

    #[test]
    fn metric_queries_are_refused_as_such_and_a_selector_is_required() {
        for (expr, word) in [
            (r#"rate({app="web"}[5m])"#, "metric query"),
            (r#"sum by (app) (rate({app="web"}[5m]))"#, "metric query"),
            (r#"sum(count_over_time({app="web"}[5m])) > 1"#, "metric query"),
            (r#"topk(3, rate({app="web"}[5m]))"#, "metric query"),
            ("1 + 1", "metric query"),
            ("", "empty query"),
            ("# only a comment", "empty query"),
            ("error", "no stream selector"),
            (r#"|= "error""#, "no stream selector"),
            (r#"app="web""#, "no stream selector"),
            ("{}", "selects every stream"),
            (r#"{app=""}"#, "selects every stream"),
            (r#"{app=~".*"}"#, "selects every stream"),
            (r#"{app!="web"}"#, "selects every stream"),
            (r#"{app="web""#, "does not end"),
            (r#"{app="web}"#, "does not end"),
        ] {
            let error = check(expr).unwrap_err();
            assert_eq!(error.kind, rounds_core::ports::PortErrorKind::Invalid);
            assert!(error.message.contains(word), "{expr}: {error}");
        }
        assert!(check(&format!("{{app=\"{}\"}}", "x".repeat(6_000))).is_err());
    }
}
