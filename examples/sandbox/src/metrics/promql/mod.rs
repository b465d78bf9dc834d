//! A useful part of PromQL over the history. What is missing is refused by name.

mod aggregate;
mod binary;
mod functions;

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use promql_parser::parser::{AtModifier, Expr, MatrixSelector, Offset, SubqueryExpr, VectorSelector};

use super::history::{History, Labels};

const LOOKBACK_MS: i64 = 300_000;
const DEFAULT_STEP_MS: i64 = 15_000;

/// One sample of an instant vector.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    pub(crate) v: f64,
}

/// One series of a range vector.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<(i64, f64)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vec<Sample>),
    Matrix { rows: Vec<Row>, from: i64, to: i64 },
    Text(String),
}

/// Where and when an expression is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) history: &'a History,
    pub(crate) t: i64,
    /// The whole query's bounds, for `@ start()` and `@ end()`.
    pub(crate) start: i64,
    pub(crate) end: i64,
}

pub(crate) fn parse(query: &str) -> Result<Expr, String> {
    if query.trim().is_empty() {
        return Err(
            "invalid parameter \"query\": unknown position: parse error: no expression found in input".to_owned()
        );
    }
    promql_parser::parser::parse(query).map_err(|e| format!("invalid parameter \"query\": parse error: {e}"))
}

/// The first sample of an expression now.
pub(crate) fn instant_value(history: &History, query: &str) -> Result<Option<f64>, String> {
    let t = crate::clock::now().timestamp_millis();
    let cx = Context { history, t, start: t, end: t };
    Ok(match eval(&cx, &parse(query)?)? {
        Value::Scalar(v) => Some(v),
        Value::Vector(samples) => samples.first().map(|s| s.v),
        Value::Matrix { .. } | Value::Text(_) => None,
    })
}

pub(crate) fn eval(cx: &Context<'_>, expr: &Expr) -> Result<Value, String> {
    match expr {
        Expr::NumberLiteral(n) => Ok(Value::Scalar(n.val)),
        Expr::StringLiteral(s) => Ok(Value::Text(s.val.clone())),
        Expr::Paren(p) => eval(cx, &p.expr),
        Expr::Unary(u) => Ok(match eval(cx, &u.expr)? {
            Value::Scalar(v) => Value::Scalar(-v),
            Value::Vector(mut samples) => {
                for s in &mut samples {
                    s.v = -s.v;
                    s.labels.remove("__name__");
                }
                Value::Vector(samples)
            }
            _ => return Err("unary expression only allowed on expressions of type scalar or instant vector".to_owned()),
        }),
        Expr::VectorSelector(vs) => Ok(Value::Vector(select(cx, vs)?)),
        Expr::MatrixSelector(ms) => range(cx, ms),
        Expr::Subquery(sq) => subquery(cx, sq),
        Expr::Call(call) => functions::call(cx, call),
        Expr::Aggregate(a) => aggregate::eval(cx, a),
        Expr::Binary(b) => binary::eval(cx, b),
        Expr::Extension(_) => Err("extension expressions are not supported".to_owned()),
    }
}

pub(crate) fn vector(cx: &Context<'_>, expr: &Expr) -> Result<Vec<Sample>, String> {
    match eval(cx, expr)? {
        Value::Vector(v) => Ok(v),
        other => Err(format!("expected type instant vector, got {}", kind(&other))),
    }
}

pub(crate) fn scalar(cx: &Context<'_>, expr: &Expr) -> Result<f64, String> {
    match eval(cx, expr)? {
        Value::Scalar(v) => Ok(v),
        other => Err(format!("expected type scalar, got {}", kind(&other))),
    }
}

pub(crate) fn kind(v: &Value) -> &'static str {
    match v {
        Value::Scalar(_) => "scalar",
        Value::Vector(_) => "vector",
        Value::Matrix { .. } => "matrix",
        Value::Text(_) => "string",
    }
}

/// The moment a selector looks at, after `@` and `offset`.
fn moment(cx: &Context<'_>, at: &Option<AtModifier>, offset: &Option<Offset>) -> i64 {
    let base = match at {
        None => cx.t,
        Some(AtModifier::Start) => cx.start,
        Some(AtModifier::End) => cx.end,
        Some(AtModifier::At(t)) => t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64),
    };
    match offset {
        None => base,
        Some(Offset::Pos(d)) => base - d.as_millis() as i64,
        Some(Offset::Neg(d)) => base + d.as_millis() as i64,
    }
}

fn series<'a>(cx: &Context<'a>, vs: &VectorSelector) -> Result<Vec<(&'a Labels, &'a super::history::Series)>, String> {
    if !vs.matchers.or_matchers.is_empty() {
        return Err("matchers joined with `or` are not supported".to_owned());
    }
    Ok(cx.history.select(vs.name.as_deref(), &vs.matchers.matchers))
}

fn select(cx: &Context<'_>, vs: &VectorSelector) -> Result<Vec<Sample>, String> {
    let t = moment(cx, &vs.at, &vs.offset);
    Ok(series(cx, vs)?
        .into_iter()
        .filter_map(|(labels, s)| Some(Sample { labels: labels.clone(), v: s.latest(t - LOOKBACK_MS, t)? }))
        .collect())
}

fn range(cx: &Context<'_>, ms: &MatrixSelector) -> Result<Value, String> {
    let to = moment(cx, &ms.vs.at, &ms.vs.offset);
    let from = to - ms.range.as_millis() as i64;
    let rows = series(cx, &ms.vs)?
        .into_iter()
        .map(|(labels, s)| Row { labels: labels.clone(), points: s.range(from, to) })
        .filter(|row| !row.points.is_empty())
        .collect();
    Ok(Value::Matrix { rows, from, to })
}

fn subquery(cx: &Context<'_>, sq: &SubqueryExpr) -> Result<Value, String> {
    let to = moment(cx, &sq.at, &sq.offset);
    let from = to - sq.range.as_millis() as i64;
    let step = sq.step.map_or(DEFAULT_STEP_MS, |d| d.as_millis() as i64).max(1);
    let mut rows: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    // Steps are aligned to absolute time, independent of when the query runs.
    let mut t = from.div_euclid(step) * step + step;
    while t <= to {
        match eval(&Context { t, ..*cx }, &sq.expr)? {
            Value::Vector(samples) => {
                for s in samples {
                    rows.entry(s.labels).or_default().push((t, s.v));
                }
            }
            Value::Scalar(v) => rows.entry(Labels::new()).or_default().push((t, v)),
            other => return Err(format!("subquery is only allowed on instant vector, got {}", kind(&other))),
        }
        t += step;
    }
    let rows = rows.into_iter().map(|(labels, points)| Row { labels, points }).collect();
    Ok(Value::Matrix { rows, from, to })
}
