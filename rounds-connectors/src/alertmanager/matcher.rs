//! Selectors as PromQL writes them, and matchers as Alertmanager's API takes them: the same four operators.

use std::collections::BTreeMap;
use std::fmt;

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, parse};
use regex::{Regex, RegexBuilder};
use rounds_core::ports::PortError;

use crate::source::{invalid, one_line};

/// A selector is short and flat; a parser that recurses sees no other.
const LONGEST: usize = 2_048;
/// The most memory that a regular expression may need.
const REGEX: usize = 256 * 1024;

/// The name of the series that alerts are answered as, and its label that says in which state they are.
pub(super) const NAME: &str = "ALERTS";
const NAME_LABEL: &str = "__name__";
pub(super) const STATE: &str = "alertstate";

/// One condition on a label. A label that is not there is the empty text.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub(super) name: String,
    operator: &'static str,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A label with exactly this value.
    pub(super) fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), operator: "=", value: value.into(), regex: None }
    }

    /// Whether it is about what Rounds makes of an alert, and so not for the server.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.name.as_str(), NAME_LABEL | STATE)
    }

    /// Whether a value passes.
    pub(super) fn passes(&self, value: &str) -> bool {
        let same = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => value == self.value,
        };
        same == self.operator.starts_with('=')
    }

    /// Whether labels pass.
    pub(super) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.passes(labels.get(&self.name).map_or("", String::as_str))
    }
}

impl fmt::Display for Matcher {
    /// As the API's `filter` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.name, self.operator)
    }
}

/// The matchers of a selector: `ALERTS`, `ALERTS{namespace="shop"}` or `{alertname=~"Http.*"}`.
///
/// # Errors
/// It is something else than one selector of alerts.
pub(super) fn selector(expr: &str) -> Result<Vec<Matcher>, PortError> {
    let shown = one_line(expr, 80);
    let refuse = |why: &str| {
        invalid(format!(
            "{why} (`{shown}`); a selector of alerts is expected, without functions, operators or ranges: \
             ALERTS{{namespace=\"shop\", alertstate=\"firing\"}}"
        ))
    };
    if expr.len() > LONGEST || nested(expr) {
        return Err(refuse("found more than a selector"));
    }
    // Alertmanager needs no matcher; PromQL refuses a selector that all series pass.
    if matches!(expr.split_whitespace().collect::<String>().as_str(), "{}" | "ALERTS{}" | NAME) {
        return Ok(Vec::new());
    }
    let parsed = parse(expr).map_err(|error| refuse(&format!("found no PromQL: {}", one_line(&error, 200))))?;
    let Expr::VectorSelector(found) = parsed else { return Err(refuse("found more than a selector")) };
    if found.offset.is_some() || found.at.is_some() {
        return Err(refuse("found another time than now, and Alertmanager knows only what is so now"));
    }
    if found.name.as_deref().is_some_and(|name| name != NAME) {
        return Err(refuse("found another name than ALERTS"));
    }
    if !found.matchers.or_matchers.is_empty() {
        return Err(refuse("found `or` between matchers"));
    }
    found
        .matchers
        .matchers
        .into_iter()
        .filter(|matcher| {
            !(matcher.name == NAME_LABEL && matches!(matcher.op, MatchOp::Equal) && matcher.value == NAME)
        })
        .map(|matcher| {
            let operator = match matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            let regex = operator.ends_with('~').then(|| {
                let anchored = format!("^(?:{})$", matcher.value);
                RegexBuilder::new(&anchored).size_limit(REGEX).build()
            });
            let regex = regex.transpose().map_err(|_| refuse("found a regular expression that cannot be read"))?;
            Ok(Matcher { name: matcher.name, operator, value: matcher.value, regex })
        })
        .collect()
}

/// Whether there is a parenthesis or a bracket outside of quotes: a function, a range, a nested expression.
fn nested(expr: &str) -> bool {
    let (mut quote, mut escaped) = (None, false);
    expr.chars().any(|c| {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | ')' | '[' | ']') => return true,
            (None, _) => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(expr: &str) -> Vec<String> {
        selector(expr).unwrap_or_else(|error| panic!("{expr}: {error}")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selectors_become_matchers_as_the_api_takes_them() {
        assert_eq!(written("ALERTS"), Vec::<String>::new());
        assert_eq!(written("ALERTS { }"), Vec::<String>::new());
        assert_eq!(written(r#"{__name__="ALERTS",severity="critical"}"#), [r#"severity="critical""#]);
        let all = written(r#"ALERTS{a="x\"y\\z", b!="(x", c=~"p|q", d!~"r.*", alertstate="firing"}"#);
        assert_eq!(all, [r#"a="x\"y\\z""#, r#"b!="(x""#, r#"c=~"p|q""#, r#"d!~"r.*""#, r#"alertstate="firing""#]);
    }

    #[test]
    fn anything_but_one_selector_of_alerts_is_refused() {
        for expr in [
            "",
            "up",
            "count(ALERTS)",
            "(ALERTS)",
            "ALERTS[5m]",
            "ALERTS offset 5m",
            "ALERTS @ 1",
            "ALERTS > 0",
            "1",
            r#"ALERTS{a="b"} or ALERTS{a="c"}"#,
            r#"ALERTS{a=~"("}"#,
            r#"ALERTS{a="b""#,
        ] {
            let error = selector(expr).expect_err(expr);
            assert!(error.message.contains("selector of alerts is expected"), "{expr}: {error}");
        }
        assert!(selector(&format!("ALERTS{{a=\"{}\"}}", "x".repeat(3_000))).is_err());
        assert!(selector(&format!("ALERTS{{a=~\"{}\"}}", "(a{1000}){1000}")).is_err(), "a regex that needs too much");
    }

    #[test]
    fn an_absent_label_is_the_empty_text() {
        let labels = BTreeMap::from([("a".to_owned(), "x".to_owned())]);
        for (expr, fits) in
            [(r#"{b=""}"#, true), (r#"{b!="x"}"#, true), (r#"{b=~".+"}"#, false), (r#"{a=~"x|y"}"#, true)]
        {
            let expr = format!("ALERTS{expr}");
            assert!(selector(&expr).expect("a selector").iter().all(|matcher| matcher.fits(&labels)) == fits, "{expr}");
        }
    }
}
