//! `/plans/:id`: should this run, there, now?

mod chart;
mod decide;
mod history;
mod modify;
mod view;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use rounds_core::PlanId;
use rounds_core::step::Tier;

use super::cx::{Cx, Shell, page_with};
use super::error::PageError;
use super::form;
use super::pill::Toned as _;
use crate::pages::Pages;
pub(super) use chart::{AlertChart, of_rule};
use view::{Typed, View};

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/plans/{id}", get(show))
        .form("/plans/{id}/approve", post(decide::approve))
        .form("/plans/{id}/reject", post(decide::reject))
        .form("/plans/{id}/cancel", post(decide::cancel))
        .form("/plans/{id}/submit", post(decide::submit))
        .route("/plans/{id}/modify", get(modify::edit).post(modify::save))
        .form("/plans/{id}/steps/{ordinal}/approve", post(decide::approve_step))
        .form("/plans/{id}/steps/{ordinal}/reject", post(decide::reject_step))
        .form("/plans/{id}/steps/{ordinal}/retry", post(decide::retry))
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    shell: Shell,
    v: View,
}

async fn show(cx: Cx, Path(id): Path<String>) -> Result<Response, PageError> {
    render(&cx, form::id(&id)?, None, Typed::default()).await
}

/// The page of a plan, with what was refused and what was typed when a form did not go through.
async fn render(cx: &Cx, id: PlanId, refused: Option<PageError>, typed: Typed) -> Result<Response, PageError> {
    let v = View::load(cx, id, typed).await?;
    let mut topics = vec![format!("plan:{id}")];
    topics.extend(v.plan.rescue_plan_id.map(|id| format!("plan:{id}")));
    topics.extend(v.plan.rescue_for_plan_id.map(|id| format!("plan:{id}")));
    topics.extend(v.plan.linked_alert_rule_id.map(|id| format!("alert:{id}")));
    let mut shell = cx.shell(v.plan.summary.clone(), "plans").live(topics.join(" ")).refused(refused.as_ref());
    // A form that was refused posts to another address than the page's own.
    shell.path = format!("/plans/{id}");
    shell.digest.clone_from(&v.plan.digest);
    shell.spoken = v.spoken();
    let status = refused.map_or(StatusCode::OK, |error| error.status);
    Ok(page_with(status, &PlanPage { shell, v }))
}
