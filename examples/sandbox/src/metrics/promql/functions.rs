//! Functions.

use std::collections::BTreeMap;

use promql_parser::parser::{Call, Expr};

use super::{Context, Row, Sample, Value, eval, kind, scalar, vector};
use crate::metrics::history::Labels;

fn unnamed(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

pub(crate) fn call(cx: &Context<'_>, call: &Call) -> Result<Value, String> {
    let name = call.func.name;
    let args: Vec<&Expr> = call.args.args.iter().map(|a| &**a).collect();
    let arg = |i: usize| args.get(i).copied().ok_or_else(|| format!("{name}: missing argument {}", i + 1));
    if let Some(f) = over_range(name) {
        let Value::Matrix { rows, from, to } = eval(cx, arg(0)?)? else {
            return Err(format!("expected type range vector in call to function \"{name}\""));
        };
        return Ok(Value::Vector(apply_range(rows, |p| f(p, from, to), name == "last_over_time")));
    }
    if name == "quantile_over_time" {
        let q = scalar(cx, arg(0)?)?;
        let Value::Matrix { rows, .. } = eval(cx, arg(1)?)? else {
            return Err("expected type range vector in call to function \"quantile_over_time\"".to_owned());
        };
        return Ok(Value::Vector(apply_range(rows, |p| Some(quantile(q, p.iter().map(|(_, v)| *v).collect())), false)));
    }
    let each = |f: &dyn Fn(f64) -> f64| -> Result<Value, String> {
        let samples = vector(cx, arg(0)?)?;
        Ok(Value::Vector(samples.into_iter().map(|s| Sample { labels: unnamed(s.labels), v: f(s.v) }).collect()))
    };
    match name {
        "time" => Ok(Value::Scalar(cx.t as f64 / 1000.0)),
        "pi" => Ok(Value::Scalar(std::f64::consts::PI)),
        "scalar" => {
            let samples = vector(cx, arg(0)?)?;
            Ok(Value::Scalar(if let [one] = samples.as_slice() { one.v } else { f64::NAN }))
        }
        "vector" => Ok(Value::Vector(vec![Sample { labels: Labels::new(), v: scalar(cx, arg(0)?)? }])),
        "abs" => each(&f64::abs),
        "ceil" => each(&f64::ceil),
        "floor" => each(&f64::floor),
        "exp" => each(&f64::exp),
        "sqrt" => each(&f64::sqrt),
        "ln" => each(&f64::ln),
        "log2" => each(&f64::log2),
        "log10" => each(&f64::log10),
        "sgn" => each(&|v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        }),
        "round" => {
            let to = if args.len() > 1 { scalar(cx, arg(1)?)? } else { 1.0 };
            each(&|v| (v / to + 0.5).floor() * to)
        }
        "clamp_min" => {
            let min = scalar(cx, arg(1)?)?;
            each(&|v| v.max(min))
        }
        "clamp_max" => {
            let max = scalar(cx, arg(1)?)?;
            each(&|v| v.min(max))
        }
        "clamp" => {
            let (min, max) = (scalar(cx, arg(1)?)?, scalar(cx, arg(2)?)?);
            if min > max {
                return Ok(Value::Vector(Vec::new()));
            }
            each(&|v| v.max(min).min(max))
        }
        "timestamp" => {
            let t = cx.t as f64 / 1000.0;
            each(&|_| t)
        }
        "sort" | "sort_desc" => {
            let mut samples = vector(cx, arg(0)?)?;
            samples.sort_by(|a, b| a.v.total_cmp(&b.v));
            if name == "sort_desc" {
                samples.reverse();
            }
            Ok(Value::Vector(samples))
        }
        "absent" | "absent_over_time" => {
            let empty = match eval(cx, arg(0)?)? {
                Value::Vector(v) => v.is_empty(),
                Value::Matrix { rows, .. } => rows.is_empty(),
                other => return Err(format!("expected a vector in call to function \"{name}\", got {}", kind(&other))),
            };
            let labels = absent_labels(arg(0)?);
            Ok(Value::Vector(if empty { vec![Sample { labels, v: 1.0 }] } else { Vec::new() }))
        }
        "histogram_quantile" => {
            let q = scalar(cx, arg(0)?)?;
            Ok(Value::Vector(histogram_quantile(q, vector(cx, arg(1)?)?)))
        }
        other => Err(format!("function \"{other}\" is not supported by this server")),
    }
}

fn apply_range(rows: Vec<Row>, f: impl Fn(&[(i64, f64)]) -> Option<f64>, keep_name: bool) -> Vec<Sample> {
    rows.into_iter()
        .filter_map(|row| {
            let v = f(&row.points)?;
            Some(Sample { labels: if keep_name { row.labels } else { unnamed(row.labels) }, v })
        })
        .collect()
}

type RangeFn = fn(&[(i64, f64)], i64, i64) -> Option<f64>;

