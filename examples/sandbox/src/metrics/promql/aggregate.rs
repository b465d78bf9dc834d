//! Aggregations.

use std::collections::BTreeMap;

use promql_parser::parser::{AggregateExpr, LabelModifier};

use super::{Context, Sample, Value, functions::quantile, scalar, vector};
use crate::metrics::history::Labels;

fn group(labels: &Labels, modifier: &Option<LabelModifier>) -> Labels {
    match modifier {
        None => Labels::new(),
        Some(LabelModifier::Include(keep)) => {
            labels.iter().filter(|(k, _)| keep.labels.contains(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        Some(LabelModifier::Exclude(drop)) => labels
            .iter()
            .filter(|(k, _)| !drop.labels.contains(k) && *k != "__name__")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    }
}

pub(crate) fn eval(cx: &Context<'_>, a: &AggregateExpr) -> Result<Value, String> {
    let op = a.op.to_string();
    let mut groups: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for s in vector(cx, &a.expr)? {
        groups.entry(group(&s.labels, &a.modifier)).or_default().push(s);
    }
    let param = match &a.param {
        Some(p) if op != "count_values" => scalar(cx, p)?,
        _ => f64::NAN,
    };
    let mut out = Vec::new();
    for (labels, mut samples) in groups {
        let n = samples.len() as f64;
        let values = || samples.iter().map(|s| s.v);
        let mean = values().sum::<f64>() / n;
        let v = match op.as_str() {
            "sum" => values().sum(),
            "avg" => mean,
            "min" => values().reduce(f64::min).unwrap_or(f64::NAN),
            "max" => values().reduce(f64::max).unwrap_or(f64::NAN),
            "count" => n,
            "group" => 1.0,
            "stddev" => (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt(),
            "stdvar" => values().map(|v| (v - mean).powi(2)).sum::<f64>() / n,
            "quantile" => quantile(param, values().collect()),
            "topk" | "bottomk" => {
                samples.sort_by(|a, b| a.v.total_cmp(&b.v));
                if op == "topk" {
                    samples.reverse();
                }
                samples.truncate(param.max(0.0) as usize);
                out.extend(samples);
                continue;
            }
            other => return Err(format!("aggregation \"{other}\" is not supported by this server")),
        };
        out.push(Sample { labels, v });
    }
    Ok(Value::Vector(out))
}
