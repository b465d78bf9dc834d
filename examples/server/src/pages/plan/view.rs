//! What the page of a plan shows, read through the facades.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use rounds_core::access::{Action, Denied};
use rounds_core::audit::{AuditEntry, AuditRow};
use rounds_core::investigation::{Evidence, Investigation};
use rounds_core::plan::{Plan, PlanStatus, RequestKind, Step, StepFailure, StepStatus};
use rounds_core::ports::store::AuditQuery;
use rounds_core::service::RuleView;
use rounds_core::step::Tier;
use rounds_core::{ConnectorId, Error, PlanId, RequestId, Timestamp};

use super::chart::{AlertChart, of_rule};
use super::history::{Moment, moments};
use crate::pages::cx::{Cx, May};
use crate::pages::diff::{Line, preview};
use crate::pages::error::PageError;
use crate::pages::form::Fields;

/// What a person typed into a decision that did not go through.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    pub(super) reason: String,
    pub(super) confirm: String,
    pub(super) auto_edit: bool,
}

impl Typed {
    pub(super) fn of(fields: &Fields) -> Self {
        Self {
            reason: fields.get("reason").into(),
            confirm: fields.get("confirm").into(),
            auto_edit: fields.ticked("auto_edit"),
        }
    }
}

/// A plan as its page shows it.
pub(super) struct View {
    pub(super) plan: Plan,
    pub(super) typed: Typed,
    /// Approve, reject and modify: one permission, and the plan must wait.
    pub(super) may_decide: May,
    pub(super) may_auto_edit: May,
    pub(super) may_cancel: May,
    pub(super) may_submit: May,
    pub(super) confirm: Option<String>,
    pub(super) wheres: Vec<String>,
    pub(super) steps: Vec<StepView>,
    pub(super) rescue: Option<Plan>,
    pub(super) primary: Option<Plan>,
    pub(super) investigation: Option<Investigation>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) alert: Option<RuleView>,
    pub(super) chart: Option<AlertChart>,
    pub(super) moments: Vec<Moment>,
    pub(super) audit: Option<Vec<AuditRow>>,
    pub(super) expired: bool,
}

/// A step as its card shows it.
pub(super) struct StepView {
    pub(super) step: Step,
    pub(super) number: u32,
    pub(super) connector: String,
    pub(super) preview: Vec<Line>,
    pub(super) stdin: Option<String>,
    /// Its open request, while it waits for its own approval.
    pub(super) request: Option<RequestId>,
    /// Until when that can be decided.
    pub(super) expires_at: Option<Timestamp>,
    pub(super) may_decide: May,
    /// Whether it can be retried at all, and by this person.
    pub(super) may_retry: Option<May>,
    pub(super) confirm: Option<String>,
}

impl StepView {
    /// The class of its card.
    pub(super) fn class(&self) -> &'static str {
        match self.step.status {
            StepStatus::Pending if self.request.is_some() => "waiting",
            status => status.as_str(),
        }
    }

    /// Where it is, in words.
    pub(super) fn spoken(&self) -> String {
        let how = match self.step.status {
            StepStatus::Pending if self.request.is_some() => "waits for its own approval",
            status => status.as_str(),
        };
        format!("step {} {how}", self.number)
    }

    pub(super) fn interrupted(&self) -> bool {
        self.step.status == StepStatus::Interrupted
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self.step.status, StepStatus::Failed | StepStatus::Interrupted)
    }

    pub(super) fn waiting(&self) -> bool {
        self.request.is_some()
    }

    /// The request that asks for it, for a form.
    pub(super) fn asked_by(&self) -> String {
        self.request.map(|id| id.to_string()).unwrap_or_default()
    }

    pub(super) fn took(&self) -> Option<String> {
        let took = self.step.finished_at? - self.step.executed_at?;
        Some(format!("{:.1} s", took.num_milliseconds() as f64 / 1000.0))
    }

    pub(super) fn is_open(&self) -> bool {
        // What is decided about or went wrong opens itself.
        !matches!(self.step.status, StepStatus::Done | StepStatus::Skipped)
    }
}