fn over_range(name: &str) -> Option<RangeFn> {
    fn sum(p: &[(i64, f64)]) -> f64 {
        p.iter().map(|(_, v)| v).sum()
    }
    fn mean(p: &[(i64, f64)]) -> f64 {
        sum(p) / p.len() as f64
    }
    fn variance(p: &[(i64, f64)]) -> f64 {
        let m = mean(p);
        p.iter().map(|(_, v)| (v - m).powi(2)).sum::<f64>() / p.len() as f64
    }
    fn last_two(p: &[(i64, f64)]) -> Option<((i64, f64), (i64, f64))> {
        let [.., a, b] = p else { return None };
        Some((*a, *b))
    }
    Some(match name {
        "rate" => |p, from, to| Some(extrapolated(p, from, to, true)? / ((to - from) as f64 / 1000.0)),
        "increase" => |p, from, to| extrapolated(p, from, to, true),
        "delta" => |p, from, to| extrapolated(p, from, to, false),
        "irate" => |p, _, _| {
            let (a, b) = last_two(p)?;
            let rise = if b.1 < a.1 { b.1 } else { b.1 - a.1 };
            Some(rise / ((b.0 - a.0) as f64 / 1000.0))
        },
        "idelta" => |p, _, _| last_two(p).map(|(a, b)| b.1 - a.1),
        "deriv" => |p, _, _| slope(p),
        "avg_over_time" => |p, _, _| Some(mean(p)),
        "sum_over_time" => |p, _, _| Some(sum(p)),
        "min_over_time" => |p, _, _| p.iter().map(|(_, v)| *v).reduce(f64::min),
        "max_over_time" => |p, _, _| p.iter().map(|(_, v)| *v).reduce(f64::max),
        "count_over_time" => |p, _, _| Some(p.len() as f64),
        "last_over_time" => |p, _, _| p.last().map(|(_, v)| *v),
        "present_over_time" => |_, _, _| Some(1.0),
        "stddev_over_time" => |p, _, _| Some(variance(p).sqrt()),
        "stdvar_over_time" => |p, _, _| Some(variance(p)),
        "changes" => |p, _, _| Some(p.windows(2).filter(|w| w[0].1 != w[1].1).count() as f64),
        "resets" => |p, _, _| Some(p.windows(2).filter(|w| w[1].1 < w[0].1).count() as f64),
        _ => return None,
    })
}

/// The rise over a range, stretched to its ends where the samples come close enough to them, and with
/// counter resets made good.
fn extrapolated(p: &[(i64, f64)], from: i64, to: i64, counter: bool) -> Option<f64> {
    let ([first, .., last], true) = (p, p.len() > 1) else { return None };
    let mut rise = last.1 - first.1;
    if counter {
        rise += p.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum::<f64>();
    }
    let covered = (last.0 - first.0) as f64;
    let spacing = covered / (p.len() - 1) as f64;
    let reach = spacing * 1.1;
    let side = |gap: f64| if gap < reach { gap } else { spacing / 2.0 };
    let mut before = side((first.0 - from) as f64);
    if counter && rise > 0.0 && first.1 >= 0.0 {
        // A counter cannot have been below zero.
        before = before.min(covered * (first.1 / rise));
    }
    let after = side((to - last.0) as f64);
    Some(rise * (covered + before + after) / covered)
}

/// Least squares, in units a second.
fn slope(p: &[(i64, f64)]) -> Option<f64> {
    if p.len() < 2 {
        return None;
    }
    let t0 = p[0].0;
    let n = p.len() as f64;
    let xs = || p.iter().map(|(t, _)| (t - t0) as f64 / 1000.0);
    let (sx, sy) = (xs().sum::<f64>(), p.iter().map(|(_, v)| v).sum::<f64>());
    let sxy: f64 = xs().zip(p).map(|(x, (_, y))| x * y).sum();
    let sxx: f64 = xs().map(|x| x * x).sum();
    Some((n * sxy - sx * sy) / (n * sxx - sx * sx))
}

pub(crate) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    values[low] + (values[high] - values[low]) * (rank - low as f64)
}

/// The labels an absent series would have had, as far as the selector says.
fn absent_labels(expr: &Expr) -> Labels {
    let vs = match expr {
        Expr::VectorSelector(vs) => vs,
        Expr::MatrixSelector(ms) => &ms.vs,
        _ => return Labels::new(),
    };
    vs.matchers
        .matchers
        .iter()
        .filter(|m| m.name != "__name__" && matches!(m.op, promql_parser::label::MatchOp::Equal))
        .map(|m| (m.name.clone(), m.value.clone()))
        .collect()
}

fn histogram_quantile(q: f64, samples: Vec<Sample>) -> Vec<Sample> {
    let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for s in samples {
        let mut labels = unnamed(s.labels);
        let Some(bound) = labels.remove("le").and_then(|le| le.parse::<f64>().ok()) else { continue };
        groups.entry(labels).or_default().push((bound, s.v));
    }
    groups
        .into_iter()
        .map(|(labels, mut buckets)| {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let total = buckets.last().map_or(0.0, |b| b.1);
            let rank = q * total;
            let i = buckets.iter().position(|b| b.1 >= rank).unwrap_or(0);
            let (low, below) = if i == 0 { (0.0, 0.0) } else { buckets[i - 1] };
            let (high, count) = buckets[i];
            let v = if total == 0.0 {
                f64::NAN
            } else if high.is_infinite() {
                low
            } else {
                low + (high - low) * (rank - below) / (count - below).max(f64::MIN_POSITIVE)
            };
            Sample { labels, v }
        })
        .collect()
}
