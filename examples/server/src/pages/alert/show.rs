//! `/alerts/:id`: state, values, history, silences and investigations of one rule.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use rounds_core::access::Action;
use rounds_core::alert::{HistoryRow, Reason, Silence};
use rounds_core::change::ChangeRecord;
use rounds_core::investigation::Investigation;
use rounds_core::service::{InvestigationFilter, RuleView, SilenceDraft};
use rounds_core::{AlertRuleId, Error, Timestamp};

use super::changes;
use super::series::{SeriesRow, SeriesView};
use crate::pages::chart::{number, strip};
use crate::pages::cx::{Cx, May, Shell, page_with};
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields};
use crate::pages::pill::Toned as _;
use crate::pages::plan::{AlertChart, of_rule};

#[derive(Template)]
#[template(path = "alert.html")]
struct ShowPage {
    shell: Shell,
    view: RuleView,
    series: SeriesView,
    /// What changed before it fired.
    found: Vec<ChangeRecord>,
    chart: AlertChart,
    history: Vec<HistoryRow>,
    investigations: Vec<Investigation>,
    /// Those that cover it now.
    silences: Vec<Silence>,
    /// Those about it that are to come or are over, the newest first.
    other_silences: Vec<Silence>,
    timeline: Option<String>,
    wrong: Option<(&'static str, String)>,
    may_write: May,
    may_investigate: May,
    minutes: String,
    comment: String,
    /// The label set that was to be silenced, of a form that was refused.
    chosen: String,
}

impl ShowPage {
    /// Why the last firing was not investigated, when it was not.
    fn skipped(&self) -> Option<&'static str> {
        let last = self.investigations.first()?;
        last.skip_reason.map(crate::pages::investigations::skip_help)
    }

    /// What is wrong with a field of the form to silence.
    fn wrong(&self, field: &str) -> Option<&str> {
        self.wrong.as_ref().filter(|(found, _)| *found == field).map(|(_, message)| message.as_str())
    }

    /// What a silence is about, where it is not the whole rule.
    fn narrowed(&self, silence: &Silence) -> Option<String> {
        (!silence.matchers.is_empty()).then(|| self.series.told(&silence.matchers))
    }

    fn is_chosen(&self, row: &SeriesRow) -> bool {
        self.chosen == row.one.id.to_string()
    }

    fn durations(&self) -> [(&'static str, &'static str); 5] {
        [("30", "30 minutes"), ("60", "1 hour"), ("240", "4 hours"), ("1440", "1 day"), ("10080", "7 days")]
    }
}

fn reason(reason: &Reason) -> &'static str {
    match reason {
        Reason::Condition => "",
        Reason::NoData => "no_data: the series is gone",
        Reason::RuleChanged => "the rule was changed, so its state starts over",
        Reason::Disabled => "switched off",
        Reason::Enabled => "switched on",
        _ => "",
    }
}

pub(super) async fn show(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    render(&cx, form::id(&id)?, None, &Fields::default()).await
}