/// What a person types before something destructive is approved: the name of what is lost.
pub(super) fn confirm_word<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Option<String> {
    let step = steps.into_iter().find(|step| step.review.tier == Tier::Destructive)?;
    let target = step.review.targets.first();
    Some(
        target.map_or_else(
            || step.review.verb.clone(),
            |target| target.name.clone().unwrap_or_else(|| target.kind.clone()),
        ),
    )
}

impl View {
    pub(super) async fn load(cx: &Cx, id: PlanId, typed: Typed) -> Result<Self, PageError> {
        let rounds = cx.rounds();
        let plan = rounds.plans().get(&cx.who, id).await?;
        let may_approve = cx.may_all(Action::PlansApprove, "plans").await;
        let expired = plan.status == PlanStatus::PendingApproval && plan.expires_at.is_some_and(|at| at <= cx.now);
        let may_decide = may_approve.clone().unless(expired.then(|| "it expired: nobody decided in time".to_owned()));
        let may_auto_edit = auto_edit(cx, &plan).await;
        let names = connector_names(cx).await;

        let rescue = optional(other_plan(cx, plan.rescue_plan_id).await)?.flatten();
        let primary = optional(other_plan(cx, plan.rescue_for_plan_id).await)?.flatten();
        let investigation = match plan.investigation_id {
            Some(id) => optional(rounds.investigations().get(&cx.who, id).await)?,
            None => None,
        };
        let alert = match plan.linked_alert_rule_id {
            Some(id) => optional(rounds.alerts().get(&cx.who, id).await)?,
            None => None,
        };
        let chart = match &alert {
            Some(alert) => Some(chart(cx, &plan, alert).await),
            None => None,
        };
        let evidence = investigation.as_ref().map(cited).unwrap_or_default();
        let steps = plan.steps.iter().map(|step| step_view(&plan, step, &names, &may_approve)).collect();
        let in_the_way = primary.as_ref().filter(|_| plan.status == PlanStatus::Draft).and_then(|primary| {
            let ended = matches!(primary.status, PlanStatus::Failed | PlanStatus::Cancelled | PlanStatus::Completed);
            (!ended).then(|| {
                format!(
                    "the plan it undoes is {}: it must have failed, been cancelled or completed first",
                    primary.status.as_str()
                )
            })
        });
        let asked = plan.cancel_requested_at.map(|_| "it was asked to end after the running step".to_owned());
        Ok(Self {
            typed,
            may_decide,
            may_auto_edit: may_approve.clone().unless(may_auto_edit.missing),
            may_cancel: may_approve.clone().unless(asked),
            may_submit: may_approve.unless(in_the_way),
            confirm: confirm_word(&plan.steps),
            wheres: wheres(&plan, &names),
            steps,
            rescue,
            primary,
            investigation,
            evidence,
            alert,
            chart,
            moments: moments(&plan),
            audit: audit(cx, &plan).await?,
            expired,
            plan,
        })
    }

    /// Whether Approve, Reject and Modify are the question.
    pub(super) fn waits(&self) -> bool {
        self.plan.status == PlanStatus::PendingApproval
    }

    pub(super) fn is_draft(&self) -> bool {
        self.plan.status == PlanStatus::Draft
    }

    pub(super) fn may_end(&self) -> bool {
        matches!(self.plan.status, PlanStatus::Approved | PlanStatus::Executing)
    }

    pub(super) fn ended(&self) -> bool {
        self.plan.status.is_terminal()
    }

    /// Whether the bar stays where it is: it follows the eye only while it asks something.
    pub(super) fn still(&self) -> bool {
        !self.waits() && self.asking().is_none()
    }

    /// What runs, at a glance.
    pub(super) fn first_steps(&self) -> &[StepView] {
        &self.steps[..self.steps.len().min(3)]
    }

    /// The step that asks for its own approval.
    pub(super) fn asking(&self) -> Option<&StepView> {
        self.steps.iter().find(|step| step.waiting())
    }

    /// What is asked in the bar, as a name: the plan as it is, or one request for one step. It changes with the question.
    pub(super) fn asks(&self) -> String {
        match self.asking() {
            _ if self.waits() => self.plan.digest.clone(),
            Some(step) => step.asked_by(),
            // All that is left to press is Cancel.
            None if self.may_end() => "cancel".to_owned(),
            None => self.plan.status.as_str().to_owned(),
        }
    }

