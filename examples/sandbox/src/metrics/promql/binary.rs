//! Binary operators and the matching of vectors.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::{Context, Sample, Value, eval as evaluate, kind};
use crate::metrics::history::Labels;

pub(crate) fn eval(cx: &Context<'_>, b: &BinaryExpr) -> Result<Value, String> {
    let op = b.op.to_string();
    let as_bool = b.modifier.as_ref().is_some_and(|m| m.return_bool);
    let compares = b.op.is_comparison_operator();
    match (evaluate(cx, &b.lhs)?, evaluate(cx, &b.rhs)?) {
        (Value::Scalar(l), Value::Scalar(r)) => Ok(Value::Scalar(compute(&op, l, r)?)),
        (Value::Vector(samples), Value::Scalar(r)) => with_scalar(samples, compares, as_bool, |v| compute(&op, v, r)),
        (Value::Scalar(l), Value::Vector(samples)) => with_scalar(samples, compares, as_bool, |v| compute(&op, l, v)),
        (Value::Vector(l), Value::Vector(r)) if b.op.is_set_operator() => Ok(set(&op, l, r, b.modifier.as_ref())),
        (Value::Vector(l), Value::Vector(r)) => matched(&op, compares, as_bool, l, r, b.modifier.as_ref()),
        (l, r) => Err(format!(
            "binary expression must contain only scalar and instant vector types, got {} {op} {}",
            kind(&l),
            kind(&r)
        )),
    }
}

fn with_scalar(
    samples: Vec<Sample>,
    compares: bool,
    as_bool: bool,
    f: impl Fn(f64) -> Result<f64, String>,
) -> Result<Value, String> {
    let mut out = Vec::new();
    for mut s in samples {
        let v = f(s.v)?;
        if compares && !as_bool {
            if v != 0.0 {
                out.push(s);
            }
            continue;
        }
        s.labels.remove("__name__");
        s.v = v;
        out.push(s);
    }
    Ok(Value::Vector(out))
}

fn compute(op: &str, l: f64, r: f64) -> Result<f64, String> {
    let truth = |b: bool| f64::from(u8::from(b));
    Ok(match op {
        "+" => l + r,
        "-" => l - r,
        "*" => l * r,
        "/" => l / r,
        "%" => l % r,
        "^" => l.powf(r),
        "atan2" => l.atan2(r),
        "==" => truth(l == r),
        "!=" => truth(l != r),
        ">" => truth(l > r),
        "<" => truth(l < r),
        ">=" => truth(l >= r),
        "<=" => truth(l <= r),
        other => return Err(format!("operator \"{other}\" is not supported by this server")),
    })
}

/// The labels that two sides are matched on.
fn signature(labels: &Labels, modifier: Option<&BinModifier>) -> Labels {
    let keep = |k: &String| match modifier.and_then(|m| m.matching.as_ref()) {
        Some(LabelModifier::Include(on)) => on.labels.contains(k),
        Some(LabelModifier::Exclude(ignored)) => k != "__name__" && !ignored.labels.contains(k),
        None => k != "__name__",
    };
    labels.iter().filter(|(k, _)| keep(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn set(op: &str, l: Vec<Sample>, r: Vec<Sample>, modifier: Option<&BinModifier>) -> Value {
    let signatures = |v: &[Sample]| v.iter().map(|s| signature(&s.labels, modifier)).collect::<BTreeSet<_>>();
    let mut out = l;
    match op {
        "and" => {
            let right = signatures(&r);
            out.retain(|s| right.contains(&signature(&s.labels, modifier)));
        }
        "unless" => {
            let right = signatures(&r);
            out.retain(|s| !right.contains(&signature(&s.labels, modifier)));
        }
        _ => {
            let left = signatures(&out);
            out.extend(r.into_iter().filter(|s| !left.contains(&signature(&s.labels, modifier))));
        }
    }
    Value::Vector(out)
}

fn matched(
    op: &str,
    compares: bool,
    as_bool: bool,
    l: Vec<Sample>,
    r: Vec<Sample>,
    modifier: Option<&BinModifier>,
) -> Result<Value, String> {
    let empty = Vec::new();
    let (many, one, swapped, extra, grouped) = match modifier.map(|m| &m.card) {
        Some(VectorMatchCardinality::ManyToOne(extra)) => (l, r, false, &extra.labels, true),
        Some(VectorMatchCardinality::OneToMany(extra)) => (r, l, true, &extra.labels, true),
        _ => (l, r, false, &empty, false),
    };
    let mut by_signature: BTreeMap<Labels, Sample> = BTreeMap::new();
    for s in one {
        let key = signature(&s.labels, modifier);
        if by_signature.insert(key, s).is_some() {
            return Err("many-to-many matching not allowed: found duplicate series for the match group on one side of the operation; matching labels must be unique on one side".to_owned());
        }
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for s in many {
        let key = signature(&s.labels, modifier);
        let Some(other) = by_signature.get(&key) else { continue };
        if !grouped && !seen.insert(key.clone()) {
            return Err("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                .to_owned());
        }
        let (left, right) = if swapped { (other.v, s.v) } else { (s.v, other.v) };
        let v = compute(op, left, right)?;
        if compares && !as_bool {
            if v != 0.0 {
                out.push(Sample { v: left, labels: s.labels });
            }
            continue;
        }
        let mut labels = if grouped {
            s.labels
        } else if modifier.is_some_and(|m| m.matching.is_some()) {
            key
        } else {
            s.labels
        };
        labels.remove("__name__");
        for name in extra {
            match other.labels.get(name) {
                Some(value) => labels.insert(name.clone(), value.clone()),
                None => labels.remove(name),
            };
        }
        out.push(Sample { labels, v });
    }
    Ok(Value::Vector(out))
}
