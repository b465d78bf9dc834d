//! An alerting expression of Prometheus, as query, operator and threshold.
//!
//! Prometheus makes an alert of every series that an expression answers, and so does a rule here with `series: each`: the
//! side of the comparison that is no number is what it asks. What is no comparison with a number (`a > 1 and b > 2`) is
//! asked whole, and every label set that it answers counts.

use promql_parser::parser::token::{
    T_ADD, T_AVG, T_COUNT, T_DIV, T_EQLC, T_GROUP, T_GTE, T_GTR, T_LSS, T_LTE, T_MAX, T_MIN, T_MOD, T_MUL, T_NEQ,
    T_POW, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUB, T_SUM,
};
use promql_parser::parser::{BinaryExpr, Expr, LabelModifier, parse};
use rounds_connectors::prometheus::can_be_parsed;
use rounds_core::alert::{Operator, SeriesMode};

/// A condition that is true when the expression answers anything.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    pub(super) query: String,
    pub(super) operator: Operator,
    pub(super) threshold: f64,
    pub(super) series: SeriesMode,
    /// Whether a label set that it no longer answers is over: it answers only while it is true.
    pub(super) absent_is_zero: bool,
    /// How the expression was changed, for people.
    pub(super) note: Option<String>,
}

/// Splits an expression.
///
/// # Errors
/// It is no PromQL; the text says where.
pub(super) fn split(expr: &str) -> Result<Split, String> {
    let expr = expr.trim();
    if !can_be_parsed(expr) {
        return Ok(whole(expr, "it is too long to be taken apart"));
    }
    let parsed = parse(expr).map_err(|error| format!("this is not PromQL: {error}"))?;
    let Expr::Binary(top) = bare(&parsed) else { return Ok(whole(expr, "it is no comparison with a number")) };
    let Some((side, operator, threshold)) = compared(top) else {
        return Ok(whole(expr, "it is no comparison with a number"));
    };
    let query = bare(side).to_string();
    // What is written anew must mean the same.
    if parse(&query).ok().as_ref() != Some(bare(side)) {
        return Ok(whole(expr, "it could not be taken apart safely"));
    }
    if is_single(side) {
        return Ok(Split { query, operator, threshold, series: SeriesMode::First, absent_is_zero: false, note: None });
    }
    Ok(Split { query, operator, threshold, series: SeriesMode::Each, absent_is_zero: false, note: None })
}
/// True for every label set that the expression answers: `group` makes each of them 1.
fn whole(expr: &str, why: &str) -> Split {
    Split {
        // A comment ends with its line.
        query: format!("group without () ({expr}{})", if expr.contains('#') { "\n" } else { "" }),
        operator: Operator::Gt,
        threshold: 0.0,
        series: SeriesMode::Each,
        absent_is_zero: true,
        note: Some(format!(
            "{why}, so it is asked whole: the value is 1 for each label set that it answers, and 0 for the others"
        )),
    }
}

fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// The side that is not a number, as if the number stood on the right.
fn compared(top: &BinaryExpr) -> Option<(&Expr, Operator, f64)> {
    let (left, right) = match top.op.id() {
        T_GTR => (Operator::Gt, Operator::Lt),
        T_GTE => (Operator::Ge, Operator::Le),
        T_LSS => (Operator::Lt, Operator::Gt),
        T_LTE => (Operator::Le, Operator::Ge),
        T_EQLC => (Operator::Eq, Operator::Eq),
        T_NEQ => (Operator::Ne, Operator::Ne),
        _ => return None,
    };
    // With `bool` it answers 0 or 1, which is something in both cases.
    if top.modifier.as_ref().is_some_and(|modifier| modifier.return_bool || modifier.matching.is_some()) {
        return None;
    }
    let (side, operator, threshold) = match (constant(&top.lhs), constant(&top.rhs)) {
        (None, Some(threshold)) => (&*top.lhs, left, threshold),
        (Some(threshold), None) => (&*top.rhs, right, threshold),
        _ => return None,
    };
    threshold.is_finite().then_some((side, operator, threshold))
}

