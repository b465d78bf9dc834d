//! `/investigations`: what was found, and what it rests on.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use rounds_core::access::Action;
use rounds_core::investigation::{EvidenceSource, Investigation, InvestigationStatus, SkipReason, Trigger};
use rounds_core::plan::Plan;
use rounds_core::service::{InvestigationFilter, Listed, RuleView};
use rounds_core::{Error, InvestigationId};

use super::cx::{Cx, May, Shell, page_with};
use super::error::PageError;
use super::form::{self, Fields};
use super::pill::Toned as _;
use crate::state::AppState;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/investigations", get(list).post(ask))
        .route("/investigations/{id}", get(show))
        .route("/investigations/{id}/cancel", post(cancel))
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
}

/// Why it did not run, and what to do about it.
pub(super) fn skip_help(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::NoLiveToken => {
            "no_live_token: the service account @syntropize/rounds has no live token. Create one under Admin → \
             Service accounts; no restart is needed. Then use \"Investigate now\" on the alert."
        }
        SkipReason::AgentDenied => {
            "agent_denied: the service account @syntropize/rounds may not investigate. Grant it investigations:create on \
             investigations:*. Then use \"Investigate now\" on the alert."
        }
        SkipReason::Cooldown => "cooldown: this alert was investigated a moment ago.",
        SkipReason::EpisodeEnded => "episode_ended: the alert recovered before the investigation started.",
        SkipReason::Silenced => "silenced: a silence covers this alert.",
        SkipReason::SwitchedOff => {
            "switched_off: automatic investigation was switched off while it waited. \"Investigate now\" on the alert \
             still works."
        }
        SkipReason::Stale => "stale: it waited in the queue for longer than the setting allows.",
        _ => "for a reason that this page does not know",
    }
}

/// A reading as its place in the report says where it came from.
fn source(source: &EvidenceSource) -> (&'static str, &str) {
    match source {
        EvidenceSource::Query { expr, .. } => ("query", expr),
        EvidenceSource::Command { command, .. } => ("command", command),
        _ => ("reading", ""),
    }
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
    shell.spoken = format!("investigation {}", i.status.as_str());
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
