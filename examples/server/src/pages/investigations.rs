//! `/investigations`: what was found, and what it rests on.

mod cost;
mod limits;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use rounds_core::access::Action;
use rounds_core::investigation::{Confidence, EvidenceSource, Investigation, InvestigationStatus, RootCause, Trigger};
use rounds_core::plan::Plan;
use rounds_core::service::{InvestigationFilter, Listed, RuleView};
use rounds_core::{Error, InvestigationId};

use super::cx::{Cx, May, Shell, page_with};
use super::error::PageError;
use super::form::{self, Fields};
use super::pill::{self, Pill, Tone, Toned as _};
use super::when::{self, Elapsed};
use crate::pages::Pages;
use cost::Cost;
pub(super) use limits::skip_help;

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/investigations", get(list).post(ask))
        .route("/investigations/{id}", get(show))
        .form("/investigations/{id}/cancel", post(cancel))
}

#[derive(Template)]
#[template(path = "investigations.html")]
struct ListPage {
    shell: Shell,
    found: Vec<Investigation>,
    older: Option<String>,
    may_ask: May,
    question: String,
}

impl ListPage {
    fn cost(&self, found: &Investigation) -> Option<String> {
        cost::short(found.model_use.as_ref())
    }
}

async fn list(cx: Cx) -> Result<Response, PageError> {
    render_list(&cx, None, String::new()).await
}

async fn ask(cx: Cx, fields: Fields) -> Result<Response, PageError> {
    let question = fields.get("question").to_owned();
    match cx.rounds().investigations().ask(&cx.who, &question).await {
        Ok(asked) => Ok(Redirect::to(&format!("/investigations/{}?done=queued", asked.id)).into_response()),
        Err(error) => render_list(&cx, Some(error.into()), question).await,
    }
}

async fn render_list(cx: &Cx, refused: Option<PageError>, question: String) -> Result<Response, PageError> {
    let after = cx.param("after").map(form::id::<InvestigationId>).transpose()?;
    let filter = InvestigationFilter { after, limit: 50, ..InvestigationFilter::default() };
    let Listed { items: found, next, .. } = cx.rounds().investigations().list(&cx.who, &filter).await?;
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let page = ListPage {
        shell: cx.shell("Investigations", "investigations").live("investigation").refused(refused.as_ref()),
        found,
        older: next.map(|next| format!("/investigations?after={next}")),
        may_ask: cx.may_all(Action::InvestigationsCreate, "investigations").await,
        question,
    };
    Ok(page_with(status, &page))
}

#[derive(Template)]
#[template(path = "investigation.html")]
struct ShowPage {
    shell: Shell,
    i: Investigation,
    plan: Option<Plan>,
    rule: Option<RuleView>,
    may_cancel: May,
}

impl ShowPage {
    fn waits(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.status == rounds_core::plan::PlanStatus::PendingApproval)
    }

    /// What asked for it, in a sentence before the rule's name.
    fn alert_name(&self) -> Option<&str> {
        match &self.i.trigger {
            Trigger::Alert { rule_name, .. } => Some(rule_name),
            _ => None,
        }
    }

    fn firing_since(&self) -> Option<rounds_core::Timestamp> {
        match &self.i.trigger {
            Trigger::Alert { firing_since, .. } => Some(*firing_since),
            _ => None,
        }
    }

    fn skipped(&self) -> Option<&'static str> {
        self.i.skip_reason.map(skip_help)
    }

    /// Who wrote the report, when that is not who was asked to.
    fn writer(&self) -> Option<&str> {
        let writer = self.i.report.as_ref()?.written_by.as_deref()?;
        (self.i.investigator.as_deref() != Some(writer)).then_some(writer)
    }

    /// How long it has been running.
    fn elapsed(&self) -> Option<Elapsed> {
        self.i.started_at.map(|since| Elapsed::new(since, self.shell.now))
    }

    /// How long it took.
    fn took(&self) -> Option<String> {
        let seconds = (self.i.finished_at? - self.i.started_at?).num_seconds();
        Some(when::span(u64::try_from(seconds).unwrap_or_default()))
    }

    /// Whether a call of the model is under way.
    fn asks(&self) -> bool {
        self.i.model_use.as_ref().is_some_and(|used| used.reserved.is_some())
    }

    fn cost(&self) -> Option<Cost> {
        self.i.model_use.as_ref().map(Cost::of)
    }

    /// The limit that ended it, and what raises that. A run that failed says its error instead.
    fn limit(&self) -> Option<(&str, &'static str)> {
        let limit = self.i.report.as_ref()?.limit.as_deref()?;
        (self.i.error.as_deref() != Some(limit)).then(|| (limit, limits::limit_help(limit)))
    }
}

/// How sure the investigator is, as far as it said.
fn confidence(cause: &RootCause) -> Option<Pill> {
    cause.confidence.map(|confidence| match confidence {
        Confidence::High => pill::word("high confidence", Tone::Ok),
        Confidence::Medium => pill::word("medium confidence", Tone::Info),
        Confidence::Low => pill::word("low confidence", Tone::Warn),
    })
}

/// A reading as its place in the report says where it came from.
fn source(source: &EvidenceSource) -> (&'static str, &str) {
    match source {
        EvidenceSource::Query { expr, .. } => ("query", expr),
        EvidenceSource::Command { command, .. } => ("command", command),
        _ => ("reading", ""),
    }
}

/// Whether a reading holds numbers that a chart can ask for again.
fn charted(source: &EvidenceSource) -> bool {
    matches!(source, EvidenceSource::Query { metric: Some(_), .. })
}

async fn show(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    render(&cx, form::id(&id)?, None).await
}

async fn cancel(cx: Cx, Path(id): Path<String>, _: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    match cx.rounds().investigations().cancel(&cx.who, id).await {
        Ok(_) => Ok(Redirect::to(&format!("/investigations/{id}?done=saved")).into_response()),
        Err(error) => render(&cx, id, Some(error.into())).await,
    }
}

async fn render(cx: &Cx, id: InvestigationId, refused: Option<PageError>) -> Result<Response, PageError> {
    let rounds = cx.rounds();
    let i = rounds.investigations().get(&cx.who, id).await?;
    let plan = match i.plan_id {
        Some(id) => found(rounds.plans().get(&cx.who, id).await)?,
        None => None,
    };
    let rule = match i.rule_id() {
        Some(id) => found(rounds.alerts().get(&cx.who, id).await)?,
        None => None,
    };
    let mut topics = format!("investigation:{id}");
    if let Some(plan) = &plan {
        topics = format!("{topics} plan:{}", plan.id);
    }
    let mut shell = cx.shell(i.question.clone(), "investigations").live(topics).refused(refused.as_ref());
    // A part that arrives is said, too; a reading or a call is not worth an interruption.
    shell.spoken = match i.report.as_ref().map_or(0, |report| report.sections.len()) {
        0 => format!("investigation {}", i.status.as_str()),
        1 => format!("investigation {}, 1 section", i.status.as_str()),
        sections => format!("investigation {}, {sections} sections", i.status.as_str()),
    };
    let may_cancel = cx.may_all(Action::InvestigationsCreate, "investigations").await;
    let status = refused.map_or(StatusCode::OK, |error| error.status);
    Ok(page_with(status, &ShowPage { shell, i, plan, rule, may_cancel }))
}

/// What is linked but may be gone or not for this person.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, PageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. } | Error::Denied(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
