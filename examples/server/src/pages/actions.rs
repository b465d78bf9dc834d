//! The Action Center: what waits for a person, what is under way, and what was resolved.

use askama::Template;
use axum::response::{Redirect, Response};
use rounds_core::PlanId;
use rounds_core::access::Action;
use rounds_core::plan::{Plan, PlanStatus, RequestKind, RequestStatus, Step};
use rounds_core::service::{Listed, PlanFilter};

use super::cx::{Cx, Shell, page};
use super::error::PageError;
use super::form;
use super::pill::Toned as _;

/// Plans that a person may have to look at.
const OPEN: [PlanStatus; 4] =
    [PlanStatus::PendingApproval, PlanStatus::Failed, PlanStatus::Executing, PlanStatus::Approved];
/// Plans that have ended.
const RESOLVED: [PlanStatus; 4] =
    [PlanStatus::Completed, PlanStatus::Rejected, PlanStatus::Expired, PlanStatus::Cancelled];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Plans,
    Steps,
    Resolved,
}

/// A plan as a row.
struct Row {
    plan: Plan,
    namespaces: String,
}

/// A step that waits for its own approval.
struct Waiting {
    plan: Plan,
    step: Step,
    expires_at: rounds_core::Timestamp,
}

#[derive(Template)]
#[template(path = "actions.html")]
struct ActionsPage {
    shell: Shell,
    tab: Tab,
    waiting: Vec<Row>,
    under_way: Vec<Row>,
    steps: Vec<Waiting>,
    resolved: Vec<Row>,
    counts: [String; 3],
    status: String,
    older: Option<String>,
    /// Where the setup goes on, when it is unfinished and the person may.
    setup: Option<String>,
}

impl ActionsPage {
    fn is(&self, tab: &str) -> bool {
        matches!((self.tab, tab), (Tab::Plans, "plans") | (Tab::Steps, "steps") | (Tab::Resolved, "resolved"))
    }

    fn statuses(&self) -> [PlanStatus; 4] {
        RESOLVED
    }
}

pub(super) async fn home() -> Redirect {
    Redirect::to("/actions")
}

pub(super) async fn show(cx: Cx) -> Result<Response, PageError> {
    let tab = match cx.param("tab") {
        Some("steps") => Tab::Steps,
        Some("resolved") => Tab::Resolved,
        _ => Tab::Plans,
    };
    let Listed { items: open, next: more_open, .. } = list(&cx, &OPEN, None).await?;
    let status = cx.param("status").unwrap_or_default().to_owned();
    let wanted = RESOLVED.into_iter().find(|known| known.as_str() == status);
    let after = cx.param("after").map(form::id::<PlanId>).transpose()?;
    let Listed { items: resolved, next, .. } = match wanted {
        Some(one) => list(&cx, &[one], after).await?,
        None => list(&cx, &RESOLVED, after).await?,
    };
    let steps: Vec<Waiting> = open.iter().flat_map(waiting).collect();
    let (waiting, under_way): (Vec<Plan>, Vec<Plan>) =
        open.into_iter().partition(|plan| plan.status == PlanStatus::PendingApproval);
    let count = |count: usize, more: bool| if more { format!("{count}+") } else { count.to_string() };
    let counts = [
        count(waiting.len(), more_open.is_some()),
        count(steps.len(), more_open.is_some()),
        count(resolved.len(), next.is_some()),
    ];
    let older = next.map(|next| {
        let status = wanted.map(|status| format!("&status={}", status.as_str())).unwrap_or_default();
        format!("/actions?tab=resolved{status}&after={next}")
    });
    let setup = if waiting.is_empty() { unfinished_setup(&cx).await? } else { None };
    let mut shell = cx.shell("Action Center", "plans").live("plan");
    shell.spoken = format!("{} plans and {} steps wait for approval", counts[0], counts[1]);
    Ok(page(&ActionsPage {
        shell,
        tab,
        waiting: rows(waiting),
        under_way: rows(under_way),
        steps,
        resolved: rows(resolved),
        counts,
        status,
        older,
        setup,
    }))
}

/// What the setup waits for, in words, for whoever may go on with it.
async fn unfinished_setup(cx: &Cx) -> Result<Option<String>, PageError> {
    if !cx.may_all(Action::SettingsWrite, "settings").await.yes() {
        return Ok(None);
    }
    let progress = cx.state.accounts.setup_progress().await?;
    Ok(progress.is_wanted().then(|| match progress.next() {
        Some(step) => format!("Step {} of 5 is next: {}.", step.number(), super::setup::title(&step)),
        None => "Every step is done; look at what is missing, and finish it.".into(),
    }))
}

async fn list(cx: &Cx, statuses: &[PlanStatus], after: Option<PlanId>) -> Result<Listed<Plan, PlanId>, PageError> {
    let filter = PlanFilter { statuses: statuses.to_vec(), after, limit: 50, ..PlanFilter::default() };
    Ok(cx.rounds().plans().list(&cx.who, &filter).await?)
}

fn waiting(plan: &Plan) -> Vec<Waiting> {
    let open = plan.requests.iter().filter(|request| request.status == RequestStatus::Pending);
    open.filter_map(|request| match request.kind {
        RequestKind::Step { ordinal } => {
            let step = plan.step(ordinal)?.clone();
            Some(Waiting { plan: plan.clone(), step, expires_at: request.expires_at })
        }
        RequestKind::Plan => None,
    })
    .collect()
}

fn rows(plans: Vec<Plan>) -> Vec<Row> {
    plans
        .into_iter()
        .map(|plan| {
            let mut names: Vec<String> = plan
                .steps
                .iter()
                .flat_map(|step| &step.review.targets)
                .map(|target| target.namespace.clone().unwrap_or_else(|| "cluster-scoped".into()))
                .collect();
            names.sort();
            names.dedup();
            Row { namespaces: names.join(", "), plan }
        })
        .collect()
}
