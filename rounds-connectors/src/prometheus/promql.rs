//! A look at PromQL before a server sees it. It may only warn: the datasource decides, and its dialect may know
//! more than the parser does.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};

/// Parser and visitor recurse; a text beyond these is left to the server.
const MAX_TEXT: usize = 2_048;
const MAX_DEPTH: usize = 64;

/// What looks wrong with an expression, for a person who is typing it; `None` when nothing does. Never a reason
/// to refuse it.
///
/// ```
/// use rounds_connectors::prometheus::lint;
///
/// assert_eq!(lint("sum(rate(http_requests_total[5m]))"), None);
/// assert!(lint("sum(rate(http_requests_total[5m])").is_some());
/// ```
#[must_use]
pub fn lint(expr: &str) -> Option<String> {
    if !can_be_parsed(expr) {
        return None;
    }
    parse(expr).err().map(|error| format!("this may not be PromQL: {error}"))
}

/// The labels that the selectors of an expression pin with `=`: after an aggregation they are all that is left of
/// where the numbers came from. A label that two selectors pin differently is left out.
pub(crate) fn pinned_labels(expr: &str) -> BTreeMap<String, String> {
    if !can_be_parsed(expr) {
        return BTreeMap::new();
    }
    let Ok(expr) = parse(expr) else { return BTreeMap::new() };
    let mut pins = Pins::default();
    let Ok(_) = walk_expr(&mut pins, &expr);
    pins.values
        .into_iter()
        .filter_map(|(name, values)| match values.len() {
            1 => values.into_iter().next().map(|value| (name, value)),
            _ => None,
        })
        .collect()
}

/// Whether an expression is short and flat enough for a parser that recurses. What is not goes to the server as it is.
#[must_use]
pub fn can_be_parsed(expr: &str) -> bool {
    let mut depth = 0_usize;
    expr.len() <= MAX_TEXT
        && expr.chars().all(|c| {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth <= MAX_DEPTH
        })
}

#[derive(Default)]
struct Pins {
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Pins {
    fn selector(&mut self, selector: &VectorSelector) {
        // With `or` between matchers nothing is pinned.
        if selector.matchers.or_matchers.is_empty() {
            let pinned = |matcher: &&Matcher| matches!(matcher.op, MatchOp::Equal) && !matcher.value.is_empty();
            for matcher in selector.matchers.matchers.iter().filter(pinned) {
                self.values.entry(matcher.name.clone()).or_default().insert(matcher.value.clone());
            }
        }
    }
}

impl ExprVisitor for Pins {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_all_selectors_agree_on_are_pinned() {
        let expr = r#"sum(rate(errors_total{namespace="a",deployment="w",code=~"5.."}[5m]))
                      / sum(rate(requests_total{namespace="a",job="x"}[5m])) > on() vector(0) + up{job="y"}"#;
        let pinned = pinned_labels(expr);
        assert_eq!(pinned.get("namespace").map(String::as_str), Some("a"));
        assert_eq!(pinned.get("deployment").map(String::as_str), Some("w"));
        assert_eq!(pinned.get("job"), None, "two jobs are named");
        assert_eq!(pinned.get("code"), None, "a pattern pins nothing");
    }

    #[test]
    fn a_text_that_is_not_promql_or_too_deep_pins_nothing() {
        for expr in ["", "}{", "sum(", &"(".repeat(100_000), &"-".repeat(100_000)] {
            assert!(pinned_labels(expr).is_empty());
        }
        assert!(lint(&"(".repeat(100_000)).is_none(), "left to the server");
    }
}