    pub(super) fn cause(&self) -> Option<&str> {
        let report = self.investigation.as_ref()?.report.as_ref()?;
        Some(report.root_cause.as_ref().map_or(report.summary.as_str(), |cause| cause.summary.as_str()))
    }

    /// Where the readings that are cited can be seen.
    pub(super) fn report_link(&self) -> String {
        self.investigation.as_ref().map(|found| format!("/investigations/{}", found.id)).unwrap_or_default()
    }

    pub(super) fn unknowns(&self) -> &[String] {
        let report = self.investigation.as_ref().and_then(|found| found.report.as_ref());
        report.map_or(&[], |report| &report.unknowns)
    }

    /// Whether the rescue is worth a prominent link: the plan did not end well.
    pub(super) fn rescue_is_due(&self) -> bool {
        self.rescue.is_some() && matches!(self.plan.status, PlanStatus::Failed | PlanStatus::Cancelled)
    }

    pub(super) fn reversible(&self) -> bool {
        self.plan.steps.iter().filter(|step| step.review.tier != Tier::Read).all(|step| step.review.reversible)
    }

    pub(super) fn continues(&self) -> bool {
        self.plan.steps.iter().any(|step| step.continue_on_error)
    }

    /// What the plan is doing now, in a sentence.
    pub(super) fn now(&self) -> String {
        let step = |wanted: fn(&StepView) -> bool| self.steps.iter().find(|step| wanted(step));
        match self.plan.status {
            PlanStatus::Draft => "A rescue plan: it waits as a draft. Submitting it runs nothing.".into(),
            PlanStatus::PendingApproval if self.expired => {
                "Nobody decided in time; it cannot be approved any more.".into()
            }
            PlanStatus::PendingApproval => "Nothing has run. It waits for a person.".into(),
            PlanStatus::Approved => "Approved; the first step is about to start.".into(),
            PlanStatus::Executing => match (step(StepView::waiting), self.plan.running_step()) {
                (Some(step), _) => format!("Step {} waits for its own approval.", step.number),
                (None, Some(running)) => format!("Step {} of {} runs.", running.ordinal + 1, self.steps.len()),
                (None, None) => "Between two steps.".into(),
            },
            PlanStatus::Completed => match self.plan.steps.iter().any(|step| step.status != StepStatus::Done) {
                true => "Every step had its turn; not all of them succeeded.".into(),
                false => "Every step is done.".into(),
            },
            PlanStatus::Failed => match self.steps.iter().rev().find(|step| step.failed()) {
                Some(step) => format!("Step {} {}; nothing after it ran.", step.number, step.step.status.as_str()),
                None => "A step failed.".into(),
            },
            PlanStatus::Rejected | PlanStatus::Expired | PlanStatus::Cancelled => {
                let by = self.plan.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                let why = self.plan.resolution.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("It was {}{by}{why}", self.plan.status.as_str())
            }
        }
    }

    /// The same for the live region.
    pub(super) fn spoken(&self) -> String {
        format!("plan {}: {}", self.plan.status.as_str().replace('_', " "), self.now())
    }
}

fn step_view(plan: &Plan, step: &Step, names: &BTreeMap<ConnectorId, String>, may: &May) -> StepView {
    let request = plan.open_request(RequestKind::Step { ordinal: step.ordinal });
    let failed = matches!(step.status, StepStatus::Failed | StepStatus::Interrupted);
    let may_retry = (plan.status == PlanStatus::Failed && failed).then(|| {
        let changed = step.failure == Some(StepFailure::ReviewChanged);
        may.clone().unless(changed.then(|| "today's review differs from what was approved: propose a new plan".into()))
    });
    StepView {
        number: step.ordinal + 1,
        connector: names.get(&step.connector_id).cloned().unwrap_or_else(|| step.connector_id.to_string()),
        preview: step.dry_run_text.as_deref().map(preview).unwrap_or_default(),
        stdin: step.review.params.get("stdin").and_then(|stdin| stdin.as_str()).map(str::to_owned),
        request: request.map(|request| request.id),
        expires_at: request.map(|request| request.expires_at),
        may_decide: may.clone(),
        may_retry,
        confirm: confirm_word([step]),
        step: step.clone(),
    }
}

