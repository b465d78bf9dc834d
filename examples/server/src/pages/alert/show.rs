//! `/alerts/:id`: state, values, history, silences and investigations of one rule.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::TimeDelta;
use rounds_core::access::Action;
use rounds_core::alert::{HistoryRow, Reason, Silence};
use rounds_core::investigation::Investigation;
use rounds_core::service::{InvestigationFilter, RuleView, SilenceDraft};
use rounds_core::{AlertRuleId, Error};

use crate::pages::chart::number;
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
    chart: AlertChart,
    history: Vec<HistoryRow>,
    investigations: Vec<Investigation>,
    silences: Vec<Silence>,
    may_write: May,
    may_investigate: May,
    minutes: String,
    comment: String,
}

impl ShowPage {
    /// Why the last firing was not investigated, when it was not.
    fn skipped(&self) -> Option<&'static str> {
        let last = self.investigations.first()?;
        last.skip_reason.map(crate::pages::investigations::skip_help)
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
    let silences = alerts.silences(&cx.who).await?;
    let labels = view.instance.as_ref().map(|instance| instance.last_labels.clone()).unwrap_or_default();
    let silences = silences.into_iter().filter(|silence| silence.covers(&view.rule, &labels, cx.now)).collect();
    let about_it = InvestigationFilter { rule_id: Some(id), limit: 20, ..InvestigationFilter::default() };
    let investigations = match cx.rounds().investigations().list(&cx.who, &about_it).await {
        Ok(found) => found.items,
        Err(Error::Denied(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let chart = of_rule(cx, &view.rule, &history, cx.now - TimeDelta::hours(1), cx.now).await;
    let mut shell = cx.shell(view.rule.name.clone(), "alerts").live(format!("alert:{id} investigation"));
    shell.path = format!("/alerts/{id}");
    shell.spoken = format!("alert {}", view.state().as_str());
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let page = ShowPage {
        shell: shell.refused(refused.as_ref()),
        view,
        chart,
        history,
        investigations,
        silences,
        may_write: cx.may_all(Action::AlertRulesWrite, "alert.rules").await,
        may_investigate: cx.may_all(Action::InvestigationsCreate, "investigations").await,
        minutes: fields.text("minutes").unwrap_or("60").to_owned(),
        comment: fields.get("comment").to_owned(),
    };
    Ok(page_with(status, &page))
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
        let minutes: i64 = fields.number("minutes", "For how long")?.unwrap_or(60);
        let ends_at = TimeDelta::try_minutes(minutes).and_then(|length| cx.now.checked_add_signed(length));
        let draft = SilenceDraft {
            rule_id: Some(id),
            matchers: Default::default(),
            comment: fields.get("comment").trim().to_owned(),
            starts_at: None,
            ends_at: ends_at.ok_or_else(|| PageError::invalid("For how long: that is too long"))?,
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
