//! The Action Center: what waits for a person, what is under way, and what was resolved; the same filters on each tab.

mod filter;

use askama::Template;
use axum::response::{Redirect, Response};
use rounds_core::PlanId;
use rounds_core::access::Action;
use rounds_core::plan::{Plan, PlanStatus, RequestKind, RequestStatus, Step};
use rounds_core::service::{Listed, PlanFilter};

use self::filter::Filter;
use super::cx::{Cx, Shell, page};
use super::error::PageError;
use super::form;
use super::pill::Toned as _;

/// Plans that a person may have to look at, besides those that wait for a decision.
const UNDER_WAY: [PlanStatus; 3] = [PlanStatus::Failed, PlanStatus::Executing, PlanStatus::Approved];
/// Plans that have ended.
const RESOLVED: [PlanStatus; 4] =
    [PlanStatus::Completed, PlanStatus::Rejected, PlanStatus::Expired, PlanStatus::Cancelled];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Plans,
    Steps,
    Resolved,
}

impl Tab {
    fn name(self) -> &'static str {
        match self {
            Self::Plans => "plans",
            Self::Steps => "steps",
            Self::Resolved => "resolved",
        }
    }

    /// The statuses that can be chosen from.
    fn statuses(self) -> &'static [PlanStatus] {
        match self {
            Self::Plans => {
                &[PlanStatus::PendingApproval, PlanStatus::Failed, PlanStatus::Executing, PlanStatus::Approved]
            }
            Self::Steps => &[],
            Self::Resolved => &RESOLVED,
        }
    }
}

/// A plan as a row.
struct Row {
    plan: Plan,
    namespaces: String,
    connectors: String,
    owner: Option<String>,
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
    filter: Filter,
    waiting: Vec<Row>,
    under_way: Vec<Row>,
    steps: Vec<Waiting>,
    resolved: Vec<Row>,
    counts: [String; 3],
    /// The next page of the first list, and of the second.
    older: [Option<String>; 2],
    /// Where the setup goes on, when it is unfinished and the person may.
    setup: Option<String>,
}

impl ActionsPage {
    fn is(&self, tab: &str) -> bool {
        self.tab.name() == tab
    }

    fn statuses(&self) -> &'static [PlanStatus] {
        self.tab.statuses()
    }

    /// The same filters on another tab. A status is chosen within one tab.
    fn to(&self, tab: &str) -> String {
        format!("/actions?tab={tab}{}", self.filter.with_statuses(&[]))
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
    let filter = Filter::read(&cx, tab.statuses()).await?;
    let after = cx.param("after").map(form::id::<PlanId>).transpose()?;
    // A chosen status and where the page starts belong to its tab; the others are only counted.
    let list = async |of: Tab, statuses: &[PlanStatus]| {
        let here = of == tab;
        let chosen = |status: &&PlanStatus| !here || filter.statuses.is_empty() || filter.statuses.contains(status);
        let statuses: Vec<PlanStatus> = statuses.iter().filter(chosen).copied().collect();
        if statuses.is_empty() {
            return Ok(Page::default());
        }
        let filter = PlanFilter { statuses, after: after.filter(|_| here), limit: 50, ..filter.plans(cx.now) };
        let Listed { items: plans, next, .. } = cx.rounds().plans().list(&cx.who, &filter).await?;
        Ok::<_, PageError>(Page { plans, next })
    };
    let waiting = list(Tab::Plans, &[PlanStatus::PendingApproval]).await?;
    let under_way = list(Tab::Plans, &UNDER_WAY).await?;
    let executing = list(Tab::Steps, &[PlanStatus::Executing]).await?;
    let resolved = list(Tab::Resolved, &RESOLVED).await?;
    let steps: Vec<Waiting> = executing.plans.iter().flat_map(steps_of).collect();
    let counts =
        [count(waiting.plans.len(), &waiting), count(steps.len(), &executing), count(resolved.plans.len(), &resolved)];
    let older = |page: &Page, statuses: &[PlanStatus]| {
        let next = page.next?;
        Some(format!("/actions?tab={}{}&after={next}", tab.name(), filter.with_statuses(statuses)))
    };
    let older = match tab {
        Tab::Plans => [older(&waiting, &[PlanStatus::PendingApproval]), older(&under_way, &UNDER_WAY)],
        Tab::Steps => [older(&executing, &[]), None],
        Tab::Resolved => [older(&resolved, &filter.statuses), None],
    };
    let mut shell = cx.shell("Action Center", "plans").live("plan");
    shell.spoken = format!("{} plans and {} steps wait for approval", counts[0], counts[1]);
    let setup = if waiting.plans.is_empty() { unfinished_setup(&cx).await? } else { None };
    Ok(page(&ActionsPage {
        shell,
        tab,
        waiting: filter.rows(waiting.plans),
        under_way: filter.rows(under_way.plans),
        steps,
        resolved: filter.rows(resolved.plans),
        counts,
        older,
        setup,
        filter,
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

/// A page of one of the lists.
#[derive(Default)]
struct Page {
    plans: Vec<Plan>,
    next: Option<PlanId>,
}

fn count(count: usize, page: &Page) -> String {
    if page.next.is_some() { format!("{count}+") } else { count.to_string() }
}

fn steps_of(plan: &Plan) -> Vec<Waiting> {
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