/// Where the plan acts: connector · namespaces, one line per connector.
fn wheres(plan: &Plan, names: &BTreeMap<ConnectorId, String>) -> Vec<String> {
    let mut places: BTreeMap<ConnectorId, BTreeSet<&str>> = BTreeMap::new();
    for step in &plan.steps {
        let namespaces = places.entry(step.connector_id).or_default();
        if step.review.targets.is_empty() {
            namespaces.insert("cluster-scoped");
        }
        namespaces
            .extend(step.review.targets.iter().map(|target| target.namespace.as_deref().unwrap_or("cluster-scoped")));
    }
    let name = |id| names.get(id).map_or_else(|| crate::pages::cx::short(id), Clone::clone);
    places
        .iter()
        .map(|(id, namespaces)| format!("{} · {}", name(id), namespaces.iter().copied().collect::<Vec<_>>().join(", ")))
        .collect()
}

async fn auto_edit(cx: &Cx, plan: &Plan) -> May {
    // What is asked of whoever ticks the box, in core's words.
    let mut missing: Vec<String> = Vec::new();
    for scope in plan.scopes() {
        match cx.rounds().authorize(&cx.who, Action::PlansAutoEdit, std::slice::from_ref(&scope)).await {
            Ok(()) => {}
            Err(Denied::Missing { scope, .. }) => missing.push(scope.to_string()),
            Err(other) => return May { missing: Some(other.to_string()) },
        }
    }
    May { missing: (!missing.is_empty()).then(|| format!("needs plans:auto_edit on {}", missing.join(" and "))) }
}

async fn connector_names(cx: &Cx) -> BTreeMap<ConnectorId, String> {
    // Without connectors:read the page still works, with ids.
    let found = cx.rounds().connectors().list(&cx.who).await.unwrap_or_default();
    found.into_iter().map(|connector| (connector.id, connector.name)).collect()
}

async fn other_plan(cx: &Cx, id: Option<PlanId>) -> Result<Option<Plan>, Error> {
    match id {
        Some(id) => cx.rounds().plans().get(&cx.who, id).await.map(Some),
        None => Ok(None),
    }
}

/// What belongs to the page but may be gone or not for this person.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, PageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. } | Error::Denied(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn chart(cx: &Cx, plan: &Plan, alert: &RuleView) -> AlertChart {
    let history = cx.rounds().alerts().history(&cx.who, alert.rule.id, 20).await.unwrap_or_default();
    let end = match plan.verification.settled_at.or(plan.resolved_at) {
        Some(ended) if cx.now - ended > TimeDelta::minutes(30) => ended + TimeDelta::minutes(10),
        _ => cx.now,
    };
    let before = |at: Timestamp| (at - TimeDelta::minutes(30)).max(end - TimeDelta::hours(6));
    of_rule(cx, &alert.rule, &history, before(plan.created_at), end).await
}

/// The readings behind the cause.
fn cited(investigation: &Investigation) -> Vec<Evidence> {
    let Some(report) = &investigation.report else { return Vec::new() };
    let Some(cause) = &report.root_cause else { return Vec::new() };
    report.evidence.iter().filter(|reading| cause.citations.contains(&reading.id)).cloned().collect()
}

/// The audit rows about this plan, its requests and its steps, newest first; `None` for who may not read them.
async fn audit(cx: &Cx, plan: &Plan) -> Result<Option<Vec<AuditRow>>, PageError> {
    let mut targets = vec![(AuditEntry::TARGET_PLAN, plan.id.to_string())];
    targets.extend(plan.requests.iter().map(|request| (AuditEntry::TARGET_REQUEST, request.id.to_string())));
    let ran = plan.steps.iter().filter(|step| step.attempt > 0);
    targets.extend(ran.map(|step| (AuditEntry::TARGET_STEP, format!("{}:{}", plan.id, step.ordinal))));
    let mut rows = Vec::new();
    for (kind, id) in targets {
        let (kind, id) = (Some(kind.to_owned()), Some(id));
        let query = AuditQuery { target_type: kind, target_id: id, ..AuditQuery::new(cx.who.org_id.clone()) };
        match optional(cx.rounds().audit().list(&cx.who, query).await)? {
            Some(page) => rows.extend(page.rows),
            None => return Ok(None),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.seq));
    Ok(Some(rows))
}
