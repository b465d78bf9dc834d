//! The Prometheus HTTP API.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    response::Response,
};
use chrono::DateTime;
use promql_parser::parser::Expr;
use serde_json::{Value as Json, json};

use super::{
    exposition,
    history::{History, Labels},
    promql::{self, Context, Value},
};
use crate::{
    api::{content_type, json as reply, path::Query, plain},
    hub::Hub,
};

const MAX_POINTS: i64 = 11_000;

pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().fallback(handle).with_state(hub)
}

async fn handle(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let mut raw = request.uri().query().unwrap_or_default().to_owned();
    if request.method() == axum::http::Method::POST {
        let Ok(body) = to_bytes(request.into_body(), 1 << 20).await else {
            return bad("the request body is too large or was cut short");
        };
        raw = format!("{raw}&{}", String::from_utf8_lossy(&body));
    }
    let query = Query::parse(&raw);
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["-", "healthy"] => plain("Prometheus Server is Healthy.\n"),
        ["-", "ready"] => plain("Prometheus Server is Ready.\n"),
        ["metrics"] => {
            let scrape = exposition::collect(&hub.cluster());
            let mut response = plain(exposition::render(&scrape));
            content_type(&mut response, "text/plain; version=0.0.4; charset=utf-8");
            response
        }
        ["api", "v1", rest @ ..] => {
            let history = hub.history();
            let answer = match rest {
                ["query"] => instant(&history, &query),
                ["query_range"] => range(&history, &query),
                ["labels"] => select(&history, &query).map(|found| {
                    let names: std::collections::BTreeSet<String> =
                        found.iter().flat_map(|l| l.keys().cloned()).collect();
                    json!(names)
                }),
                ["label", name, "values"] => select(&history, &query).map(|found| {
                    let values: std::collections::BTreeSet<&String> =
                        found.iter().filter_map(|l| l.get(*name)).collect();
                    json!(values)
                }),
                ["series"] if query.all("match[]").next().is_none() => Err("no match[] parameter provided".to_owned()),
                ["series"] => select(&history, &query).map(|found| json!(found)),
                ["metadata"] => Ok(metadata(&history)),
                ["rules"] => Ok(json!({"groups": []})),
                ["alerts"] => Ok(json!({"alerts": []})),
                ["status", "buildinfo"] => Ok(json!({
                    "version": "3.0.0", "revision": "sandbox", "branch": "HEAD", "buildUser": "", "buildDate": "", "goVersion": "",
                })),
                _ => {
                    return reply(
                        404,
                        &json!({"status": "error", "errorType": "not_found", "error": format!("no route {path}")}),
                    );
                }
            };
            match answer {
                Ok(data) => reply(200, &json!({"status": "success", "data": data})),
                Err(e) => bad(&e),
            }
        }
        _ => reply(404, &json!({"status": "error", "errorType": "not_found", "error": format!("no route {path}")})),
    }
}

fn bad(error: &str) -> Response {
    reply(400, &json!({"status": "error", "errorType": "bad_data", "error": error}))
}

fn time(text: &str, name: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0) as i64);
    }
    DateTime::parse_from_rfc3339(text)
        .map(|t| t.timestamp_millis())
        .map_err(|_| format!("invalid parameter \"{name}\": cannot parse \"{text}\" to a valid timestamp"))
}

fn step(text: &str) -> Result<i64, String> {
    let bad = || format!("invalid parameter \"step\": cannot parse \"{text}\" to a valid duration");
    let ms = match text.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0) as i64,
        Err(_) => promql_parser::util::parse_duration(text).map_err(|_| bad())?.as_millis() as i64,
    };
    if ms > 0 {
        Ok(ms)
    } else {
        Err("invalid parameter \"step\": zero or negative query resolution step widths are not accepted".to_owned())
    }
}

fn number(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        v.to_string()
    }
}

fn point(t: i64, v: f64) -> Json {
    json!([t as f64 / 1000.0, number(v)])
}

fn instant(history: &History, query: &Query) -> Result<Json, String> {
    let expr = promql::parse(query.text("query"))?;
    let t = match query.get("time") {
        Some(text) => time(text, "time")?,
        None => crate::clock::now().timestamp_millis(),
    };
    Ok(match promql::eval(&Context { history, t, start: t, end: t }, &expr)? {
        Value::Scalar(v) => json!({"resultType": "scalar", "result": point(t, v)}),
        Value::Text(s) => json!({"resultType": "string", "result": [t as f64 / 1000.0, s]}),
        Value::Vector(samples) => {
            let result: Vec<Json> =
                samples.iter().map(|s| json!({"metric": s.labels, "value": point(t, s.v)})).collect();
            json!({"resultType": "vector", "result": result})
        }
        Value::Matrix { rows, .. } => {
            let result: Vec<Json> = rows
                .iter()
                .map(|r| {
                    let values: Vec<Json> = r.points.iter().map(|(t, v)| point(*t, *v)).collect();
                    json!({"metric": r.labels, "values": values})
                })
                .collect();
            json!({"resultType": "matrix", "result": result})
        }
    })
}

fn range(history: &History, query: &Query) -> Result<Json, String> {
    let expr = promql::parse(query.text("query"))?;
    let (start, end) = (time(query.text("start"), "start")?, time(query.text("end"), "end")?);
    let step = step(query.text("step"))?;
    if end < start {
        return Err("invalid parameter \"end\": end timestamp must not be before start time".to_owned());
    }
    if (end - start) / step > MAX_POINTS {
        return Err("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)".to_owned());
    }
    let mut rows: BTreeMap<Labels, Vec<Json>> = BTreeMap::new();
    let mut t = start;
    while t <= end {
        match promql::eval(&Context { history, t, start, end }, &expr)? {
            Value::Scalar(v) => rows.entry(Labels::new()).or_default().push(point(t, v)),
            Value::Vector(samples) => {
                for s in samples {
                    rows.entry(s.labels).or_default().push(point(t, s.v));
                }
            }
            other => {
                return Err(format!(
                    "invalid parameter \"query\": invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                    promql::kind(&other)
                ));
            }
        }
        t += step;
    }
    let result: Vec<Json> =
        rows.into_iter().map(|(labels, values)| json!({"metric": labels, "values": values})).collect();
    Ok(json!({"resultType": "matrix", "result": result}))
}

/// The series that the `match[]` parameters select, or all of them.
fn select<'a>(history: &'a History, query: &Query) -> Result<Vec<&'a Labels>, String> {
    let mut out = Vec::new();
    let mut any = false;
    for matcher in query.all("match[]") {
        any = true;
        let Expr::VectorSelector(vs) = promql::parse(matcher)? else {
            return Err(format!("invalid parameter \"match[]\": {matcher} is not a series selector"));
        };
        out.extend(history.select(vs.name.as_deref(), &vs.matchers.matchers).into_iter().map(|(l, _)| l));
    }
    if !any {
        out.extend(history.select(None, &[]).into_iter().map(|(l, _)| l));
    }
    Ok(out)
}

fn metadata(history: &History) -> Json {
    let entries: serde_json::Map<String, Json> = history
        .names()
        .map(|name| (name.clone(), json!([{"type": exposition::kind_of(name), "help": "", "unit": ""}])))
        .collect();
    Json::Object(entries)
}