/// The value of an expression of numbers: `10 * 60`.
fn constant(expr: &Expr) -> Option<f64> {
    match bare(expr) {
        Expr::NumberLiteral(number) => Some(number.val),
        Expr::Unary(unary) => constant(&unary.expr).map(|value| -value),
        Expr::Binary(BinaryExpr { op, lhs, rhs, .. }) => {
            let (a, b) = (constant(lhs)?, constant(rhs)?);
            match op.id() {
                T_ADD => Some(a + b),
                T_SUB => Some(a - b),
                T_MUL => Some(a * b),
                T_DIV => Some(a / b),
                T_MOD => Some(a % b),
                T_POW => Some(a.powf(b)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether it can answer no more than one series. When in doubt it can.
fn is_single(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::NumberLiteral(_) => true,
        Expr::Aggregate(aggregate) => {
            let one = [T_SUM, T_AVG, T_MIN, T_MAX, T_COUNT, T_GROUP, T_STDDEV, T_STDVAR, T_QUANTILE];
            one.contains(&aggregate.op.id()) && aggregate.modifier.is_none()
        }
        Expr::Unary(unary) => is_single(&unary.expr),
        Expr::Binary(BinaryExpr { op, lhs, rhs, .. }) => {
            [T_ADD, T_SUB, T_MUL, T_DIV, T_MOD, T_POW].contains(&op.id()) && is_single(lhs) && is_single(rhs)
        }
        Expr::Call(call) => match (call.func.name, call.args.args.as_slice()) {
            ("vector" | "scalar" | "time", _) => true,
            (
                "abs" | "ceil" | "floor" | "round" | "sqrt" | "exp" | "ln" | "log2" | "log10" | "clamp_min"
                | "clamp_max" | "clamp",
                [first, ..],
            ) => is_single(first),
            // Of buckets by nothing but `le`, one series is made.
            ("histogram_quantile", [_, buckets]) => match bare(buckets) {
                Expr::Aggregate(aggregate) => match &aggregate.modifier {
                    Some(LabelModifier::Include(by)) => by.labels.iter().all(|label| label == "le"),
                    None => true,
                    Some(LabelModifier::Exclude(_)) => false,
                },
                _ => false,
            },
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(expr: &str) -> (String, String, f64, bool) {
        let split = split(expr).unwrap();
        (split.query, split.operator.to_string(), split.threshold, split.note.is_some())
    }

    #[test]
    fn a_comparison_of_one_series_with_a_number_is_split_as_it_stands() {
        for (expr, query, operator, threshold) in [
            ("sum(rate(errors_total[5m])) > 0.5", "sum(rate(errors_total[5m]))", ">", 0.5),
            ("(sum(a) / sum(b)) * 100 >= 5", "(sum(a) / sum(b)) * 100", ">=", 5.0),
            ("10 * 60 < max(age_seconds)", "max(age_seconds)", ">", 600.0),
            ("(count(up) == -1)", "count(up)", "==", -1.0),
            (
                "histogram_quantile(0.99, sum by (le) (rate(d_bucket[5m]))) > 1.5",
                "histogram_quantile(0.99, sum by (le) (rate(d_bucket[5m])))",
                ">",
                1.5,
            ),
        ] {
            assert_eq!(parts(expr), (query.to_owned(), operator.to_owned(), threshold, false), "{expr}");
        }
    }

    #[test]
    fn of_several_series_each_is_an_alert_and_what_is_no_comparison_is_asked_whole() {
        for (expr, query, operator, threshold, noted) in [
            ("rate(errors_total{job=\"a\"}[5m]) > 0.5", "rate(errors_total{job=\"a\"}[5m])", ">", 0.5, false),
            ("sum by (pod) (free) < 3", "sum by (pod) (free)", "<", 3.0, false),
            ("up == 0", "up", "==", 0.0, false),
            ("a > b", "group without () (a > b)", ">", 0.0, true),
            ("a > 1 and b > 2", "group without () (a > 1 and b > 2)", ">", 0.0, true),
            ("absent(up{job=\"x\"})", "group without () (absent(up{job=\"x\"}))", ">", 0.0, true),
            ("a > bool 1", "group without () (a > bool 1)", ">", 0.0, true),
        ] {
            assert_eq!(parts(expr), (query.to_owned(), operator.to_owned(), threshold, noted), "{expr}");
            assert_eq!(split(expr).unwrap().series, SeriesMode::Each, "{expr}");
        }
    }

    #[test]
    fn what_is_written_anew_means_the_same() {
        for side in [
            r#"sum(rate(x{a=~"b\\.c|d",e!="f\"g"}[5m] offset 1h))"#,
            "sum(x @ end())",
            "max(avg_over_time(x[1h:5m]))",
            "sum(a) / (sum(b) - sum(c)) ^ 2",
            r#"sum({"a.b",c="d"})"#,
        ] {
            let split = split(&format!("{side} > 1")).unwrap();
            // Taken apart, or left whole: never something else.
            let whole = format!("group without () ({side} > 1)");
            assert!(split.query == whole || parse(&split.query).unwrap() == parse(side).unwrap(), "{}", split.query);
        }
        let commented = split("a > b # why").unwrap().query;
        assert!(parse(&commented).is_ok(), "{commented}");
        assert_eq!(parts(r#"sum(x{a=~"b\\.c"}) > 1"#).0, r#"sum(x{a=~"b\\.c"})"#);
    }

    #[test]
    fn what_is_no_promql_is_refused_and_what_is_too_long_is_counted_whole() {
        assert!(split("sum(rate(x[5m]) > 1").unwrap_err().contains("not PromQL"));
        assert!(split("").is_err());
        for long in [format!("{} > 1", "a + ".repeat(2_000) + "a"), "(".repeat(100) + "a" + &")".repeat(100) + " > 1"] {
            assert_eq!(split(&long).unwrap().query, format!("group without () ({long})"));
        }
    }
}