async fn render(cx: &Cx, id: AlertRuleId, refused: Option<PageError>, fields: &Fields) -> Result<Response, PageError> {
    let alerts = cx.rounds().alerts();
    let view = alerts.get(&cx.who, id).await?;
    let history = alerts.history(&cx.who, id, 50).await?;
    let all_silences = alerts.silences(&cx.who).await?;
    let series = SeriesView::of(&view, &all_silences, cx.now);
    let labels = view.instance.as_ref().map(|instance| instance.last_labels.clone()).unwrap_or_default();
    // One that covers a label set covers some of the rule.
    let covers = |silence: &Silence, at| {
        let mut sets = std::iter::once(&labels).chain(view.series.iter().map(|one| &one.last_labels));
        sets.any(|labels| silence.covers(&view.rule, labels, at))
    };
    let about = |silence: &Silence| covers(silence, silence.starts_at.max(cx.now));
    let (silences, others): (Vec<Silence>, Vec<Silence>) =
        all_silences.into_iter().partition(|silence| covers(silence, cx.now));
    let over = |silence: &Silence| silence.ends_at <= cx.now && silence.rule_id == Some(id);
    let mut other_silences: Vec<Silence> =
        others.into_iter().filter(|silence| about(silence) || over(silence)).collect();
    other_silences.sort_by_key(|silence| std::cmp::Reverse(silence.starts_at));
    other_silences.truncate(20);
    let about_it = InvestigationFilter { rule_id: Some(id), limit: 20, ..InvestigationFilter::default() };
    let investigations = match cx.rounds().investigations().list(&cx.who, &about_it).await {
        Ok(found) => found.items,
        Err(Error::Denied(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let found = changes::before(cx, &view).await;
    let chart = of_rule(cx, &view.rule, &history, cx.now - TimeDelta::hours(1), cx.now).await;
    // The states of several label sets are no line.
    let timeline = if view.rule.is_each() { None } else { timeline(&view, &history, cx.now) };
    let mut shell = cx.shell(view.rule.name.clone(), "alerts").live(format!("alert:{id} investigation"));
    shell.path = format!("/alerts/{id}");
    shell.spoken = format!("alert {}", view.state().as_str());
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let page = ShowPage {
        wrong: refused.as_ref().and_then(|refused| wrong(&refused.message)),
        shell: shell.refused(refused.as_ref()),
        view,
        series,
        found,
        chart,
        history,
        investigations,
        silences,
        other_silences,
        timeline,
        may_write: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
        may_investigate: cx.may_all(Action::InvestigationsCreate, "investigations").await,
        minutes: fields.text("minutes").unwrap_or("60").to_owned(),
        comment: fields.get("comment").to_owned(),
        chosen: fields.get("series").to_owned(),
    };
    Ok(page_with(status, &page))
}

/// The field that a refusal is about.
fn wrong(message: &str) -> Option<(&'static str, String)> {
    let (field, message) = message.split_once(": ")?;
    let field = ["minutes", "comment", "series"].into_iter().find(|known| *known == field)?;
    Some((field, message.to_owned()))
}

/// The states of a rule over time, as far back as its history goes and no more than a week.
fn timeline(view: &RuleView, history: &[HistoryRow], now: Timestamp) -> Option<String> {
    let oldest = history.last()?;
    let start = oldest.timestamp.max(now - TimeDelta::days(7));
    // A little of what was before, unless there is more than fits.
    let lead = ((now - start) / 20).max(TimeDelta::minutes(1));
    let start = if oldest.timestamp >= start { (start - lead).max(view.rule.created_at).min(start) } else { start };
    let mut until = now;
    let mut stretches = Vec::with_capacity(history.len() + 1);
    for row in history {
        if until <= start {
            break;
        }
        stretches.push((row.timestamp.max(start), until, row.to_state.as_str()));
        until = row.timestamp;
    }
    if until > start {
        stretches.push((start, until, oldest.from_state.as_str()));
    }
    stretches.reverse();
    Some(strip(&stretches, start, now))
}

pub(super) async fn investigate(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    match cx.rounds().alerts().investigate(&cx.who, id, fields.ticked("force")).await {
        Ok(queued) => {
            let done = if queued.existing { "existing" } else { "queued" };
            Ok(Redirect::to(&format!("/investigations/{}?done={done}", queued.investigation_id)).into_response())
        }
        Err(error) => render(&cx, id, Some(error.into()), &fields).await,
    }
}

pub(super) async fn enable(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    switch(&cx, form::id(&id)?, true).await
}

pub(super) async fn disable(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    switch(&cx, form::id(&id)?, false).await
}

async fn switch(cx: &Cx, id: AlertRuleId, enabled: bool) -> Result<Response, PageError> {
    let done = if enabled { "enabled" } else { "disabled" };
    answer(cx, id, cx.rounds().alerts().set_enabled(&cx.who, id, enabled).await, done, &Fields::default()).await
}

pub(super) async fn delete(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    match cx.rounds().alerts().delete(&cx.who, id).await {
        Ok(()) => Ok(Redirect::to("/alerts?done=deleted").into_response()),
        Err(error) => render(&cx, id, Some(error.into()), &fields).await,
    }
}

pub(super) async fn silence(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        let minutes: i64 = fields.number("minutes", "minutes")?.unwrap_or(60);
        let length = (1..=60 * 24 * 366).contains(&minutes).then(|| TimeDelta::minutes(minutes));
        let length = length.ok_or_else(|| PageError::invalid("minutes: 1 minute to a year is accepted"))?;
        let comment = fields.text("comment").ok_or_else(|| {
            PageError::invalid("comment: a reason is expected: who finds the alert silent wants to know why")
        })?;
        let matchers = match fields.id("series")? {
            None => Default::default(),
            Some(series) => {
                let view = cx.rounds().alerts().get(&cx.who, id).await?;
                let gone = || PageError::invalid("series: that label set is gone: choose again");
                SeriesView::of(&view, &[], cx.now).alone(series).ok_or_else(gone)?
            }
        };
        let draft = SilenceDraft {
            rule_id: Some(id),
            matchers,
            comment: comment.to_owned(),
            starts_at: None,
            ends_at: cx.now + length,
        };
        Ok::<_, PageError>(cx.rounds().alerts().silence(&cx.who, draft).await?)
    };
    let result = result.await;
    answer(&cx, id, result, "silenced", &fields).await
}

pub(super) async fn unsilence(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let silence = fields.id("silence")?.ok_or_else(|| PageError::invalid("the form names no silence"))?;
    answer(&cx, id, cx.rounds().alerts().unsilence(&cx.who, silence).await, "unsilenced", &fields).await
}

async fn answer<T, E: Into<PageError>>(
    cx: &Cx,
    id: AlertRuleId,
    result: Result<T, E>,
    done: &str,
    fields: &Fields,
) -> Result<Response, PageError> {
    match result {
        Ok(_) => Ok(Redirect::to(&format!("/alerts/{id}?done={done}")).into_response()),
        Err(error) => render(cx, id, Some(error.into()), fields).await,
    }
}
