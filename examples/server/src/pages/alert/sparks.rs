//! The last hour of some rules, in small: asked for after the list, so that it does not wait for any datasource.

use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::TimeDelta;
use futures::StreamExt as _;
use rounds_core::AlertRuleId;
use rounds_core::ports::Point;

use crate::pages::chart::{number, spark};
use crate::pages::cx::Cx;
use crate::pages::error::PageError;

/// Rules of one request, and how many of them ask their datasource at a time.
const MANY: usize = 20;
const AT_A_TIME: usize = 4;
/// A row does not wait longer than this for its picture.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(60);

pub(super) async fn sparks(cx: Cx) -> Result<Response, PageError> {
    let ids = cx.query.iter().filter(|(name, _)| name == "id").map(|(_, id)| id.parse::<AlertRuleId>());
    let ids: Vec<AlertRuleId> =
        ids.collect::<Result<_, _>>().map_err(|error| PageError::invalid(format!("id: {error}")))?;
    if ids.is_empty() || ids.len() > MANY {
        return Err(PageError::invalid(format!("id: found {}; 1 to {MANY} ids of rules are expected", ids.len())));
    }
    let drawn: Vec<_> = ids.into_iter().map(|id| one(&cx, id)).collect();
    let drawn: Vec<String> = futures::stream::iter(drawn).buffered(AT_A_TIME).collect().await;
    let private = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Numbers and constants only: there is nothing to escape.
    Ok(([private], Html(format!("<!doctype html><div>{}</div>", drawn.concat()))).into_response())
}

/// The picture of one rule; a word where there is none.
async fn one(cx: &Cx, id: AlertRuleId) -> String {
    let none = |why: &str| format!("<span class=\"spark-none\" data-for=\"{id}\">{why}</span>");
    let alerts = cx.rounds().alerts();
    let asked = async {
        let rule = alerts.get(&cx.who, id).await?.rule;
        if rule.source.is_some() {
            // Its query is another's, on data that is not here.
            return Ok((rule, Default::default()));
        }
        let from = cx.now - TimeDelta::hours(1);
        let query = &rule.condition.query;
        let answer = alerts.range(&cx.who, query, rule.datasource_id, from, cx.now, STEP).await?;
        Ok::<_, rounds_core::Error>((rule, answer))
    };
    let (rule, answer) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => return none("no chart"),
    };
    let Some(series) = answer.series.iter().min_by(|a, b| a.labels.cmp(&b.labels)) else { return none("no data") };
    let last = series.points.iter().rev().find(|point| point.value.is_finite());
    let Some(Point { value, .. }) = last else { return none("no data") };
    let threshold = rule.condition.threshold;
    let label = format!("the last hour; now {}, the threshold is {}", number(value), number(threshold));
    format!("<span data-for=\"{id}\">{}</span>", spark(&series.points, threshold, &label))
}
