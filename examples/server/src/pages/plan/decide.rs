//! The decisions: each form carries the digest that the person saw, posts, and is redirected to the plan.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use rounds_core::PlanId;
use rounds_core::plan::{Plan, RequestKind, RequestStatus};
use rounds_core::service::Approval;

use super::render;
use super::view::{Typed, confirm_word};
use crate::pages::cx::Cx;
use crate::pages::error::PageError;
use crate::pages::form::{self, Fields, crop};
use crate::pages::when::{absolute, relative};

pub(super) async fn approve(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let auto_edit = fields.ticked("auto_edit");
    let result = async {
        let plan = seen(&cx, id, &fields).await?;
        confirmed(confirm_word(&plan.steps), &fields)?;
        let approval = Approval { auto_edit, digest: Some(fields.get("digest").into()) };
        Ok(cx.rounds().plans().approve(&cx.who, id, &approval).await?)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| if auto_edit { "approved" } else { "approved-steps" }).await
}

pub(super) async fn reject(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        seen(&cx, id, &fields).await?;
        Ok(cx.rounds().plans().reject(&cx.who, id, reason(&fields)).await?)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| "rejected").await
}

pub(super) async fn cancel(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        seen(&cx, id, &fields).await?;
        Ok(cx.rounds().plans().cancel(&cx.who, id, reason(&fields)).await?)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |plan| if plan.status.is_terminal() { "cancelled" } else { "cancelling" }).await
}

pub(super) async fn submit(cx: Cx, Path(id): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        seen(&cx, id, &fields).await?;
        Ok(cx.rounds().plans().submit(&cx.who, id).await?)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| "submitted").await
}

pub(super) async fn retry(
    cx: Cx,
    Path((id, ordinal)): Path<(String, u32)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        let plan = seen(&cx, id, &fields).await?;
        confirmed(confirm_word(plan.step(ordinal)), &fields)?;
        Ok(cx.rounds().plans().retry(&cx.who, id, ordinal, fields.ticked("acknowledge")).await?)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| "retrying").await
}

pub(super) async fn approve_step(
    cx: Cx,
    Path((id, ordinal)): Path<(String, u32)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        let plan = seen(&cx, id, &fields).await?;
        confirmed(confirm_word(plan.step(ordinal)), &fields)?;
        let request = request_of(&plan, ordinal, &fields)?;
        Ok(cx.rounds().approvals().approve(&cx.who, request).await?.plan)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| "step-approved").await
}

pub(super) async fn reject_step(
    cx: Cx,
    Path((id, ordinal)): Path<(String, u32)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let id = form::id(&id)?;
    let result = async {
        let plan = seen(&cx, id, &fields).await?;
        let request = request_of(&plan, ordinal, &fields)?;
        Ok(cx.rounds().approvals().reject(&cx.who, request, reason(&fields)).await?.plan)
    };
    let result = result.await;
    answer(&cx, id, &fields, result, |_| "step-rejected").await
}

/// The plan, which must still be what the person saw. Approving is checked again by core, with the same digest.
async fn seen(cx: &Cx, id: PlanId, fields: &Fields) -> Result<Plan, PageError> {
    let plan = cx.rounds().plans().get(&cx.who, id).await?;
    match fields.get("digest") {
        "" => Err(PageError::invalid("the form carries no digest: reload the page and decide again")),
        digest if digest == plan.digest => Ok(plan),
        _ => {
            let by = plan.history.last().map(|revision| {
                format!("{} changed it {}", revision.replaced_by, relative(revision.replaced_at, cx.now))
            });
            Err(PageError::conflict(format!(
                "Nothing was decided: the plan is no longer what you saw. {}; it is at revision {} now. Look at it \
                 again, then decide.",
                by.unwrap_or_else(|| "It was changed".into()),
                plan.revision
            )))
        }
    }
}

/// The request that the form was about; it must be one of that step.
fn request_of(plan: &Plan, ordinal: u32, fields: &Fields) -> Result<rounds_core::RequestId, PageError> {
    let id = fields.id("request")?.ok_or_else(|| PageError::invalid("the form names no approval request"))?;
    match plan.request(id) {
        Some(request) if request.kind == (RequestKind::Step { ordinal }) => Ok(id),
        _ => Err(PageError::not_found(format!("step {} has no such approval request", ordinal + 1))),
    }
}

/// Something destructive takes the typed name of what is lost.
fn confirmed(word: Option<String>, fields: &Fields) -> Result<(), PageError> {
    match word {
        Some(word) if fields.get("confirm").trim() != word => Err(PageError::invalid(match fields.text("confirm") {
            None => format!("Nothing was decided: this is destructive, so type the target's name, {word}, to go on."),
            Some(found) => {
                format!("Nothing was decided: you typed `{}`, and the target's name is {word}.", crop(found))
            }
        })),
        _ => Ok(()),
    }
}

fn reason(fields: &Fields) -> Option<String> {
    fields.text("reason").map(str::to_owned)
}

/// Redirects to the plan, or shows it with what was refused and what was typed.
async fn answer(
    cx: &Cx,
    id: PlanId,
    fields: &Fields,
    result: Result<Plan, PageError>,
    done: impl Fn(&Plan) -> &'static str,
) -> Result<Response, PageError> {
    match result {
        Ok(plan) => Ok(Redirect::to(&format!("/plans/{id}?done={}", done(&plan))).into_response()),
        Err(mut error) => {
            if error.status == axum::http::StatusCode::CONFLICT
                && let Ok(plan) = cx.rounds().plans().get(&cx.who, id).await
                && let Some(who) = who_decided(&plan)
            {
                error.message = format!("{} {who}", error.message);
            }
            render(cx, id, Some(error), Typed::of(fields)).await
        }
    }
}

/// Who decided last and when, for the one who came second.
fn who_decided(plan: &Plan) -> Option<String> {
    let last = plan.requests.iter().filter(|request| request.status != RequestStatus::Superseded);
    let last = last.filter(|request| request.resolved_at.is_some()).max_by_key(|request| request.resolved_at)?;
    let what = match last.kind {
        RequestKind::Plan => "The plan".to_owned(),
        RequestKind::Step { ordinal } => format!("Step {}", ordinal + 1),
    };
    let by = last.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    Some(format!("{what} was {}{by} at {}.", last.status.as_str(), last.resolved_at.map(absolute)?))
}
